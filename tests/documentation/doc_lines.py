"""The Markdown pages as what can be checked: command lines, settings and names in running text, blocks of Python."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from checkout import ROOT

SHELL = ("", "bash", "sh", "shell", "console")
"""Languages of blocks that hold commands; a block of output or of files says `text`, `json`, `yaml`, `csv`, ..."""

LEFT_OUT = ("docs/LOG.md",)
"""A log of the past: its lines were true when they were written."""

FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([\w+-]*)")
SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:[^`\n]|\n(?!\s*\n))+)(?<!`)\1(?!`)")
HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
REDIRECTION = re.compile(r"(?<!\S)(?:\d|&)?(?:>>|>|<)(?:&\d|\s*[^\s;|&)]+)")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
KEYWORDS = ("if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "nohup", "exec")
"""Words before a command."""
NO_COMMAND = ("[", "[[", "break", "continue", "done", "fi", "}", "esac", "true", ":")
AND_SO_ON = ("...", "…")


@dataclass(frozen=True)
class Block:
    page: str
    number: int  # of its first line
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A simple command. variables: what is set before it, or by it alone. more: it had a `...`, "and so on"."""

    words: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    more: bool = False

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Line:
    """A logical line. here: the here-documents that follow it. inline: a span of running text."""

    page: str
    number: int
    text: str
    inline: bool = False
    here: str = ""

    @property
    def commands(self) -> list[Command]:
        return commands(self.text)

    def __str__(self) -> str:
        shown = " ".join(re.sub(r"\s+#\s.*", "", self.text).split())
        shown = shown.encode("ascii", "replace").decode()
        return f"{self.page}:{self.number} {shown if len(shown) <= 70 else shown[:67] + '...'}"


def blocks(page: str, text: str) -> list[Block]:
    """The fenced blocks, without the indentation of a list that they stand in."""
    out, fence, language, rows = [], "", "", []
    for number, row in enumerate(text.splitlines(), 1):
        found = FENCE.match(row)
        if not fence and found:
            fence, language, rows = found[1], found[2], []
            indent = len(row) - len(row.lstrip())
        elif fence and row.strip() == fence:
            out.append(Block(page, number - len(rows), language, "".join(f"{r}\n" for r in rows)))
            fence = ""
        elif fence:
            rows.append(row[indent:] if not row[:indent].strip() else row)
    if fence:
        raise ValueError(f"{page}: a block that is never closed")
    return out


def spans(page: str, text: str) -> list[Line]:
    """Inline code, with its line; what wraps has one space there."""
    prose = "\n".join(prose_of(page, text))
    return [
        Line(page, prose.count("\n", 0, found.start()) + 1, " ".join(found[2].replace(r"\|", "|").split()), True)
        for found in SPAN.finditer(prose)
    ]


def prose_of(page: str, text: str) -> list[str]:
    """The rows of a page, those of blocks empty."""
    rows = text.splitlines()
    for block in blocks(page, text):
        last = block.number + block.text.count("\n")
        rows[block.number - 2 : last] = [""] * (last - block.number + 2)
    return rows


def headings(text: str) -> list[str]:
    return [found[1] for row in prose_of("", text) if (found := re.match(r"#{1,6}\s+(.*?)(?:\s+#+)?\s*$", row))]


def lines(block: Block) -> list[Line]:
    """A block's logical lines: continued ones are joined, those of here-documents belong to the line before."""
    out: list[Line] = []
    rows, n = block.text.splitlines(), 0
    while n < len(rows):
        number, text = block.number + n, rows[n]
        while text.endswith("\\") and n + 1 < len(rows):
            n += 1
            text = f"{text[:-1].rstrip()} {rows[n].strip()}"
        n += 1
        here = []
        for _, end in HERE.findall(text):
            while n < len(rows) and (not here or here[-1].strip() != end):
                here.append(rows[n])
                n += 1
        text = re.sub(r"^\s*\$ ", "", text).strip()
        if commands(text):
            out.append(Line(block.page, number, text, here="\n".join(here)))
    return out


def commands(text: str) -> list[Command]:
    """The simple commands of a line of shell, without what belongs to the shell: redirections, comments, keywords.

    Raises ValueError for quotes that do not close.
    """
    lexer = shlex.shlex(REDIRECTION.sub(" ", HERE.sub(" ", text)), posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for token in lexer:
        if token and not token.strip(";&|()"):
            parts.append([])
        else:
            parts[-1].append(token)
    return [command for part in parts if (command := _command(part)) is not None]


def _command(words: list[str]) -> Command | None:
    while words and words[0] in KEYWORDS:
        words = words[1:]
    if words[:1] == ["for"] and words[2:3] == ["in"]:
        return Command((), {words[1]: words[3] if len(words) > 3 else ""})
    variables = {}
    while words and ASSIGNMENT.match(words[0]):
        name, value = words[0].split("=", 1)
        variables[name] = value
        words = words[1:]
    if words and words[0] in NO_COMMAND:
        return None
    kept = tuple(word for word in words if word not in AND_SO_ON)
    if not kept and not variables:
        return None
    return Command(kept, variables, len(kept) < len(words))


@cache
def pages(root: Path = ROOT) -> dict[str, str]:
    """The text of each page, by its path below the checkout."""
    found = [path for pattern in ("README.md", "*/README.md", "docs/*.md") for path in sorted(root.glob(pattern))]
    named = {str(path.relative_to(root)): path for path in found}
    return {name: path.read_text() for name, path in named.items() if name not in LEFT_OUT and name[0] != "."}


def command_lines(page: str, text: str) -> list[Line]:
    """Of the blocks that hold commands."""
    return [line for block in blocks(page, text) if block.language in SHELL for line in lines(block)]

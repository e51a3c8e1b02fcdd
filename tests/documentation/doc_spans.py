"""What code in running text says: commands, settings, options, files. Everything else are just words."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from checkout import ROOT
from doc_lines import Line, commands, headings
from doc_programs import ENTRIES, SBATCH, THEIRS, check, check_command, exempt, is_program, named_files
from doc_settings import check_settings, settings
from doc_stale import Stale

FILE = re.compile(r"[\w-]+\.(py|sbatch|def|sh|toml)")
LINK = re.compile(r"\]\(([^):]+)\)")


def command_of(text: str) -> str:
    """The span as a command, "" if it is none; a script's bare name stands for its path."""
    head, _, rest = text.partition(" ")
    for folder in ("", "data_prep/", "eval/"):
        if head.endswith(".py") and (ROOT / f"{folder}{head}").is_file():
            return f"python {folder}{head} {rest}" if rest else ""
    return text if rest and is_program(head) else ""


def says_something(text: str) -> bool:
    return bool(command_of(text) or settings(text) or text.startswith("--") or FILE.fullmatch(text) or "/" in text)


def check_span(line: Line) -> None:
    """Raises Stale."""
    text = line.text
    if exempt(text):
        return
    if command := command_of(text):
        for simple in commands(command):
            check_command(simple, more=True)
    elif words := settings(text):
        check_settings(words)
    elif text.startswith("--"):
        for word in text.split():
            option = word.partition("=")[0]
            if option.startswith("--") and not exempt(option) and option not in known_options():
                raise Stale(f"{option}: no program has this option")
    elif FILE.fullmatch(text) and not THEIRS.search(text):
        if text not in known_files():
            raise Stale(f"{text}: no file of the checkout has this name")
    else:
        named_files(tuple(text.split()))


def check_link(page: str, target: str) -> None:
    """Raises Stale. target: relative to the page, may end with #heading."""
    name, _, anchor = target.partition("#")
    path = (ROOT / page).parent / name if name else ROOT / page
    if not path.exists():
        raise Stale(f"{name}: no such file")
    if anchor and anchor not in anchors(path.read_text()):
        raise Stale(f"{target}: no heading has this anchor")


def anchors(text: str) -> list[str]:
    """Of a page's headings, as GitHub makes them: punctuation goes, spaces become hyphens, a second one is numbered."""
    out: list[str] = []
    for heading in headings(text):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        seen = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in out)
        out.append(f"{slug}-{seen}" if seen else slug)
    return out


@cache
def known_files() -> set[str]:
    """Names of files, but for those in folders that git ignores: what a run left makes no line true."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line.endswith("/")}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in ignored]
    return {path.name for folder in folders for path in folder.rglob("*.*")} | {path.name for path in ROOT.iterdir()}


@cache
def known_options() -> set[str]:
    """Of all programs of this project, of torchrun and of sbatch."""
    scripts = [
        path for folder in ("data_prep", "eval", "tests", "tests/bench") for path in (ROOT / folder).glob("*.py")
    ]
    programs: list[tuple[str, ...]] = [("python", str(p.relative_to(ROOT))) for p in scripts if parses(p)]
    programs += [(name,) for name in ENTRIES if name != "flam-eval"]
    found = {f"--{name}" for name in SBATCH} | {"--help"}
    for words in programs:
        found |= check(words, more=True).options
    from torch.distributed.run import get_args_parser

    for option in get_args_parser()._option_string_actions:
        found |= {option, option.replace("_", "-")}
    return found


def parses(path: Path) -> bool:
    return any(word in path.read_text() for word in (".parse_args(", "prepare.run("))

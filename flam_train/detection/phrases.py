"""Which phrases are meant by words and by a file of them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flam_train.data.sound.suffixes import SUFFIXES
from flam_train.detection.recordings import decoded

if TYPE_CHECKING:
    from flam_train.models.text import Tokenizer  # torch, which a mistyped phrase does not need

SHOWN = 60
"""Characters of a phrase that a message quotes."""

ENDLESS = 1 << 20
"""Tokens that no phrase has."""


def phrases_of(arguments: Sequence[str] = (), file: Path | str | None = None) -> list[str]:
    """Phrases as given, each once, in their order: those of the arguments, then of a file with one a line.

    Blank lines of the file, and lines that begin with #, are none. Space around a phrase is cut off. Raises ValueError
    that names the argument or the line, and the fix: no phrase at all, an empty one, one with a tab, a newline or
    another control character inside, one that is no text, and an argument that is called like a recording.
    """
    found: dict[str, None] = {}
    for where, text in _given(arguments, file):
        found.setdefault(_checked(where, text))
    if not found and file is not None:
        raise ValueError(f"{file}: holds no phrase: write one a line")
    if not found:
        raise ValueError("no phrase: give --phrases or --phrases-file")
    return list(found)


def cut_phrases(phrases: Iterable[str], tokenizer: Tokenizer) -> list[str]:
    """What to tell of phrases that the tokenizer cuts: a line for each."""
    most = tokenizer.max_tokens
    tokens = {p: len(tokenizer.backend([p], truncation=True, max_length=ENDLESS)["input_ids"][0]) for p in phrases}
    return [
        f"phrase {_quoted(phrase)} has {count:,} tokens, and the model reads {most}: its end does not count, shorten it"
        for phrase, count in tokens.items()
        if count > most
    ]


def _given(arguments: Sequence[str], file: Path | str | None) -> Iterator[tuple[str, str]]:
    """(where it stands, phrase)."""
    if isinstance(arguments, str):
        arguments = [arguments]
    for number, text in enumerate(arguments, 1):
        # Options that take several words take recordings behind them, too.
        if os.path.splitext(text)[1].lower() in SUFFIXES:
            raise ValueError(f"phrase {_quoted(text)} is called like a recording: give recordings before --phrases")
        yield f"phrase {number}", text
    if file is None:
        return
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is no UTF-8 text ({error.reason}, byte {error.start}): save it as UTF-8") from error
    for number, text in enumerate(lines, 1):
        if text.strip() and not text.startswith("#"):
            yield f"{file}, line {number}", text


def _checked(where: str, text: str) -> str:
    text = decoded(text).strip()
    if not text:
        raise ValueError(f"{where} is empty: write one, or remove it")
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cs":
            raise ValueError(f"{where} {_quoted(text)} is no UTF-8 text: write it anew")
        if kind in ("Cc", "Zl", "Zp"):
            name = {"\t": "a tab", "\n": "a newline", "\r": "a newline"}.get(character, "a control character")
            raise ValueError(f"{where} {_quoted(text)} has {name} inside: write a space, or two phrases")
    return text


def _quoted(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")

"""Praat's TextGrid in its long and its short text form (fon.hum.uva.nl/praat, "TextGrid file formats"), UTF-8 or
UTF-16. As Praat does, only free-standing numbers, strings and flags are read, so both forms are one. An interval
with an empty text is a gap; points (TextTier) have onset = offset; quotes in a text are doubled.

Tiers of which each has one label alone, and is called like it, or like it and a channel, "rain (channel 2)", are
classes and no other views of the same events: all are read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from flam_train.data.labels.rows import Labels, Row, Wanted, event, fault, is_number, one_tier, seconds, text_of

_OF_CHANNEL = re.compile(r"(.+) \(channel ([1-9][0-9]*)\)", re.DOTALL)
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(<[^<>\s]*>)|(![^\r\n]*)|(")|([^\s"]+)')


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The labels of one tier, or of all that are classes; rows are lines of the file."""
    wanted = wanted or Wanted()
    if data.startswith(b"ooBinaryFile"):
        raise fault(file, "a binary TextGrid: save it in Praat as a text file")
    tokens = _Tokens(text_of(data, file, wanted.encoding), file)
    if not tokens.string().startswith("ooTextFile") or tokens.string() != "TextGrid":
        raise fault(file, 'no TextGrid: it must begin with File type = "ooTextFile", Object class = "TextGrid"')
    domain = tokens.number("xmin"), tokens.number("xmax")
    if tokens.flag() != "<exists>":
        return Labels(domain=domain)
    tiers: list[tuple[str, list[Row]]] = []
    for _ in range(tokens.count("tiers")):
        kind, name = tokens.string(), tokens.string()
        if kind not in ("IntervalTier", "TextTier"):
            raise fault(file, f"class {kind[:40]!r} is no tier: IntervalTier or TextTier: mend it", tokens.row)
        tokens.number("xmin"), tokens.number("xmax")
        rows = []
        for _ in range(tokens.count("intervals" if kind == "IntervalTier" else "points")):
            onset = tokens.number("xmin" if kind == "IntervalTier" else "number")
            offset = tokens.number("xmax") if kind == "IntervalTier" else onset
            text = tokens.string()
            if text.strip():
                rows.append(event(None, onset, offset, text, file, tokens.row, wanted))
        tiers.append((name, rows))
    labelled = [name for name, rows in tiers if rows]
    if wanted.tier is None:
        classes = [_as_class(name, rows) for name, rows in tiers]
        if None not in classes:
            return Labels([row for rows in classes for row in rows or ()], domain=domain)
    chosen = set(one_tier([name for name, _ in tiers] if wanted.tier else labelled, wanted, file))
    return Labels([row for name, rows in tiers if name in chosen for row in rows], domain=domain)


def _as_class(name: str, rows: list[Row]) -> list[Row] | None:
    """The rows of a tier that is a class, with the channel that its name says; None of another tier."""
    called = " ".join(unicodedata.normalize("NFC", name.replace("\ufeff", "")).split())
    labels = {row.label for row in rows}
    if labels <= {called}:
        return rows
    of_channel = _OF_CHANNEL.fullmatch(called)
    if of_channel is None or labels != {of_channel[1]}:
        return None
    return [row._replace(channel=int(of_channel[2])) for row in rows]


class _Tokens:
    """What Praat reads of a text, one after the other; `row` is the line of the last."""

    def __init__(self, text: str, file: str) -> None:
        self.file, self.row = file, 1
        self._text, self._at = text, 0
        self._found = self._all()

    def _all(self) -> Iterator[tuple[str, str]]:
        for match in _TOKEN.finditer(self._text):
            # Lines are counted as they are passed: this stays linear in the length of the file.
            self.row += len(re.findall(r"\r\n|\n|\r", self._text[self._at : match.start()]))
            self._at = match.start()
            string, flag, comment, quote, word = match.groups()
            if quote:
                raise fault(self.file, "a quotation mark is never closed: mend it", self.row)
            if string is not None:
                yield "string", string.replace('""', '"')
            elif flag is not None:
                yield "flag", flag
            elif comment is None and is_number(word):
                yield "number", word

    def _next(self, kind: str, name: str) -> str:
        found, token = next(self._found, ("", ""))
        if found != kind:
            got = f"{found} {token[:40]!r} stands there" if found else "the file ends"
            raise fault(self.file, f"{name} should follow, a {kind}, but {got}: mend it, or save it again", self.row)
        return token

    def string(self) -> str:
        return self._next("string", "a name or text")

    def flag(self) -> str:
        return self._next("flag", "<exists>")

    def number(self, name: str) -> float:
        return seconds(self._next("number", name), self.file, self.row, name)

    def count(self, name: str) -> int:
        token = self._next("number", f"the number of {name}")
        if not token.isdigit() or len(token) > 9:
            raise fault(self.file, f"the number of {name} is {token[:40]!r}: mend it, or save it again", self.row)
        return int(token)

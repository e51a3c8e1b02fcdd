"""Text that a spreadsheet would take for a formula, as it stands in tables: what begins with = + - or @, also in their
full-width forms, has an apostrophe in front, the sign by which spreadsheets mark text. So has what follows a semicolon,
which begins a cell where the comma is the decimal sign."""

from __future__ import annotations

import re

_SIGNS = "=+\\-@＝＋－＠"
_BARE = re.compile(rf"((?:^|;) ?)(?='*[{_SIGNS}])")
_MARKED = re.compile(rf"((?:^|;) ?)'(?='*[{_SIGNS}])")


def harmless(text: str) -> str:
    """No cell that begins with `text`, in one line, is a formula."""
    return _BARE.sub(r"\1'", text)


def as_meant(text: str) -> str:
    """What `harmless` was given."""
    return _MARKED.sub(r"\1", text)

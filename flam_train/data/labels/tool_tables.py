"""Tables that a tool writes, with a header that is its own: rows by the names of their columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flam_train.data.labels.rows import About, Wanted, fault, lines_of, text_of
from flam_train.data.labels.tables import Cells, rows_of

SEPARATORS = "\t,;"
"""BirdNET-Lite writes semicolons, and so does Excel in half of Europe."""

_SEP = re.compile(r"sep=.", re.IGNORECASE)


def plain(name: str) -> str:
    """A header's name without case, signs and doubled spaces: `AUTO ID*`, `AUTO.ID.` and `auto_id` are one."""
    return " ".join(re.findall(r"[0-9a-z]+", name.casefold()))


def header_of(text: str) -> tuple[int, str, list[str]]:
    """(its line, separator, cells) of the header: the first line that is neither blank, a comment nor Excel's `sep=`,
    separated by what gives the most cells; (0, "", []) if there is none."""
    for n, line in enumerate(lines_of(text), 1):
        if line.strip() and not line.startswith("#") and not _SEP.fullmatch(line.strip()):
            separator = max(SEPARATORS, key=lambda s: len(_cells(line, s)))
            return n, separator, [c.strip() for c in _cells(line, separator)]
    return 0, "", []


def _cells(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


@dataclass(frozen=True)
class ToolTable:
    """A table with the line and the cells of its header; `rows` are as long as it."""

    file: str
    first: int
    header: Sequence[str]
    rows: Sequence[Cells]

    def find(self, *names: str) -> int | None:
        """The column that is called like the first of some names, in the writing of `plain`."""
        known = [plain(h) for h in self.header]
        return next((known.index(name) for name in names if name in known), None)

    def roles(self, known: Mapping[str, Sequence[str]], wanted: Wanted, instants: bool = False) -> dict[str, int]:
        """Role -> column of those there are, a user's own choice before the tool's. ValueError for a column that was
        asked for and is not there, and without an onset and, unless there may be `instants`, an offset or duration."""
        found = {}
        for role, names in known.items():
            if role not in wanted.columns and (at := self.find(*names)) is not None:
                found[role] = at
        for role, name in wanted.columns.items():
            if name not in self.header:
                raise self.fault(f"no column {name[:40]!r} for {role}; there are {self.listed()}: mend --columns")
            found[role] = self.header.index(name)
        if "offset" in wanted.columns:
            found.pop("duration", None)
        elif "duration" in wanted.columns:
            found.pop("offset", None)
        for roles in (("onset",), ("offset", "duration"))[: 1 if instants else 2]:
            if not found.keys() & set(roles):
                raise self.fault(
                    f"no column is an {' or '.join(roles)}; there are {self.listed()}: name it with --columns "
                    f"{roles[0]}=NAME, or say the format with --format"
                )
        return found

    def kept(self, wanted: Wanted, recordings: Mapping[int, str | None]) -> list[About]:
        """What is asked for with `Wanted.keep`, once for each recording; `recordings`: row -> its recording."""
        if wanted.keep is None or wanted.keep not in self.header:
            return []
        at = self.header.index(wanted.keep)
        said: dict[tuple[str | None, str], About] = {}
        for n, cells in self.rows:
            if n in recordings and (text := " ".join(cells[at].split())):
                said.setdefault((recordings[n], text), About(recordings[n], wanted.keep, text, n))
        return list(said.values())

    def columns(self, roles: Mapping[str, int]) -> dict[str, str]:
        return {role: self.header[at] for role, at in roles.items()}

    def listed(self) -> str:
        return ", ".join(repr(h[:40]) for h in self.header[:12])

    def fault(self, what: str, row: int | None = None) -> ValueError:
        """Of a row; None: of the header."""
        return fault(self.file, what, row or self.first)


def read(data: bytes, file: str, wanted: Wanted, expected: str) -> ToolTable:
    """A table with a header. `expected` says which, for the fault of a file that is empty."""
    text = text_of(data, file, wanted.encoding)
    first, separator, _ = header_of(text)
    if not first:
        raise fault(file, f"is empty: {expected} was expected")
    (n, header), *rest = [row for row in rows_of(text, separator, file) if row[0] >= first] or [(first, [""])]
    width = len(header)
    rows = []
    for row, cells in rest:
        if any(c.strip() for c in cells[width:]):
            raise fault(
                file, f"{len(cells)} columns, the header has {width}: quote the cell that holds a separator", row
            )
        rows.append((row, cells[:width] + [""] * (width - len(cells))))
    return ToolTable(file, n, [h.strip() for h in header], rows)

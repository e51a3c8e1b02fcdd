"""Tables that a tool writes, with a header that is its own: rows by the names of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flam_train.data.labels.columns import Column, assign, plain
from flam_train.data.labels.rows import Wanted, fault, text_of
from flam_train.data.labels.tables import HEAD, SEPARATORS, Cells, rows_of


def header_of(text: str) -> tuple[int, str, list[str]]:
    """(its line, separator, cells) of the header, the first row of the table, separated by what gives the most cells;
    (0, "", []) if there is none."""
    found: list[tuple[int, str, list[str]]] = [(0, "", [])]
    for separator in SEPARATORS:
        try:
            rows = rows_of(text[:HEAD], separator, "", strict=False)
        except ValueError:  # quotes that are none with this separator
            continue
        found += [(n, separator, [c.strip() for c in cells]) for n, cells in rows[:1]]
    return max(found, key=lambda header: len(header[2]))


@dataclass(frozen=True)
class ToolTable:
    """A table with the line and the cells of its header; `rows` are as long as it. `comma`: whether numbers may have a
    decimal comma."""

    file: str
    first: int
    header: Sequence[str]
    rows: Sequence[Cells]
    comma: bool

    def find(self, name: str) -> int | None:
        """The column that is called so, as `plain` writes it."""
        return next((k for k, h in enumerate(self.header) if plain(h) == name), None)

    def assign(self, roles: Mapping[str, tuple[str, ...]], wanted: Wanted, instants: bool = False) -> dict[str, Column]:
        """Role -> column, as `columns.assign`."""
        body = [cells for _, cells in self.rows]
        return assign(self.header, body, wanted, self.file, self.first, roles=roles, instants=instants)

    def fault(self, what: str, row: int | None = None) -> ValueError:
        """Of a row; None: of the header."""
        return fault(self.file, what, row or self.first)


def read(data: bytes, file: str, wanted: Wanted, expected: str) -> ToolTable:
    """A table with a header. `expected` says which, for the fault of a file that is empty."""
    text = text_of(data, file, wanted.encoding)
    first, separator, _ = header_of(text)
    if not first:
        raise fault(file, f"is empty: {expected} was expected")
    (n, header), *rest = rows_of(text, separator, file)
    width = len(header)
    rows = []
    for row, cells in rest:
        if any(c.strip() for c in cells[width:]):
            raise fault(
                file, f"{len(cells)} columns, the header has {width}: quote the cell that holds a separator", row
            )
        rows.append((row, cells[:width] + [""] * (width - len(cells))))
    return ToolTable(file, n, [h.strip() for h in header], rows, separator != ",")

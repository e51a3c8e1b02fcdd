"""A table of one's own splits: which recording trains, validates or tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flam_train.data.labels.columns import first_of, plain
from flam_train.data.labels.rows import fault, text_of
from flam_train.data.labels.tables import HEAD, SEPARATORS, Cells, rows_of
from flam_train.data.shards.places import SPLITS

CALLED = {"train": "train training", "validation": "validation val valid dev", "test": "test eval evaluation"}
"""What a list may call the splits, in any case."""

COLUMNS = ("split", "subset", "fold")
"""Of the splits, best first."""


def read_list(
    path: Path, names: Sequence[str], find: Callable[[str, int], str | None], encoding: str | None = None
) -> tuple[dict[str, str], int]:
    """Recording -> split, from a table with a header, and the number of rows that were passed over.

    names  the recordings that need a split
    find   (what the table calls a recording, its row) -> the recording, None: it is not in the folder. Such a row is
           passed over: the list may be that of a whole dataset of which a part is here
    Raises ValueError that names file, row and fix; also if no row is of a recording that is here.
    """
    file = str(path)
    rows, name_at, split_at = _table(path, encoding)
    called = {word: split for split, words in CALLED.items() for word in words.split()}
    said: dict[str, tuple[str, str, int]] = {}
    elsewhere: list[tuple[str, int]] = []
    for n, cells in rows:
        name, word = (cells[k] if k < len(cells) else "" for k in (name_at, split_at))
        if not name.strip():
            raise fault(file, "names no recording: write its file name, or remove the row", n)
        found = find(name, n)
        if found is None:
            elsewhere.append((name, n))
            continue
        split = called.get(word.strip().casefold())
        if split is None:
            raise fault(file, f"{word!r} is no split: write {', '.join(SPLITS)}", n)
        before, other, row = said.setdefault(found, (split, name, n))
        if before != split and other != name:
            what = f"{name!r} is in {split}, {other!r} of row {row} in {before}, and both would be {found}"
            raise fault(file, f"{what}: give the folder above both, or remove one", n)
        if before != split:
            raise fault(file, f"{name!r} is in {split} here, in {before} in row {row}: remove one", n)
    if elsewhere and not said:
        name, n = elsewhere[0]
        raise fault(file, f"{name!r} is not in the folder, nor is any other that it lists: mend the names", n)
    without = [name for name in names if name not in said]
    if without:
        more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
        hint = f"; row {elsewhere[0][1]}, {elsewhere[0][0]!r}, is not in the folder" if elsewhere else ""
        raise fault(file, f"{without[0]}{more} is in no split: add a row for each recording{hint}")
    return {name: said[name][0] for name in names}, len(elsewhere)


def _table(path: Path, encoding: str | None) -> tuple[list[Cells], int, int]:
    """The rows below the header, the column of names, the column of splits."""
    file = str(path)
    try:
        text = text_of(path.read_bytes(), file, encoding)
    except OSError as error:
        raise fault(file, f"cannot be read ({error.strerror}): check the path") from error
    for separator in SEPARATORS:
        try:
            header = next(iter(rows_of(text[:HEAD], separator, file, strict=False)), (0, []))[1]
        except ValueError:
            continue
        heads = [plain(h) for h in header]
        split = next((heads.index(column) for column in COLUMNS if column in heads), None)
        name = first_of("filename", header)
        if name is None and "name" in heads:  # of a table of events it may be the label's
            name = heads.index("name")
        if name is not None and split is not None:
            return rows_of(text, separator, file)[1:], name, split
    raise fault(file, "no columns filename and split: write this header", 1)

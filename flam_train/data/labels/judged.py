"""The judged rows of a table of events, both those that were heard and those that were not: what calibration needs."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import NamedTuple

from flam_train.data.labels.answers import COLUMN, FORMATS, answers_of
from flam_train.data.labels.recognise import as_written
from flam_train.data.labels.rows import Wanted, fault, is_no_call


class Judged(NamedTuple):
    """filename: of the sound, relative to the table's folder, folders parted by /; onset, offset: seconds within it;
    phrase: what may be heard then; heard: whether it is; source: the recording it was cut from, where the table has
    such a column, else the filename."""

    filename: str
    onset: float
    offset: float
    phrase: str
    heard: bool
    source: str


def read_judged(path: Path | str, wanted: Wanted | None = None) -> list[Judged]:
    """The rows of a table that a person has judged with yes or no (`answers`), in its order.

    Raises ValueError that names file, row and fix: no table of events with a column `heard`, no row judged, a row that
    names no file, or a cell that says neither yes nor no.
    """
    path, wanted = Path(path), wanted or Wanted()
    if not path.is_file():
        raise ValueError(f"{path}: no such file: check the path")
    data, file = path.read_bytes(), str(path)
    labels, found = as_written(data, file, wanted)
    answers = answers_of(data, file, wanted, found.format)
    if answers is None or answers.other or found.format == "tags":
        what = f"a table of events ({', '.join(FORMATS)}) with a column {COLUMN!r} that says yes or no is wanted"
        raise fault(file, f"it was read as {found.format}: {what}: judge the table beside the clips of a detection")
    out, source = [], {one.recording: one.text for one in labels.about if one.field == "source"}
    for row in labels.rows:
        if (heard := answers.of.get(row.row)) is None or is_no_call(row.label):
            continue
        if row.recording is None:
            raise fault(file, "names no file: write a column filename", row.row)
        name = posixpath.normpath(row.recording.strip().replace("\\", "/"))
        out.append(Judged(name, row.onset, row.offset, row.label, heard, source.get(row.recording, name)))
    if not out:
        raise fault(file, f"no row is judged in column {answers.column!r}: write yes or no there")
    return out

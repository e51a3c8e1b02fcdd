"""JSON Lines: an event a line, {"filename": "a.wav", "onset": 0.5, "offset": 1.2, "label": "dog barking"}. Times and
label may be called as in the tables; `file_name` and `audio` also name the audio, and without one the file belongs to
the recording of its own name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flam_train.data.labels import clip_json
from flam_train.data.labels.columns import names_times
from flam_train.data.labels.rows import Labels, Wanted, fault, lines_of, text_of

SUFFIXES = (".jsonl", ".ndjson")


def told_by(text: str, wanted: Wanted) -> bool:
    """Whether the first line is an event: no JSON that is one object has times at its top."""
    try:
        first = json.loads(next(line for line in lines_of(text) if line.strip()))
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and names_times(list(first), wanted)


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The events of all lines."""
    wanted = wanted or Wanted()
    lines = [(n, line) for n, line in enumerate(lines_of(text_of(data, file, wanted.encoding)), 1) if line.strip()]
    objects = list(_objects(lines, file))
    read = [clip_json.row_of(one, None, file, n, wanted, "row") for n, one in objects]
    rows = [row for row, _, _ in read]
    keys = dict.fromkeys(str(key) for _, one in objects for key in one)
    about = [said for _, _, of_event in read for said in of_event]
    return Labels(rows, about=about, columns=read[0][1] if read else {}, header=tuple(keys))


def _objects(lines: list[tuple[int, str]], file: str) -> Iterator[tuple[int, Any]]:
    for n, line in lines:
        try:
            yield n, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise fault(file, f"not JSON ({str(error)[:80]}): mend the row, or remove it", n) from error

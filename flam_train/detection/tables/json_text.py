"""JSON that every parser reads: no NaN, no infinity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flam_train.data.labels.detected import FORMAT
from flam_train.detection.tables import text
from flam_train.detection.tables.recorded import VERSION, Recorded
from flam_train.detection.tables.rows import iso, rows_of


def to_json(recorded: Sequence[Recorded]) -> str:
    """One object: the recordings, also those in which nothing was found, and the events."""
    about = []
    for one in recorded:
        known = {"filename": text.name(one.file), "duration": round(one.seconds, 6), "rate": one.rate}
        about.append(known if one.start is None else known | {"start": iso(one, 0.0)})
    found = {"format": FORMAT, "version": VERSION, "recordings": about, "events": list(rows_of(recorded))}
    return strict(found, indent=1) + "\n"


def to_jsonl(recorded: Sequence[Recorded]) -> str:
    """An event a line."""
    return "".join(strict(row) + "\n" for row in rows_of(recorded))


def strict(what: Any, indent: int | None = None) -> str:
    return json.dumps(what, indent=indent, ensure_ascii=False, allow_nan=False)

"""An event as a row: the names of columns, the same in csv, json, jsonl and data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flam_train.detection.events import DECIMALS
from flam_train.detection.tables import text
from flam_train.detection.tables.recorded import Recorded, by_channel

DESED = ("filename", "onset", "offset", "event_label")
SCORES = ("score", "peak")
CHANNEL = "channel"
"""Only where channels are looked at one by one."""

CLOCK = ("onset_datetime", "offset_datetime")


def columns_of(recorded: Sequence[Recorded]) -> list[str]:
    """Those that the rows of some recordings have."""
    clock = CLOCK if any(one.start is not None for one in recorded) else ()
    return [*DESED, *SCORES, *([CHANNEL] if by_channel(recorded) else []), *clock]


def rows_of(recorded: Sequence[Recorded]) -> Iterator[dict[str, Any]]:
    """{column: value} of each event, None where nobody knows; date-times in ISO 8601."""
    columns = columns_of(recorded)
    for one in recorded:
        for d in one.detections:
            row: dict[str, Any] = {
                "filename": text.name(one.file),
                "onset": round(d.onset, DECIMALS),
                "offset": round(d.offset, DECIMALS),
                "event_label": text.exact(d.phrase),
                "score": text.rounded(d.score),
                "peak": text.rounded(d.peak),
                CHANNEL: d.channel,
            }
            for column, seconds in zip(CLOCK, (d.onset, d.offset), strict=True):
                row[column] = iso(one, seconds)
            yield {column: row[column] for column in columns}


def iso(one: Recorded, seconds: float) -> str | None:
    at = one.clock(seconds)
    return None if at is None else at.isoformat(timespec="milliseconds")

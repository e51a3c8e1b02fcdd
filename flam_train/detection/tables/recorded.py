"""What a table needs to know of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flam_train.detection.events import DECIMALS, Detection

VERSION = 1
"""Of all formats: what their columns and keys are called and mean."""


@dataclass(frozen=True)
class Recorded:
    """A recording and what was found in it.

    file        its name as it stands in tables: relative, folders parted by /
    seconds     its length, also if only a part was listened to
    rate        of the file, Hz
    detections  in the order of their rows
    path        where it lies, absolute; None: nobody knows
    start       when it begins, with a zone; None: nobody knows
    channels    those that were looked at one by one; empty where they were not
    """

    file: str
    seconds: float
    rate: int
    detections: tuple[Detection, ...] = ()
    path: Path | None = None
    start: datetime | None = None
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.start is not None and self.start.utcoffset() is None:
            raise ValueError(f"{self.file}: its start {self.start} has no zone: give one, like +00:00")

    def clock(self, seconds: float) -> datetime | None:
        """When so much of it has passed, in the zone of its start, also where clocks were put on or back meanwhile."""
        if self.start is None:
            return None
        return (self.start.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(self.start.tzinfo)


def end_to_end(recorded: Iterable[Recorded]) -> Iterator[tuple[float, Recorded]]:
    """Each with where it begins, in s, if all lie one after the other; whole milliseconds, as events are."""
    begin = 0.0
    for one in recorded:
        yield round(begin, DECIMALS), one
        begin += one.seconds


def by_channel(recorded: Iterable[Recorded]) -> bool:
    """Whether channels were looked at one by one."""
    return any(one.channels or any(d.channel is not None for d in one.detections) for one in recorded)

"""Raven's selection tables. The times of joined recordings go on from file to file, as where Raven opens several as
one; Begin Path and File Offset (s) say where in which file a selection begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flam_train.detection.events import Detection
from flam_train.detection.tables import text
from flam_train.detection.tables.recorded import Recorded, end_to_end

COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "Begin Path", "File Offset (s)", "Annotation", "Score", "Peak"),
)
CLOCK = ("Begin Date", "Begin Clock Time")
"""In the zone of the recording's start, which Raven has no place for."""


def to_raven(recorded: Sequence[Recorded]) -> str:
    """A selection an event, over all frequencies. Channel 1 is also that of an event that was found in the mean."""
    dated = any(one.start is not None for one in recorded)
    lines = [text.tabbed(*COLUMNS, *(CLOCK if dated else ()))]
    for begin, one in end_to_end(recorded):
        for d in one.detections:
            lines.append(text.tabbed(len(lines), *_selection(begin, one, d), *(_clock(one, d) if dated else ())))
    return "".join(lines)


def _selection(begin: float, one: Recorded, d: Detection) -> list[str]:
    file = text.name(one.file)
    return [
        "Spectrogram 1",
        str(d.channel or 1),
        f"{begin + d.onset:.3f}",
        f"{begin + d.offset:.3f}",
        "0.0",
        f"{one.rate / 2:.1f}",
        file.rpartition("/")[2],
        file if one.path is None else text.name(str(one.path)),
        f"{d.onset:.3f}",
        text.label_cell(d.phrase),
        text.score_cell(d.score),
        text.score_cell(d.peak),
    ]


def _clock(one: Recorded, d: Detection) -> tuple[str, str]:
    at: datetime | None = one.clock(d.onset)
    if at is None:
        return "", ""
    return f"{at.year:04}/{at.month:02}/{at.day:02}", at.time().isoformat(timespec="milliseconds")

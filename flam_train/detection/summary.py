"""What is made of all recordings of a result folder: the summary, events an hour, and one table over all.

summary.csv   a row a recording: `COLUMNS`, then `events: PHRASE` for each phrase
hours.csv     a row for each full hour by the clock of each recording with a clock: `HOUR_COLUMNS`, then the same
silent.csv    `SILENT_COLUMNS`: where nothing sounds (`data.sound.streaming.DeadTime`), seconds of the recording
events.*      the events of all, a file for each format (`tables`)

Where channels are looked at one by one, each has its own rows in these, and they have a column `channel`; a recording
of which nothing is known has one row without.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from flam_train.data.labels.detected import EVENTS, HOURS, SILENT, SUMMARY, of_channel
from flam_train.data.shards.tars import replace_with
from flam_train.detection.clock import Clock, events_by_hour, time_text
from flam_train.detection.recordings import Recording, decoded
from flam_train.detection.results import Outcome, Results
from flam_train.detection.tables.formats import FORMATS, Format, texts, write
from flam_train.detection.tables.recorded import Recorded
from flam_train.detection.tables.rows import CHANNEL
from flam_train.detection.tables.text import label_cell

COLUMNS = (
    "recording", CHANNEL, "result", "status", "reason", "notes", "seconds", "rate", "analysed", "silent", "begin",
    "events", "events_per_hour",
)  # fmt: skip
"""Of the summary: where the recording is, and below the result folder what its results are called by; its length in s
and rate in Hz; seconds that were analysed, and how many of them nothing sounds in; the date and time of its beginning;
how many events, and how many of them in an hour of what was analysed."""

HOUR_COLUMNS = ("recording", CHANNEL, "hour", "analysed", "events", "events_per_hour")
"""Of the hours: the full hour, how many seconds of it were analysed, how many events begin in it."""

SILENT_COLUMNS = ("recording", CHANNEL, "onset", "offset")

Outcomes = Sequence[tuple[Recording, Outcome]]
Row = dict[str, Any]


def join(results: Results, recordings: Sequence[Recording], formats: Mapping[str, Format]) -> Outcomes:
    """Writes all of it, and returns what came of each recording: "not done" where nobody knows. Recordings of all
    parts: the last of several leaves what is made of all. To be called within `Results.joining`."""
    outcomes = [(recording, results.outcome(recording) or Outcome("not done")) for recording in recordings]
    rows = [one for recording, outcome in outcomes for one in _by_channel(recording, outcome)]
    phrases = [_column(phrase) for phrase in results.phrases]
    _table(results, SUMMARY, [*COLUMNS, *phrases], (_row(results, *one) for one in rows))
    _table(results, HOURS, [*HOUR_COLUMNS, *phrases], (row for one in rows for row in _hours(results, *one)))
    _table(results, SILENT, SILENT_COLUMNS, (row for one in rows for row in _silent(*one)))
    recorded = [recorded_of(*one) for one in outcomes if one[1].status == "done"]
    written = set()
    for kind in formats.values():
        for ending, text in texts(kind, recorded).items():
            write(results.folder / f"{EVENTS}{ending}", text)
            written.add(f"{EVENTS}{ending}")
    for kind in FORMATS.values():
        of_channels = results.folder.glob(f"{EVENTS}{of_channel('*', kind.suffix)}")
        for path in (results.folder / f"{EVENTS}{kind.suffix}", *of_channels):
            if path.name not in written:
                path.unlink(missing_ok=True)
    return outcomes


def recorded_of(recording: Recording, outcome: Outcome) -> Recorded:
    """What tables tell of a recording."""
    clock = clock_of_outcome(outcome)
    return Recorded(
        decoded(recording.name),
        outcome.seconds,
        outcome.rate,
        outcome.events,
        Path(os.path.abspath(recording.path)),
        clock.begin if clock and clock.begin.tzinfo else None,
        outcome.channels,
    )


def clock_of_outcome(outcome: Outcome) -> Clock | None:
    if not outcome.begin:
        return None
    begin = datetime.fromisoformat(outcome.begin)
    return Clock(begin.astimezone(ZoneInfo(outcome.zone)) if outcome.zone else begin, "given")


def _table(results: Results, name: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A table; one without rows is none."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        (results.folder / name).unlink(missing_ok=True)
        return
    header = [column for column in columns if column != CHANNEL or results.by_channel]

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="", write_through=True)
        table = csv.DictWriter(text, header, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(chain([first], rows))
        text.detach()

    replace_with(results.folder / name, write)


def _by_channel(recording: Recording, outcome: Outcome) -> Iterator[tuple[Row, Recording, Outcome]]:
    """(what each row tells, recording, what came of it), once for each channel that was looked at on its own, with what
    is of that channel."""
    for channel in outcome.channels or (None,):
        events = tuple(event for event in outcome.events if channel in (None, event.channel))
        dead = tuple(span for span in outcome.dead if channel in (None, span.channel))
        about = {"recording": decoded(os.path.abspath(recording.path)), CHANNEL: channel}
        yield about, recording, replace(outcome, events=events, dead=dead)


def _row(results: Results, about: Row, recording: Recording, outcome: Outcome) -> Row:
    row = about | {
        "result": decoded(f"./{recording.place}"),  # no formula, whatever it is called
        "status": outcome.status,
        "reason": label_cell(outcome.reason) if outcome.reason else "",  # it begins with the recording's name
        "notes": label_cell(" ".join(outcome.notes)) if outcome.notes else "",
        "seconds": _number(outcome.seconds),
        "rate": outcome.rate or "",
        "begin": outcome.begin,
    }
    if outcome.status != "done":
        return row
    silent = sum(span.offset - span.onset for span in outcome.dead)
    count = Counter(event.phrase for event in outcome.events)
    return row | {
        "analysed": _number(outcome.analysed),
        "silent": _number(silent),
        **_counts([count[phrase] for phrase in results.phrases], results, outcome.analysed),
    }


def _hours(results: Results, about: Row, recording: Recording, outcome: Outcome) -> Iterator[Row]:
    clock = clock_of_outcome(outcome)
    if clock is None or outcome.status != "done":
        return
    start, stop = outcome.start, outcome.start + outcome.analysed
    every = [
        events_by_hour(clock, (e.onset for e in outcome.events if e.phrase == phrase), start, stop)
        for phrase in results.phrases
    ]
    for hours in zip(*every, strict=True):
        seconds = hours[0].seconds
        hour = {"hour": time_text(hours[0].begin), "analysed": _number(seconds)}
        yield about | hour | _counts([hour.events for hour in hours], results, seconds)


def _silent(about: Row, recording: Recording, outcome: Outcome) -> Iterator[Row]:
    for span in outcome.dead:
        yield about | {"onset": _number(span.onset), "offset": _number(span.offset)}


def _counts(counts: Sequence[int], results: Results, seconds: float) -> Row:
    """How many, how many an hour, how many of each phrase. counts: a phrase each."""
    rate = sum(counts) * 3600 / seconds if seconds else math.nan
    each = zip(map(_column, results.phrases), counts, strict=True)
    return {"events": sum(counts), "events_per_hour": _number(rate), **dict(each)}


def _column(phrase: str) -> str:
    return f"events: {phrase}"


def _number(value: float) -> str:
    """To milliseconds; "" for what is no number."""
    return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")

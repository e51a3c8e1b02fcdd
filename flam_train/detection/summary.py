"""What is made of all recordings of a result folder: the summary, events an hour, and one table over all.

summary.csv   a row a recording: `COLUMNS`, then `events: PHRASE` for each phrase
hours.csv     a row for each full hour by the clock of each recording whose clock is known: `HOURS`, then the same
silent.csv    recording, onset, offset: where nothing sounds (`data.sound.streaming.DeadTime`), seconds of the recording
events.*      the events of all, a file for each format (`tables`)
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from flam_train.data.labels.detected import EVENTS, HOURS, SILENT, SUMMARY
from flam_train.data.shards.tars import replace_with
from flam_train.detection.clock import Clock, events_by_hour, time_text
from flam_train.detection.events import Detection
from flam_train.detection.recordings import Recording, decoded
from flam_train.detection.results import Outcome, Results
from flam_train.detection.tables.formats import FORMATS, Format, write
from flam_train.detection.tables.recorded import Recorded

COLUMNS = (
    "recording", "result", "status", "reason", "notes", "seconds", "rate", "analysed", "silent", "begin", "events",
    "events_per_hour",
)  # fmt: skip
"""Of the summary: where the recording is, and below the result folder what its results are called by; its length in s
and rate in Hz; seconds that were analysed, and how many of them nothing sounds in; the date and time of its beginning;
how many events, and how many of them in an hour of what was analysed."""

HOUR_COLUMNS = ("recording", "hour", "analysed", "events", "events_per_hour")
"""Of the hours: the full hour, how many seconds of it were analysed, how many events begin in it."""

Outcomes = Sequence[tuple[Recording, Outcome]]


def join(results: Results, recordings: Sequence[Recording], formats: Mapping[str, Format]) -> Outcomes:
    """Writes all of it, and returns what came of each recording: "not done" where nobody knows. Recordings of all
    parts: the last of several leaves what is made of all. To be called within `Results.joining`."""
    outcomes = [(recording, results.outcome(recording) or Outcome("not done")) for recording in recordings]
    folder, phrases = results.folder, [f"events: {phrase}" for phrase in results.phrases]
    _table(folder / SUMMARY, [*COLUMNS, *phrases], (_row(results, *one) for one in outcomes))
    if any(outcome.begin for _, outcome in outcomes):
        _table(folder / HOURS, [*HOUR_COLUMNS, *phrases], (row for one in outcomes for row in _hours(results, *one)))
    else:
        (folder / HOURS).unlink(missing_ok=True)
    silent = [
        (decoded(os.path.abspath(recording.path)), _number(onset), _number(offset))
        for recording, outcome in outcomes
        for onset, offset in outcome.dead
    ]
    if silent:
        _table(folder / SILENT, ["recording", "onset", "offset"], silent)
    else:
        (folder / SILENT).unlink(missing_ok=True)
    recorded = [recorded_of(results, *one) for one in outcomes if one[1].status == "done"]
    for kind in formats.values():
        write(folder / f"{EVENTS}{kind.suffix}", kind.text(recorded))
    for other in FORMATS.values():
        if other.suffix not in {kind.suffix for kind in formats.values()}:
            (folder / f"{EVENTS}{other.suffix}").unlink(missing_ok=True)
    return outcomes


def recorded_of(results: Results, recording: Recording, outcome: Outcome) -> Recorded:
    """What tables tell of a recording. Of one that lies beside the result folder they have the path from there."""
    path = os.path.abspath(recording.path)
    base = os.path.dirname(os.path.abspath(results.folder)).rstrip("/") + "/"
    clock = clock_of_outcome(outcome)
    return Recorded(
        decoded(path.removeprefix(base)),
        outcome.seconds,
        outcome.rate,
        outcome.events,
        Path(path),
        clock.begin if clock and clock.begin.tzinfo else None,
    )


def clock_of_outcome(outcome: Outcome) -> Clock | None:
    if not outcome.begin:
        return None
    begin = datetime.fromisoformat(outcome.begin)
    return Clock(begin.astimezone(ZoneInfo(outcome.zone)) if outcome.zone else begin, "given")


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="", write_through=True)
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        text.detach()

    replace_with(path, write)


def _row(results: Results, recording: Recording, outcome: Outcome) -> list[Any]:
    done = outcome.status == "done"
    silent = sum(stop - start for start, stop in outcome.dead)
    return [
        decoded(os.path.abspath(recording.path)),
        decoded(f"./{recording.place}"),  # no formula, whatever it is called
        outcome.status,
        " ".join(outcome.reason.split()),
        " ".join(" ".join(outcome.notes).split()),
        _number(outcome.seconds),
        outcome.rate or "",
        *((_number(outcome.analysed), _number(silent)) if done else ("", "")),
        outcome.begin,
        *(_counts(results, outcome.events, outcome.analysed) if done else [""] * (2 + len(results.phrases))),
    ]


def _hours(results: Results, recording: Recording, outcome: Outcome) -> Iterator[list[Any]]:
    clock = clock_of_outcome(outcome)
    if clock is None or outcome.status != "done":
        return
    start, stop = outcome.start, outcome.start + outcome.analysed
    every = {
        phrase: events_by_hour(clock, (e.onset for e in outcome.events if e.phrase == phrase), start, stop)
        for phrase in results.phrases
    }
    for hours in zip(*every.values(), strict=True):
        seconds, count = hours[0].seconds, sum(hour.events for hour in hours)
        begin = time_text(hours[0].begin)
        rate = _number(count * 3600 / seconds if seconds else math.nan)
        yield [
            decoded(os.path.abspath(recording.path)),
            begin,
            _number(seconds),
            count,
            rate,
            *(hour.events for hour in hours),
        ]


def _counts(results: Results, events: Sequence[Detection], seconds: float) -> list[Any]:
    """How many, how many an hour, how many of each phrase."""
    count = Counter(event.phrase for event in events)
    rate = _number(len(events) * 3600 / seconds if seconds else math.nan)
    return [len(events), rate, *(count[phrase] for phrase in results.phrases)]


def _number(value: float) -> str:
    """To milliseconds; "" for what is no number."""
    return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")

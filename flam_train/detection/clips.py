"""Events cut out of their recordings, for a person to judge: the way from detection back to training.

    OUT/clips/001_dog_barking.wav   48 kHz, mono, 16 bit; by rank, the phrase in ASCII letters as far as it has some
    OUT/clips/clips.csv             a row a clip, by rank

The table (format 1: a name or a meaning of these never changes without another number):

    filename       of the clip, beside the table
    onset, offset  of the event, seconds within the clip, 3 decimals; the offset is the clip's end where the event is
                   longer than LONGEST and goes on
    event_label    the phrase; with an apostrophe in front where a spreadsheet would take it for a formula
    score, peak    the event's mean and highest score, 4 decimals
    heard          for a person: yes or no; empty, skip or unsure: not judged (`flam_train.data.labels.answers`)
    source         the recording, as results name it; custom.py keeps it, and --group source keeps clips of one
                   recording in one split
    source_onset, source_offset   of the event, seconds within the recording
    source_channel the channel in which it was found, from 1, where channels are looked at one by one

The columns are none that label readers take for others: a clip is mono, and has a file name of its own. The finished
table is read by `data_prep/custom.py` and `flam_train.data.labels.judged`.
"""

from __future__ import annotations

import csv
import io
import math
import re
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.labels.answers import COLUMN as HEARD
from flam_train.data.labels.detected import CLIPS
from flam_train.data.labels.rows import Wanted
from flam_train.data.labels.tool_tables import read as read_table
from flam_train.data.shards.audio import encode
from flam_train.data.sound.channels import Channel
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.reading import read
from flam_train.detection.events import Detection, rounded
from flam_train.detection.recordings import Recording
from flam_train.detection.tables import text, write
from flam_train.disk import replacing

TABLE = "clips.csv"

COLUMNS = (
    "filename", "onset", "offset", "event_label", "score", "peak", HEARD, "source", "source_onset", "source_offset",
)  # fmt: skip
CHANNEL = "source_channel"

MARGIN = 2.0
"""Seconds on both sides of an event: enough to hear where it begins."""

LONGEST = 60.0
"""Seconds of an event in a clip: nobody judges the hours of rain, and they fit no memory."""

SLUG = 40
"""Characters of a phrase in a file's name."""

_COPIES = (".csv", ".tsv", ".xls", ".xlsx", ".ods", ".numbers")
"""What a table is called that a person has saved under another name."""


class Chosen(NamedTuple):
    """An event, and where it was found."""

    recording: Recording
    event: Detection


def choose(events: Iterable[tuple[Recording, Iterable[Detection]]], count: int, by: str = "best") -> list[Chosen]:
    """`count` events, or all if there are fewer, the highest peak score first; of equal ones by recording, then by
    onset, whatever order they come in. Events without length are passed over.

    best    those with the highest peak scores, whatever their phrases: what may be worth training on
    spread  over phrases and scores: each phrase has as many as another, as far as it has some, and of each they lie
            evenly over its events sorted by peak score, the highest and the lowest among them: what calibration wants,
            which must know those near the threshold. Fewer than phrases: the best of as many
    ValueError for another word, or a count below 1.
    """
    if count < 1:
        raise ValueError(f"--clips {count}: cut out at least 1, or leave it out")
    every = [Chosen(recording, event) for recording, some in events for event in some if event.offset > event.onset]
    every.sort(key=_rank)
    if by == "best":
        return every[:count]
    if by != "spread":
        raise ValueError(f"clips by {by!r}: best or spread")
    of: dict[str, list[Chosen]] = defaultdict(list)
    for one in every:
        of[one.event.phrase].append(one)
    shares = _shares([len(some) for some in of.values()], count)
    picked = [one for some, share in zip(of.values(), shares, strict=True) for one in _evenly(some, share)]
    return sorted(picked, key=_rank)


def _rank(one: Chosen) -> tuple[Any, ...]:
    """Of different events different ones."""
    e = one.event
    return -_peak(e), one.recording.place, e.onset, e.phrase, e.channel or 0, e.offset, e.score, math.isnan(e.peak)


def _peak(event: Detection) -> float:
    """Of an event that was found without one, its score."""
    return event.score if math.isnan(event.peak) else event.peak


def _shares(lengths: Sequence[int], count: int) -> list[int]:
    """How many of each: as many as of the others, or all; what does not divide goes to the first."""
    shares = [0] * len(lengths)
    while (left := count - sum(shares)) > 0 and (open_ := [k for k, n in enumerate(lengths) if shares[k] < n]):
        each = max(1, left // len(open_))
        for k in open_[:left]:
            shares[k] += min(each, lengths[k] - shares[k])
    return shares


def _evenly(some: Sequence[Chosen], share: int) -> list[Chosen]:
    """So many of them, the first and the last among them."""
    if share < 2:
        return list(some[:share])
    return [some[k * (len(some) - 1) // (share - 1)] for k in range(share)]


def cut(
    path: Path | str,
    onset: float,
    offset: float,
    margin: float = MARGIN,
    channel: Channel = "mean",
    copies: Path | None = None,
) -> tuple[np.ndarray, float]:
    """(int16 [S] at 48 kHz, seconds of the recording where it begins): an event with `margin` s on both sides, as far
    as the recording goes.

    Of an event that is longer than LONGEST its first LONGEST seconds, without a margin at their end. Reads no more than
    that, however long the recording is. copies: as of `sound.reading.read`, for many parts of one recording. Raises
    Unusable as that does.
    """
    begin = round(max(onset - margin, 0.0) * SAMPLE_RATE) / SAMPLE_RATE
    end = offset + margin if offset - onset <= LONGEST else onset + LONGEST
    return read(path, begin, end - begin, channel, copies=copies), begin


def check_clips(out: Path | str) -> None:
    """ValueError that names the file and the fix if `write_clips` would refuse: to be asked before the work begins."""
    _older(Path(out) / CLIPS)


def write_clips(
    out: Path | str,
    chosen: Sequence[Chosen],
    margin: float = MARGIN,
    channel: Channel = "mean",
    excel: bool = False,
) -> list[str]:
    """Writes the clips and their table below `out`, all or nothing. Returns why some could not be cut, if so; these
    have no row.

    What an older table that nobody has begun to judge names goes; whatever else lies there stays.
    channel  of which events are taken that were not found in one
    excel    with a byte order mark, without which it takes letters for others
    ValueError that names the file and the fix for a table that a person has begun to judge, one that is not as it was
    written, and a file in the way; OSError if there is no room.
    """
    folder = Path(out) / CLIPS
    names = _names(chosen)
    rows: dict[int, list[str]] = {}
    faults: dict[int, str] = {}
    by_channel = any(one.event.channel is not None for one in chosen)
    older = _older(folder, names)
    with replacing(folder, "folder of clips", [TABLE, *sorted(older)]) as draft:
        # One recording after the other, so that one that cannot be read from the middle on is decoded once.
        order = sorted(range(len(chosen)), key=lambda k: (chosen[k].recording.place, chosen[k].event.onset))
        for _, same in groupby(order, key=lambda k: chosen[k].recording.path):
            for k, wave_S, begin in _cut_all(chosen, list(same), margin, channel, draft, faults):
                (draft / names[k]).write_bytes(encode(wave_S, "wav", names[k]))
                rows[k] = _row(names[k], chosen[k], begin, len(wave_S) / SAMPLE_RATE, by_channel)
        header = [*COLUMNS, *([CHANNEL] if by_channel else [])]
        write(draft / TABLE, _csv([header, *(rows[k] for k in sorted(rows))], excel))
        _older(folder, names)  # it may have been judged meanwhile
    return [faults[k] for k in sorted(faults)]


def _cut_all(
    chosen: Sequence[Chosen], same: list[int], margin: float, channel: Channel, draft: Path, faults: dict[int, str]
) -> Iterator[tuple[int, np.ndarray, float]]:
    """(number, waveform, where it begins) of those of one recording; of what cannot be cut `faults` gets the reason."""
    with ExitStack() as stack:
        copies = None
        if len(same) > 1:
            copies = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=draft)))
        for k in same:
            recording, event = chosen[k]
            own = channel if event.channel is None else event.channel
            try:
                wave_S, begin = cut(recording.path, event.onset, event.offset, margin, own, copies)
            except Unusable as error:
                faults[k] = str(error)
            else:
                yield k, wave_S, begin


def _row(name: str, one: Chosen, begin: float, seconds: float, by_channel: bool) -> list[str]:
    e = one.event
    onset, offset = rounded(e.onset - begin, e.offset - begin, seconds)
    cells = [name, f"{onset:.3f}", f"{offset:.3f}", text.label_cell(e.phrase)]
    cells += [text.score_cell(e.score), text.score_cell(e.peak), ""]
    cells += [text.file_cell(one.recording.place), f"{e.onset:.3f}", f"{e.offset:.3f}"]
    return [*cells, "" if e.channel is None else str(e.channel)] if by_channel else cells


def _csv(rows: Iterable[Sequence[str]], excel: bool) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n" if excel else "\n").writerows(rows)
    return ("\ufeff" if excel else "") + out.getvalue()


def _names(chosen: Sequence[Chosen]) -> list[str]:
    """Names that every file system takes, in the order of the ranks."""
    width = max(3, len(str(len(chosen))))
    slugs = (_slug(one.event.phrase) for one in chosen)
    return [f"{n:0{width}}{f'_{slug}' if slug else ''}.wav" for n, slug in enumerate(slugs, 1)]


def _slug(phrase: str) -> str:
    plain = unicodedata.normalize("NFKD", phrase).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:SLUG].rstrip("_")


def _older(folder: Path, names: Sequence[str] = ()) -> set[str]:
    """The clips of an older table, which may go. `names`: those of new ones. ValueError if anything there may not."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    fix = f"move it, or rename {folder}"
    if there and TABLE not in there:
        raise ValueError(f"{folder}: holds {min(there)!r}, and no {TABLE} that says what it is: {fix}")
    older = _unjudged(folder / TABLE) & there if there else set()
    others = there - older - {TABLE}
    for name in sorted(others):
        if name.lower().endswith(_COPIES):
            raise ValueError(f"{folder / name}: may be a copy of {TABLE} with the answers to these clips: {fix}")
    taken = {name.casefold() for name in others}
    for name in names:
        if name.casefold() in taken:
            raise ValueError(f"{folder / name}: is in the way, and no clip of {TABLE}: {fix}")
    return older


def _unjudged(path: Path) -> set[str]:
    """The files that a table names in which nobody has judged a row. ValueError if it is judged, or another table."""
    fix = f"rename {path.parent} to keep it, or give another --out"
    try:
        table = read_table(path.read_bytes(), str(path), Wanted(), "a header")
    except ValueError as error:
        raise ValueError(f"{path}: is not as it was written, and may be judged ({error}): {fix}") from error
    heard, name = table.find(HEARD), table.find("filename")
    if heard is None or name is None:
        raise ValueError(f"{path}: has no columns filename and {HEARD}, so that it may be judged: {fix}")
    for n, cells in table.rows:
        if cells[heard].strip():
            raise ValueError(f"{path}: row {n} is judged ({HEARD} says {cells[heard].strip()[:40]!r}): {fix}")
    return {cells[name].strip() for _, cells in table.rows} - {TABLE}

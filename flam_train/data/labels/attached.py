"""What the label files of a folder say together: each recording with its labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flam_train.data.labels import birdnet
from flam_train.data.labels.recognise import SECONDS, Recognised
from flam_train.data.labels.rows import Labels, Row

ALIKE = 0.5
"""Seconds by which the length that a label file describes and that of its recording may differ."""


@dataclass(frozen=True)
class Unread:
    """file: as a report shows it; recordings: of which it speaks, by number; fault: why it cannot be read, if so; like:
    what its name may have meant."""

    file: str
    recordings: frozenset[int] = frozenset()
    fault: str = ""
    like: str = ""

    def __str__(self) -> str:
        if self.fault:
            return f"{self.file} ({self.fault})"
        count = len(self.recordings)
        if count:
            return f"{self.file} (names {count} recordings: give it with --labels)"
        return f"{self.file} ({self.like})" if self.like else self.file


@dataclass
class Labelled:
    """A recording with what the label files say about it.

    name      its path below the folder
    rows      (label file, row, what the row counts), in the order of the files
    captions  sentences about it
    spoken    whether any label file speaks of it, if only to say that it has no event
    unheard   whether a label file says that nobody has listened to it: it has neither events nor their absence
    unknown   (label file, row, what the row counts) of stretches in which nobody knows what is heard
    tags      (label file, row, what the row counts) of what is heard somewhere in its seconds
    about     what is said of it: id, author, licence, source, and the column that was asked for
    channel   the only one that its rows are of; None: all of it
    """

    path: Path
    name: str
    rows: list[tuple[str, Row, str]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    spoken: bool = False
    unheard: bool = False
    unknown: list[tuple[str, Row, str]] = field(default_factory=list)
    tags: list[tuple[str, Row, str]] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    channel: int | None = None


@dataclass
class Attached:
    """All recordings of a folder, and how each label file was read.

    formats    format -> [(file, why)]
    columns    (format, {role: column}) -> files in which the columns have these roles
    headers    the names of all columns of label files
    notes      file -> what was read otherwise than its author may think
    unread     label files that were not read
    passed     files of a folder of label files that are none
    shared     pairs of label files -> how many recordings both speak of
    filled     paths of files whose rows may end behind their recording: a tool filled up its last window
    in_seconds paths of files of a format that says in which unit its times are
    domains    path of a file -> onset and offset of what it describes, where it says so
    differing  field -> recordings of which rows say different things: those are left out
    """

    recordings: list[Labelled]
    formats: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    columns: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = field(default_factory=lambda: defaultdict(list))
    headers: dict[str, None] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    shared: Counter[tuple[str, str]] = field(default_factory=Counter)
    filled: set[str] = field(default_factory=set)
    in_seconds: set[str] = field(default_factory=set)
    domains: dict[str, tuple[float, float]] = field(default_factory=dict)
    differing: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, file: str, path: str, read: Labels, found: Recognised) -> None:
        """What the report says of a label file."""
        self.formats[found.format].append((file, found.why))
        if read.columns:
            self.columns[found.format, tuple(read.columns.items())].append(file)
        self.headers |= dict.fromkeys(read.header)
        if read.notes:
            self.notes[file] = read.notes
        if birdnet.is_its(found.format, Path(file).name):
            self.filled.add(path)
        if found.format in SECONDS:
            self.in_seconds.add(path)
        if read.domain:
            self.domains[path] = read.domain

    def align(self, lengths: Mapping[str, float | None]) -> list[str]:
        """Moves, in place, the rows of files whose time does not begin with their recording: a part that was cut from a
        longer sound keeps the times of the whole in its TextGrid. The length tells: {recording: seconds, None: not
        known}. Returns the files."""
        moved = set()
        for r in self.recordings:
            seconds = lengths.get(r.name)
            for rows in (r.rows, r.unknown, r.tags):
                for k, (file, row, unit) in enumerate(rows):
                    onset, offset = self.domains.get(file, (0.0, 0.0))
                    if onset > 0 and seconds is not None and abs(seconds - (offset - onset)) < ALIKE:
                        moved.add(file)
                        rows[k] = file, row._replace(onset=row.onset - onset, offset=row.offset - onset), unit
        return sorted(moved)


def by_channel(recordings: Iterable[Labelled]) -> list[Labelled]:
    """Each recording once for every channel that its rows name, with that channel's rows; a recording whose rows name
    none as it is. Its captions, tags and unknown stretches are all channels'."""
    out = []
    for r in recordings:
        channels = sorted({row.channel for _, row, _ in r.rows if row.channel is not None})
        if len(channels) == 1:
            out.append(replace(r, channel=channels[0]))
        elif channels:
            out += [replace(r, channel=c, rows=[x for x in r.rows if x[1].channel in (c, None)]) for c in channels]
        else:
            out.append(r)
    return out

"""What becomes of labelled recordings: events with lengths, rows that lie outside, and what the report says of them."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flam_train.data.labels.attached import Attached, Labelled
from flam_train.data.labels.matching import Names
from flam_train.data.labels.report import LISTED, outside
from flam_train.data.labels.rows import Row, Wanted, fault
from flam_train.data.labels.unread import elsewhere
from flam_train.data.preparation.caption_files import short_hash
from flam_train.data.preparation.planned import key_of_window, windows
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.data.shards.schema import Event, Tag
from flam_train.settings import nearest
from flam_train.vocabulary import Vocabulary

FAR = 10
"""Times that lie so many times the recording's length after its beginning may be milliseconds."""


@dataclass(frozen=True)
class Choices:
    """kind: "events" or "captions"; points: seconds that a label without length lasts; vocabulary: of the labels, None:
    they are phrases; licence: of recordings whose label files name none; complete: absence of a label means absence of
    the event."""

    kind: str
    points: float | None = None
    vocabulary: Vocabulary | None = None
    licence: str = ""
    complete: bool = False


@dataclass
class Taken:
    """The recordings that were taken, in the order they came.

    keys        of recordings, by name (`keys_of`)
    filled, in_seconds  as in `Attached`
    bad       rows outside their recording, each with what is wrong and the fix
    faults    those of them that lie outside by more than half a second, with the path of their file
    dropped   recordings whose captions are left out, because they become several samples
    """

    choices: Choices
    keys: Mapping[str, str]
    filled: Collection[str] = ()
    in_seconds: Collection[str] = ()
    recordings: list[Recording] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    dropped: int = 0
    _times: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, r: Labelled, seconds: float | None) -> None:
        """Adds a recording of so many seconds, None if it cannot be read. ValueError as in `events_of`."""
        for file, row, unit in (*r.rows, *(tag for tag in r.tags if math.isfinite(tag[1].offset))):
            if seconds is None:
                continue
            self._times[file].append((row.offset, seconds))
            wrong = outside(row.onset, row.offset, seconds)
            if wrong is not None:
                what, fix, far = wrong
                at = f"{unit} {row.row}: {row.label!r}: {what}"
                self.bad.append(f"{Path(file).name}: {at}")
                told = far and not (file in self.filled and row.onset < seconds)
                self.faults += [f"{file}: {at}: {fix}"] if told else []
        kind = self.choices.kind
        single = kind == "captions" or seconds is None or len(windows(kind, seconds)) == 1
        self.dropped += bool(r.captions) and not single
        channel: dict[str, Any] = {} if r.channel is None else {"channel": r.channel}
        self.recordings.append(
            Recording(
                key=key_of(r, self.keys[r.name]),
                path=r.path,
                where=str(r.path),
                captions=tuple(r.captions) if single else (),
                events=tuple(events_of(r, seconds, self.choices.points, self.choices.vocabulary)),
                tags=tuple(tags_of(r, seconds, self.choices.vocabulary)),
                source=r.about.get("source", r.name),
                licence=r.about.get("licence", self.choices.licence),
                unknown=tuple(
                    # Who says that what is not labelled is absent must know it of every stretch.
                    (row.onset, row.offset, "" if self.choices.complete else row.label)
                    for _, row, _ in r.unknown
                ),
                details={name: r.about[name] for name in ("id", "author") if name in r.about},
                **channel,
            )
        )

    def check_unit(self) -> None:
        """ValueError for a file whose times lie outside most of its recordings, and inside all as milliseconds."""
        for file, times in self._times.items():
            far = [offset / seconds for offset, seconds in times if offset > seconds]
            inside = all(offset / 1000 <= seconds for offset, seconds in times)
            if inside and 2 * len(far) > len(times) and max(far) > FAR:
                fix = "say --unit ms, or call the columns onset_ms and offset_ms"
                fix = "write them in seconds, as this format has them" if file in self.in_seconds else fix
                raise fault(
                    file,
                    f"{len(far)} of {len(times)} rows end after their recording, {max(far):.0f} times its length, and "
                    f"would all lie inside as milliseconds: {fix}",
                )


def key_of(r: Labelled, key: str) -> str:
    """A recording's key, or that of one of its channels."""
    return key if r.channel is None else f"{key}-ch{r.channel}"


def keys_of(recordings: Iterable[Labelled], lengths: Mapping[str, float | None], kind: str) -> dict[str, str]:
    """{name: key}: the path as a key, with eight digits of its hash behind it where that key, or the key of one of the
    samples that the recording becomes, would be another recording's too: `a b.wav` beside `a_b.wav`, `a.flac` beside
    `a.wav`, `a-0001.wav` beside an `a.wav` of several windows. `lengths`: by name, as `Taken.take` gets them."""
    keys: dict[str, str] = {}
    made: dict[str, set[str]] = defaultdict(set)
    for r in recordings:
        keys[r.name] = as_key(r.name.removesuffix(r.path.suffix))
        own, seconds = key_of(r, keys[r.name]), lengths[r.name]
        parts = 1 if seconds is None else len(windows(kind, seconds))
        made[r.name] |= {own, *(key_of_window(own, k, parts) for k in range(parts))}
    shared = Counter(key for some in made.values() for key in some)
    return {
        name: f"{key}-{short_hash(name)}" if any(shared[k] > 1 for k in made[name]) else key
        for name, key in keys.items()
    }


def events_of(r: Labelled, seconds: float | None, points: float | None, known: Vocabulary | None) -> list[Event]:
    """A recording's events. ValueError that names file and row: a label that is no class, a point without length."""
    out, classes = [], _classes(known)
    for file, row, unit in r.rows:
        onset, offset = row.onset, row.offset
        label = _label(file, row, unit, known, classes)
        if onset == offset:
            if points is None:
                raise fault(
                    file,
                    f"{row.label!r} is a point at {onset:g} s: say how long points last with --points",
                    row.row,
                    unit,
                )
            offset = onset + points / 2
            if seconds is None or onset <= seconds:  # else it stays behind the end, and is left out
                onset = max(0.0, onset - points / 2)
        out.append(Event(onset, offset, label))
    return out


def tags_of(r: Labelled, seconds: float | None, known: Vocabulary | None) -> list[Tag]:
    """A recording's tags, each once; those that lie outside it are left out. ValueError as in `events_of`."""
    classes = _classes(known)
    out = [
        Tag(_label(file, row, unit, known, classes), row.onset, row.offset if math.isfinite(row.offset) else None)
        for file, row, unit in r.tags
        if row.offset > 0 and (seconds is None or row.onset < seconds)
    ]
    return list(dict.fromkeys(out))


def _classes(known: Vocabulary | None) -> dict[str, str]:
    """Labels are in NFC, a vocabulary in whatever it was typed: {a class as labels have it: as the vocabulary does}."""
    return {unicodedata.normalize("NFC", name): name for name in known.classes} if known else {}


def _label(file: str, row: Row, unit: str, known: Vocabulary | None, classes: Mapping[str, str]) -> str:
    """As the vocabulary has it. ValueError for what is no class of it."""
    label = classes.get(row.label, row.label)
    if known is not None and label not in known.classes:
        raise fault(
            file,
            f"{row.label!r} is no class of the vocabulary, {nearest(row.label, known.classes)}: mend it, or add it to "
            "the vocabulary",
            row.row,
            unit,
        )
    return label


def read_as(found: Attached) -> list[str]:
    """The report's first lines: what each label file was read as, which of its columns have which role, what in it
    is passed over, and which files were not read."""
    lines = []
    for format, files in sorted(found.formats.items()):
        file, why = files[0]
        lines.append(f"labels: {len(files)} files as {format}; {file}: {why}")
        for (of, columns), named in found.columns.items():
            if of == format:
                lines.append(f"  {_first(named)}: {', '.join(f'{role}={column}' for role, column in columns)}")
    said: dict[str, list[str]] = defaultdict(list)
    for file, notes in found.notes.items():
        for note in notes:
            said[note].append(file)
    lines += [f"{_first(files)}: {note}" for note, files in list(said.items())[:LISTED]]
    lines += [f"... and {len(said) - LISTED} more such notes"] if len(said) > LISTED else []
    for (a, b), count in found.shared.most_common(LISTED):
        one, other = (a, b) if Path(a).name == Path(b).name else (Path(a).name, Path(b).name)
        lines.append(f"{one} and {other} both speak of {count} recordings")
    for what, names in found.differing.items():
        lines.append(f"{what}: differs from row to row in {_first(names)}: left out")
    if found.unread:
        lines.append(f"warning: label files that were not read: {_unread(found)}")
    if found.passed:
        lines.append(f"no label files, passed over: {len(found.passed)}, {_first(found.passed)}")
    return lines


def refuse_false_negatives(found: Attached, folder: Path, labels: Path | None, wanted: Wanted) -> None:
    """ValueError if label files that were not read speak of recordings: where absence is to mean absence, what these
    label must not become a negative."""
    if found.unread:
        raise ValueError(
            f"{folder}: label files that were not read: {_unread(found)}: with --complete what they label would be "
            "called absent: call them like their recordings, give those that name recordings with --labels, mend them, "
            "move away what is of other sounds, or leave out --complete"
        )
    if labels is None:
        return
    for path, unread in elsewhere(folder, labels, wanted, Names([r.name for r in found.recordings])):
        silent = [found.recordings[n].name for n in sorted(unread.recordings) if not found.recordings[n].spoken]
        if silent:
            raise ValueError(
                f"{path}: speaks of {len(silent)} recordings that {labels.name} does not, like {silent[0]}: with "
                "--complete they would become negatives: give a folder of all label files with --labels (and --splits "
                "FILE if they are splits), keep the recordings of each apart, or leave out --complete"
            )


def _unread(found: Attached) -> str:
    return f"{len(found.unread)}, {', '.join(map(str, found.unread[:LISTED]))}" + (
        ", ..." if len(found.unread) > LISTED else ""
    )


def spelled(joined: dict[str, str], close: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines about labels that became one, and about others that may be one."""
    lines = []
    if joined:
        pairs = [f"{label!r} is {best!r}" for label, best in sorted(joined.items())]
        more = f", and {len(pairs) - LISTED} more" if len(pairs) > LISTED else ""
        lines.append(f"one spelling of a phrase, --keep-spelling keeps all: {', '.join(pairs[:LISTED])}{more}")
    if close:
        listed = "; ".join(" and ".join(map(repr, labels)) for labels in close[:LISTED])
        lines.append(f"perhaps one phrase, kept apart: {listed}")
    return lines


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")

"""What labels amount to before a shard is written: hours, events and positive frames per phrase, overlaps, and rows
that lie outside their recording."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flam_train.data.preparation.planned import WINDOW, clear, events_of, windows
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.schema import END_TOLERANCE, Event
from flam_train.data.stream.clips import cut
from flam_train.data.stream.tags import moved, of_clip
from flam_train.frames import FrameGrid

SLACK = 0.5
"""Seconds by which a row may lie outside its recording before it is a fault."""

LISTED = 20
"""Rows of a kind that a report shows."""

WIDTH = 100
"""Characters of a line of the table."""


@dataclass
class Phrase:
    """Counts of one label: events and seconds as labelled, recordings, positive frames, tags, events and tags per
    split."""

    events: int = 0
    tags: int = 0
    seconds: float = 0.0
    recordings: int = 0
    frames: int = 0
    splits: Counter[str] = field(default_factory=Counter)


def outside(onset: float, offset: float, seconds: float) -> tuple[str, str, bool] | None:
    """(what is wrong with an event in a recording of so many seconds, the fix, whether it is wrong by more than SLACK);
    None: it lies inside."""
    far = offset > seconds + SLACK or onset < -SLACK
    if onset >= seconds:
        what = f"onset {onset:g} s is after the end of the audio, {seconds:.3f} s"
        return what, "mend it, or leave it out with --cut", far
    if offset > seconds + END_TOLERANCE:
        what = f"offset {offset:g} s is past the end of the audio, {seconds:.3f} s"
    elif onset < -END_TOLERANCE:
        what = f"onset {onset:g} s is before the audio's beginning"
    else:
        return None
    return what, "mend it, or cut it with --cut", far


def overlaps(events: Sequence[Event]) -> list[tuple[Event, Event]]:
    """Pairs (earlier, later) of one label in one recording that overlap; each event is a later one at most once."""
    found = []
    last: dict[str, Event] = {}
    for e in sorted(events, key=lambda e: (e.onset, e.offset)):
        before = last.get(e.label)
        if before is not None and e.onset < before.offset - 1e-6:
            found.append((before, e))
        if before is None or e.offset > before.offset:
            last[e.label] = e
    return found


def positive_frames(
    events: Sequence[Event], seconds: float, kind: str, grid: FrameGrid, left_out: Collection[float] = ()
) -> tuple[Counter[str], int]:
    """Frames in which each label would be positive, and all valid frames, over the samples that a recording becomes;
    none is made of the windows that begin at `left_out`."""
    by_window: dict[int, list[Event]] = defaultdict(list)
    for e in events:
        for k in range(int(max(e.onset, 0.0) // WINDOW), int(max(min(e.offset, seconds), 0.0) // WINDOW) + 1):
            by_window[k].append(e)
    out: Counter[str] = Counter()
    valid = 0
    for start, length in windows(kind, seconds):
        if start in left_out:
            continue
        for first in range(int(start // WINDOW), max(int(start // WINDOW) + 1, int(-(-(start + length) // WINDOW)))):
            begin = first * WINDOW
            part = min(WINDOW, start + length - begin)
            inside = cut(by_window.get(first, ()), begin, part)
            valid += int(grid.valid(part).sum())
            for label in {e.label for e in inside}:
                same = [e for e in inside if e.label == label]
                out[label] += int(grid.labels([e.onset for e in same], [e.offset for e in same]).any(0).sum())
    return out, valid


def report(
    splits: Mapping[str, Sequence[tuple[Recording, float | None]]],
    kind: str,
    notes: Sequence[str],
    bad: Sequence[str],
    folder: Path,
) -> str:
    """A table of what the splits hold: (recording, seconds of its audio or None if it cannot be read). `notes` are
    sentences above it, `bad` the rows outside their recordings; `folder` that above all recordings."""
    grid = FrameGrid()
    phrases: dict[str, Phrase] = defaultdict(Phrase)
    lines = list(notes)
    doubled: list[str] = []
    all_frames = 0
    for split, recordings in splits.items():
        known = [(r, seconds) for r, seconds in recordings if seconds is not None]
        unread = len(recordings) - len(known)
        samples = [inside for r, seconds in known for inside in _samples(r, kind, seconds)]
        events = sum(len(r.events) for r, _ in recordings)
        pieces = Counter(n for inside in samples for n in inside or ())
        several, none = sum(count > 1 for count in pieces.values()), events - len(pieces)
        apart = [f"{several} reach into several"] * bool(several) + [f"{none} lie in none"] * bool(none)
        lines.append(
            f"{split}: {len(recordings)} recordings, {sum(s for _, s in known) / 3600:.3f} hours, "
            f"{sum(inside is not None for inside in samples)} clips, {events} events"
            + (f" ({pieces.total()} in the clips: {', '.join(apart)})" if apart else "")
            + _tagged(known, kind)
            + (f", {sum(bool(r.captions) for r, _ in recordings)} with captions" if _captioned(recordings) else "")
            + (f", {unread} unreadable" if unread else "")
            + (f", {samples.count(None)} left out: nobody knows what is heard" if None in samples else "")
        )
        for r, seconds in known:
            frames, valid = positive_frames(r.events, seconds, kind, grid, _left_out(r, kind, seconds))
            all_frames += valid
            for e in r.events:
                phrases[e.label].events += 1
                phrases[e.label].seconds += max(0.0, min(e.offset, seconds) - max(e.onset, 0.0))
                phrases[e.label].splits[split] += 1
            for tag in r.tags:
                phrases[tag.label].tags += 1
                phrases[tag.label].splits[split] += 1
            for label in {e.label for e in r.events} | {t.label for t in r.tags}:
                phrases[label].recordings += 1
                phrases[label].frames += frames[label]
            name = r.path.relative_to(folder).as_posix()
            doubled += [f"{name}: {b.label!r} {a.onset:g}-{a.offset:g} s and {b.onset:g}-{b.offset:g} s"
                        for a, b in overlaps(r.events)]  # fmt: skip
    if phrases:
        lines += ["", *_table(phrases, all_frames, list(splits))]
    lines += ["", *_some(f"overlaps of one phrase with itself: {len(doubled)} (their union is positive)", doubled)]
    lines += _some(f"rows outside their recording: {len(bad)} (what lies inside is taken)", bad)
    return "\n".join(lines) + "\n"


def _left_out(r: Recording, kind: str, seconds: float) -> list[float]:
    """Where the windows begin that become no sample."""
    return [start for (start, _), found in zip(windows(kind, seconds), _samples(r, kind, seconds), strict=True)
            if found is None]  # fmt: skip


def _samples(r: Recording, kind: str, seconds: float) -> list[list[tuple[str, str]] | None]:
    """Which events are in each sample that a recording becomes, as (its key, the event's number); None for a window
    that becomes none."""
    parts = windows(kind, seconds)
    numbered = [Event(e.onset, e.offset, str(n)) for n, e in enumerate(r.events)]
    inside = [[(r.key, e.label) for e in found] for found in events_of(numbered, parts)]
    whole = [clear(r.unknown, *part, found) for part, found in zip(parts, events_of(r.events, parts), strict=True)]
    return [found if known else None for found, known in zip(inside, whole, strict=True)]


def _captioned(recordings: Sequence[tuple[Recording, float | None]]) -> bool:
    return any(r.captions for r, _ in recordings)


def _tagged(known: Sequence[tuple[Recording, float]], kind: str) -> str:
    """How many tags there are, and how many of them no clip can use: what lies somewhere in a minute need not lie in
    each ten seconds of it."""
    tags, lost = 0, 0
    for r, seconds in known:
        parts = windows(kind, seconds)
        clips = [[t for t in moved(r.tags, seconds, *part) if of_clip(t, part[1])] for part in parts]
        tags, lost = tags + len(r.tags), lost + len(r.tags) - sum(map(len, clips))
    if not tags:
        return ""
    fix = f"their seconds reach over the edges of clips: cut the recordings to {WINDOW:g} s, or say when they are heard"
    return f", {tags} tags" + (f" ({lost} in no clip: {fix})" if lost > 0 else "")


def _some(title: str, rows: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(rows) - LISTED} more"] if len(rows) > LISTED else []
    return [title, *(f"  {row}" for row in rows[:LISTED]), *more]


def _table(phrases: Mapping[str, Phrase], all_frames: int, splits: Sequence[str]) -> list[str]:
    """No wider than WIDTH: longer phrases go on in the next line."""
    tagged = any(p.tags for p in phrases.values())
    heads = ["events", *(["tags"] if tagged else []), "recordings", "seconds", "frames", "share", *splits]
    rows: list[tuple[str, list[str]]] = []
    for label, p in sorted(phrases.items(), key=lambda item: (-item[1].events - item[1].tags, item[0])):
        share = p.frames / all_frames if all_frames else 0.0
        cells = [p.events, *([p.tags] if tagged else []), p.recordings, f"{p.seconds:.1f}", p.frames, f"{share:.2%}"]
        cells += [p.splits[s] for s in splits]
        rows.append((label, [str(cell) for cell in cells]))
    widths = [max(len(head), *(len(cells[k]) for _, cells in rows)) for k, head in enumerate(heads)]
    longest = max(len("phrase"), *(len(label) for label, _ in rows))
    first = min(longest, max(20, WIDTH - sum(widths) - 2 * len(widths)))

    def line(name: str, cells: Sequence[str]) -> str:
        return name.ljust(first) + "".join(f"  {c:>{width}}" for c, width in zip(cells, widths, strict=True))

    lines = [line("phrase", heads)]
    for label, numbers in rows:
        name, *more = textwrap.wrap(label, first, subsequent_indent="  ", break_on_hyphens=False)
        lines += [line(name, numbers), *more]
    return [*lines, f"frames in which a phrase is positive, of {all_frames} of {FrameGrid().frame_seconds} s each"]

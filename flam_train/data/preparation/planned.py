"""The samples that a corpus' recordings become, decided before the first is written, and made one by one.

Shape suffixes: S samples.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.levels import describe, sounding_extent
from flam_train.data.preparation.corpus_writer import progress_bar
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.schema import Event, Record, Tag
from flam_train.data.shards.tars import replace_with
from flam_train.data.sound.channels import Channel, check_channel, loudest
from flam_train.data.sound.faults import FIX, Fault, Unusable
from flam_train.data.sound.opening import measure
from flam_train.data.sound.reading import read
from flam_train.data.stream.clips import cut
from flam_train.data.stream.tags import moved

WINDOW = 10.0
"""Seconds. A longer recording with events is cut into windows of this length, one behind the other, from its start."""

LAST_WINDOW = 1.0
"""Seconds. What is left behind the last whole window is a sample of its own if it lasts so long, else left out."""

MOST_CAPTIONED = 60.0
"""Seconds of a captioned recording that are stored, from its start; the rest is left out."""


def spread(recordings: Sequence[Any], seed: int, key=lambda r: r.key) -> list[Any]:
    """A permutation that depends on the seed and the keys, not on the order they came in."""
    return sorted(recordings, key=lambda r: hashlib.blake2b(f"{seed}/{key(r)}".encode(), digest_size=16).digest())


def windows(kind: str, seconds: float) -> list[tuple[float, float]]:
    """(start, length) of the samples that a recording of so many seconds becomes."""
    if kind == "bank":
        return [(0.0, seconds)]
    if kind == "captions":
        return [(0.0, min(seconds, MOST_CAPTIONED))]
    if seconds < WINDOW + LAST_WINDOW:
        return [(0.0, min(seconds, WINDOW))]
    starts = itertools.takewhile(lambda s: seconds - s >= LAST_WINDOW, itertools.count(0.0, WINDOW))
    return [(start, min(WINDOW, seconds - start)) for start in starts]


def key_of_window(key: str, k: int, parts: int) -> str:
    """The key of sample k of the `parts` that a recording becomes."""
    return key if parts == 1 else f"{key}-{k:04d}"


def events_of(events: Sequence[Event], parts: list[tuple[float, float]]) -> list[tuple[Event, ...]]:
    """What of the events lies in each of the windows that follow one another, in seconds from its start.

    An hours-long recording has many of both: each event is looked at in the windows it reaches only.
    """
    if len(parts) == 1:
        return [cut(events, *parts[0])]
    reached: list[list[Event]] = [[] for _ in parts]
    for e in events:
        for k in range(max(0, int(e.onset // WINDOW)), min(len(parts), int(e.offset // WINDOW) + 1)):
            reached[k].append(e)
    return [cut(found, start, length) for found, (start, length) in zip(reached, parts, strict=True)]


def clear(unknown: Sequence[tuple[float, float, str]], start: float, length: float, events: Sequence[Event]) -> bool:
    """Whether all is known of a window with these events: no stretch of `unknown` (see `Recording`) is in its way."""
    labels = {"", *(e.label for e in events)}
    reaching = (label for onset, offset, label in unknown if onset < start + length and offset > start)
    return not any(label in labels or not events for label in reaching)


def rows_of(rows: Sequence[Sequence[Any]], parts: list[tuple[float, float]]) -> list[list[list[Any]]]:
    """What of the rows (onset, offset, ...) lies in each of the windows, in seconds from its start."""
    out: list[list[list[Any]]] = [[] for _ in parts]
    for onset, offset, *rest in rows:
        for k in range(max(0, int(onset // WINDOW)), min(len(parts), int(offset // WINDOW) + 1)):
            start, length = parts[k]
            if offset > start and onset < start + length:
                out[k].append([max(onset - start, 0.0), min(offset - start, length), *rest])
    return out


class PlannedSamples:
    """The samples to be written: sample n is line n of a file of JSON. Pickles small, however many there are."""

    def __init__(self, folder: Path) -> None:
        self.lines, self.offsets, self.done = (folder / name for name in (".plan.jsonl", ".plan.npy", ".plan.done"))
        self.decoded = folder / ".decoded"
        self._file: Any = None
        self._starts: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None, "_starts": None}

    def is_of(self, plan_id: str) -> bool:
        """Whether a run of the same plan has decided already."""
        return self.done.is_file() and json.loads(self.done.read_text())["plan"] == plan_id

    def decide(
        self, plan_id: str, kind: str, share: Sequence[Recording], seed: int, processes: int, show: bool
    ) -> None:
        """Measures all recordings and writes down the samples they become."""
        self.done.unlink(missing_ok=True)  # a kill from here on leaves no plan rather than half of two
        self._starts = self._file = None
        items: list[dict[str, Any]] = []
        missing: list[tuple[str, str, str]] = []
        left_out = 0.0
        with ThreadPoolExecutor(4 * processes) as pool, progress_bar(show, "recordings") as progress:
            task = progress.add_task("measuring recordings", total=len(share))
            for r, found in zip(share, pool.map(_meant, share, chunksize=16), strict=True):
                progress.advance(task)
                if isinstance(found, str):
                    missing.append((r.key, str(r.path), found))
                    continue
                parts = windows(kind, found.seconds)
                left_out += found.seconds - sum(length for _, length in parts)
                timed = {name: rows_of(rows, parts) for name, rows in r.timed.items()}
                for k, ((start, length), inside) in enumerate(zip(parts, events_of(r.events, parts), strict=True)):
                    if not clear(r.unknown, start, length, inside):
                        left_out += length
                        continue
                    events = [[e.onset, e.offset, e.label] for e in inside]
                    items.append(
                        {name: getattr(r, name) for name in ("captions", "source", "licence", "split", "ids")}
                        | {"details": r.details | {name: rows[k] for name, rows in timed.items()}}
                        | {"key": key_of_window(r.key, k, len(parts)), "recording": r.key, "kind": kind}
                        | {"path": str(r.path), "events": events, "start": r.start + start, "seconds": length}
                        | {"channel": found.channel, "lead": found.lead}
                    )
                    if tags := moved(r.tags, found.seconds, start, length):
                        items[-1]["tags"] = [[t.label, t.onset, t.offset] for t in tags]
        items = spread(items, seed, key=lambda item: item["key"])
        lines = [json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items]
        replace_with(self.lines, lambda file: file.writelines(lines))
        starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
        replace_with(self.offsets, lambda file: np.save(file, starts))
        counts = _counts(items) | {"seconds_left_out": round(left_out, 3)}
        state = {"plan": plan_id, "missing": missing, "counts": counts}
        replace_with(self.done, lambda file: file.write(json.dumps(state).encode()))

    def missing(self) -> list[tuple[str, str, str]]:
        return [(key, path, why) for key, path, why in json.loads(self.done.read_text())["missing"]]

    def counts(self, dropped: Collection[int] = ()) -> dict[str, Any]:
        """For the manifest, without the samples that are dropped."""
        counts = json.loads(self.done.read_text())["counts"]
        if dropped:
            counts |= _counts(item for n, item in enumerate(self) if n not in dropped)
        return counts

    def missing_row(self, n: int, why: str) -> tuple[str, str, str]:
        path = self[n]["path"]
        return self[n]["recording"], path, why.removeprefix(f"{path}: ")

    def remove(self) -> None:
        for path in (self.done, self.offsets, self.lines):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.decoded, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._offsets()) - 1

    def _offsets(self) -> np.ndarray:
        if self._starts is None:
            self._starts = np.load(self.offsets, mmap_mode="r")
        return self._starts

    def __getitem__(self, n: int) -> dict[str, Any]:
        if self._file is None:
            self._file = self.lines.open("rb")
        start, stop = self._offsets()[n : n + 2]
        self._file.seek(start)
        return json.loads(self._file.read(stop - start))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[n] for n in range(len(self)))

    def __call__(self, n: int) -> tuple[Record, np.ndarray]:
        """Sample n: its record and int16 [S] at 48 kHz. Raises Unusable if its audio cannot be read."""
        item = self[n]
        path = Path(item["path"])
        bank = item["kind"] == "bank"
        window = item["recording"] != item["key"]
        # A plan of before says neither channel nor lead.
        channel, lead = item.get("channel", "mean"), item.get("lead")
        copies = self.decoded if window else None
        waveform_S = read(path, item["start"], item["seconds"], channel, lead, copies)
        events = tuple(Event(*e) for e in item["events"])
        details = dict(item["details"]) | ({"ids": item["ids"]} if item["ids"] else {})
        if item["start"] or window:
            details["cut_from"] = [item["start"], item["start"] + len(waveform_S) / SAMPLE_RATE]
        if bank:
            extent = sounding_extent(waveform_S)
            if extent is None:
                raise Unusable(f"{path}: silent throughout: {FIX}")
            waveform_S = waveform_S[extent[0] : extent[1]]
            details |= describe(waveform_S, "event")
            details["cut_from"] = [item["start"] + x / SAMPLE_RATE for x in extent]
            events = tuple(Event(0.0, len(waveform_S) / SAMPLE_RATE, e.label) for e in events[:1])
        duration = len(waveform_S) / SAMPLE_RATE
        record = Record(
            key=item["key"],
            duration=duration,
            captions=tuple(item["captions"]),
            events=cut(events, 0.0, duration),
            source=item["source"],
            licence=item["licence"],
            split=item["split"],
            details=details,
            tags=() if bank else moved([Tag(*t) for t in item.get("tags", ())], duration, 0.0, duration),
        )
        return record, waveform_S


@dataclass(frozen=True)
class _Meant:
    """The part of a file that a recording means: its seconds, the channel that is taken, and what the file begins with
    of silence (`Length.lead`)."""

    seconds: float
    channel: Channel
    lead: float


def _meant(recording: Recording) -> _Meant | str:
    """The part, or why there is none."""
    path, channel = recording.path, recording.channel
    if not path.is_file():
        return "missing"
    try:
        length = measure(path)
        check_channel(channel, length.channels)
        seconds = length.seconds - recording.start
        if seconds <= 0:
            return f"ends before {recording.start} s, where the part begins"
        # Decided here, once, so that all windows of a recording have the same.
        channel = loudest(path) if channel == "loudest" else channel
    except Fault as error:
        return f"{error}: {error.fix}"
    except Unusable as error:
        return str(error).removeprefix(f"{path}: ")  # it has a column of its own
    return _Meant(seconds if recording.seconds is None else min(seconds, recording.seconds), channel, length.lead)


def _counts(items: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Events and their labels; of tags the same, where there are any."""
    events: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    for item in items:
        events.update(label for _, _, label in item["events"])
        tags.update(label for label, _, _ in item.get("tags", ()))
    counts = {"events": events.total(), "labels": len(events)}
    return counts | ({"tags": tags.total(), "tagged_labels": len(tags)} if tags else {})

"""From a corpus as its labels describe it to shards: what the scripts of data_prep/ share.

The samples are decided before the first is written: a part of a job array takes its share of the recordings, headers
are read for lengths, long recordings with events are cut into windows, and all is spread by a seeded permutation. That
plan lies in the folder until the manifest is written, so a run that was killed goes on with it, and the bytes
are those of a run that never was.

Shape suffixes: S samples.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.bank import describe, sounding_extent
from flam_train.data.clips import cut
from flam_train.data.corpus_writer import CorpusPlan, cores, progress_bar, write_corpus
from flam_train.data.recordings import Recording, Unusable, read_part, seconds_of
from flam_train.data.schema import Event, Record
from flam_train.data.shards import write_manifest
from flam_train.data.tars import MANIFEST, replace_with

WINDOW = 10.0
"""Seconds. A longer recording with events is cut into windows of this length, one behind the other, from its start."""

LAST_WINDOW = 1.0
"""Seconds. What is left behind the last whole window is a sample of its own if it lasts so long, else left out."""

MOST_CAPTIONED = 60.0
"""Seconds of a captioned recording that are stored, from its start; the rest is left out."""

MISSING = "missing.tsv"
"""Beside the manifest: key, file and reason of every recording that could not be read."""

KINDS = ("captions", "events", "bank")


@dataclass(frozen=True)
class Listing:
    """A corpus as a script read it from its label files.

    corpus      its name
    recordings  in any order; keys are unique
    kind        "captions": stored whole, up to MOST_CAPTIONED; "events": cut into windows; "bank": each recording is
                one sound for mixing, cut to where it sounds
    vocabulary  name of a vocabulary of conf/, a .yaml that `files` holds, or None for an open corpus
    annotates   ids of the concepts whose absence means absence
    details     plain data for the manifest
    files       small text files that belong beside the shards: {name: text}
    """

    corpus: str
    recordings: Sequence[Recording]
    kind: str
    vocabulary: str | None = None
    annotates: Sequence[str] = ()
    details: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """ValueError that names the label file and the row of what is wrong with it as a whole."""
        assert self.kind in KINDS
        if not self.recordings:
            raise ValueError(f"{self.corpus}: the labels list no recording: check the folder and the chosen split")
        seen: dict[str, str] = {}
        for r in self.recordings:
            if r.key in seen:
                raise ValueError(f"{r.where}: key {r.key!r} is that of {seen[r.key]} too: keys must be unique")
            seen[r.key] = r.where

    def digest(self) -> str:
        """Of everything but where the audio lies: another one makes other shards."""
        hasher = hashlib.blake2b(digest_size=16)
        for r in sorted(self.recordings, key=lambda r: r.key):
            events = [(e.onset, e.offset, e.label) for e in r.events]
            plain = (r.key, r.path.name, r.captions, events, r.start, r.seconds, r.source, r.licence, r.split, r.ids)
            hasher.update(json.dumps([plain, r.details], sort_keys=True).encode())
        return hasher.hexdigest()


@dataclass(frozen=True)
class Options:
    """How shards are made. part: (i, n), the i-th of n jobs, from 1. most_missing: share of the recordings that may be
    missing or unreadable."""

    part: tuple[int, int] = (1, 1)
    processes: int = field(default_factory=cores)
    audio: str = "flac"
    per_shard: int = 500
    seed: int = 0
    most_missing: float = 0.05
    show: bool = True

    def __post_init__(self) -> None:
        i, n = self.part
        if not 1 <= i <= n:
            raise ValueError(f"part {i}/{n}: parts are 1/{n} to {n}/{n}")
        if self.per_shard < 1 or self.processes < 1:
            raise ValueError("samples a shard and processes must be at least 1")


def part_folder(out: Path, part: tuple[int, int]) -> Path:
    """Where a part's shards go: the folder itself for the only one."""
    i, n = part
    return out if n == 1 else out / f"part-{i:04d}-of-{n:04d}"


def prepare(listing: Listing, out: Path, options: Options) -> Path:
    """Writes one part of a corpus, by default all of it; returns its folder. What is complete is left as it is.

    Raises ValueError that names the file and the fix; finished shards stay, and the next run goes on.
    """
    listing.check()
    folder = part_folder(out, options.part)
    share = spread(listing.recordings, options.seed)[options.part[0] - 1 :: options.part[1]]
    digest = listing.digest()
    plan_id = hashlib.blake2b(
        json.dumps([digest, options.part, options.audio, options.per_shard, options.seed]).encode(), digest_size=16
    ).hexdigest()
    if _complete(folder, plan_id):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    items = Items(folder)
    if not items.is_of(plan_id):
        items.decide(plan_id, listing.kind, share, options)
    _check_missing(folder, items.missing(), len(share), options)
    details = {**listing.details, "kind": listing.kind, "listing": digest, "plan": plan_id, "part": list(options.part)}
    details |= {"files": sorted(listing.files)} if listing.files else {}
    plan = CorpusPlan(
        corpus=listing.corpus,
        samples=len(items),
        per_shard=options.per_shard,
        audio=options.audio,
        vocabulary=listing.vocabulary,
        annotates=list(listing.annotates),
        details=details,
        files=listing.files,
    )

    def conclude(dropped: list[tuple[int, str]]) -> dict[str, Any]:
        """What could not be decoded joins what was missing; counts for the manifest."""
        missing = items.missing() + [items.missing_row(n, why) for n, why in dropped]
        _check_missing(folder, missing, len(share), options)
        gone = {key for key, _, _ in missing}
        return {"recordings": len(share), "missing": len(gone)} | items.counts()

    if len(items):
        write_corpus(folder, plan, items, options.processes, options.show, conclude)
    elif options.part[1] > 1:  # a small split has fewer recordings than a large one has parts
        write_manifest(
            folder,
            listing.corpus,
            [],
            vocabulary=listing.vocabulary,
            annotates=list(listing.annotates),
            details=details | conclude([]),
        )
    else:
        raise ValueError(f"{folder}: not one recording could be read: see {folder / MISSING}")
    items.remove()
    return folder


def spread(recordings: Sequence[Any], seed: int, key=lambda r: r.key) -> list[Any]:
    """A permutation that depends on the seed and the keys, not on the order they came in."""
    return sorted(recordings, key=lambda r: hashlib.blake2b(f"{seed}/{key(r)}".encode(), digest_size=16).digest())


def windows(kind: str, seconds: float) -> list[tuple[float, float]]:
    """(start, length) of the samples that a recording of so many seconds becomes."""
    if kind != "events":
        return [(0.0, min(seconds, MOST_CAPTIONED))]
    if seconds < WINDOW + LAST_WINDOW:
        return [(0.0, min(seconds, WINDOW))]
    starts = itertools.takewhile(lambda s: seconds - s >= LAST_WINDOW, itertools.count(0.0, WINDOW))
    return [(start, min(WINDOW, seconds - start)) for start in starts]


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


def _complete(folder: Path, plan_id: str) -> bool:
    path = folder / MANIFEST
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["details"].get("plan") == plan_id


def _check_missing(folder: Path, missing: list[tuple[str, str, str]], recordings: int, options: Options) -> None:
    """Lists what is missing; ValueError if it is too much."""
    write_missing(folder, missing)
    count = len({key for key, _, _ in missing})
    if count > options.most_missing * recordings:
        key, file, why = missing[0]
        raise ValueError(
            f"{folder / MISSING}: {count} of {recordings} recordings are missing or unreadable, more than "
            f"{options.most_missing:.0%} (the first: {key}, {file}: {why}): fetch them, or raise --max-missing"
        )


def write_missing(folder: Path, missing: list[tuple[str, str, str]]) -> None:
    rows = ["\t".join(" ".join(x.split()) for x in row) for row in sorted(set(missing))]
    text = "\n".join(["key\tfile\treason", *rows]) + "\n"
    replace_with(folder / MISSING, lambda file: file.write(text.encode()))


def read_missing(folder: Path) -> list[tuple[str, str, str]]:
    rows = (folder / MISSING).read_text(encoding="utf-8").splitlines()[1:]
    return [(key, file, why) for key, file, why in (row.split("\t") for row in rows)]


class Items:
    """The samples to be written: sample n is line n of a file of JSON. Pickles small, however many there are."""

    def __init__(self, folder: Path) -> None:
        self.lines, self.offsets, self.done = (folder / name for name in (".plan.jsonl", ".plan.npy", ".plan.done"))
        self._file: Any = None
        self._starts: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None, "_starts": None}

    def is_of(self, plan_id: str) -> bool:
        """Whether a run of the same plan has decided already."""
        return self.done.is_file() and json.loads(self.done.read_text())["plan"] == plan_id

    def decide(self, plan_id: str, kind: str, share: Sequence[Recording], options: Options) -> None:
        """Reads the headers of all recordings and writes down the samples they become."""
        items: list[dict[str, Any]] = []
        missing: list[tuple[str, str, str]] = []
        left_out = 0.0
        with ThreadPoolExecutor(4 * options.processes) as pool, progress_bar(options.show, "recordings") as progress:
            task = progress.add_task("reading headers", total=len(share))
            for r, found in zip(share, pool.map(_length, share, chunksize=16), strict=True):
                progress.advance(task)
                if isinstance(found, str):
                    missing.append((r.key, str(r.path), found))
                    continue
                parts = windows(kind, found)
                left_out += found - sum(length for _, length in parts)
                for k, ((start, length), inside) in enumerate(zip(parts, events_of(r.events, parts), strict=True)):
                    events = [[e.onset, e.offset, e.label] for e in inside]
                    items.append(
                        {
                            name: getattr(r, name)
                            for name in ("captions", "source", "licence", "split", "ids", "details")
                        }
                        | {"key": r.key if len(parts) == 1 else f"{r.key}-{k:04d}", "recording": r.key, "kind": kind}
                        | {"path": str(r.path), "events": events, "start": r.start + start, "seconds": length}
                    )
        items = spread(items, options.seed, key=lambda item: item["key"])
        lines = [json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items]
        replace_with(self.lines, lambda file: file.writelines(lines))
        starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
        replace_with(self.offsets, lambda file: np.save(file, starts))
        labels = Counter(label for item in items for _, _, label in item["events"])
        state = {
            "plan": plan_id,
            "missing": missing,
            "counts": {"events": sum(labels.values()), "labels": len(labels), "seconds_left_out": round(left_out, 3)},
        }
        replace_with(self.done, lambda file: file.write(json.dumps(state).encode()))

    def missing(self) -> list[tuple[str, str, str]]:
        return [(key, path, why) for key, path, why in json.loads(self.done.read_text())["missing"]]

    def counts(self) -> dict[str, Any]:
        return json.loads(self.done.read_text())["counts"]

    def missing_row(self, n: int, why: str) -> tuple[str, str, str]:
        return self[n]["recording"], self[n]["path"], why

    def remove(self) -> None:
        for path in (self.done, self.offsets, self.lines):
            path.unlink(missing_ok=True)

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
        waveform_S = read_part(path, item["start"], None if bank else item["seconds"])
        events = tuple(Event(*e) for e in item["events"])
        details = dict(item["details"]) | ({"ids": item["ids"]} if item["ids"] else {})
        if item["start"] or item["recording"] != item["key"]:
            details["cut_from"] = [item["start"], item["start"] + len(waveform_S) / SAMPLE_RATE]
        if bank:
            extent = sounding_extent(waveform_S)
            if extent is None:
                raise Unusable(f"{path}: silent throughout: fetch it again")
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
        )
        return record, waveform_S


def _length(recording: Recording) -> float | str:
    """Seconds of the part that is meant, or why there are none."""
    if not recording.path.is_file():
        return "missing"
    try:
        seconds = seconds_of(recording.path) - recording.start
    except Unusable as error:
        return str(error)
    if seconds <= 0:
        return f"ends before {recording.start} s, where the part begins"
    return seconds if recording.seconds is None else min(seconds, recording.seconds)

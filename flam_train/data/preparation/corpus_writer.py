"""A whole corpus written shard by shard, in several processes: what the scripts of data_prep/ share.

Shard k holds the samples [k * per_shard, (k + 1) * per_shard), each made from its number alone, so the bytes are
the same for any number of processes, and an interrupted run goes on with the shards that are missing.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rich.progress

import flam_train
from flam_train.data.shards.schema import Record
from flam_train.data.shards.tars import MANIFEST, ShardEntry, index_path, replace_with, sha256_of
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.data.sound.faults import Unusable
from flam_train.data.stream.server import start_server

PLAN = "plan.json"

Make = Callable[[int], tuple[Record, np.ndarray]]

Conclude = Callable[[list[tuple[int, str]]], dict[str, Any]]
"""Called with (number, reason) of every sample that was unusable; gives details for the manifest."""


@dataclass(frozen=True)
class CorpusPlan:
    """What is to be written.

    corpus      the corpus' name
    samples     how many samples
    per_shard   samples a shard
    audio       "flac" or "wav"
    vocabulary  name of a vocabulary of conf/, of a .yaml in the corpus' own folder, or None
    annotates   ids of the concepts whose absence means absence
    details     plain data for the manifest that decides what the samples are: a folder that holds shards of other
                details is not continued
    files       small text files that belong beside the shards: {name: text}
    """

    corpus: str
    samples: int
    per_shard: int
    audio: str
    vocabulary: str | None
    annotates: list[str]
    details: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)

    def shard(self, k: int) -> range:
        return range(k * self.per_shard, min(self.samples, (k + 1) * self.per_shard))

    @property
    def shards(self) -> int:
        return -(-self.samples // self.per_shard)

    def to_json(self) -> str:
        return json.dumps({"version": flam_train.__version__} | self.__dict__, indent=1, sort_keys=True)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(show: bool, unit: str) -> rich.progress.Progress:
    """Done, total, time and time left, on the screen."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn(unit),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
    )
    return rich.progress.Progress(*columns, disable=not show)


def write_corpus(
    folder: Path, plan: CorpusPlan, make: Make, processes: int, show: bool = True, conclude: Conclude | None = None
) -> list[ShardEntry]:
    """Writes the shards of `plan`, then the manifest. `make(n)` gives sample n: its record and int16 [S] at 48 kHz;
    it must be picklable and depend on nothing but n. If it raises `Unusable`, the shard goes on without the sample.

    Finished shards of the same plan are kept. Raises ValueError if the folder holds another plan's shards.
    """
    if plan.samples < 1:
        raise ValueError(f"{folder}: nothing to write: the number of samples is {plan.samples}")
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, plan)
    if (folder / MANIFEST).is_file():
        entries = [ShardEntry(**e) for e in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["shards"]]
        if all(_is_whole(folder / entry.name, entry) for entry in entries):
            return entries
    done = {k: entry for k in range(plan.shards) if (entry := _finished(folder, plan, k)) is not None}
    with progress_bar(show, "samples") as progress:
        kept = sum(len(plan.shard(k)) for k in done)
        task = progress.add_task(str(folder), total=plan.samples, completed=kept)
        missing = [k for k in range(plan.shards) if k not in done]
        show_done = lambda n: progress.update(task, completed=kept + n)  # noqa: E731
        done |= dict(_write_all(folder, plan, make, missing, processes, show_done))
        progress.update(task, completed=plan.samples)
    write_files(folder, plan.files)
    entries = [done[k] for k in range(plan.shards) if done[k].samples]
    dropped = [row for k in range(plan.shards) for row in _dropped(folder, k)]
    details = plan.details | (conclude(dropped) if conclude else {})
    if dropped and not conclude:
        raise ValueError(f"{folder}: sample {dropped[0][0]} is unusable: {dropped[0][1]}")
    write_manifest(folder, plan.corpus, entries, vocabulary=plan.vocabulary, annotates=plan.annotates, details=details)
    forget_dropped(folder)
    return entries


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        replace_with(folder / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]


def forget_dropped(folder: Path) -> None:
    """Removes what was noted of unusable samples; with the manifest written, nobody needs it."""
    for path in folder.glob(".shard-*.dropped.json"):
        path.unlink()


def forget_shards(folder: Path, plan: CorpusPlan, shards: Iterable[int]) -> None:
    """Removes finished shards, so that the next run of the plan makes them anew."""
    for k in shards:
        for path in (_path(folder, k), index_path(_path(folder, k)), _dropped_path(folder, k)):
            path.unlink(missing_ok=True)


def _claim(folder: Path, plan: CorpusPlan) -> None:
    """Marks the folder as this plan's, or refuses one that is another's. Drafts of a run that was killed go."""
    for draft in folder.glob(".*.*.[0-9]*"):
        draft.unlink()
    path = folder / PLAN
    if path.is_file():
        if path.read_text(encoding="utf-8") != plan.to_json():
            raise ValueError(
                f"{folder} holds shards made in another way ({path} differs from what was asked for): "
                "write to another folder, or delete this one first"
            )
    elif any(folder.glob("*.tar")):
        raise ValueError(f"{folder} holds shards of another origin: write to another folder")
    else:
        replace_with(path, lambda file: file.write(plan.to_json().encode()))


def _path(folder: Path, k: int) -> Path:
    return folder / f"shard-{k:06d}.tar"


def _dropped_path(folder: Path, k: int) -> Path:
    return folder / f".shard-{k:06d}.dropped.json"


def _dropped(folder: Path, k: int) -> list[tuple[int, str]]:
    """(number, reason) of the samples that a finished shard lacks."""
    path = _dropped_path(folder, k)
    return [(n, why) for n, why in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def _is_whole(path: Path, entry: ShardEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and index_path(path).is_file()


def _finished(folder: Path, plan: CorpusPlan, k: int) -> ShardEntry | None:
    """The entry of a shard that was written before, if it is whole (tar and index take their names only then)."""
    path = _path(folder, k)
    if not (path.is_file() and index_path(path).is_file()):
        return None
    rows = np.load(index_path(path))
    if len(rows) + len(_dropped(folder, k)) != len(plan.shard(k)):
        return None
    seconds = 0.0
    with open(path, "rb") as file:
        for row in rows:
            file.seek(row["meta"])
            seconds += json.loads(file.read(row["meta_size"]))["duration"]
    return ShardEntry(path.name, len(rows), path.stat().st_size, seconds, sha256_of(path))


def _write_shard(folder: Path, plan: CorpusPlan, make: Make, k: int, tick: Callable[[], None]) -> ShardEntry:
    dropped: list[tuple[int, str]] = []

    def samples() -> Iterator[tuple[Record, np.ndarray]]:
        for n in plan.shard(k):
            try:
                yield make(n)
            except Unusable as error:
                dropped.append((n, str(error)))
            tick()

    _dropped_path(folder, k).unlink(missing_ok=True)
    entry = write_shard(_path(folder, k), samples(), plan.audio)
    if dropped:
        replace_with(_dropped_path(folder, k), lambda file: file.write(json.dumps(dropped).encode()))
    return entry


# What a worker process was started with: the job (with a bank's numbers in it) is sent once, not with every shard.
_job: tuple[Path, CorpusPlan, Make, Any] | None = None


def _start_worker(folder: Path, plan: CorpusPlan, make: Make, counter: Any) -> None:
    global _job
    import torch  # which the server has, for webdataset and for makers that mix

    torch.set_num_threads(1)
    _job = folder, plan, make, counter


def _work(k: int) -> ShardEntry:
    assert _job is not None
    folder, plan, make, counter = _job

    def tick() -> None:
        with counter.get_lock():
            counter.value += 1

    return _write_shard(folder, plan, make, k, tick)


def _write_all(
    folder: Path, plan: CorpusPlan, make: Make, missing: list[int], processes: int, show: Callable[[int], None]
) -> Iterator[tuple[int, ShardEntry]]:
    """Writes the missing shards; `show(samples so far)` is called as they come."""
    processes = min(processes, len(missing))
    if processes <= 1:
        samples = itertools.count(1)
        for k in missing:
            yield k, _write_shard(folder, plan, make, k, lambda: show(next(samples)))
        return
    import webdataset  # here, because it imports torch, which takes seconds; the server does it once for all

    start_server(sys.modules[__name__], webdataset)
    context = multiprocessing.get_context("forkserver")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(processes, context, _start_worker, (folder, plan, make, counter)) as pool:
        futures = {pool.submit(_work, k): k for k in missing}
        try:
            waiting = set(futures)
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                show(counter.value)
                for future in finished:
                    yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

"""What is right and wrong with a corpus of shards: what data_prep/verify.py finds out.

Shape suffixes: S samples of audio, N samples of a corpus, M ids of recordings.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError

import numpy as np

from flam_train.data.shards.cache import is_url
from flam_train.data.shards.checks import FEW, Findings, ShardFacts, check_shard
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import keys_of
from flam_train.data.shards.places import place_of
from flam_train.data.shards.schema import END_TOLERANCE
from flam_train.data.shards.tars import MANIFEST, ShardEntry, index_path
from flam_train.data.stream.server import start_server


@dataclass
class Report:
    """A corpus and what was found. `corpus` is None, and the arrays are empty, where it cannot be opened at all.

    Rows are those of the whole corpus; the other fields are `ShardFacts`'.
    """

    name: str
    folder: str
    corpus: Corpus | None
    quick: bool
    findings: Findings = field(default_factory=Findings)
    seconds_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    sound_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    ids_M: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    id_rows_M: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: Counter[str] = field(default_factory=Counter)
    captions: int = 0


def check_corpus(
    folder: str, quick: bool = False, processes: int = 1, tick: Callable[[int, int], None] = lambda done, total: None
) -> Report:
    """Reads all samples of a corpus, in several processes; it raises for nothing that is wrong with the corpus.

    folder  of shards, or the URL of one
    quick   neither decode audio nor compare sha256
    tick    called with (samples read, samples in all)
    """
    corpus, findings = _open(folder)
    if corpus is None:
        return Report(folder, folder, None, quick, findings)
    facts: dict[int, ShardFacts] = {}
    done = 0
    for k, found in _read_all(corpus, quick, processes):
        facts[k] = found
        done += corpus.entries[k].samples
        tick(done, len(corpus))
    report = Report(corpus.name, str(corpus.folder), corpus, quick, findings)
    shards = [facts[k] for k in range(len(corpus.entries))]
    starts = np.concatenate([[0], np.cumsum(corpus.shard_sizes)])
    for found in shards:
        findings.join(found.findings)
        report.labels += found.labels
        report.captions += found.captions
    if shards:
        report.seconds_N = np.concatenate([s.seconds_N for s in shards])
        report.sound_N = np.concatenate([s.sound_N for s in shards])
        report.ids_M = np.concatenate([s.ids_M for s in shards])
        report.id_rows_M = np.concatenate([s.id_rows_M + start for s, start in zip(shards, starts, strict=False)])
    _repeated_keys(corpus, findings)
    _repeated_audio(report)
    return report


def _open(folder: str) -> tuple[Corpus | None, Findings]:
    """The corpus, or all that keeps it from being opened."""
    findings = Findings()
    try:
        place = place_of(folder)
        manifest = place.manifest()
        for entry in (ShardEntry(**entry) for entry in manifest["shards"]):
            try:
                place.check(entry, verify=False)
            except (ValueError, OSError) as error:
                findings.add("shards", "", entry.name, str(error))
            except (SyntaxError, TokenError) as error:  # numpy's, of an index with a damaged header
                message = f"{folder}/{index_path(Path(entry.name))}: no readable index ({error}): write it again"
                findings.add("shards", "", entry.name, message)
        stray = [] if is_url(folder) else _stray(Path(folder), manifest)
        for name in stray:
            findings.add("shards", "", name, f"{folder}/{name}: not in the manifest: of another run: remove it")
        total = sum(entry["seconds"] for entry in manifest["shards"])
        if abs(manifest.get("seconds", total) - total) > END_TOLERANCE:
            findings.add("seconds", "", MANIFEST, f"{folder}: {manifest['seconds']} s, its shards add up to {total} s")
        # Opened only if all shards are there: an open corpus promises that.
        if findings.count["shards"] > len(stray):
            return None, findings
        return Corpus(folder), findings
    except (ValueError, OSError, KeyError, TypeError) as error:
        what = error if isinstance(error, (ValueError, OSError)) else f"lacks or misuses {error}"
        findings.add("shards", "", MANIFEST, str(what) if folder in str(what) else f"{folder}: {what}")
        return None, findings


def _stray(folder: Path, manifest: dict) -> list[str]:
    if manifest.get("tars", ".") != ".":
        return []
    return sorted({p.name for p in folder.glob("*.tar")} - {entry["name"] for entry in manifest["shards"]})


# What a worker process was started with: the corpus is sent once, not with every shard.
_job: tuple[Corpus, bool] | None = None


def _start_worker(corpus: Corpus, quick: bool) -> None:
    global _job
    _job = corpus, quick


def _work(k: int) -> ShardFacts:
    assert _job is not None
    return check_shard(_job[0], k, _job[1])


def _read_all(corpus: Corpus, quick: bool, processes: int) -> Iterator[tuple[int, ShardFacts]]:
    shards = range(len(corpus.entries))
    if min(processes, len(shards)) <= 1:
        for k in shards:
            yield k, check_shard(corpus, k, quick)
        return
    start_server(sys.modules[__name__])
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(min(processes, len(shards)), context, _start_worker, (corpus, quick)) as pool:
        futures = {pool.submit(_work, k): k for k in shards}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _repeated_keys(corpus: Corpus, findings: Findings) -> None:
    try:
        keys = np.array([key for shard in keys_of(corpus) for key in shard])
    except ValueError as error:
        findings.add("keys", "", MANIFEST, str(error))
        return
    for row in repeats(keys).tolist():
        shard = corpus.entry(row).name
        message = f"{corpus.where(row)}: this key comes before in the corpus: write it again with unique keys"
        findings.add("keys", corpus.key(row), shard, message)


def _repeated_audio(report: Report) -> None:
    corpus = report.corpus
    assert corpus is not None
    known = np.flatnonzero(report.sound_N)
    for row in known[repeats(report.sound_N[known])].tolist():
        if len(report.findings.first.get("same audio", ())) == FEW:
            report.findings.count["same audio"] += 1
            continue
        twin = int(np.flatnonzero(report.sound_N == report.sound_N[row])[0])
        message = f"{corpus.where(row)}: the same audio as {corpus.where(twin)}"
        report.findings.add("same audio", corpus.key(row), corpus.entry(row).name, message)


def repeats(values: np.ndarray) -> np.ndarray:
    """The places, ascending, of values that stand further ahead too."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return np.sort(order[1:][ordered[1:] == ordered[:-1]])

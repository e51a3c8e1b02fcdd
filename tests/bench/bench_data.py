"""What the loader delivers of what decoding allows: raw soundfile with n processes against our loader with n workers.

    make bench-data                                   # corpora made for it, FLAC and WAV
    python tests/bench/bench_data.py --workers 8 --clips 4000

All is measured in one run, the ways taking turns, and reported as ratios: machines are noisy, ratios less so. `--http`
adds shards behind a local HTTP server; `--bank` mixing from a bank that is not in memory.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.levels import describe
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.mixing.source import MixtureSource
from flam_train.data.shards.cache import ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.data.stream import shared
from flam_train.data.stream.clips import ShardSource, Source
from flam_train.data.stream.collate import Concepts, collate_events
from flam_train.data.stream.dataset import Steps, StepSampler, Stream
from flam_train.frames import FrameGrid
from flam_train.models.text import TextConfig, build_tokenizer
from flam_train.vocabulary import Vocabulary

SECONDS = 10.0
GRID = FrameGrid(32, SECONDS)
PREFETCH = 2


def sound(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Noise with a spectrum and a level that change, so that FLAC works as hard as on recordings."""
    n = round(seconds * SAMPLE_RATE)
    noise = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) / np.maximum(1, np.arange(n // 2 + 1)) ** 0.5, n)
    level = np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(0.1, 1, 12))
    return (8000 * level * noise / np.abs(noise).max()).astype(np.int16)


def make_corpus(folder: Path, clips: int, audio: str) -> Corpus:
    rng = np.random.default_rng(0)
    entries = []
    for k in range(0, clips, 50):
        samples = []
        for n in range(k, min(clips, k + 50)):
            record = Record(f"clip-{n:05d}", SECONDS, ("a siren",), (Event(1.0, 4.0, "siren"), Event(3.0, 8.0, "bell")))
            samples.append((record, sound(rng, SECONDS)))
        entries.append(write_shard(folder / f"shard-{k // 50:06d}.tar", samples, audio))
    annotates = [Vocabulary.load("synthetic").concept(c).id for c in ("siren", "bell")]
    write_manifest(folder, f"bench-{audio}", entries, vocabulary="synthetic", annotates=annotates)
    return Corpus(folder)


def make_bank(folder: Path) -> Bank:
    rng = np.random.default_rng(1)
    samples = []
    for n in range(120):
        wave = sound(rng, 3.0)
        label = ("siren", "bell", "engine")[n % 3]
        samples.append(
            (Record(f"event-{n}", 3.0, events=(Event(0.0, 3.0, label),), details=describe(wave, "event")), wave)
        )
    for n in range(30):
        wave = sound(rng, 20.0) // 30
        samples.append((Record(f"noise-{n}", 20.0, details=describe(wave, "background")), wave))
    annotates = [Vocabulary.load("synthetic").concept(c).id for c in ("siren", "bell", "engine")]
    entries = [write_shard(folder / "shard-000000.tar", samples)]
    write_manifest(folder, "bench-bank", entries, vocabulary="synthetic", annotates=annotates)
    return Bank(folder)


# -- the two ways


def decode_files(rank: int, world: int, files: list[bytes] | list[Path], clips: int, barrier, seconds) -> None:
    """What soundfile does by itself: a share of the clips, read from disk and decoded to float32, as trainers do."""
    torch.set_num_threads(1)
    barrier.wait()
    start = time.perf_counter()
    for n in range(rank, clips, world):
        soundfile.read(io.BytesIO(Path(files[n % len(files)]).read_bytes()), dtype="float32")
    seconds[rank] = time.perf_counter() - start


def together(clips: int, workers: int, work: Callable[..., None], *arguments: object) -> float:
    """Clips a second of `work(rank, world, *arguments, clips, barrier, seconds)` in so many processes."""
    context = multiprocessing.get_context("forkserver")
    barrier, seconds = context.Barrier(workers), context.Array("d", workers)
    processes = [
        context.Process(target=work, args=(rank, workers, *arguments, clips, barrier, seconds))
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return clips / max(seconds)


def steps_of(source: Source, clips: int, batch: int) -> Steps:
    stream = Stream("frame", [source], [1.0], batch, 0)
    tokenizer = build_tokenizer(TextConfig("bytes"))
    collate = partial(
        collate_events, tokenizer=tokenizer, grid=GRID, concepts=Concepts.of(stream.sources), seed=stream.seed
    )
    return Steps(clips // batch, None, stream, None, collate, ahead=100)


def one_thread(worker: int) -> None:
    torch.set_num_threads(1)
    shared.start(PREFETCH)


def loader_speed(source: Source, clips: int, workers: int, batch: int) -> tuple[float, list[float]]:
    """Clips a second after the workers have started, and their memory in MB (private) at each third of the run."""
    steps = steps_of(source, clips + 4 * workers * batch, batch)
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=StepSampler(0, len(steps)),
        num_workers=workers,
        prefetch_factor=PREFETCH,
        multiprocessing_context="forkserver",
        worker_init_fn=one_thread,
    )
    items = iter(loader)
    for _ in range(4 * workers):
        next(items)  # the workers start, and fill their queues
    memory = []
    start = time.perf_counter()
    done = clips // batch
    for n in range(done):
        found = next(items)
        assert not found.events.errors, found.events.errors[0]
        if n in (done // 3, 2 * done // 3, done - 1):
            memory.append(sum(private_memory(w.pid) for w in items._workers) / workers)
    seconds = time.perf_counter() - start
    del items
    return done * batch / seconds, memory


def private_memory(pid: int) -> float:
    """MB that only this process holds."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private")) / 1024


def split(corpus: Corpus, clips: int, batch: int) -> dict[str, float]:
    """Milliseconds a clip in one process: reading the bytes, decoding, all else that makes a batch, moving it."""
    rows = [n % len(corpus) for n in range(clips)]
    times = {}
    start = time.perf_counter()
    data = [corpus._read(row, "audio") for row in rows]
    times["read"] = time.perf_counter() - start
    start = time.perf_counter()
    for found in data:
        soundfile.read(io.BytesIO(found), dtype="int16")
    times["decode"] = time.perf_counter() - start
    steps = steps_of(ShardSource(corpus, SECONDS), clips, batch)
    start = time.perf_counter()
    batches = [steps[n] for n in range(len(steps))]
    times["records, labels, phrases, stacking"] = time.perf_counter() - start - times["read"] - times["decode"]
    start = time.perf_counter()
    for found in batches:
        found.events.waveform_BS.clone().share_memory_()
    times["copy into shared memory"] = time.perf_counter() - start
    return {name: 1e3 * seconds / clips for name, seconds in times.items()}


# -- the report


def turns(ways: dict[str, partial], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def report(name: str, found: dict[str, list[float]], raw: str, mine: str) -> float:
    ratios = [b / a for a, b in zip(found[raw], found[mine], strict=True)]
    middle = statistics.median(ratios)
    speeds = ", ".join(f"{k} {statistics.median(v):.0f} clips/s" for k, v in found.items())
    print(f"{name:14s} ratio {middle:.2f} (from {min(ratios):.2f} to {max(ratios):.2f})   {speeds}", flush=True)
    return middle


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    parser.add_argument("--clips", type=int, default=1200, help="of each measurement")
    parser.add_argument("--corpus", type=int, default=300, help="clips of the corpora made for it")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=["flac", "wav", "http", "bank"], default=["flac", "wav", "http", "bank"]
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="flam-bench-"))
    print(f"{args.workers} workers, {args.clips} clips of {SECONDS:.0f} s a measurement, {args.rounds} rounds")
    try:
        for audio in ("flac", "wav"):
            if audio in args.only or (audio == "flac" and "http" in args.only):
                measure(folder, audio, args)
        if "bank" in args.only:
            measure_bank(folder, args)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, audio: str, args: argparse.Namespace) -> None:
    corpus = make_corpus(folder / audio, args.corpus, audio)
    files = []
    (folder / f"{audio}-files").mkdir()
    for n in range(len(corpus)):
        path = folder / f"{audio}-files" / f"{n:05d}.{audio}"
        path.write_bytes(corpus._read(n, "audio"))
        files.append(path)
    memory: list[list[float]] = []

    def mine(source: Source) -> float:
        speed, held = loader_speed(source, args.clips, args.workers, args.batch)
        memory.append(held)
        return speed

    ways = {"soundfile": partial(together, args.clips, args.workers, decode_files, files)}
    ways["loader"] = partial(mine, ShardSource(corpus, SECONDS))
    if audio in args.only:
        report(audio, turns(ways, args.rounds), "soundfile", "loader")
        held = memory[-1]
        print(f"{'':14s} a worker's own memory at each third: {', '.join(f'{x:.0f} MB' for x in held)}")
        parts = split(corpus, min(args.clips, 320), args.batch)
        print(f"{'':14s} one process, ms a clip: " + ", ".join(f"{k} {v:.2f}" for k, v in parts.items()))
    if audio == "flac" and "http" in args.only:
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder / audio))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}"

            def remote() -> float:
                cache = folder / "cache"
                shutil.rmtree(cache, ignore_errors=True)
                return mine(ShardSource(Corpus(url, cache=ShardCache(cache, 1.0)), SECONDS))

            report("flac over http", turns(ways | {"over http": remote}, args.rounds), "soundfile", "over http")
            server.shutdown()


def measure_bank(folder: Path, args: argparse.Namespace) -> None:
    """Mixing from a bank that is read as needed, against decoding the same pieces alone with as many processes."""
    bank = make_bank(folder / "bank")
    recipe = MixRecipe.load("demo")
    cache = 40 << 20  # bytes a worker: less than the bank
    source = MixtureSource("bench", bank, recipe, 100_000, 0, None, cache=cache)
    found = turns(
        {
            "pieces alone": lambda: together(args.clips, args.workers, read_pieces, folder / "bank", cache),
            "loader": lambda: loader_speed(source, args.clips, args.workers, args.batch)[0],
        },
        args.rounds,
    )
    report("bank", found, "pieces alone", "loader")


def read_pieces(rank: int, world: int, folder: Path, cache: int, clips: int, barrier, seconds) -> None:
    torch.set_num_threads(1)
    bank = Bank(folder)
    source = MixtureSource("bench", bank, MixRecipe.load("demo"), 100_000, 0, cache=cache)
    specs = [source.spec(n) for n in range(rank, clips, world)]
    barrier.wait()
    start = time.perf_counter()
    for spec in specs:
        for p in spec.pieces:
            source.items.read(p.item, p.start, p.length)
    seconds[rank] = time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())

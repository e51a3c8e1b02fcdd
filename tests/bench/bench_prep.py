"""What preparation delivers of what a bare loop of decoding, resampling and FLAC encoding does on the same cores.

make bench-prep
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
import soxr

from flam_train.batch import SAMPLE_RATE
from flam_train.data.preparation.listing import Listing, Options, prepare
from flam_train.data.preparation.recordings import Recording

SECONDS = 10.0
FORMATS = ["wav", "flac", "mp3"]


def make_recordings(folder: Path, count: int, format: str) -> list[Recording]:
    """44.1 kHz stereo of noise with a spectrum, as far from what is stored as most corpora are."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    n = round(SECONDS * 44_100)
    out = []
    for k in range(count):
        noise = np.fft.irfft(np.fft.rfft(rng.normal(size=(2, n))) / np.maximum(1, np.arange(n // 2 + 1)) ** 0.5, n)
        path = folder / f"{k:04d}.{format}"
        soundfile.write(path, 0.3 * noise.T / np.abs(noise).max(), 44_100)
        out.append(Recording(f"r{k:04d}", path, f"row {k + 1}", captions=("noise",)))
    return out


def bare(path: Path) -> int:
    wave, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono = soxr.resample(wave.mean(axis=1), rate, SAMPLE_RATE, "VHQ")
    file = io.BytesIO()
    soundfile.write(file, np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16), SAMPLE_RATE, format="FLAC")
    return len(file.getvalue())


def ratios(folder: Path, format: str, args: argparse.Namespace) -> Iterator[float]:
    made = make_recordings(folder / format, args.recordings, format)
    for n in range(args.rounds):
        with ProcessPoolExecutor(args.processes, get_context("forkserver")) as pool:
            list(pool.map(bare, [r.path for r in made[: args.processes]]))  # the processes start
            start = time.perf_counter()
            list(pool.map(bare, [r.path for r in made], chunksize=8))
            loop = time.perf_counter() - start
        options = Options(processes=args.processes, per_shard=50, show=False)
        start = time.perf_counter()
        prepare(Listing("bench", made, "captions"), folder / f"out-{format}-{n}", options)
        mine = time.perf_counter() - start
        # All of it: lengths, the start of the processes, shards, indices, sha256, manifest.
        print(
            f"{format}: bare loop {args.recordings / loop:.1f} recordings/s, preparation {args.recordings / mine:.1f}: "
            f"ratio {loop / mine:.2f}",
            flush=True,
        )
        yield loop / mine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--recordings", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=FORMATS, help="of the recordings")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="flam-bench-"))
    try:
        for format in args.format:
            found = statistics.median(ratios(folder, format, args))
            print(f"{format}: ratio {found:.2f} with {args.processes} processes")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

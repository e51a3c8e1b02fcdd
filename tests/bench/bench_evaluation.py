"""How long a detection's numbers take from what is kept, and how much memory, at the size of AudioSet Strong's
evaluation: every metric, or some of them on more classes (an open set).

    python tests/bench/bench_evaluation.py
    python tests/bench/bench_evaluation.py --recordings 5000 --classes 25000 --metrics auroc frame_f1 calibration

Frames are noise with the direction of their classes' phrases added.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_psds import problem

from flam_train.evaluation.frame_embeddings import FrameEmbeddings
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import METRICS, SedMetrics, result_of
from flam_train.evaluation.words import Words, asked_of
from flam_train.frames import FrameGrid


def synthetic(recordings: int, classes: int, frames: int, width: int, seed: int) -> FrameEmbeddings:
    rng = np.random.default_rng(seed)
    _, events, names = problem(recordings, classes, frames, seed, scores=False)
    grid = FrameGrid(frames, 10.0)
    text_MD = rng.standard_normal((classes, width), dtype=np.float32) / np.float32(np.sqrt(width))
    frame_FD = rng.standard_normal((recordings * frames, width), dtype=np.float32) / np.float32(np.sqrt(width))
    row = {name: k for k, name in enumerate(names)}
    for n, found in enumerate(events):
        for onset, offset, name in found:
            at = n * frames + grid.labels([onset], [offset])[0].nonzero()[0]
            frame_FD[at] += 0.1 * text_MD[row[name]]
    frame_FD /= np.linalg.norm(frame_FD, axis=1, keepdims=True)
    return FrameEmbeddings(
        frame_FD=frame_FD,
        frame_start_N1=np.arange(recordings + 1) * frames,
        text_MD=text_MD / np.linalg.norm(text_MD, axis=1, keepdims=True),
        scale_M=np.full(classes, 10, dtype=np.float32),
        bias_M=np.full(classes, -8, dtype=np.float32),
        texts=names,
        words={"trained": Words(names, [names], [])},
        keys=[str(n) for n in range(recordings)],
        splits=["test"] * recordings,
        durations=[10.0] * recordings,
        events=events,
        frame_seconds=grid.frame_seconds,
        method="unbiased",
        asked=asked_of(None, None, None),
        about={
            "dataset": "noise", "vocabulary": None, "vocabulary sha256": "", "clips_expected": recordings,
            "clips_evaluated": recordings, "missing": {}, "model": {"sha256": "0" * 64}, "data": {}, "seed": seed,
            "seconds": 10.0, "batch size": 16,
        },
    )  # fmt: skip


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=16_996)
    parser.add_argument("--classes", type=int, default=416)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(SedMetrics().metrics))
    args = parser.parse_args()
    made = synthetic(args.recordings, args.classes, args.frames, args.width, args.seed)
    print(f"{args.classes:,} classes x {args.recordings:,} recordings x {args.frames} frames: {peak():.2f} GB to make")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.safetensors"
        for what, call in (("save", lambda: made.save(path)), ("load", lambda: FrameEmbeddings.load(path))):
            begin = time.perf_counter()
            call()
            print(f"{what}  {time.perf_counter() - begin:.1f} s, {peak():.2f} GB at most", flush=True)
        print(f"file  {path.stat().st_size / 2**30:.2f} GB")
    scores = Scores(made)
    for names in (*((name,) for name in args.metrics), tuple(args.metrics)):
        begin = time.perf_counter()
        result = result_of(scores, SedMetrics(metrics=names))
        first = next(iter(result.metrics.items()))
        seconds = time.perf_counter() - begin
        print(f"{' '.join(names)}  {seconds:.1f} s, {peak():.2f} GB at most: {first[0]} {first[1]:.4f}", flush=True)


if __name__ == "__main__":
    main()

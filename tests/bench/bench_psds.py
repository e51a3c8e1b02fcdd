"""How long PSDS takes on as many classes and recordings as AudioSet Strong's evaluation has, and how much memory.

    python tests/bench/bench_psds.py [--recordings 16996] [--device cuda] [--reference]
    python tests/bench/bench_psds.py --hours 8    # one recording, frames of 20 ms, 10 classes, 200 events each an hour

Scores are noise (`--noise`) raised where events are; --reference also times sed_scores_eval on the same scores (at full
size: hours), in the same run.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from flam_train.metrics.detection import psds
from flam_train.metrics.psd import PSDS

LONG_HOP = 0.02
"""Seconds of a frame of a long recording."""


def problem(
    recordings: int, classes: int, frames: int, seed: int, scores: bool = True
) -> tuple[torch.Tensor | None, list, list[str]]:
    """score_NKT float32; events, 8.2 a recording as in AudioSet Strong's evaluation (139,538 in 16,996)."""
    rng = np.random.default_rng(seed)
    names = [f"class {k}" for k in range(classes)]
    generator = torch.Generator().manual_seed(seed)
    score_NKT = torch.rand(recordings, classes, frames, generator=generator) * 0.6 if scores else None
    hop = 10.0 / frames
    events: list[list[tuple[float, float, str]]] = [[] for _ in range(recordings)]
    owners = np.concatenate((np.arange(classes), rng.integers(classes, size=round(8.21 * recordings) - classes)))
    for k in owners:
        n = int(rng.integers(recordings))
        onset = rng.uniform(0, 9)
        offset = min(10.0, onset + rng.exponential(2.0) + 0.1)
        events[n].append((onset, offset, names[k]))
        if score_NKT is not None:
            score_NKT[n, k, int(onset / hop) : int(offset / hop) + 1] += rng.uniform(0, 0.4)
    return score_NKT, events, names


def long_problem(hours: float, seed: int) -> tuple[torch.Tensor, list, list[str]]:
    """score_1KT: means of half a second of noise, raised where events are; made class by class."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    names = [f"class {k}" for k in range(10)]
    score_1KT = torch.empty(1, len(names), round(hours * 3600 / LONG_HOP))
    events = []
    for k, name in enumerate(names):
        noise_T = torch.rand(score_1KT.shape[2] + 25, generator=generator)
        score_1KT[0, k] = torch.nn.functional.avg_pool1d(noise_T[None, :-1], 25, 1)[0]
        for onset in np.sort(rng.uniform(0, hours * 3600 - 20, round(200 * hours))):
            offset = onset + rng.exponential(2.0) + 0.1
            events.append((onset, offset, name))
            score_1KT[0, k, int(onset / LONG_HOP) : int(offset / LONG_HOP)] += rng.uniform(0, 0.4)
    return score_1KT, [events], names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=16_996)
    parser.add_argument("--classes", type=int, default=407)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", nargs="+", choices=PSDS, default=list(PSDS))
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--hours", type=float, help="one recording of so many, instead of many recordings")
    args = parser.parse_args()
    if args.hours:
        score_NKT, events, names = long_problem(args.hours, args.seed)
        hop = LONG_HOP
    else:
        score_NKT, events, names = problem(args.recordings, args.classes, args.frames, args.seed)
        hop = 10.0 / args.frames
    assert score_NKT is not None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scores = list(score_NKT.to(args.device))
    recordings, classes, frames = score_NKT.shape
    print(f"{classes} classes x {recordings:,} recordings x {frames:,} frames on {args.device}")
    for name in args.settings:
        p = PSDS[name]
        torch.cuda.synchronize() if args.device != "cpu" else None
        begin = time.perf_counter()
        ours = psds(scores, events, names, None, hop, p.dtc, p.gtc, p.cttc, p.alpha_ct, p.alpha_st)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        line = f"{name}: {ours.value:.9f} in {seconds:.2f} s, {peak:.2f} GB at most, {before:.2f} GB of it the scores"
        if args.device != "cpu":
            line += f", on the device {torch.cuda.max_memory_allocated() / 2**30:.2f} GB"
        if args.reference:
            from flam_train.metrics.reference import psds_reference  # it takes 150 MB

            begin = time.perf_counter()
            value, _ = psds_reference([s.cpu().numpy() for s in scores], events, names, frame_seconds=hop, parameters=p)
            theirs = time.perf_counter() - begin
            line += (
                f"; sed_scores_eval {theirs:.1f} s, {theirs / seconds:.1f} times, difference {ours.value - value:.1e}"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()

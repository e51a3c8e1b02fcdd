"""How long resampled F1 and AUROC take on as many classes and recordings as AudioSet Strong's evaluation has.

    python tests/bench/bench_bootstrap.py [--recordings 16996] [--device cuda] [--no-micro]

Scores are noise raised where events are, as in bench_psds.py.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from bench_psds import problem

from flam_train.frames import FrameGrid
from flam_train.metrics.bootstrap import auroc_resampled, draws, event_counts, frame_counts, interval, segment_counts
from flam_train.metrics.detection import auroc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=16_996)
    parser.add_argument("--classes", type=int, default=407)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-micro", action="store_true", help="AUROC macro alone")
    args = parser.parse_args()
    score_NKT, events, names = problem(args.recordings, args.classes, args.frames, args.seed)
    assert score_NKT is not None
    grid, place = FrameGrid(args.frames, 10.0), {name: k for k, name in enumerate(names)}
    label_KF = torch.zeros(args.classes, args.recordings * args.frames, dtype=torch.bool)
    for n, found in enumerate(events):
        for onset, offset, name in found:
            active_T = torch.as_tensor(grid.labels([onset], [offset])[0]).bool()
            label_KF[place[name], n * args.frames : (n + 1) * args.frames] |= active_T
    score_KF = score_NKT.transpose(0, 1).reshape(args.classes, -1).to(args.device)
    label_KF, scores = label_KF.to(args.device), list(score_NKT.to(args.device))
    unit_N = torch.arange(args.recordings)
    unit_F = unit_N.repeat_interleave(args.frames)
    hop = 10.0 / args.frames
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{args.classes} classes x {args.recordings:,} recordings x {args.frames} frames on {args.device}")

    def blocks():
        for k in range(0, args.classes, 100):
            yield score_KF[k : k + 100].T, label_KF[k : k + 100].T

    begin = whole = time.perf_counter()
    weight_UR = draws(args.recordings, args.resamples, args.seed)

    def told(name: str, value_R: torch.Tensor | None) -> None:
        nonlocal begin
        if value_R is not None:
            found = interval(value_R)
            seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{name}: {found.low:.6f} to {found.high:.6f} in {seconds:.1f} s, {peak:.2f} GB at most", flush=True)
        begin = time.perf_counter()

    timed = scores, events, names, None, hop, unit_N, args.recordings
    one = [frame_counts(score_FK, label_FK, unit_F, args.recordings) for score_FK, label_FK in blocks()]
    told("frame F1 macro", type(one[0]).joined(one).f1(weight_UR)[0])
    told("segment F1 macro", segment_counts(*timed).f1(weight_UR)[0])
    told("event F1 macro", event_counts(*timed).f1(weight_UR)[0])
    areas = auroc_resampled(blocks, unit_F, weight_UR, micro=not args.no_micro)
    told("AUROC macro, micro" if areas.micro_R is not None else "AUROC macro", areas.macro_R)
    print(f"all in {time.perf_counter() - whole:.1f} s, {before:.2f} GB of the memory are scores and labels")
    once = auroc(score_KF[:5].T, label_KF[:5].T).macro
    ones = torch.ones(args.recordings, 1, dtype=torch.int32)
    again = auroc_resampled(lambda: [(score_KF[:5].T, label_KF[:5].T)], unit_F, ones, micro=False).macro_R
    print(f"five classes, each recording once: {float(again[0]) - once:.1e} from their AUROC")


if __name__ == "__main__":
    main()

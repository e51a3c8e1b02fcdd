"""Time, memory and messages of the frame-wise loss, gathered and round the ring, on gloo ranks of this machine.

    python tests/bench/bench_losses.py [--ranks 1 2 4 8] [--clips 32] [--phrases 256] [--rounds 9] [--width 512]

Every rank has as many clips and phrases of its own, so a rank's work grows with their number. First one process with
the phrases of all ranks; from its times those of the ranks are foretold: R ranks on N cores take max(1, R / N) times as
long. Times are the fastest of the rounds, forward and backward, of the slowest rank; memory is the peak of torch's
allocator beyond the inputs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
from accounting import counted_traffic, peak_bytes
from ranks import on_ranks

from flam_train.losses import framewise_loss

FRAMES = 32
EXCHANGES = ("gather", "ring")


def problem(rank: int, clips: int, phrases: int, width: int) -> dict[str, torch.Tensor]:
    """A rank's own clips and phrases, no phrase another rank's."""
    g = torch.Generator().manual_seed(rank)
    return {
        "frame_BTD": normalize(torch.randn(clips, FRAMES, width, generator=g), dim=-1).requires_grad_(),
        "text_CD": normalize(torch.randn(phrases, width, generator=g), dim=-1).requires_grad_(),
        "scale_C": torch.full((phrases,), 10.0, requires_grad=True),
        "bias_C": torch.full((phrases,), -8.0),
        "label_BCT": torch.rand(clips, phrases, FRAMES, generator=g) < 0.1,
        "audio_valid_B": torch.ones(clips, dtype=torch.bool),
        "phrase_valid_C": torch.ones(phrases, dtype=torch.bool),
        "phrase_ids_C": rank * phrases + torch.arange(phrases),
    }


def measure(rank: int, world: int, clips: int, phrases: int, width: int, rounds: int) -> dict[str, dict[str, float]]:
    """Of each exchange: milliseconds, peak in MB, messages and MB that this rank sends."""
    values = problem(rank, clips, phrases, width)
    out = {}
    for exchange in EXCHANGES:

        def step(exchange: str = exchange) -> None:
            torch.autograd.backward(framewise_loss(**values, exchange=exchange))
            for x in values.values():
                x.grad = None

        step()
        took = []
        for _ in range(rounds):
            dist.barrier() if world > 1 else None
            begin = time.perf_counter()
            step()
            took.append(1e3 * (time.perf_counter() - begin))
        with counted_traffic() if world > 1 else nullcontext([]) as sent:
            peak = peak_bytes(step)
        out[exchange] = {
            "ms": min(took),
            "peak": peak / 1e6,
            "messages": float(len(sent)),
            "sent": sum(size for _, size in sent) / 1e6,
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--clips", type=int, default=32, help="of each rank")
    parser.add_argument("--phrases", type=int, default=256, help="of each rank")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    print(f"{args.clips} clips and {args.phrases} phrases a rank, {FRAMES} frames, width {args.width}, {cores} cores")
    print(
        "| ranks | phrases | logits MB | exchange | one process ms | foretold ms | ms | peak MB | messages | MB sent |"
    )
    print("|" + "---|" * 10)
    for ranks in args.ranks:
        total = ranks * args.phrases
        alone = measure(0, 1, args.clips, total, args.width, args.rounds)
        shape = args.clips, args.phrases, args.width, args.rounds
        found = on_ranks(ranks, measure, *shape) if ranks > 1 else [measure(0, 1, *shape)]
        for exchange in EXCHANGES:
            slowest = max(rank[exchange]["ms"] for rank in found)
            peak = max(rank[exchange]["peak"] for rank in found)
            one = alone[exchange]["ms"]
            logits = args.clips * total * FRAMES * 4 / 1e6
            print(
                f"| {ranks} | {total} | {logits:.1f} | {exchange} | {one:.0f} | {one * max(1, ranks / cores):.0f} | "
                f"{slowest:.0f} | {peak:.1f} | {found[0][exchange]['messages']:.0f} | "
                f"{found[0][exchange]['sent']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

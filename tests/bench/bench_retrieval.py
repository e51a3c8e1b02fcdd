"""How long retrieval metrics take beside the bare product of the embeddings, and how much memory beyond these.

    python tests/bench/bench_retrieval.py [--clips 10000] [--captions 5] [--width 512] [--rounds 5] [--device cuda]

The product is written into memory that is there already; both are measured in turn, the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch
from torch.nn.functional import normalize

from flam_train.metrics.retrieval import retrieval_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--captions", type=int, default=5, help="of each clip")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    g = torch.Generator().manual_seed(args.seed)
    owner = torch.arange(args.clips).repeat_interleave(args.captions)
    audio = normalize(torch.randn(args.clips, args.width, generator=g), dim=-1)
    text = normalize(audio[owner] + 0.1 * torch.randn(len(owner), args.width, generator=g), dim=-1)
    audio, text, owner = (x.to(args.device) for x in (audio, text, owner))

    def timed(call) -> float:
        torch.cuda.synchronize() if args.device != "cpu" else None
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize() if args.device != "cpu" else None
        return time.perf_counter() - begin

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    retrieval_metrics(audio, text, owner)
    beyond = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - before
    product = torch.empty(len(text), len(audio), device=args.device)
    torch.mm(text, audio.T, out=product)
    ours, bare = [], []
    for _ in range(args.rounds):
        ours.append(timed(lambda: retrieval_metrics(audio, text, owner)))
        bare.append(timed(lambda: torch.mm(text, audio.T, out=product)))
    ratios = sorted(a / b for a, b in zip(ours, bare, strict=True))
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{args.clips:,} clips x {len(text):,} captions: {statistics.median(ours):.2f} s")
    print(f"product {statistics.median(bare):.2f} s, ratio {spread}; {beyond:.2f} GB beyond the embeddings")


if __name__ == "__main__":
    main()

"""How long the numbers of a validation take at its end, and how much memory, with embeddings drawn at random.

    python tests/bench/bench_validation.py --clips 1168 --classes 10              # DESED's validation set
    python tests/bench/bench_validation.py --clips 2000 --classes 1000
    python tests/bench/bench_validation.py --clips 16996 --classes 407 --phrasings 3     # AudioSet Strong's

Frames are 512 numbers wide, 32 a clip of 10 s. Their audio, and the models, are not part of it.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from flam_train.batch import TextEmbeddings
from flam_train.evaluation.words import Words
from flam_train.frames import FrameGrid
from flam_train.training.validation import Asked, Located
from flam_train.training.validation.located import Clip

WIDTH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1168)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--phrasings", type=int, default=1, help="of each class")
    parser.add_argument("--events", type=int, default=4, help="of a clip")
    parser.add_argument("--listed", action="store_true", help="labels are not complete")
    args = parser.parse_args()
    grid, g = FrameGrid(), torch.Generator().manual_seed(0)
    names = [f"class {k:04d}" for k in range(args.classes)]
    rounds = [[f"{name}, said {p}" for name in names] for p in range(args.phrasings)]
    asked = Asked(args.clips, grid.frames, Words(names, rounds, []), tuple(names) if args.listed else ())
    located = Located(asked, grid, WIDTH, "drawn")

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=g), dim=-1)

    texts = args.classes * args.phrasings
    located.method = "unbiased"
    located.text = TextEmbeddings(unit(texts, WIDTH), torch.full((texts,), 10.0), torch.full((texts,), -8.0))
    for n in range(args.clips):
        at = torch.randint(args.classes, (args.events,), generator=g).tolist()
        times = (9.5 * torch.rand(args.events, 2, generator=g)).sort(dim=1).values.tolist()
        events = [(a, b + 0.4, names[k]) for k, (a, b) in zip(at, times, strict=True)]
        frame_TD = torch.randn(grid.frames, WIDTH, generator=g)
        for (a, b, _), k in zip(events, at, strict=True):  # heard, faintly
            frame_TD[int(a / grid.frame_seconds) : int(b / grid.frame_seconds) + 1] += 6 * located.text.text_CD[k]
        located.clips.append(Clip(f"clip-{n:06d}", 10.0, grid.frames, events, []))
        located.frames.append(torch.nn.functional.normalize(frame_TD, dim=-1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    found = located.compute(torch.device("cpu"))
    took, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{args.clips:,} clips, {args.classes:,} classes, {args.phrasings} phrasings: {asked.pairs:,} pairs")
    print(
        f"  kept {asked.kept_bytes(WIDTH) / 2**20:.0f} MiB, at the end {(after - before) / 2**10:.0f} MiB more, "
        f"{asked.computed_bytes(WIDTH) / 2**20:.0f} MiB foreseen"
    )
    print(f"  {took:.1f} s: {', '.join(f'{name} {value:.4f}' for name, value in found.items())}")


if __name__ == "__main__":
    main()

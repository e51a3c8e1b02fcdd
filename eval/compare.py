"""Whether one model is better than another at detection, from the scores that both kept of the same clips.

    python eval/compare.py results/a/scores/sed-NAME.safetensors results/b/scores/sed-NAME.safetensors
    python eval/compare.py A B --metrics auroc event_f1 --group site --out difference.json

Prints each metric of A and of B, A - B, between what the difference lies (paired bootstrap: both are measured on the
same resamples of the recordings, or of --group of them), and the share of resamples in which A is better. F1 is that at
0.5. PSDS is compared with --bootstrap-psds alone. Clips, classes and truth must be the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from flam_train import evaluation  # lazy: its names are imported as they are used, torch with them
from flam_train.cli.evaluate import bootstrap_of, bootstrap_options, note, told
from flam_train.data.shards.tars import replace_with
from flam_train.disk import check_writable
from flam_train.evaluation.choices import METRICS, PHRASINGS
from flam_train.models.methods import METHODS

COMPARED = tuple(name for name in METRICS if name in ("auroc", "frame_f1", "segment_f1", "event_f1", "psds"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="kept scores (.safetensors) of one model")
    parser.add_argument("b", type=Path, help="and of the other")
    parser.add_argument("--phrasings", choices=PHRASINGS, help="[trained, else those kept]")
    parser.add_argument("--method", choices=METHODS, help="of both [each model's own]")
    parser.add_argument("--metrics", nargs="+", choices=COMPARED, help="[all]")
    parser.add_argument("--median", type=int, default=3, metavar="FRAMES", help="filter, odd [%(default)s]")
    bootstrap_options(parser, asked=False, psds=True)
    parser.add_argument("--out", type=Path, metavar="JSON", help="writes the numbers, and how they were found")
    args = parser.parse_args()
    if args.out:
        check_writable(args.out.parent, "--out")
    how = bootstrap_of(args)
    chosen = evaluation.SedMetrics(args.method, tuple(args.metrics or COMPARED), args.median)
    kept = [evaluation.FrameEmbeddings.load(path) for path in (args.a, args.b)]
    phrasings = args.phrasings or ("trained" if "trained" in kept[0].words else next(iter(kept[0].words)))
    a, b = (evaluation.Scores(one, phrasings) for one in kept)
    try:
        drawn, found = evaluation.resampled.compare(a, b, chosen, how, note)
    except evaluation.resampled.Differs as error:
        raise ValueError(f"{args.a} and {args.b}: {error}") from error
    print(f"A  {args.a}\nB  {args.b}\n")
    print(f"{'':<24} {'A':>8} {'B':>8} {'A - B':>8}  {'between':<18} A better")
    for name, one in found.items():
        between = f"{one['low']:+.4f}, {one['high']:+.4f}"
        print(
            f"{name.split('[')[0]:<24} {one['a']:8.4f} {one['b']:8.4f} {one['difference']:+8.4f}  {between:<18} "
            f"{100 * one['a better']:.1f} %"
        )
    of = f"{drawn['resamples']:,} resamples of {drawn['units']:,} {drawn['unit']}"
    print(f"\nbetween: {100 * drawn['level']:g} %, {of}, seed {drawn['seed']}, {phrasings} phrasings")
    if args.out:
        raw = {
            "comparison": 1,
            "a": {"file": str(args.a), "model": a.kept.about["model"]},
            "b": {"file": str(args.b), "model": b.kept.about["model"]},
            "phrasings": phrasings,
            "how": drawn,
            "metrics": evaluation.resampled.plain(found),
        }
        text = json.dumps(raw, indent=2, ensure_ascii=False, allow_nan=False)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        replace_with(args.out, lambda file: file.write(text.encode() + b"\n"))
        print(f"written  {args.out}")


if __name__ == "__main__":
    sys.exit(told(main))

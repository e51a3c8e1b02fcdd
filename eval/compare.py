"""Whether models differ: runs over their seeds, or two models on the same clips.

    python eval/compare.py runs/lr --out comparison.json
    python eval/compare.py results/a/scores/sed-NAME.safetensors results/b/scores/sed-NAME.safetensors
    python eval/compare.py A B --metrics auroc event_f1 --group site --out difference.json
    python eval/compare.py results/a/scores/retrieval-NAME.safetensors results/b/scores/retrieval-NAME.safetensors

Of run folders, or folders of them: runs whose settings differ only in the seed are a group. Prints mean and standard
deviation of each group's validations, at the last step and at the best one, and of what an evaluation left in
RUN/results. Runs that are not finished, and those without any such number, are named and left out. --out NAME.json
writes every number, and beside it NAME.csv, NAME.md and NAME.png.

Of two files of kept scores (detections) or embeddings (retrievals): prints each metric of A and of B, A - B, between
what the difference lies (paired bootstrap: both are measured on the same resamples of the recordings, or of --group of
them), and the share of resamples in which A is better. F1 is that at 0.5. PSDS is compared with --bootstrap-psds alone.
Clips, classes and truth must be the same. The options but --out are for these.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from flam_train import evaluation  # lazy: its names are imported as they are used, torch with them
from flam_train.cli.evaluate import bootstrap_of, bootstrap_options, note, told
from flam_train.data.shards.tars import replace_with
from flam_train.disk import check_writable
from flam_train.evaluation.choices import CAPTIONS, MEDIAN_EDGES, PHRASINGS, RESAMPLED
from flam_train.models.methods import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "compared", type=Path, nargs="+", metavar="RUN|FILE", help="run folders; or two files of kept scores, A and B"
    )
    parser.add_argument("--phrasings", choices=PHRASINGS, help="[trained, else those kept]")
    parser.add_argument("--method", choices=METHODS, help="of both [each model's own]")
    parser.add_argument("--metrics", nargs="+", choices=RESAMPLED, help="of detections [all]")
    parser.add_argument("--median", type=int, default=3, metavar="FRAMES", help="filter, odd [%(default)s]")
    parser.add_argument(
        "--median-edges", choices=MEDIAN_EDGES, default="repeat", help="how it continues a recording [repeat]"
    )
    parser.add_argument(
        "--captions", choices=CAPTIONS, default="all", help="of retrieval, as in eval/retrieval.py [all]"
    )
    bootstrap_options(parser, asked=False, psds=True)
    parser.add_argument("--out", type=Path, metavar="JSON", help="writes the numbers, and how they were found")
    args = parser.parse_args()
    if args.out:
        check_writable(args.out.parent, "--out")
    if all(path.suffix == ".safetensors" for path in args.compared):
        if len(args.compared) != 2:
            parser.error(f"{len(args.compared)} files of kept scores: give two, A and B")
        two_models(args)
    else:
        for name, value in vars(args).items():
            if name not in ("compared", "out") and value != parser.get_default(name):
                parser.error(f"--{name.replace('_', '-')} is for two files of kept scores, not for runs")
        over_seeds(args)


def over_seeds(args: argparse.Namespace) -> None:
    if args.out and args.out.suffix != ".json":
        raise ValueError(f"--out {args.out}: NAME.json, beside which NAME.csv, NAME.md and NAME.png are written")
    seeds, report = evaluation.seeds, evaluation.report
    runs, left_out = seeds.read_runs(args.compared)
    for folder, why in left_out.items():
        note(f"left out: {folder}: {why}")
    if not runs:
        raise ValueError("of none of these runs is there a number: let them finish, with a validation")
    groups = seeds.grouped(runs)
    tables = report.seed_tables(groups)
    print(report.markdown(tables))
    if not args.out:
        return
    from flam_train.plotting import save_figure  # matplotlib: not for --help

    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows(report.seed_csv(groups))
    write(args.out, as_json(seeds.plain(groups, left_out)))
    write(args.out.with_suffix(".csv"), rows.getvalue())
    write(args.out.with_suffix(".md"), report.markdown(tables))
    print(f"written  {save_figure(report.seed_figure(groups), args.out.with_suffix('.png'))}")


def two_models(args: argparse.Namespace) -> None:
    args.a, args.b = args.compared
    how = bootstrap_of(args)
    assert how is not None
    kept = [evaluation.parts.Kept.read(path) for path in args.compared]
    try:
        drawn, found, about, what = (detection if kept[0].facts.get("kind") == "frames" else retrieval)(args, how)
    except evaluation.compared.Differs as error:
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
    print(f"\nbetween: {100 * drawn['level']:g} %, {of}, seed {drawn['seed']}, {what}")
    if args.out:
        raw = {
            "comparison": 1,
            "a": {"file": str(args.a), "model": about[0]["model"]},
            "b": {"file": str(args.b), "model": about[1]["model"]},
            "asked": what,
            "how": drawn,
            "metrics": evaluation.compared.plain(found),
        }
        write(args.out, as_json(raw))


def as_json(raw: dict[str, Any]) -> str:
    return json.dumps(raw, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_with(path, lambda file: file.write(text.encode()))
    print(f"written  {path}")


def detection(args: argparse.Namespace, how: evaluation.drawn.Bootstrap) -> tuple[Any, Any, list[dict], str]:
    metrics = tuple(args.metrics or (name for name in RESAMPLED if name != "psds" or how.psds))
    chosen = evaluation.SedMetrics(args.method, metrics, args.median, median_edges=args.median_edges)
    kept = [evaluation.FrameEmbeddings.load(path) for path in (args.a, args.b)]
    phrasings = args.phrasings or ("trained" if "trained" in kept[0].words else next(iter(kept[0].words)))
    a, b = (evaluation.Scores(one, phrasings) for one in kept)
    return *evaluation.compared.compare(a, b, chosen, how, note), [one.about for one in kept], f"{phrasings} phrasings"


def retrieval(args: argparse.Namespace, how: evaluation.drawn.Bootstrap) -> tuple[Any, Any, list[dict], str]:
    kept = [evaluation.Embeddings.load(path) for path in (args.a, args.b)]
    found = evaluation.compared.compare_retrieval(*kept, how, args.captions)
    return *found, [one.about for one in kept], f"captions {args.captions}"


if __name__ == "__main__":
    sys.exit(told(main))

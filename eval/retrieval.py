"""Retrieval between recordings and captions, both directions, on any shards with captions.

    python eval/retrieval.py runs/demo/export shards/test --out results/
    python eval/retrieval.py runs/x/export shards/clotho/evaluation --captions sets --windows mean --out results/
    python eval/retrieval.py results/scores/retrieval-NAME.safetensors --out results/   # again, without model or audio
    python eval/retrieval.py runs/x/export shards/mine/test --captions shared --out results/   # captions that repeat
    torchrun --nproc-per-node 8 eval/retrieval.py ...                                   # or srun: the same numbers

The embeddings are kept below OUT/scores: a run that was stopped goes on. --bootstrap says between what each number
lies, had other clips been asked for. The published sets have protocols: see
eval/protocols.py.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from flam_train import checkpoints, evaluation  # lazy: their names are imported as they are used, torch with them
from flam_train.cli.evaluate import bootstrap_of, bootstrap_options, options, ranks, report, told
from flam_train.data.shards.corpus import Corpus
from flam_train.disk import check_writable
from flam_train.evaluation.choices import CAPTIONS, SCORES, WINDOWS
from flam_train.evaluation.progress import progress_line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", help="an export folder, hf://OWNER/NAME, or kept embeddings (.safetensors)")
    parser.add_argument("shards", nargs="?", help="a folder of shards with its manifest, or its URL, with captions")
    parser.add_argument(
        "--captions", choices=CAPTIONS, default="all",
        help="all at once; the n-th captions of all clips, set by set; or equal ones as one, with several right clips",
    )  # fmt: skip
    parser.add_argument(
        "--relevant", type=Path, metavar="FILE",
        help="CSV with the columns caption and key: clips that are right, too (with --captions shared)",
    )  # fmt: skip
    parser.add_argument("--windows", choices=WINDOWS, default="first", help="of clips longer than the model's [first]")
    parser.add_argument("--figures", action="store_true", help="examples of what was found")
    bootstrap_options(parser, of="recalls, mAP and mean ranks")
    options(parser)
    args = parser.parse_args()
    check_writable(args.out, "--out")
    how = bootstrap_of(args)
    if args.relevant is not None:
        if args.captions != "shared":
            parser.error("--relevant is told of --captions shared")
        args.relevant = evaluation.retrieval.read_relevant(args.relevant)
    if args.export.endswith(".safetensors"):
        if args.shards is not None:
            parser.error("kept embeddings are evaluated without shards")
        finish(evaluation.Embeddings.load(args.export), args, how)
        return
    if args.shards is None:
        parser.error("give the folder of shards to evaluate on")
    with ranks(args) as device:
        model, corpus = checkpoints.load_export(args.export, device), Corpus(args.shards)
        made = evaluation.embed_corpus(
            model,
            corpus,
            windows=args.windows,
            batch_size=args.batch_size,
            workers=args.workers,
            path=args.out / SCORES / f"retrieval-{corpus.name}.safetensors",
            progress=progress_line(f"{corpus.name}, retrieval"),
        )
        if made is not None:
            finish(made, args, how)


def finish(made: evaluation.Embeddings, args: argparse.Namespace, how: evaluation.drawn.Bootstrap | None) -> None:
    retrieval, asked = evaluation.retrieval, (args.captions, args.relevant)
    found = retrieval.intervals(made, how, *asked) if how is not None else {}
    result = replace(retrieval.result_of(made, *asked), intervals=found)
    report([result], args.out)
    if args.figures:
        draw = evaluation.report.figures
        for path in draw.save_figures(draw.retrieval_figures(made, *asked), args.out / "figures", result.name):
            print(f"  figure   {path}")


if __name__ == "__main__":
    sys.exit(told(main))

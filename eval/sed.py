"""Sound event detection: frame AUROC and F1, segment and event F1, PSDS.

    python eval/sed.py runs/demo/export shards/test --phrasings trained held_out --out results/ --plot 3
    python eval/sed.py results/sed-trained-NAME-test.npz --out results/     # again from kept scores, without a model

Writes one results JSON for each kind of phrasing; --scores keeps the frame scores beside it, --plot N writes heatmaps
of the N clips with the most classes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from flam_train.data.corpus import Corpus
from flam_train.evaluation.figures import clip_figure, clips_with_most_classes
from flam_train.evaluation.progress import progress_line
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import METHODS, PHRASINGS, result_of, score_corpus
from flam_train.inference import load_model
from flam_train.metrics.psd import PSDS
from flam_train.plotting import save_figure
from flam_train.vocabulary import Vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="an export folder, or a .npz kept by --scores")
    parser.add_argument("shards", nargs="?", help="a folder of shards with its manifest, or its URL")
    parser.add_argument("--phrasings", nargs="+", choices=PHRASINGS, default=["trained"])
    parser.add_argument("--method", choices=METHODS, help="[unbiased; cosine for models without scale and bias]")
    parser.add_argument("--vocabulary", help="another than the corpus' own: a name in conf/vocabulary, or a .yaml file")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results [results]")
    parser.add_argument("--scores", action="store_true", help="keep frame scores and labels (.npz)")
    parser.add_argument(
        "--plot", type=int, default=0, metavar="N", help="heatmaps of the N clips with the most classes"
    )
    parser.add_argument("--skip", nargs="+", default=[], choices=["psds", "f1", *PSDS], help="slow on large sets")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    skip = frozenset(args.skip)
    if args.export.suffix == ".npz":
        if args.shards is not None or args.plot:
            parser.error("kept scores are evaluated without shards; --plot needs the export and the shards")
        report(result_of(Scores.load(args.export), skip, note), args.out)
        return
    if args.shards is None:
        parser.error("give the folder of shards to evaluate on")
    model, corpus = load_model(args.export, args.device), Corpus(args.shards)
    vocabulary = Vocabulary.load(args.vocabulary) if args.vocabulary else None
    for phrasings in args.phrasings:
        scores = score_corpus(
            model,
            corpus,
            phrasings=phrasings,
            method=args.method,
            vocabulary=vocabulary,
            batch_size=args.batch_size,
            progress=progress_line(f"{corpus.name}, {phrasings} phrasings"),
        )
        result = result_of(scores, skip, note)
        report(result, args.out)
        if args.scores:
            print(f"  scores   {scores.save(args.out / f'{result.name}.npz')}")
        plot(scores, corpus, result.name, args.plot, args.out)


def note(text: str) -> None:
    print(f"  {text}", file=sys.stderr)


def report(result: Result, out: Path) -> None:
    path = result.write(out)
    print(f"{result.summary()}\n  results  {path}")


def plot(scores: Scores, corpus: Corpus, name: str, count: int, out: Path) -> None:
    index_of = {corpus.key(n): n for n in range(len(corpus))} if count else {}
    for number in clips_with_most_classes(scores, count):
        key = scores.keys[number]
        figure = clip_figure(scores, number, corpus.waveform(index_of[key]))
        print(f"  heatmap  {save_figure(figure, out / 'heatmaps' / f'{name}-{key}.png')}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

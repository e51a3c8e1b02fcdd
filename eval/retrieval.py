"""Retrieval between recordings and captions, both directions.

python eval/retrieval.py runs/demo/export shards/test --out results/
python eval/retrieval.py runs/x/export shards/clotho/evaluation --captions sets --out results/   # one set at a time
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from flam_train.data.corpus import Corpus
from flam_train.evaluation.progress import progress_line
from flam_train.evaluation.retrieval import CAPTIONS, evaluate_retrieval
from flam_train.inference import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="an export folder")
    parser.add_argument("shards", help="a folder of shards with its manifest, or its URL, with captions")
    parser.add_argument(
        "--captions", choices=CAPTIONS, default="all", help="all at once, or the n-th captions of all clips, set by set"
    )
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results [results]")
    parser.add_argument("--embeddings", type=Path, metavar="FILE.npz", help="keep the embeddings")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    model, corpus = load_model(args.export, args.device), Corpus(args.shards)
    result = evaluate_retrieval(
        model,
        corpus,
        captions=args.captions,
        batch_size=args.batch_size,
        embeddings_path=args.embeddings,
        progress=progress_line(f"{corpus.name}, retrieval"),
    )
    path = result.write(args.out)
    print(f"{result.summary()}\n  results  {path}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

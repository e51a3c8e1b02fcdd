"""Mixtures from banks, as shards: with timed events, captions, and the spec each one was made from.

    python data_prep/simulate.py --bank BANK/train --recipe paper OUT --count 10000 --seed 0

Mixture n depends on the recipe, the bank, the seed and n only: the shards are the same bytes for any number of
processes. An interrupted run goes on when it is started again. Online mixing with the same seed makes the
same mixtures.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flam_train.cli import prepare
from flam_train.data import mixing
from flam_train.data.mixing.draw import draw
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.preparation.corpus_writer import CorpusPlan, cores, progress_bar, write_corpus
from flam_train.data.preparation.credits import counted
from flam_train.data.shards.audio import AUDIO
from flam_train.data.shards.exclusion import read_excluded
from flam_train.data.shards.schema import Record
from flam_train.disk import check_writable
from flam_train.vocabulary import Vocabulary


@dataclass(frozen=True)
class Maker:
    """Mixture n of a seed. Picklable: a bank is its numbers; its audio is read from the shards as needed."""

    bank: mixing.Bank
    recipe: MixRecipe
    seed: int
    phrasings: str
    split: str

    def __call__(self, n: int) -> tuple[Record, np.ndarray]:
        spec = draw(self.recipe, self.bank, self.seed, n, self.phrasings)
        return mixing.record(spec, self.recipe, self.bank, self.split), mixing.render_one(spec, self.bank, self.recipe)


def vocabulary_of(bank: mixing.Bank) -> tuple[str | None, dict[str, str]]:
    """The name of the mixtures' vocabulary and the files it needs beside the shards: the banks' own, or, if several
    are joined or a bank brings one along, a vocabulary.yaml with all classes."""
    if not bank.vocabulary.classes:
        return None, {}
    names = {c.manifest["vocabulary"] for c in bank.event_corpora}
    if len(names) == 1 and not (name := names.pop()).endswith(".yaml"):
        return name, {}
    text = yaml.safe_dump(as_plain(bank.vocabulary), sort_keys=False, allow_unicode=True)
    return "vocabulary.yaml", {"vocabulary.yaml": text}


def as_plain(vocabulary: Vocabulary) -> dict[str, Any]:
    """What `Vocabulary.load` reads."""
    classes = {
        label: {"concept": c.id, "phrasings": list(c.phrasings), "held_out": list(c.held_out)}
        for label, c in vocabulary.classes.items()
    }
    return {"corpus": vocabulary.corpus, "classes": classes}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the shards")
    parser.add_argument(
        "--bank", action="append", required=True, help="folder of bank shards, or its URL; may be repeated"
    )
    parser.add_argument("--exclude", nargs="+", default=[], metavar="FILE", help="sounds to leave out (verify.py)")
    parser.add_argument("--recipe", required=True, help="a name in conf/mixing, or a .yaml file")
    parser.add_argument("--count", type=int, required=True, help="number of mixtures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--phrasings", choices=("trained", "held_out"), default="trained", help="words of the captions")
    parser.add_argument("--audio", choices=AUDIO, default="flac")
    parser.add_argument("--per-shard", type=int, help="mixtures a shard (default: an eighth of all, at most 500)")
    parser.add_argument("--split", default="", help="written into every record")
    parser.add_argument("--corpus", help="the corpus' name (default: OUT's)")
    args = parser.parse_args(argv)
    if args.count < 1 or args.seed < 0 or args.processes < 1 or (args.per_shard or 1) < 1:
        parser.error("--count, --processes and --per-shard must be at least 1, --seed at least 0")
    with prepare.answered(parser):
        check_writable(args.out, "OUT")
        recipe, excluded = MixRecipe.load(args.recipe), read_excluded(args.exclude)
        with progress_bar(True, "sounds") as progress:
            task = progress.add_task("reading the bank", total=None)
            bank = mixing.Bank(
                args.bank,
                excluded=excluded,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        draw(recipe, bank, args.seed, 0, args.phrasings)  # a bank that does not fit is told before anything is written
        details = {
            "maker": "data_prep/simulate.py",
            "recipe": recipe.to_dict(),
            "seed": args.seed,
            "phrasings": args.phrasings,
        }
        details |= {"split": args.split, "banks": bank.provenance()}
        if args.exclude:
            details["sounds"] = hashlib.sha256("\n".join(bank.key).encode()).hexdigest()
        vocabulary, files = vocabulary_of(bank)
        plan = CorpusPlan(
            corpus=args.corpus or args.out.name,
            samples=args.count,
            per_shard=args.per_shard or min(500, -(-args.count // 8)),
            audio=args.audio,
            vocabulary=vocabulary,
            annotates=bank.annotates,
            details=details,
            files=files,
        )

        def conclude(dropped: list[tuple[int, str]]) -> dict[str, Any]:
            assert not dropped  # of a bank every sound can be read, or is an error
            return counted((licence, "") for licence in bank.licence)

        maker = Maker(bank, recipe, args.seed, args.phrasings, args.split)
        write_corpus(args.out, plan, maker, args.processes, conclude=conclude)


if __name__ == "__main__":
    main()

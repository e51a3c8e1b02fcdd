"""A bank of captioned sounds, from shards of captioned corpora: what the paper's mixtures are simulated from.

    python data_prep/caption_bank.py shards/audioset_acd/train shards/freesound/train shards/caption_bank
    python data_prep/simulate.py shards/simulated/train --bank shards/caption_bank --recipe paper --count 1000000

A clip becomes an event if it is shorter than --longest (10 s) and one of its captions has 2 to 13 words, as in the
paper (arXiv 2505.05335): it is cut to where it sounds, and that caption, the first of such, without a full stop, is its
phrase. A clip of at least 10 s becomes a background, uncut, if a caption of it matches --ambience: "ambience" is the
paper's word, what it was decided by is not published, so the words are our choice. All other clips are left out, and so
are silent ones, which missing.tsv lists. Ids, source and licence stay with each sound, and --exclude (like data.exclude
later) takes the names that the clips have in their own corpora.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.cli import prepare
from flam_train.data.mixing.levels import MADE_OF, describe, sounding_extent
from flam_train.data.preparation.corpus_writer import CorpusPlan, cores, progress_bar, write_corpus
from flam_train.data.preparation.credits import counted
from flam_train.data.preparation.listing import write_missing
from flam_train.data.preparation.recordings import as_key
from flam_train.data.shards.audio import AUDIO
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import read_excluded
from flam_train.data.shards.schema import Event, Record
from flam_train.data.sound.faults import Unusable
from flam_train.disk import check_writable

AMBIENCE = (
    r"\b(ambiences?|ambient (sounds?|noises?|recordings?)|atmos(pheres?)?|background (noise|sounds)|"
    r"field[ -]recordings?|soundscapes?|room ?tone)\b"
)
"""Not "background" alone: captions say it of speech and dogs that are heard there."""


@dataclass(frozen=True)
class Rule:
    """What becomes of a clip. longest: seconds; words: fewest and most of a phrase; ambience: regular expression."""

    longest: float = 10.0
    words: tuple[int, int] = (2, 13)
    ambience: str = AMBIENCE

    def phrase(self, record: Record) -> str | None:
        """Of an event: the first caption that is not too short or too long; None: it is none."""
        if record.duration >= self.longest:
            return None
        plain = (caption.strip().rstrip(".").rstrip() for caption in record.captions)
        return next((text for text in plain if self.words[0] <= len(text.split()) <= self.words[1]), None)

    def is_background(self, record: Record) -> bool:
        return record.duration >= self.longest and any(
            re.search(self.ambience, caption, re.IGNORECASE) for caption in record.captions
        )

    def takes(self, record: Record) -> bool:
        return self.phrase(record) is not None or self.is_background(record)


@dataclass(frozen=True)
class Sounds:
    """Sound n of the bank. Picklable: where it lies is two numbers."""

    corpora: list[Corpus]
    rule: Rule
    corpus_of: np.ndarray
    row_of: np.ndarray

    def where(self, n: int) -> tuple[str, str]:
        """The key of the clip that it is made of, and the folder of its corpus."""
        corpus = self.corpora[self.corpus_of[n]]
        return corpus.key(int(self.row_of[n])), str(corpus.folder)

    def __call__(self, n: int) -> tuple[Record, np.ndarray]:
        corpus, row = self.corpora[self.corpus_of[n]], int(self.row_of[n])
        clip = corpus.record(row)
        waveform_S = corpus.waveform(row, record=clip)
        phrase = self.rule.phrase(clip)
        extent = sounding_extent(waveform_S)
        if extent is None:
            raise Unusable(f"{corpus.folder}: {clip.key}: silent throughout")
        details: dict[str, Any] = {MADE_OF: [corpus.name, clip.key]}
        details |= {"ids": clip.details["ids"]} if clip.details.get("ids") else {}
        if phrase is not None:
            waveform_S = waveform_S[extent[0] : extent[1]]
            details["cut_from"] = [x / SAMPLE_RATE for x in extent]
        duration = len(waveform_S) / SAMPLE_RATE
        record = Record(
            key=key_of(corpus, clip.key),
            duration=duration,
            events=(Event(0.0, duration, phrase),) if phrase is not None else (),
            source=clip.source,
            licence=clip.licence,
            split=clip.split,
            details=details | describe(waveform_S, "background" if phrase is None else "event"),
        )
        return record, waveform_S


def key_of(corpus: Corpus, key: str) -> str:
    return as_key(f"{corpus.name}-{key}")


def choose(
    folders: Sequence[str], rule: Rule, exclude: Sequence[str], show: bool
) -> tuple[Sounds, list[tuple[str, str]]]:
    """Reads the records of all corpora: the sounds, and the licence and author of each. Raises ValueError where none
    fits, or where two sounds would have one key."""
    corpora = [Corpus(folder) for folder in folders]
    names = [corpus.name for corpus in corpora]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the corpora have one name ({', '.join(names)}): keys could not be told apart")
    excluded = read_excluded(exclude)
    found: list[tuple[int, int]] = []
    whose: list[tuple[str, str]] = []
    keys: dict[str, str] = {}
    with progress_bar(show, "clips") as progress:
        for c, corpus in enumerate(corpora):
            task = progress.add_task(f"reading {corpus.name}", total=len(corpus))
            left_out = excluded.get(corpus.name, set())
            for row in range(len(corpus)):
                record = corpus.record(row)
                if record.key not in left_out and rule.takes(record):
                    found.append((c, row))
                    whose.append((sys.intern(record.licence), str(record.details.get("author", ""))))
                    key, where = key_of(corpus, record.key), f"{corpus.folder}: {record.key}"
                    if key in keys:
                        raise ValueError(f"{where} and {keys[key]} would both be called {key!r}: leave one out")
                    keys[key] = where
                progress.advance(task)
    if not found:
        raise ValueError(
            f"{', '.join(map(str, folders))}: no clip is shorter than {rule.longest} s with a caption of "
            f"{rule.words[0]} to {rule.words[1]} words, or a background: see --longest, --words and --ambience"
        )
    rows = np.array(found, dtype=np.int64)
    return Sounds(corpora, rule, rows[:, 0], rows[:, 1]), whose


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+", help="folders of captioned shards, or their URLs")
    parser.add_argument("out", type=Path, help="folder for the bank")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="FILE", help="clips to leave out (verify.py)")
    parser.add_argument("--longest", type=float, default=Rule.longest, metavar="SECONDS", help="[%(default)s]")
    parser.add_argument("--words", type=int, nargs=2, default=Rule.words, metavar=("FEWEST", "MOST"), help="[2 13]")
    parser.add_argument(
        "--ambience", default=AMBIENCE, metavar="REGEX", help="in captions of backgrounds [%(default)s]"
    )
    parser.add_argument("--processes", type=int, default=cores(), help="[%(default)s]")
    parser.add_argument("--audio", choices=AUDIO, default="flac", help="[%(default)s]")
    parser.add_argument("--per-shard", type=int, default=500, metavar="N", help="sounds a shard [%(default)s]")
    parser.add_argument("--corpus", help="the bank's name [OUT's]")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    if args.processes < 1 or args.per_shard < 1:
        parser.error("--processes and --per-shard must be at least 1")
    try:
        re.compile(args.ambience)
    except re.error as error:
        parser.error(f"--ambience {args.ambience!r} is no regular expression: {error}")
    with prepare.answered(parser):
        check_writable(args.out, "OUT")
        rule = Rule(args.longest, tuple(args.words), args.ambience)
        sounds, whose = choose(args.shards, rule, args.exclude, not args.quiet)
        count = len(sounds.row_of)
        chosen = np.stack([sounds.corpus_of, sounds.row_of]).astype("<i8").tobytes()
        details = {
            "maker": "data_prep/caption_bank.py",
            "kind": "bank",
            "rule": {"longest": rule.longest, "words": list(rule.words), "ambience": rule.ambience},
            "corpora": [corpus.provenance() for corpus in sounds.corpora],
            "clips": sum(map(len, sounds.corpora)),
            "chosen": hashlib.sha256(chosen).hexdigest(),
        }
        plan = CorpusPlan(
            corpus=args.corpus or args.out.name,
            samples=count,
            per_shard=args.per_shard,
            audio=args.audio,
            vocabulary=None,
            annotates=[],
            details=details,
        )

        def conclude(dropped: list[tuple[int, str]]) -> dict[str, Any]:
            rows = [sounds.where(n) for n, _ in dropped]
            write_missing(args.out, [(key, folder, "silent throughout") for key, folder in rows])
            silent = {n for n, _ in dropped}
            heard = counted(some for n, some in enumerate(whose) if n not in silent)
            return {"recordings": count, "missing": len(dropped)} | heard

        write_corpus(args.out, plan, sounds, args.processes, not args.quiet, conclude)
        print(prepare.report(args.out))


if __name__ == "__main__":
    main()

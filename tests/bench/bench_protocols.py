"""How long the numbers of every published set (conf/eval) take from what is kept of it, at its published size.

    OMP_NUM_THREADS=1 python tests/bench/bench_protocols.py

Kept are noise: frames as in bench_evaluation.py, clips and captions of retrieval, clips of classes. Of sets whose size
is not published a guess is used (SIZES). Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from bench_evaluation import synthetic

from flam_train.evaluation.choices import protocols
from flam_train.evaluation.embeddings import Embeddings
from flam_train.evaluation.protocol import Protocol, results_of
from flam_train.evaluation.zero_shot import prompts
from flam_train.vocabulary import Vocabulary

SIZES = {"maestro": 300, "asfx_sed": 1_000, "simulated": 2_000}
"""Recordings, guessed."""

CLASSES = {"audioset_strong": 416, "desed": 10, "urbansed": 10, "maestro": 11, "asfx_sed": 200, "simulated": 50}
"""Of detections."""

EACH = {"audiocaps": 5, "clotho": 5, "asfx": 1}
"""Captions of a clip."""


def kept(name: str, protocol: Protocol, width: int):
    clips = protocol.clips or SIZES[name]
    if protocol.kind == "sed":
        made = synthetic(clips, CLASSES[name], 32, width, 0)
        words = next(iter(made.words.values()))
        return replace(made, words={phrasings: words for phrasings in protocol.phrasings})
    r = np.random.default_rng(0)
    unit = r.standard_normal((clips, width)).astype(np.float32)
    about = {"dataset": name, "vocabulary": None, "clips_expected": clips, "clips_evaluated": clips, "missing": {},
             "model": {"sha256": "0" * 64}, "data": {}, "seed": 0, "seconds": 10.0}  # fmt: skip
    if protocol.kind == "retrieval":
        captions = [[f"{n} {k}" for k in range(EACH[name])] for n in range(clips)]
        texts, classes = [text for said in captions for text in said], [""] * clips
    else:
        names, said = prompts(Vocabulary.load(str(protocol.vocabulary)), protocol.templates, protocol.phrases)
        captions, texts = [[] for _ in range(clips)], list(dict.fromkeys(text for some in said for text in some))
        classes = [names[n % len(names)] for n in range(clips)]
    text_MD = r.standard_normal((len(texts), width)).astype(np.float32)
    keys, splits = [f"c{n}" for n in range(clips)], [f"fold{n % 5}" for n in range(clips)]
    return Embeddings(unit, text_MD, texts, keys, captions, classes, splits, protocol.windows, about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=protocols())
    parser.add_argument("--width", type=int, default=512)
    args = parser.parse_args()
    total = 0.0
    for name in args.only:
        protocol = Protocol.load(name)
        made = kept(name, protocol, args.width)
        begin = time.process_time()
        results_of(protocol, made)
        seconds = time.process_time() - begin
        total += seconds
        print(f"{name}: {seconds:.1f} s", flush=True)
    print(f"all: {total:.1f} s")


if __name__ == "__main__":
    main()

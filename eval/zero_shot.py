"""Zero-shot classification on any shards whose clips have a class: each clip gets the class whose words lie nearest.

    python eval/zero_shot.py runs/demo/export shards/esc50/zero-shot --vocabulary esc50 --out results/
    python eval/zero_shot.py ... --templates "{}" "the sound of {}" --phrases all
    python eval/zero_shot.py results/scores/zero-shot-NAME.safetensors --vocabulary esc50 --out results/   # again
    torchrun --nproc-per-node 8 eval/zero_shot.py ...                        # or srun: the same numbers

A clip's class is details["class"], as data_prep/{esc,urbansound8k,vggsound}.py write it; its fold is its split. The
embeddings are kept below OUT/scores: a run that was stopped goes on; the numbers can be had again without model or
audio, also of fewer templates. The published sets have protocols: see eval/protocols.py.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from flam_train import checkpoints, evaluation  # lazy: their names are imported as they are used, torch with them
from flam_train.cli.evaluate import bootstrap_of, bootstrap_options, options, ranks, report, told
from flam_train.data.shards.corpus import Corpus
from flam_train.disk import check_writable
from flam_train.evaluation.choices import PHRASES, SCORES, WINDOWS
from flam_train.evaluation.progress import progress_line
from flam_train.vocabulary import Vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", help="an export folder, hf://OWNER/NAME, or kept embeddings (.safetensors)")
    parser.add_argument("shards", nargs="?", help="a folder of shards with its manifest, or its URL")
    parser.add_argument("--vocabulary", help="another than the corpus' own: a name in conf/vocabulary, or a .yaml file")
    parser.add_argument("--templates", nargs="+", default=["{}", "the sound of {}"], help="[%(default)s]")
    parser.add_argument("--phrases", choices=PHRASES, default="first", help="of each class [first]")
    parser.add_argument("--windows", choices=WINDOWS, default="first", help="of clips longer than the model's [first]")
    bootstrap_options(parser, of="accuracy")
    options(parser)
    args = parser.parse_args()
    check_writable(args.out, "--out")
    how = bootstrap_of(args)
    zero_shot = evaluation.zero_shot
    if args.export.endswith(".safetensors"):
        if args.shards is not None or args.vocabulary is None:
            parser.error("kept embeddings are evaluated without shards, with --vocabulary")
        vocabulary = Vocabulary.load(args.vocabulary)
        texts = zero_shot.prompts(vocabulary, args.templates, args.phrases)
        finish(evaluation.Embeddings.load(args.export), *texts, vocabulary, args, how)
        return
    if args.shards is None:
        parser.error("give the folder of shards to evaluate on")
    with ranks(args) as device:
        model, corpus = checkpoints.load_export(args.export, device), Corpus(args.shards)
        vocabulary = Vocabulary.load(args.vocabulary) if args.vocabulary else corpus.vocabulary
        classes, texts = zero_shot.prompts(vocabulary, args.templates, args.phrases)
        made = evaluation.embed_corpus(
            model,
            corpus,
            texts=[text for said in texts for text in said],
            windows=args.windows,
            batch_size=args.batch_size,
            workers=args.workers,
            path=args.out / SCORES / f"zero-shot-{corpus.name}.safetensors",
            progress=progress_line(f"{corpus.name}, zero-shot"),
        )
        if made is not None:
            finish(made, classes, texts, vocabulary, args, how)


def finish(
    made: evaluation.Embeddings,
    classes: list[str],
    texts: list[list[str]],
    vocabulary: Vocabulary,
    args: argparse.Namespace,
    how: evaluation.drawn.Bootstrap | None,
) -> None:
    zero_shot, asked = evaluation.zero_shot, (classes, texts, vocabulary.corpus)
    found = zero_shot.intervals(made, how, *asked) if how is not None else {}
    report([replace(zero_shot.result_of(made, *asked), intervals=found)], args.out)


if __name__ == "__main__":
    sys.exit(told(main))

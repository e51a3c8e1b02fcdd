"""Sound event detection on any shards with timed events: AUROC, F1 of frames, segments and events, PSDS,
calibration, and what else --metrics names.

    python eval/sed.py runs/demo/export shards/test --phrasings trained held_out --out results/ --plot 3
    python eval/sed.py results/scores/sed-NAME.safetensors --out results/             # again, without model or audio
    torchrun --nproc-per-node 8 eval/sed.py ...                                       # or srun: the same numbers

Writes one results JSON for each kind of phrasing, and the frames' embeddings below OUT/scores: a run that was stopped
goes on, metrics can be computed again, and other words cost no second pass over the audio. --plot N writes heatmaps of
the N clips with the most classes; --check also computes the metrics by sed_eval and sed_scores_eval (slow) and prints
how far they are apart. The metrics class_thresholds and cross_triggers also write a CSV each: numbers of every class,
its best threshold among them (chosen on the set that is scored: an upper bound), and which class is taken for which.
--bootstrap says between what each AUROC and F1 lies, had the recordings been others of their kind; eval/compare.py,
whether one model is better than another. --calibration reads what flam-detect calibrate found on other data: F1 and
what else there is at .5 with each phrase's own threshold, ECE of calibrated scores, in results of their own. The
published sets have protocols: see eval/protocols.py.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flam_train import (
    checkpoints,
    evaluation,
    plotting,
)  # lazy: their names are imported as they are used, torch with them
from flam_train.cli.evaluate import bootstrap_of, bootstrap_options, note, options, ranks, report, told
from flam_train.data.shards.corpus import Corpus
from flam_train.disk import check_writable
from flam_train.evaluation.choices import MEDIAN_EDGES, METRICS, PHRASINGS, RESAMPLED, SCORES, UNANNOTATED
from flam_train.evaluation.progress import progress_line
from flam_train.models.methods import METHODS
from flam_train.vocabulary import Vocabulary

if TYPE_CHECKING:
    from flam_train.detection.calibration import Calibration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", help="an export folder, hf://OWNER/NAME, or kept scores (.safetensors)")
    parser.add_argument("shards", nargs="?", help="a folder of shards with its manifest, or its URL")
    parser.add_argument("--phrasings", nargs="+", choices=PHRASINGS, help="[trained; of kept scores those kept]")
    parser.add_argument("--method", choices=METHODS, help="[unbiased; cosine for models without scale and bias]")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, help="[the first five and calibration]")
    parser.add_argument("--median", type=int, default=3, metavar="FRAMES", help="filter, odd [%(default)s]")
    parser.add_argument(
        "--median-edges", choices=MEDIAN_EDGES, default="repeat", help="how it continues a recording [%(default)s]"
    )
    parser.add_argument(
        "--unannotated", choices=UNANNOTATED, default="negative",
        help="classes that the corpus annotates in some clips only: the other clips lack them, or do not count "
        "[%(default)s]",
    )  # fmt: skip
    parser.add_argument("--vocabulary", help="another than the corpus' own: a name in conf/vocabulary, or a .yaml file")
    parser.add_argument("--plot", type=int, default=0, metavar="N", help="heatmaps of the N clips with most classes")
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="above it heatmaps are underlined [0.5; of cosines none]"
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="that flam-detect calibrate wrote, as EXPORT/calibration.json"
    )
    parser.add_argument("--figures", action="store_true", help="F1 curves, reliability, PSD-ROC, bars of classes")
    parser.add_argument("--check", action="store_true", help="compare with the reference implementations")
    bootstrap_options(parser, of="AUROC, d', F1, precision and recall", psds=True)
    options(parser)
    args = parser.parse_args()
    check_writable(args.out, "--out")
    how = bootstrap_of(args)
    if args.threshold is not None and not 0 <= args.threshold < 1:
        parser.error(f"--threshold {args.threshold:g}: scores lie in [0, 1], give one from 0 to below 1")
    if args.threshold is not None and args.calibration:
        parser.error("--threshold: with --calibration each phrase has its own: leave one of them out")
    metrics = tuple(args.metrics or evaluation.SedMetrics.metrics)
    if how is not None and how.psds and "psds" not in metrics:
        parser.error("--bootstrap-psds: psds is not among --metrics: add it, or leave that out")
    if how is not None and not {name for name in RESAMPLED if name != "psds" or how.psds} & set(metrics):
        parser.error(evaluation.compared.nothing(metrics))
    chosen = evaluation.SedMetrics(args.method, metrics, args.median, median_edges=args.median_edges)
    if args.export.endswith(".safetensors"):
        if args.shards is not None or args.plot:
            parser.error("kept scores are evaluated without shards; --plot needs the export and the shards")
        kept = evaluation.FrameEmbeddings.load(args.export)
        chosen, calibration = calibrated(args, chosen, kept.about["model"], kept.about["data"])
        for phrasings in args.phrasings or kept.words:
            finish(evaluation.Scores(kept, phrasings, args.unannotated, calibration), chosen, args, how)
        return
    if args.shards is None:
        parser.error("give the folder of shards to evaluate on")
    with ranks(args) as device:
        corpus, wanted = Corpus(args.shards), args.phrasings or ["trained"]
        model = checkpoints.load_export(args.export, device)
        chosen, calibration = calibrated(args, chosen, model.provenance, evaluation.result.describe_data(corpus))
        made = evaluation.embed_frames(
            model,
            corpus,
            phrasings=wanted,
            vocabulary=Vocabulary.load(args.vocabulary) if args.vocabulary else None,
            batch_size=args.batch_size,
            workers=args.workers,
            path=args.out / SCORES / f"sed-{corpus.name}.safetensors",
            progress=progress_line(corpus.name),
        )
        for phrasings in wanted if made is not None else ():
            scores = evaluation.Scores(made, phrasings, args.unannotated, calibration)
            plot(scores, corpus, finish(scores, chosen, args, how), chosen.method or made.method, args)


def calibrated(
    args: argparse.Namespace, chosen: evaluation.SedMetrics, model: dict[str, Any], data: dict[str, Any]
) -> tuple[evaluation.SedMetrics, Calibration | None]:
    """Metrics of the method of the calibration that is asked for, and it."""
    if args.calibration is None:
        return chosen, None
    from flam_train.detection.calibration import read  # torch, as above

    found = read(args.calibration, model.get("sha256"), args.method)
    try:
        found.check_data(data.get("sha256"))
    except ValueError as error:
        raise ValueError(f"{args.calibration}: {error}") from error
    note(f"calibration {args.calibration}, found on {found.found_on.get('name', 'unnamed data')}")
    return replace(chosen, method=found.method), found


def finish(
    scores: evaluation.Scores,
    chosen: evaluation.SedMetrics,
    args: argparse.Namespace,
    how: evaluation.drawn.Bootstrap | None,
) -> str:
    # First, as a group that the set has not is told at once.
    found = evaluation.resampled.intervals(scores, chosen, how, note) if how is not None else {}
    result = replace(evaluation.sed.result_of(scores, chosen, note), intervals=found)
    report([result], args.out)
    for path in evaluation.report.classes.save_tables(scores, chosen, args.out, result.name):
        print(f"  classes  {path}")
    if args.figures:
        draw = evaluation.report.figures
        for path in draw.save_figures(draw.sed_figures(scores, chosen, result.name), args.out / "figures", result.name):
            print(f"  figure   {path}")
    if args.check:
        for line in evaluation.checked.compare(scores, chosen):
            print(f"  {line}")
    return result.name


def plot(scores: evaluation.Scores, corpus: Corpus, name: str, method: str, args: argparse.Namespace) -> None:
    index_of = {corpus.key(n): n for n in range(len(corpus))} if args.plot else {}
    threshold: float | list[float] | None = args.threshold
    if threshold is None and scores.calibration is not None:
        threshold = scores.thresholds()
    elif threshold is None and method != "cosine":  # their 0.5 is no boundary
        threshold = 0.5
    draw = evaluation.report.figures
    for number in draw.clips_with_most_classes(scores, args.plot):
        key = scores.kept.keys[number]
        start = corpus.record(index_of[key]).details.get("cut_from", [0.0])[0]
        waveform_S = corpus.waveform(index_of[key])
        figure = draw.clip_figure(scores, number, waveform_S, method=method, start=start, threshold=threshold)
        print(f"  heatmap  {plotting.save_figure(figure, args.out / 'heatmaps' / f'{name}-{key}.png')}")


if __name__ == "__main__":
    sys.exit(told(main))

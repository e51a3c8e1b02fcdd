"""Every metric beside the field's own implementation: the largest difference over random problems, and how many times
as fast ours is, in one run; a table for docs/LOG.md.

    python tests/bench/bench_metrics.py [--problems 100] [--recordings 300]

Differences are those of the problems that the tests draw, too (tests/samples/timed_problems.py); speeds those of
`--recordings` of 10 s in frames of 1/32 s with 10 classes, the better of two calls each.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "samples"))

from timed_problems import merged, problem, spans, with_events

from flam_train.metrics import detection, ranking, reference, retrieval
from flam_train.metrics.bootstrap import auroc_resampled, draws, frame_counts
from flam_train.metrics.calibration import calibration
from flam_train.metrics.error_rate import segment_error_rate
from flam_train.metrics.intersection import cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.relevance import relevance_metrics
from flam_train.metrics.tagging import tagging_metrics

Value = Callable[[], object]

HOP = 1 / 32
"""Seconds of a frame of what is timed."""


@dataclass(frozen=True)
class Beside:
    """One metric on one problem: ours and the reference's number, as calls."""

    name: str
    library: str
    ours: Value
    theirs: Value


def frames(score_FK: torch.Tensor, label_FK: torch.Tensor) -> Iterator[Beside]:
    """Of frames, or anything else that is scored and labelled."""
    from scipy.stats import norm
    from sklearn.metrics import (
        average_precision_score,
        brier_score_loss,
        f1_score,
        precision_score,
        recall_score,
        roc_auc_score,
        roc_curve,
    )
    from torchmetrics.functional.classification import binary_calibration_error, multilabel_auroc, multilabel_f1_score

    classes = score_FK.shape[1]
    score, label = score_FK.numpy(), label_FK.numpy()
    both = [k for k in range(classes) if 0 < label[:, k].mean() < 1]
    if len(both) < classes:
        return
    yield Beside(
        "AUROC, macro", "torchmetrics",
        lambda: detection.auroc(score_FK, label_FK).macro,
        lambda: float(multilabel_auroc(score_FK, label_FK.long(), classes, average="macro", validate_args=False)),
    )  # fmt: skip

    def both_aurocs() -> float:
        found = detection.auroc(score_FK, label_FK)
        return found.macro + found.micro

    yield Beside(
        "AUROC, macro and micro", "torchmetrics", both_aurocs,
        lambda: sum(
            float(multilabel_auroc(score_FK, label_FK.long(), classes, average=n, validate_args=False))
            for n in ("macro", "micro")
        ),
    )  # fmt: skip
    yield Beside(
        "AUROC, macro and micro", "scikit-learn", both_aurocs,
        lambda: roc_auc_score(label, score, average="macro") + roc_auc_score(label.ravel(), score.ravel()),
    )  # fmt: skip

    def trapezoids() -> float:
        out = []
        for k in range(classes):
            fpr, tpr, _ = roc_curve(label[:, k], score[:, k], drop_intermediate=False)
            end = np.interp(0.1, fpr, tpr) if 0.1 not in fpr else tpr[fpr == 0.1][0]
            keep = fpr < 0.1
            out.append(np.trapezoid([*tpr[keep], end], [*fpr[keep], 0.1]) / 0.1)
        return float(np.mean(out))

    yield Beside(
        "partial AUROC (.1)", "scikit-learn's curve", lambda: detection.partial_auroc(score_FK, label_FK, 0.1).macro,
        trapezoids,
    )  # fmt: skip
    yield Beside(
        "frame F1 at .5, macro", "torchmetrics",
        lambda: detection.frame_f1(score_FK, label_FK).at(0.5).macro,
        lambda: float(multilabel_f1_score((score_FK > 0.5).int(), label_FK.int(), classes, average="macro")),
    )  # fmt: skip
    probability = score_FK.clamp(0, 1)
    yield Beside(
        "ECE", "torchmetrics", lambda: calibration(probability, label_FK).ece,
        lambda: float(binary_calibration_error(probability.flatten(), label_FK.flatten().int(), n_bins=15, norm="l1")),
    )  # fmt: skip
    yield Beside(
        "average precision, macro", "scikit-learn", lambda: ranking.average_precision(score_FK, label_FK).macro,
        lambda: float(average_precision_score(label, score, average="macro")),
    )  # fmt: skip
    yield Beside(
        "average precision, micro", "scikit-learn", lambda: ranking.average_precision(score_FK, label_FK).micro,
        lambda: float(average_precision_score(label.ravel(), score.ravel())),
    )  # fmt: skip
    yield Beside(
        "Brier score", "scikit-learn", lambda: calibration(probability, label_FK).brier,
        lambda: float(brier_score_loss(label.ravel(), probability.double().numpy().ravel())),
    )  # fmt: skip
    for name, call in (("precision", precision_score), ("recall", recall_score)):
        yield Beside(
            f"frame {name} at .5, macro", "scikit-learn",
            lambda name=name: getattr(detection.frame_f1(score_FK, label_FK).rates_at(0.5), f"{name}_macro"),
            lambda call=call: float(call(label, score > 0.5, average="macro", zero_division=0)),
        )  # fmt: skip
    some = detection.THRESHOLDS[6::14]
    yield Beside(
        f"best F1 of each class, {len(some)} thresholds", "scikit-learn",
        lambda: detection.frame_f1(score_FK, label_FK, some).best_of_each.macro,
        lambda: float(np.max([
            f1_score(label, score.astype(np.float64) > t, average=None, zero_division=0) for t in some
        ], axis=0).mean()),
    )  # fmt: skip
    yield Beside(
        "tagging mAP", "scikit-learn", lambda: tagging_metrics(score_FK, label_FK).average_precision.macro,
        lambda: float(average_precision_score(label, score, average="macro")),
    )  # fmt: skip
    yield from resampled(score_FK, label_FK)
    yield Beside(
        "d', macro", "scipy, scikit-learn", lambda: ranking.d_prime(detection.auroc(score_FK, label_FK)).macro,
        lambda: float(np.mean([
            math.sqrt(2) * norm.ppf(roc_auc_score(label[:, k], score[:, k])) for k in range(classes)
        ])),
    )  # fmt: skip


def resampled(score_FK: torch.Tensor, label_FK: torch.Tensor) -> Iterator[Beside]:
    """Of 8 resamples of 10 units: each a set in which units really stand as often."""
    unit_F = torch.arange(len(score_FK)) * 10 // len(score_FK)
    weight_UR = draws(10, 8, 0)
    at_R = [torch.arange(len(score_FK)).repeat_interleave(weight_U[unit_F]) for weight_U in weight_UR.T]

    def ours() -> float:
        found = auroc_resampled(lambda: [(score_FK, label_FK)], unit_F, weight_UR)
        return float(found.macro_R.sum() + found.micro_R.sum())  # type: ignore[union-attr]

    def copies() -> float:
        found = [detection.auroc(score_FK[at], label_FK[at]) for at in at_R]
        return sum(one.macro + one.micro for one in found)

    yield Beside("bootstrap of AUROC, 8 resamples", "copies of the frames", ours, copies)
    yield Beside(
        "bootstrap of frame F1, 8 resamples", "copies of the frames",
        lambda: float(sum(x.sum() for x in frame_counts(score_FK, label_FK, unit_F, 10).f1(weight_UR))),
        lambda: sum(
            one.macro + one.micro for one in (detection.frame_f1(score_FK[at], label_FK[at]).at(0.5) for at in at_R)
        ),
    )  # fmt: skip


def timed(p) -> Iterator[Beside]:
    """Of recordings with events. sed_eval compares raw floats: it is given whole microseconds, and half of one more."""
    seconds = [s.shape[1] * p.frame_seconds for s in p.scores] if p.durations is None else p.durations
    given = p.arguments()
    for name, parameters in detection.PSDS.items():
        yield Beside(
            name, "sed_scores_eval",
            lambda parameters=parameters: detection.psds(*given, **asdict(parameters), missing="skip").value,
            lambda parameters=parameters: reference.psds_reference(
                [s.numpy() for s in p.scores], p.events, p.classes, durations=p.durations,
                frame_seconds=p.frame_seconds, parameters=parameters,
            )[0],
        )  # fmt: skip

    from dcase_util.containers import MetaDataContainer
    from sed_eval.sound_event import SegmentBasedMetrics
    from sed_scores_eval import intersection_based

    def container(found: list, n: int) -> MetaDataContainer:
        rows = [{"filename": str(n), "onset": a, "offset": b, "event_label": c} for a, b, c in found]
        return MetaDataContainer(rows)

    def plain(one: list) -> list:
        return [(round(a, 6), round(b, 6), c) for a, b, c in one]

    def found(threshold: float) -> list[list[tuple[float, float, str]]]:
        return [
            plain([
                (a, b, c) for k, c in enumerate(p.classes)
                for a, b in spans(s[k].double().numpy(), threshold, seconds[n], p.frame_seconds, reached=False)
            ])
            for n, s in enumerate(p.scores)
        ]  # fmt: skip

    detected, truth, ends = found(0.5), [plain(one) for one in p.events], [round(s, 6) for s in seconds]
    yield Beside(
        "segment F1 at .5, macro", "sed_eval", lambda: detection.segment_f1(*given).at(0.5).macro,
        lambda: reference.segment_f1_reference(detected, truth, p.classes, durations=ends).macro,
    )  # fmt: skip
    yield Beside(
        "event F1 at .5, macro", "sed_eval", lambda: detection.event_f1(*given).at(0.5).macro,
        lambda: reference.event_f1_reference(
            detected, truth, p.classes, durations=ends, collar_seconds=0.2 + 5e-7, offset_share=0.2 + 1e-8
        ).macro,
    )  # fmt: skip

    def error_rate() -> float:
        metric = SegmentBasedMetrics(list(p.classes), time_resolution=1.0)
        for n, (one, there, end) in enumerate(zip(detected, truth, ends, strict=True)):
            both = (container(there, n), container(one, n))
            metric.evaluate(*both, evaluated_length_seconds=end)
        return float(metric.overall_error_rate()["error_rate"])

    yield Beside("segment error rate at .5", "sed_eval", lambda: segment_error_rate(*given).value, error_rate)
    kept = range(len(p.classes))
    scored, there = reference.reference_inputs(
        [s.numpy() for s in p.scores], p.events, p.classes, kept, seconds, p.frame_seconds
    )
    yield Beside(
        "intersection F1 at .5, macro", "sed_scores_eval", lambda: intersection_f1(*given).at(0.5).macro,
        lambda: intersection_based.fscore(scored, there, 0.5, dtc_threshold=0.5, gtc_threshold=0.5)[0]["macro_average"],
    )  # fmt: skip
    yield Beside("mean IoU at .5", "a loop", lambda: mean_iou(*given).value, lambda: plain_iou(p, detected, ends))
    yield Beside(
        "cross triggers at .5", "a loop", lambda: float(cross_triggers(*given).count_KK.sum()),
        lambda: plain_cross_triggers(p, detected),
    )  # fmt: skip
    some = detection.THRESHOLDS[6::14]
    at_each = {t: found(t) for t in some}
    yield Beside(
        f"event F1 at {len(some)} thresholds", "sed_eval",
        lambda: sum(one.macro for one in detection.event_f1(*given, thresholds=some).all()),
        lambda: sum(
            reference.event_f1_reference(
                at_each[t], truth, p.classes, durations=ends, collar_seconds=0.2 + 5e-7, offset_share=0.2 + 1e-8
            ).macro
            for t in some
        ),
    )  # fmt: skip


Spans = list[list[tuple[float, float, str]]]


def _shared(one: tuple[float, float], others: list[tuple[float, float]]) -> float:
    """Seconds."""
    return sum(max(0.0, min(one[1], b) - max(one[0], a)) for a, b in others)


def plain_iou(p, detected: Spans, ends: list[float]) -> float:
    found = []
    for mine, events, end in zip(detected, p.events, ends, strict=True):
        for name in p.classes:
            there = [(a, min(b, end)) for a, b in merged(events, name)]
            here = [(a, b) for a, b, c in mine if c == name]
            if there or here:
                both = sum(_shared(one, there) for one in here)
                found.append(both / (sum(b - a for a, b in [*here, *there]) - both))
    return float(np.mean(found)) if found else math.nan


def plain_cross_triggers(p, detected: Spans) -> float:
    count = 0
    for mine, events in zip(detected, p.events, strict=True):
        truth = {name: merged(events, name) for name in p.classes}
        for a, b, c in mine:
            if round(_shared((a, b), truth[c]), 6) < round(0.5 * (b - a), 6):
                count += sum(
                    bool(truth[o]) and round(_shared((a, b), truth[o]), 6) >= round(0.3 * (b - a), 6)
                    for o in p.classes
                    if o != c
                )
    return float(count)


def clips(seed: int, clips: int, captions: int) -> Iterator[Beside]:
    """Retrieval: the right clip's place in a sorted list."""
    g = torch.Generator().manual_seed(seed)
    audio = torch.nn.functional.normalize(torch.randn(clips, 64, generator=g, dtype=torch.float64), dim=1)
    owner = torch.randint(clips, (captions,), generator=g)
    text = torch.nn.functional.normalize(audio[owner] + torch.randn(captions, 64, generator=g), dim=1)

    def sorted_lists() -> float:
        order = (text @ audio.T).argsort(dim=1, descending=True)
        return float(((order == owner[:, None]).nonzero()[:, 1] < 10).double().mean())

    def to_text() -> float:
        order = (audio @ text.T).argsort(dim=1, descending=True)
        asked = owner.unique()
        return float((owner[order[asked, :1]] == asked[:, None]).double().mean())

    kind_X = owner % max(2, clips // 4)  # several clips of each class

    def right_ones() -> float:
        order, total = (names @ audio.T).argsort(dim=1, descending=True), []
        for k, row in enumerate(order.tolist()):
            right = set(owner[kind_X == k].tolist())
            hits, sum_ = 0, 0.0
            for place, clip in enumerate(row[:16], start=1):
                if clip in right:
                    hits += 1
                    sum_ += hits / place
            if right:
                total.append(sum_ / min(len(right), 16))
        return float(np.mean(total))

    names = torch.nn.functional.normalize(
        torch.randn(int(kind_X.max()) + 1, 64, generator=g, dtype=torch.float64), dim=1
    )
    yield Beside(
        "audio to text R@1", "argsort", lambda: retrieval.retrieval_metrics(audio, text, owner)["audio_to_text/R@1"],
        to_text,
    )  # fmt: skip
    yield Beside(
        "by class, mAP@16", "argsort and a loop",
        lambda: relevance_metrics(audio, names, kind_X, owner)["text_to_audio/mAP@16"], right_ones,
    )  # fmt: skip
    yield Beside(
        "text to audio R@10", "argsort", lambda: retrieval.retrieval_metrics(audio, text, owner)["text_to_audio/R@10"],
        sorted_lists,
    )  # fmt: skip


def all_of(seed: int) -> Iterator[Beside]:
    g = torch.Generator().manual_seed(seed)
    label = torch.rand(int(torch.randint(20, 300, (1,), generator=g)), 4, generator=g) < 0.3
    yield from frames(torch.rand(label.shape, generator=g).add(0.2 * label).mul(10).round() / 10, label)
    p = with_events(problem(seed))
    if p.classes:
        yield from timed(p)
    yield from clips(seed, 30, 60)


def large(recordings: int) -> Iterator[Beside]:
    g = torch.Generator().manual_seed(0)
    label = torch.rand(recordings * 320, 10, generator=g) < 0.05
    yield from frames(torch.rand(label.shape, generator=g) * 0.7 + 0.3 * label * torch.rand(1, generator=g), label)
    r = np.random.default_rng(0)
    p = problem(0)
    p.classes, p.frame_seconds, p.durations = [f"class {k}" for k in range(10)], HOP, None
    p.scores, p.events = [], []
    for _ in range(recordings):
        score = torch.rand(10, 320, generator=g) * 0.6
        found = []
        for k in r.choice(10, 4, replace=False):
            onset = float(r.uniform(0, 8))
            offset = onset + float(r.uniform(0.2, 2))
            found.append((onset, offset, p.classes[k]))
            score[k, int(onset / HOP) : int(offset / HOP)] += float(r.uniform(0.1, 0.4))
        p.scores.append(score)
        p.events.append(found)
    yield from timed(p)
    yield from clips(0, 2000, 10_000)


def best_of_two(call: Value) -> float:
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--recordings", type=int, default=300)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    apart: dict[tuple[str, str], list[float]] = {}
    for seed in range(args.problems):
        for one in all_of(seed):
            try:
                theirs = float(one.theirs())  # type: ignore[arg-type]
            except (IndexError, AssertionError):  # sed_scores_eval's own, of a class none of whose counts change
                continue
            ours = float(one.ours())  # type: ignore[arg-type]
            if not (math.isnan(ours) and math.isnan(theirs)):
                apart.setdefault((one.name, one.library), []).append(abs(ours - theirs))
    print("| metric | beside | largest difference | over | times as fast |\n|---|---|---|---|---|")
    for one in large(args.recordings):
        ratio = best_of_two(one.theirs) / best_of_two(one.ours)
        found = apart.get((one.name, one.library), [math.nan])
        print(f"| {one.name} | {one.library} | {max(found):.1e} | {len(found)} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()

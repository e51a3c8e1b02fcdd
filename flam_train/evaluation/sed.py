"""Sound event detection: every class scored in every frame; its numbers, from what is kept of a set.

Shape suffixes: as in `scores`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from flam_train.evaluation.choices import METRICS
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.words import Words
from flam_train.metrics.calibration import Calibration, calibration
from flam_train.metrics.detection import (
    EDGES,
    PSDS,
    THRESHOLDS,
    Auroc,
    Detection,
    F1Curve,
    PsdsParameters,
    auroc_of_blocks,
    event_f1,
    frame_f1,
    median_filter,
    partial_auroc,
    psds_of,
    segments,
)
from flam_train.metrics.error_rate import error_rate
from flam_train.metrics.intersection import CrossTriggers, cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.ranking import AveragePrecision, average_precision_of_blocks, d_prime
from flam_train.metrics.tagging import POOLS, Tagging, clip_scores, tagging_metrics
from flam_train.models.methods import METHODS
from flam_train.settings import from_plain, nearest, number, one_of

HALF = 0.5
"""The threshold at which a method's scores are read without choosing one."""

OF_FRAMES = {"frame_f1", "calibration", "precision_recall", "class_thresholds"}
OF_SEGMENTS = {"segment_f1", "mpauc", "segment_er", "precision_recall", "class_thresholds"}
OF_EVENTS = {"event_f1", "precision_recall", "class_thresholds"}
TIMED = OF_SEGMENTS | OF_EVENTS | {"psds", "intersection_f1", "miou", "cross_triggers"}
"""Those that need the scores of all classes at once, filtered."""

Timed = tuple[list[torch.Tensor], list[list[Detection]], list[str], list[float], float]
"""Scores, events, classes, durations, seconds of a frame."""


@dataclass(frozen=True)
class SedMetrics:
    """What is computed, and how.

    method           of `FLAM.localize`; None: the model's own
    metrics          of METRICS
    median_frames    the filter before PSDS, segment and event metrics, not before frame metrics; odd
    median_frames_of class -> another length, as systems for DESED have
    median_edges     how it continues a recording (`detection.EDGES`)
    segment_seconds  of segment F1, error rate and MPAUC; max_fpr: where MPAUC ends
    collar_seconds, offset_share  of event F1
    dtc, gtc         of intersection F1; dtc, cttc: of cross triggers (`metrics.intersection`)
    tagging_pool     of `tagging.POOLS`: what a clip's score is of its frames'
    psds             name -> the parameters of a PSDS
    """

    method: str | None = None
    metrics: tuple[str, ...] = ("auroc", "frame_f1", "segment_f1", "event_f1", "psds", "calibration")
    median_frames: int = 3
    median_frames_of: dict[str, int] = field(default_factory=dict)
    median_edges: str = "repeat"
    segment_seconds: float = 1.0
    max_fpr: float = 0.1
    collar_seconds: float = 0.2
    offset_share: float = 0.2
    dtc: float = 0.5
    gtc: float = 0.5
    cttc: float = 0.3
    tagging_pool: str = "max"
    psds: dict[str, Any] = field(default_factory=lambda: dict(PSDS))

    def __post_init__(self) -> None:
        if self.method is not None:
            one_of("method", self.method, METHODS)
        for name in self.metrics:
            one_of("metrics", name, METRICS)
        one_of("median_edges", self.median_edges, EDGES)
        one_of("tagging_pool", self.tagging_pool, POOLS)
        for name in ("dtc", "gtc", "cttc"):
            if not 0 < number(name, getattr(self, name), "float") <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: it must be more than 0 and at most 1")
        if not isinstance(self.median_frames_of, dict):
            raise ValueError(f"median_frames_of {self.median_frames_of!r}: needs `class: frames`")
        filters = {"median_frames": self.median_frames}
        filters |= {f"median_frames_of.{name}": frames for name, frames in self.median_frames_of.items()}
        for name, frames in filters.items():
            if (found := number(name, frames, "int")) < 1 or found % 2 == 0:
                raise ValueError(f"{name} {frames}: a median takes an odd number of frames")
        parameters = {
            name: p if isinstance(p, PsdsParameters) else from_plain(PsdsParameters, f"psds.{name}", p)
            for name, p in self.psds.items()
        }
        object.__setattr__(self, "psds", parameters)

    def filters(self, words: Words) -> list[int]:
        """The median filter of each of its classes, in frames. Raises ValueError for a class that is none of them."""
        known = {*words.classes, *words.left_out}
        if unknown := sorted(self.median_frames_of.keys() - known):
            raise ValueError(
                f"median_frames_of: class {unknown[0]!r} is not scored: {nearest(unknown[0], sorted(known))}"
            )
        return [self.median_frames_of.get(name, self.median_frames) for name in words.classes]


def result_of(scores: Scores, chosen: SedMetrics | None = None, note: Callable[[str], None] | None = None) -> Result:
    """Needs neither model nor audio."""
    metrics, spread, parameters = sed_metrics(scores, chosen or SedMetrics(), note)
    facts = scores.facts
    return Result(**facts | {"parameters": facts["parameters"] | parameters}, metrics=metrics, spread=spread)


def sed_metrics(
    scores: Scores, chosen: SedMetrics, note: Callable[[str], None] | None = None
) -> tuple[dict[str, float], dict[str, float], dict[str, Any]]:
    """(metrics, spread, parameters) of a `Result`: each metric is the mean over the rounds, spread its deviation.

    note: told what is being computed.
    """
    rounds = []
    many = len(scores.words.phrases)
    for r in range(many):
        if note is not None:
            note(f"metrics of phrasing {r + 1} of {many}")
        rounds.append(_round(scores, r, chosen))
    names = list(rounds[0])
    table = np.array([[one[name] for name in names] for one in rounds], dtype=np.float64)
    several = len(rounds) > 1
    metrics = {n: float(column.mean()) for n, column in zip(names, table.T, strict=True)}
    spread = {
        n: float(column.std())
        for n, column in zip(names, table.T, strict=True)
        if several and np.isfinite(column).all()
    }
    return metrics, spread, _parameters(scores, chosen)


def _parameters(scores: Scores, chosen: SedMetrics) -> dict[str, Any]:
    frames = len(scores.kept.frame_FD)
    count_of = dict(zip(scores.classes, scores.positives_K.tolist(), strict=True))
    out: dict[str, Any] = {
        "method": chosen.method or scores.kept.method,
        "phrasings scored": len(scores.words.phrases),
        "phrases": [dict(zip(scores.classes, phrases, strict=True)) for phrases in scores.words.phrases],
        "classes": len(scores.classes),
        "classes without ground truth (left out)": [n for n, count in count_of.items() if not count],
        "classes without a negative frame (left out of AUROC)": [n for n, count in count_of.items() if count == frames],
        "macro": "mean over the classes with ground truth; a class never detected counts 0",
        "frames": frames,
        "frame seconds": scores.kept.frame_seconds,
        "threshold": HALF,
        "best threshold": "of each F1 one for all classes, by its macro value on this very set: an upper bound",
        "median filter (PSDS, MPAUC, segment and event metrics), frames": chosen.median_frames,
        "median filter at the ends of a recording": f"{chosen.median_edges} (scipy's default: reflect)",
    }
    if chosen.median_frames_of:
        out["median filter of classes, frames"] = dict(chosen.median_frames_of)
    if OF_SEGMENTS & set(chosen.metrics):
        out["segment seconds"] = chosen.segment_seconds
    if "mpauc" in chosen.metrics:
        out["MPAUC"] = (
            f"mean over classes of the area under the ROC curve up to a false positive rate of {chosen.max_fpr}"
        )
    if OF_EVENTS & set(chosen.metrics):
        share = f"{100 * chosen.offset_share:g} %"
        out["event collar"] = f"onset {chosen.collar_seconds:g} s, offset the larger of it and {share} of the event"
    if "precision_recall" in chosen.metrics:
        out["precision and recall"] = "at the threshold; a class never detected has precision 0"
    if "dprime" in chosen.metrics:
        out["d'"] = "macro: mean over classes of each one's; null where it is infinite, as of a class with AUROC 1"
    if "intersection_f1" in chosen.metrics:
        out["intersection F1"] = f"dtc {chosen.dtc:g}, gtc {chosen.gtc:g}"
    if "miou" in chosen.metrics:
        out["mean IoU"] = "seconds found and annotated over seconds of either, mean over clips and classes with either"
    if "cross_triggers" in chosen.metrics:
        out["cross triggers"] = (
            f"the share of false detections (dtc {chosen.dtc:g}) that lie on another class's events "
            f"(cttc {chosen.cttc:g})"
        )
    if "tagging" in chosen.metrics:
        out["tagging"] = f"a clip's score: the {chosen.tagging_pool} over its frames, without filter; label: any event"
    if "class_thresholds" in chosen.metrics:
        out["best of each class"] = "each class's threshold chosen on this very set: an upper bound"
    if "psds" in chosen.metrics:
        out["psds"] = {name: asdict(p) for name, p in chosen.psds.items()}
    return out


def _round(scores: Scores, r: int, chosen: SedMetrics) -> dict[str, float]:
    method, wanted = chosen.method or scores.kept.method, set(chosen.metrics)
    values: dict[str, float] = {}
    if {"auroc", "dprime"} & wanted:
        area = frame_auroc(scores, method, r)
        if "auroc" in wanted:
            values |= {"auroc/macro": area.macro, "auroc/micro": area.micro}
        if "dprime" in wanted:
            d = d_prime(area)
            values |= {"dprime/macro": d.macro, "dprime/micro": d.micro, "dprime/of macro AUROC": d.of_macro}
    if "ap" in wanted:
        precision = frame_average_precision(scores, method, r)
        values |= {"ap/macro": precision.macro, "ap/micro": precision.micro}
    # Beside the scores the biased ones: probabilities under the training prior. Plain cosines are no probabilities.
    kinds = {"": method} | ({" biased": "biased"} if method not in ("biased", "cosine") else {})
    for kind, one in kinds.items():
        if (OF_FRAMES if one == method else {"frame_f1", "calibration"}) & wanted:
            curve, found = frame_curves(scores, one, r)
            if one == method:
                values |= _of_curve("frame", curve, wanted)
            elif "frame_f1" in wanted:
                values |= _named(f"frame_f1{kind}", curve)
            if "calibration" in wanted and found is not None:
                values |= {f"calibration{kind}/ECE": found.ece, f"calibration{kind}/Brier": found.brier}
    if "tagging" in wanted:
        clips = clip_tagging(scores, method, chosen, r)
        values |= {"tagging/mAP": clips.average_precision.macro, "tagging/AP micro": clips.average_precision.micro}
        values |= {"tagging/auroc": clips.auroc.macro, "tagging/dprime": clips.d_prime.macro}
        values |= {"tagging/f1": clips.f1.macro, "tagging/f1 micro": clips.f1.micro}
    if not TIMED & wanted:
        return values
    timed = timed_arguments(scores, method, chosen, r)
    if OF_SEGMENTS & wanted:
        values |= _of_segments(*segments(*timed, chosen.segment_seconds), chosen)
    if OF_EVENTS & wanted:
        values |= _of_curve("event", event_f1(*timed, THRESHOLDS, chosen.collar_seconds, chosen.offset_share), wanted)
    if "intersection_f1" in wanted:
        values |= _named("intersection_f1", intersection_f1(*timed, THRESHOLDS, chosen.dtc, chosen.gtc))
    if "miou" in wanted:
        iou = mean_iou(*timed, HALF)
        values |= {"miou": iou.value, "miou/macro": iou.macro}
    if "cross_triggers" in wanted:
        values["cross_triggers"] = crossed(timed, chosen).share
    if "psds" in wanted:
        for name, one_psds in psds_of(*timed, chosen.psds, "skip").items():
            values[f"{name}[{one_psds.parameters}]"] = one_psds.value
    return values


def _of_segments(score_SK: torch.Tensor, label_SK: torch.Tensor, chosen: SedMetrics) -> dict[str, float]:
    values: dict[str, float] = {}
    if {"segment_f1", "precision_recall", "class_thresholds"} & set(chosen.metrics):
        values |= _of_curve("segment", frame_f1(score_SK, label_SK, THRESHOLDS), set(chosen.metrics))
    if "segment_er" in chosen.metrics:
        rate = error_rate(score_SK, label_SK, HALF)
        values |= {"segment_er": rate.value, "segment_er/macro": rate.macro}
        values |= {f"segment_er/{name}": getattr(rate, name) for name in ("substitutions", "deletions", "insertions")}
    if "mpauc" in chosen.metrics:
        values["MPAUC"] = partial_auroc(score_SK, label_SK, chosen.max_fpr).macro
    return values


def _of_curve(kind: str, curve: F1Curve, wanted: set[str]) -> dict[str, float]:
    """kind: frame, segment or event."""
    values = _named(f"{kind}_f1", curve) if f"{kind}_f1" in wanted else {}
    if "precision_recall" in wanted:
        rates = curve.rates_at(HALF)
        values |= {f"{kind}_precision/macro": rates.precision_macro, f"{kind}_precision/micro": rates.precision_micro}
        values |= {f"{kind}_recall/macro": rates.recall_macro, f"{kind}_recall/micro": rates.recall_micro}
    if "class_thresholds" in wanted:
        values[f"{kind}_f1 best of each class/macro"] = curve.best_of_each.macro
    return values


def frame_auroc(scores: Scores, method: str, r: int = 0) -> Auroc:
    return auroc_of_blocks(partial(scores.blocks, method, r))


def frame_average_precision(scores: Scores, method: str, r: int = 0) -> AveragePrecision:
    return average_precision_of_blocks(partial(scores.blocks, method, r))


def clip_tagging(scores: Scores, method: str, chosen: SedMetrics, r: int = 0) -> Tagging:
    """Of recordings as a whole; the frames' scores are not filtered."""
    start_N1 = torch.from_numpy(scores.kept.frame_start_N1)
    pooled = [clip_scores(score_FK, start_N1, chosen.tagging_pool) for score_FK, _ in scores.blocks(method, r)]
    row = {name: k for k, name in enumerate(scores.classes)}
    label_NK = torch.zeros(len(scores.events), len(row), dtype=torch.bool)
    for n, found in enumerate(scores.events):
        label_NK[n, [row[name] for _, _, name in found]] = True
    return tagging_metrics(torch.cat(pooled, dim=1), label_NK, HALF)


def crossed(timed: Timed, chosen: SedMetrics) -> CrossTriggers:
    """timed: of `timed_arguments`."""
    return cross_triggers(*timed, HALF, chosen.dtc, chosen.cttc)


def frame_curves(scores: Scores, method: str, r: int = 0) -> tuple[F1Curve, Calibration | None]:
    """F1 over THRESHOLDS and calibration, None for plain cosines, which are no probabilities."""
    curves, parts = [], []
    for score_FK, label_FK in scores.blocks(method, r):
        curves.append(frame_f1(score_FK, label_FK, THRESHOLDS))
        if method != "cosine":
            parts.append(calibration(score_FK, label_FK))
    return F1Curve.joined(curves), Calibration.joined(parts) if parts else None


def timed_arguments(scores: Scores, method: str, chosen: SedMetrics, r: int = 0) -> Timed:
    """What `psds`, `segment_f1` and `event_f1` begin with, each recording's scores filtered.

    Raises ValueError where this machine has not the memory: they need all classes at once."""
    kept = scores.kept
    need = 3 * 4 * len(scores.classes) * len(kept.frame_FD)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > there:
        raise ValueError(
            f"PSDS, MPAUC, segment and event metrics of {len(scores.classes):,} classes in {len(kept.frame_FD):,} "
            f"frames need {need / 2**30:.0f} GB and there are {there / 2**30:.0f}: choose --metrics auroc frame_f1 "
            "calibration (or ap, dprime, tagging), which take the classes some at a time"
        )
    smooth_KF = median_filter(
        scores.score_KF(method, r),
        chosen.filters(scores.words),
        torch.from_numpy(kept.frame_start_N1),
        chosen.median_edges,
    )
    return scores.recordings(smooth_KF), scores.events, scores.classes, kept.durations, kept.frame_seconds


def _named(name: str, curve: F1Curve) -> dict[str, float]:
    half, best = curve.at(HALF), curve.best
    return {
        f"{name}/macro": half.macro,
        f"{name}/micro": half.micro,
        f"{name} best/macro": best.macro,
        f"{name} best/micro": best.micro,
        f"{name} best/threshold": best.threshold,
    }

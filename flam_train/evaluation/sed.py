"""Sound event detection: every class scored in every frame; its numbers, from what is kept of a set.

Shape suffixes: as in `scores`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from flam_train.evaluation.choices import METRICS
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores, above
from flam_train.evaluation.words import Words
from flam_train.metrics.calibration import Calibration, calibration_of
from flam_train.metrics.detection import (
    EDGES,
    PSDS,
    THRESHOLDS,
    Detection,
    F1Curve,
    PsdsParameters,
    event_f1,
    frame_f1,
    median_filter,
    partial_auroc,
    psds_of,
    segments,
)
from flam_train.metrics.error_rate import error_rate
from flam_train.metrics.f1 import segments_until
from flam_train.metrics.intersection import CrossTriggers, cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.ordered import Blocks, ordered_classes, pooled
from flam_train.metrics.ranking import AveragePrecision, d_prime, mean_precision
from flam_train.metrics.roc import Auroc, area
from flam_train.metrics.tagging import POOLS, Tagging, clip_scores, tagging_metrics
from flam_train.models.methods import METHODS
from flam_train.settings import from_plain, nearest, setting, settle

HALF = 0.5
"""The threshold at which a method's scores are read without choosing one."""

AT_THRESHOLD = {
    "frame_f1", "segment_f1", "event_f1", "precision_recall", "segment_er", "intersection_f1", "miou", "cross_triggers",
}  # fmt: skip
"""Those with numbers of what is above a threshold, beside `tagging`."""

COUNTED_IN_FRAMES = {"frame_f1", "precision_recall", "class_thresholds"}
OF_SEGMENTS = {"segment_f1", "mpauc", "segment_er", "precision_recall", "class_thresholds"}
OF_EVENTS = {"event_f1", "precision_recall", "class_thresholds"}
TIMED = OF_SEGMENTS | OF_EVENTS | {"psds", "intersection_f1", "miou", "cross_triggers"}
"""Those that need the scores of all classes at once, filtered."""

Timed = tuple[list[torch.Tensor], list[list[Detection]], list[str], list[float], float]
"""Scores, events, classes, durations, seconds of a frame."""


@dataclass(frozen=True)
class SedMetrics:
    """What is computed, and how."""

    method: str | None = setting(None, "of `FLAM.localize`; null: the model's own", choices=METHODS)
    metrics: tuple[str, ...] = setting(
        ("auroc", "frame_f1", "segment_f1", "event_f1", "psds", "calibration"), "what is computed", choices=METRICS
    )
    median_frames: int = setting(
        3, "the filter before PSDS, segment and event metrics, not before frame metrics; odd", least=1
    )
    median_frames_of: dict[str, int] = setting({}, "class -> another length, as systems for DESED have", least=1)
    median_edges: str = setting("repeat", "how it continues a recording (`detection.EDGES`)", choices=EDGES)
    segment_seconds: float = setting(1.0, "of segment F1, error rate and MPAUC", above=0)
    max_fpr: float = setting(0.1, "where MPAUC ends", above=0, most=1)
    collar_seconds: float = setting(0.2, "of event F1", least=0)
    offset_share: float = setting(0.2, "of event F1: of the event's length, where that is more", least=0)
    dtc: float = setting(0.5, "of intersection F1 and cross triggers (`metrics.intersection`)", above=0, most=1)
    gtc: float = setting(0.5, "of intersection F1", above=0, most=1)
    cttc: float = setting(0.3, "of cross triggers", above=0, most=1)
    tagging_pool: str = setting("max", "what a clip's score is of its frames'", choices=POOLS)
    psds: dict[str, Any] = setting(dict(PSDS), "name -> the parameters of a PSDS")

    def __post_init__(self) -> None:
        settle(self, "")
        filters = {"median_frames": self.median_frames}
        filters |= {f"median_frames_of.{name}": frames for name, frames in self.median_frames_of.items()}
        for name, frames in filters.items():
            if frames % 2 == 0:
                raise ValueError(f"{name}: {frames}: a median takes an odd number of frames")
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
    known_K = [frames] * len(scores.classes)
    if (unknown_KF := scores.unknown_KF()) is not None:
        known_K = (~unknown_KF).sum(dim=1).tolist()
    count_of = dict(zip(scores.classes, scores.positives_K.tolist(), strict=True))
    out: dict[str, Any] = {
        "method": chosen.method or scores.kept.method,
        "phrasings scored": len(scores.words.phrases),
        "phrases": [dict(zip(scores.classes, phrases, strict=True)) for phrases in scores.words.phrases],
        "classes": len(scores.classes),
        "classes without ground truth (left out)": [n for n, count in count_of.items() if not count],
        "classes without a negative frame (left out of AUROC)": [
            name for (name, count), known in zip(count_of.items(), known_K, strict=True) if count == known > 0
        ],
        "macro": "mean over the classes with ground truth; a class never detected counts 0",
        "frames": frames,
        "frame seconds": scores.kept.frame_seconds,
        "threshold": HALF if scores.calibration is None else "of each phrase its own",
        "best threshold": "of each F1 one for all classes, by its macro value on this very set: an upper bound",
        "median filter (PSDS, MPAUC, segment and event metrics), frames": chosen.median_frames,
        "median filter at the ends of a recording": f"{chosen.median_edges} (scipy's default: reflect)",
    }
    if scores.calibration is not None:
        out["calibration"] = {
            "found on": {name: scores.calibration.found_on.get(name) for name in ("name", "sha256")},
            "temperature": scores.calibration.temperature,
            "bias": scores.calibration.bias,
            "thresholds": [
                dict(zip(scores.classes, scores.thresholds(r), strict=True)) for r in range(len(scores.words.phrases))
            ],
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
    if "psds" in chosen.metrics and scores.only_listed:
        out["psds"] = "none: false positives are counted per hour of all recordings, and not all are known"
    elif "psds" in chosen.metrics:
        out["psds"] = {name: asdict(p) for name, p in chosen.psds.items()}
    return out


def _round(scores: Scores, r: int, chosen: SedMetrics) -> dict[str, float]:
    values = _measured(scores, r, chosen)
    if scores.calibration is None:
        return values
    # What is above thresholds, with those of phrases; what scores mean, with calibrated ones. The rest, which looks at
    # their order or at all thresholds, is that of the scores as they are.
    method, wanted = chosen.method or scores.kept.method, set(chosen.metrics)
    if there := wanted & AT_THRESHOLD:
        decided = _measured(scores.decided, r, replace(chosen, metrics=tuple(sorted(there))), beside=False)
        values |= {name: value for name, value in decided.items() if " best" not in name}
    if "tagging" in wanted:
        f1 = clip_tagging(scores.calibrated, method, r, chosen, scores.thresholds(r)).f1
        values |= {"tagging/f1": f1.macro, "tagging/f1 micro": f1.micro}
    if "calibration" in wanted and (method != "cosine" or scores.calibration.shares):
        values |= _of_frames(of_frames(partial(scores.calibrated.blocks, method, r), {"calibration"}), {"calibration"})
    return values


def _measured(scores: Scores, r: int, chosen: SedMetrics, beside: bool = True) -> dict[str, float]:
    """beside: with numbers of biased scores, too."""
    method, wanted = chosen.method or scores.kept.method, set(chosen.metrics)
    whole_KF = all_scores(scores, method, r) if TIMED & wanted else None
    blocks = partial(scores.blocks, method, r, whole_KF)
    values = _of_frames(of_frames(blocks, wanted, method != "cosine"), wanted)
    # Beside the scores the biased ones: probabilities under the training prior. Plain cosines are no probabilities.
    if beside and method not in ("biased", "cosine") and (both := {"frame_f1", "calibration"} & wanted):
        values |= _of_frames(of_frames(partial(scores.blocks, "biased", r), both), both, " biased")
    if "tagging" in wanted:
        clips = clip_tagging(scores, method, r, chosen, whole_KF=whole_KF)
        values |= {"tagging/mAP": clips.average_precision.macro, "tagging/AP micro": clips.average_precision.micro}
        values |= {"tagging/auroc": clips.auroc.macro, "tagging/dprime": clips.d_prime.macro}
        values["tagging/dprime of macro AUROC"] = clips.d_prime.of_macro
        values |= {"tagging/f1": clips.f1.macro, "tagging/f1 micro": clips.f1.micro}
    del blocks
    if whole_KF is None:
        return values
    timed = filtered(scores, whole_KF, chosen)
    del whole_KF
    if OF_SEGMENTS & wanted:
        values |= _of_segments(*segments(*timed, chosen.segment_seconds), _known_segments(scores, chosen), chosen)
    if OF_EVENTS & wanted:
        values |= _of_curve("event", event_f1(*timed, THRESHOLDS, chosen.collar_seconds, chosen.offset_share), wanted)
    if "intersection_f1" in wanted:
        values |= _named("intersection_f1", intersection_f1(*timed, THRESHOLDS, chosen.dtc, chosen.gtc))
    if "miou" in wanted:
        iou = mean_iou(*timed, HALF)
        values |= {"miou": iou.value, "miou/macro": iou.macro}
    if "cross_triggers" in wanted:
        values["cross_triggers"] = crossed(timed, chosen).share
    if "psds" in wanted and not scores.only_listed:
        for name, one_psds in psds_of(*timed, chosen.psds, "skip").items():
            values[f"{name}[{one_psds.parameters}]"] = one_psds.value
    return values


def _of_frames(found: OfFrames, wanted: set[str], kind: str = "") -> dict[str, float]:
    """kind: behind the names of the biased ones."""
    values: dict[str, float] = {}
    if found.auroc is not None and "auroc" in wanted:
        values |= {"auroc/macro": found.auroc.macro, "auroc/micro": found.auroc.micro}
    if found.auroc is not None and "dprime" in wanted:
        d = d_prime(found.auroc)
        values |= {"dprime/macro": d.macro, "dprime/micro": d.micro, "dprime/of macro AUROC": d.of_macro}
    if found.average_precision is not None:
        values |= {"ap/macro": found.average_precision.macro, "ap/micro": found.average_precision.micro}
    if found.f1 is not None:
        values |= _of_curve("frame", found.f1, wanted, kind)
    if found.calibration is not None:
        values |= {f"calibration{kind}/ECE": found.calibration.ece, f"calibration{kind}/Brier": found.calibration.brier}
    return values


def _known_segments(scores: Scores, chosen: SedMetrics) -> torch.Tensor | None:
    """mask_SK: those of pairs that count; None: all do."""
    if scores.unknown_NK is None:
        return None
    segments_N = segments_until(torch.tensor(scores.kept.durations, dtype=torch.float64), chosen.segment_seconds)
    return ~scores.unknown_NK.repeat_interleave(segments_N, dim=0)


def _of_segments(
    score_SK: torch.Tensor, label_SK: torch.Tensor, mask_SK: torch.Tensor | None, chosen: SedMetrics
) -> dict[str, float]:
    values: dict[str, float] = {}
    if {"segment_f1", "precision_recall", "class_thresholds"} & set(chosen.metrics):
        values |= _of_curve("segment", frame_f1(score_SK, label_SK, THRESHOLDS), set(chosen.metrics))
    if "segment_er" in chosen.metrics:
        rate = error_rate(score_SK, label_SK, HALF)
        values |= {"segment_er": rate.value, "segment_er/macro": rate.macro}
        values |= {f"segment_er/{name}": getattr(rate, name) for name in ("substitutions", "deletions", "insertions")}
    if "mpauc" in chosen.metrics:
        values["MPAUC"] = partial_auroc(score_SK, label_SK, chosen.max_fpr, mask_SK).macro
    return values


def _of_curve(kind: str, curve: F1Curve, wanted: set[str], biased: str = "") -> dict[str, float]:
    """kind: frame, segment or event."""
    values = _named(f"{kind}_f1{biased}", curve) if f"{kind}_f1" in wanted else {}
    if "precision_recall" in wanted:
        rates = curve.rates_at(HALF)
        values |= {f"{kind}_precision/macro": rates.precision_macro, f"{kind}_precision/micro": rates.precision_micro}
        values |= {f"{kind}_recall/macro": rates.recall_macro, f"{kind}_recall/micro": rates.recall_micro}
    if "class_thresholds" in wanted:
        values[f"{kind}_f1 best of each class/macro"] = curve.best_of_each.macro
    return values


@dataclass(frozen=True)
class OfFrames:
    """Numbers of frames, without filter; None: not asked for (calibration: nor of plain cosines, which are no
    probabilities)."""

    auroc: Auroc | None
    average_precision: AveragePrecision | None
    f1: F1Curve | None
    calibration: Calibration | None


def of_frames(blocks: Blocks, wanted: set[str], probable: bool = True) -> OfFrames:
    """Each class is sorted once for all of them.

    blocks: of `Scores.blocks`; wanted: of METRICS; probable: whether scores are probabilities."""
    with_auroc, with_precision = bool({"auroc", "dprime"} & wanted), bool({"ap"} & wanted)
    with_f1, with_calibration = bool(COUNTED_IN_FRAMES & wanted), probable and "calibration" in wanted
    areas, precisions, curves, parts, positive = [], [], [], [], []
    for block in blocks():
        classes = list(ordered_classes(*block))
        if with_auroc:
            areas += [area([one]) for one in classes]
        if with_precision:
            precisions += [mean_precision([one]) for one in classes]
        if with_auroc or with_precision:
            positive += [one.positive_X for one in classes]
        if with_f1:
            curves.append(F1Curve.of(classes, THRESHOLDS))
        if with_calibration:
            parts.append(calibration_of(classes))
    return OfFrames(
        Auroc.joined(areas, area(pooled(blocks, positive))) if with_auroc else None,
        AveragePrecision.joined(precisions, mean_precision(pooled(blocks, positive))) if with_precision else None,
        F1Curve.joined(curves) if with_f1 else None,
        Calibration.joined(parts) if with_calibration else None,
    )


def clip_tagging(
    scores: Scores,
    method: str,
    r: int,
    chosen: SedMetrics,
    threshold_K: Sequence[float] | None = None,
    whole_KF: torch.Tensor | None = None,
) -> Tagging:
    """Of recordings as a whole; the frames' scores are not filtered. threshold_K: of each class instead of 0.5, and
    decided by it."""
    start_N1 = torch.from_numpy(scores.kept.frame_start_N1)
    blocks = scores.blocks(method, r, whole_KF)
    pooled_NK = torch.cat([clip_scores(score_FK, start_N1, chosen.tagging_pool) for score_FK, *_ in blocks], dim=1)
    row = {name: k for k, name in enumerate(scores.classes)}
    label_NK = torch.zeros(len(scores.events), len(row), dtype=torch.bool)
    for n, found in enumerate(scores.events):
        label_NK[n, [row[name] for _, _, name in found]] = True
    mask_NK = None if scores.unknown_NK is None else ~scores.unknown_NK
    if threshold_K is not None:
        pooled_NK = above(pooled_NK.T, threshold_K).T
    return tagging_metrics(pooled_NK, label_NK, HALF, mask_NK)


def crossed(timed: Timed, chosen: SedMetrics) -> CrossTriggers:
    """timed: of `timed_arguments`."""
    return cross_triggers(*timed, HALF, chosen.dtc, chosen.cttc)


def timed_arguments(scores: Scores, method: str, chosen: SedMetrics, r: int = 0) -> Timed:
    """What `psds`, `segment_f1` and `event_f1` begin with, each recording's scores filtered. Errors: `all_scores`."""
    return filtered(scores, all_scores(scores, method, r), chosen)


def all_scores(scores: Scores, method: str, r: int = 0) -> torch.Tensor:
    """score_KF of all classes at once.

    Raises ValueError where this machine has not the memory for what is made of them."""
    frames = len(scores.kept.frame_FD)
    need = 3 * 4 * len(scores.classes) * frames
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > there:
        raise ValueError(
            f"PSDS, MPAUC, segment and event metrics of {len(scores.classes):,} classes in {frames:,} frames need "
            f"{need / 2**30:.0f} GB and there are {there / 2**30:.0f}: choose --metrics auroc frame_f1 calibration (or "
            "ap, dprime, tagging), which take the classes some at a time"
        )
    return scores.score_KF(method, r)


def filtered(scores: Scores, score_KF: torch.Tensor, chosen: SedMetrics) -> Timed:
    """score_KF: of `all_scores`. Where nobody knows, nothing is detected: such a pair is neither right nor wrong."""
    kept = scores.kept
    filters, start_N1 = chosen.filters(scores.words), torch.from_numpy(kept.frame_start_N1)
    smooth_KF = median_filter(score_KF, filters, start_N1, chosen.median_edges)
    if (unknown_KF := scores.unknown_KF()) is not None:
        smooth_KF = smooth_KF.masked_fill(unknown_KF, -math.inf)
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

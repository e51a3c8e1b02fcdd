"""How sure the numbers of a detection are: bootstrap over recordings.

Shape suffixes: as in `metrics.bootstrap`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_train.evaluation.drawn import Bootstrap, Drawn
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import HALF, SedMetrics, timed_arguments
from flam_train.metrics.bootstrap import (
    Counts,
    auroc_resampled,
    event_counts,
    frame_counts,
    levels_told,
    segment_counts,
)
from flam_train.metrics.detection import psds_of
from flam_train.metrics.ranking import d_prime_of

Note = Callable[[str], None]


def intervals(scores: Scores, chosen: SedMetrics, how: Bootstrap, note: Note | None = None) -> dict[str, Any]:
    """The field of a `Result`, empty where none of RESAMPLED is asked for. Errors as in `Bootstrap.drawn`. note: told
    what is being computed."""
    drawn = how.drawn(scores.kept)
    values = resampled(scores, chosen, drawn, how.psds, note)
    if not values:
        return {}
    levels = levels_told(len(drawn.weight_UR))
    return drawn.intervals(values, **{
        "classes": "one without positives in a resample is left out of that resample's macro mean",
        "phrasings": "drawn recordings are the same for all; the mean over phrasings is resampled",
        "micro AUROC": f"exact to {levels:,} different scores of positive pairs, else within 1/{2 * levels:,}",
    })  # fmt: skip


def resampled(
    scores: Scores, chosen: SedMetrics, drawn: Drawn, with_psds: bool = False, note: Note | None = None
) -> dict[str, Tensor]:
    """value_R float64 by the name of the metric in a `Result`, the mean over phrasings: AUROC, d' of
    it, and F1, precision and recall at 0.5, or at the thresholds of phrases."""
    rounds = []
    if with_psds and "psds" in chosen.metrics and note is not None:
        _tell_time(scores, chosen, drawn, note)
    for r in range(len(scores.words.phrases)):
        if note is not None:
            note(f"bootstrap of phrasing {r + 1} of {len(scores.words.phrases)}")
        rounds.append(_round(scores, chosen, drawn, r, with_psds))
    return {name: torch.stack([one[name] for one in rounds]).mean(dim=0) for name in rounds[0]}


def _round(scores: Scores, chosen: SedMetrics, drawn: Drawn, r: int, with_psds: bool) -> dict[str, Tensor]:
    kept, method, weight_UR = scores.kept, chosen.method or scores.kept.method, drawn.weight_UR
    units = len(weight_UR)
    unit_F = drawn.unit_N.repeat_interleave(torch.from_numpy(kept.frame_start_N1).diff())
    values: dict[str, Tensor] = {}
    wanted = set(chosen.metrics)
    if {"auroc", "dprime"} & wanted:
        areas = auroc_resampled(lambda: scores.blocks(method, r), unit_F, weight_UR)
        found = {"macro": areas.macro_R, "micro": areas.micro_R}
        if "auroc" in wanted:
            values |= {f"auroc/{name}": area_R for name, area_R in found.items() if area_R is not None}
        if "dprime" in wanted:
            values["dprime/macro"] = d_prime_of(areas.area_KR).nanmean(dim=0)
            values["dprime/of macro AUROC"] = d_prime_of(areas.macro_R)
            values |= {} if areas.micro_R is None else {"dprime/micro": d_prime_of(areas.micro_R)}
    of_curves = {"precision_recall"} & wanted
    if {"frame_f1"} & wanted or of_curves:
        kinds = {"": method} | ({" biased": "biased"} if method not in ("biased", "cosine") else {})
        for kind, one in kinds.items():
            parts = [
                frame_counts(score, label, unit_F, units, HALF, *mask)
                for score, label, *mask in (scores.decided if one == method else scores).blocks(one, r)
            ]
            values |= _named(
                "frame", Counts.joined(parts), weight_UR, wanted if one == method else wanted - of_curves, kind
            )
    psds = with_psds and "psds" in wanted and not scores.only_listed
    if not {"segment_f1", "event_f1"} & wanted and not of_curves and not psds:
        return values
    timed = timed_arguments(scores.decided, method, chosen, r)
    if {"segment_f1"} & wanted or of_curves:
        counts = segment_counts(*timed, drawn.unit_N, units, HALF, chosen.segment_seconds)
        values |= _named("segment", counts, weight_UR, wanted)
    if {"event_f1"} & wanted or of_curves:
        counts = event_counts(*timed, drawn.unit_N, units, HALF, chosen.collar_seconds, chosen.offset_share)
        values |= _named("event", counts, weight_UR, wanted)
    if not psds:
        return values
    if scores.calibration is not None:  # PSDS is of all thresholds
        timed = timed_arguments(scores, method, chosen, r)
    return values | _psds(timed, chosen, drawn)


def _named(kind: str, counts: Counts, weight_UR: Tensor, wanted: set[str], biased: str = "") -> dict[str, Tensor]:
    found = {"f1": counts.f1} if f"{kind}_f1" in wanted else {}
    if "precision_recall" in wanted:
        found |= {"precision": counts.precision, "recall": counts.recall}
    return {
        f"{kind}_{name}{biased}/{which}": value_R
        for name, call in found.items()
        for which, value_R in zip(("macro", "micro"), call(weight_UR), strict=True)
    }


def _tell_time(scores: Scores, chosen: SedMetrics, drawn: Drawn, note: Note) -> None:
    """How long PSDS will take: it is computed once, of the set itself."""
    timed = timed_arguments(scores, chosen.method or scores.kept.method, chosen)
    begin = time.monotonic()
    psds_of(*timed, chosen.psds, "skip")
    rounds, resamples = len(scores.words.phrases), drawn.weight_UR.shape[1] - 1
    left = (time.monotonic() - begin) * (resamples + 1) * rounds / 60
    phrasings = f" and {rounds} phrasings" if rounds > 1 else ""
    note(f"PSDS of {resamples:,} resamples{phrasings}: about {left:,.1f} minutes")


def _psds(timed: Any, chosen: SedMetrics, drawn: Drawn) -> dict[str, Tensor]:
    """Of recordings that are really there as often as they are drawn."""
    smooth, events, classes, durations, hop = timed
    weight_RN = drawn.weight_UR[drawn.unit_N].T
    rows: list[dict[str, float]] = []
    for weight_N in weight_RN:
        at = torch.arange(len(smooth)).repeat_interleave(weight_N).tolist()
        parts = ([x[n] for n in at] for x in (smooth, events, durations))
        copied, found, seconds = parts
        one = psds_of(copied, found, classes, seconds, hop, chosen.psds, "skip") if any(found) else {}
        rows.append({f"{name}[{x.parameters}]": x.value for name, x in one.items()})
    return {n: torch.tensor([row.get(n, np.nan) for row in rows], dtype=torch.float64) for n in rows[0]}

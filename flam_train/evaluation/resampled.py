"""How sure the numbers of a detection are, and whether one model is better than another: bootstrap over recordings.

Shape suffixes: as in `metrics.bootstrap`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
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
    interval,
    levels_told,
    segment_counts,
)
from flam_train.metrics.detection import psds_of
from flam_train.metrics.ranking import d_prime_of

Note = Callable[[str], None]


def intervals(scores: Scores, chosen: SedMetrics, how: Bootstrap, note: Note | None = None) -> dict[str, Any]:
    """The field of a `Result`. Errors as in `Bootstrap.drawn`. note: told what is being computed."""
    drawn = how.drawn(scores.kept)
    values = resampled(scores, chosen, drawn, how.psds, note)
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
    it, and F1, precision and recall at 0.5."""
    rounds = []
    for r in range(len(scores.words.phrases)):
        if note is not None:
            note(f"bootstrap of phrasing {r + 1} of {len(scores.words.phrases)}")
        rounds.append(_round(scores, chosen, drawn, r, with_psds, note))
    return {name: torch.stack([one[name] for one in rounds]).mean(dim=0) for name in rounds[0]}


def _round(
    scores: Scores, chosen: SedMetrics, drawn: Drawn, r: int, with_psds: bool, note: Note | None
) -> dict[str, Tensor]:
    kept, method, weight_UR = scores.kept, chosen.method or scores.kept.method, drawn.weight_UR
    units = len(weight_UR)
    unit_F = drawn.unit_N.repeat_interleave(torch.from_numpy(kept.frame_start_N1).diff())
    values: dict[str, Tensor] = {}
    wanted = set(chosen.metrics)
    if {"auroc", "dprime"} & wanted:
        macro_R, micro_R = auroc_resampled(lambda: scores.blocks(method, r), unit_F, weight_UR)
        found = {"macro": macro_R, "micro": micro_R}
        if "auroc" in wanted:
            values |= {f"auroc/{name}": area_R for name, area_R in found.items() if area_R is not None}
        if "dprime" in wanted:
            names = {"macro": "of macro AUROC", "micro": "micro"}
            values |= {f"dprime/{names[n]}": d_prime_of(area_R) for n, area_R in found.items() if area_R is not None}
    of_curves = {"precision_recall"} & wanted
    if {"frame_f1"} & wanted or of_curves:
        kinds = {"": method} | ({" biased": "biased"} if method not in ("biased", "cosine") else {})
        for kind, one in kinds.items():
            parts = [frame_counts(score, label, unit_F, units) for score, label in scores.blocks(one, r)]
            values |= _named(
                "frame", Counts.joined(parts), weight_UR, wanted if one == method else wanted - of_curves, kind
            )
    psds = with_psds and "psds" in wanted
    if not {"segment_f1", "event_f1"} & wanted and not of_curves and not psds:
        return values
    timed = timed_arguments(scores, method, chosen, r)
    if {"segment_f1"} & wanted or of_curves:
        counts = segment_counts(*timed, drawn.unit_N, units, HALF, chosen.segment_seconds)
        values |= _named("segment", counts, weight_UR, wanted)
    if {"event_f1"} & wanted or of_curves:
        counts = event_counts(*timed, drawn.unit_N, units, HALF, chosen.collar_seconds, chosen.offset_share)
        values |= _named("event", counts, weight_UR, wanted)
    return values | (_psds(timed, chosen, drawn, note) if psds else {})


def _named(kind: str, counts: Counts, weight_UR: Tensor, wanted: set[str], biased: str = "") -> dict[str, Tensor]:
    found = {"f1": counts.f1} if f"{kind}_f1" in wanted else {}
    if "precision_recall" in wanted:
        found |= {"precision": counts.precision, "recall": counts.recall}
    return {
        f"{kind}_{name}{biased}/{which}": value_R
        for name, call in found.items()
        for which, value_R in zip(("macro", "micro"), call(weight_UR), strict=True)
    }


def _psds(timed: Any, chosen: SedMetrics, drawn: Drawn, note: Note | None) -> dict[str, Tensor]:
    """Of recordings that are really there as often as they are drawn. The time of the set itself tells all others'."""
    smooth, events, classes, durations, hop = timed
    weight_RN = drawn.weight_UR[drawn.unit_N].T
    rows: list[dict[str, float]] = []
    begin = time.monotonic()
    for weight_N in weight_RN:
        at = torch.arange(len(smooth)).repeat_interleave(weight_N).tolist()
        parts = ([x[n] for n in at] for x in (smooth, events, durations))
        copied, found, seconds = parts
        one = psds_of(copied, found, classes, seconds, hop, chosen.psds, "skip") if any(found) else {}
        rows.append({f"{name}[{x.parameters}]": x.value for name, x in one.items()})
        if len(rows) == 1 and note is not None:
            left = (time.monotonic() - begin) * (len(weight_RN) - 1) / 60
            note(f"PSDS of {len(weight_RN) - 1:,} resamples: about {left:,.1f} minutes")
    return {n: torch.tensor([row.get(n, np.nan) for row in rows], dtype=torch.float64) for n in rows[0]}


def compare(
    a: Scores, b: Scores, chosen: SedMetrics, how: Bootstrap, note: Note | None = None
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """(how, in words; by metric) of two models on the same clips. Of each metric: a, b, difference (a - b) with low,
    high and error of the paired bootstrap, in which both are measured on the same resamples, and `a better`: the share
    of resamples in which a is better, ties half.

    Raises Differs if clips, classes or truth do; else errors as in `Bootstrap.drawn`.
    """
    check_same(a, b)
    drawn = how.drawn((a if a.kept.sources or not b.kept.sources else b).kept)
    of_a, of_b = (resampled(one, chosen, drawn, how.psds, note) for one in (a, b))
    out = {}
    for name in (name for name in of_a if name in of_b):
        one_R, other_R = of_a[name], of_b[name]
        apart_R = one_R - other_R
        drawn_R = apart_R[1:][~apart_R[1:].isnan()]
        found = interval(drawn_R, how.level)
        share = float(((drawn_R > 0).double() + (drawn_R == 0).double() / 2).mean())
        both = {"a": float(one_R[0]), "b": float(other_R[0]), "difference": float(apart_R[0])}
        out[name] = both | asdict(found) | {"a better": share}
    return drawn.how, out


def plain(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """For a JSON file: what nothing defines is null."""
    return {name: {key: x if math.isfinite(x) else None for key, x in one.items()} for name, one in found.items()}


class Differs(ValueError):
    """What two models found cannot be compared, as it was not asked of the same."""


def check_same(a: Scores, b: Scores) -> None:
    """Raises Differs that names the first clip or class that does."""
    one, other = a.kept, b.kept
    if one.keys != other.keys:
        odd = sorted(set(one.keys) ^ set(other.keys))
        what = f"{odd[0]!r} is not in both" if odd else "they stand in another order"
        raise Differs(f"clips differ, {len(one.keys)} and {len(other.keys)}: {what}: evaluate both on the same shards")
    if a.classes != b.classes:
        odd = sorted(set(a.classes) ^ set(b.classes))
        what = f"{odd[0]!r} is not in both" if odd else "they stand in another order"
        raise Differs(f"classes differ, {len(a.classes)} and {len(b.classes)}: {what}: ask both for the same ones")
    for name, first, second in (("durations", one.durations, other.durations), ("events", a.events, b.events)):
        for key, x, y in zip(one.keys, first, second, strict=True):
            if x != y:
                raise Differs(f"truth differs: {name} of clip {key!r}: evaluate both on the same shards")

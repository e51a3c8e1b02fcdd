"""Polyphonic sound detection: the PSD-ROC curve and its score, exact over all thresholds.

True and false positives at every threshold come from what changes as it falls (`crossings`), sorted. Two facts save
most of the work. Where a class has no event, every detection is a false positive, and their number changes at a frame
by what its two neighbours tell. And each such recording with a score above the threshold has at least one, so once more
of them than the curve's end allows have spoken up, lower thresholds need no look.

Shape suffixes: as in `timed`; X changes of counts, M places of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from flam_train.metrics.crossings import Changes, Components, count_false, examine
from flam_train.metrics.timed import BLOCK, Detection, Sound, Truth

HOUR = 3600.0


@dataclass(frozen=True)
class PsdsParameters:
    """Bilen et al. 2020.

    dtc      detection tolerance: the share of a detection that must lie on events of its class, in (0, 1]
    gtc      the share of an event that such detections must cover, in (0, 1]
    cttc     the share of any other detection on events of another class that makes it a cross trigger, in (0, 1];
             None: they are not looked at
    alpha_ct what a cross trigger costs beside a false positive, at least 0; 0 where cttc is None
    alpha_st what the standard deviation over classes costs, at least 0
    max_efpr where the curve ends: effective false positives per hour
    """

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float
    alpha_st: float
    max_efpr: float = 100.0

    def __post_init__(self) -> None:
        for name in ("dtc", "gtc", "cttc"):
            share = getattr(self, name)
            if not (share is None and name == "cttc") and not 0 < share <= 1:
                raise ValueError(f"{name} {share}: it must be more than 0 and at most 1")
        for name in ("alpha_ct", "alpha_st"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: it must be at least 0")
        if not 0 < self.max_efpr < math.inf:
            raise ValueError(f"max_efpr {self.max_efpr}: it must be more than 0 false positives per hour")
        if self.alpha_ct and self.cttc is None:
            raise ValueError(
                f"alpha_ct {self.alpha_ct} without cttc: say what a cross trigger is, or set alpha_ct to 0"
            )

    def __str__(self) -> str:
        return ",".join(f"{k}={'none' if v is None else format(v, 'g')}" for k, v in asdict(self).items())


PSDS = {
    "PSDS1": PsdsParameters(0.7, 0.7, None, 0.0, 1.0),
    "PSDS1A": PsdsParameters(0.7, 0.7, None, 0.0, 0.0),
    "PSDS2": PsdsParameters(0.1, 0.1, 0.3, 0.5, 1.0),
}
"""The settings that are reported. PSDS1A is PSDS1 without the penalty for unevenness across classes."""


@dataclass(frozen=True)
class PsdRoc:
    """A staircase: from `efpr_M[m]` on (effective false positives per hour, ascending from 0) the rate of true
    positives is `tpr_M[m]` in [0, 1], the best that a threshold reaches. float64."""

    efpr_M: np.ndarray
    tpr_M: np.ndarray

    def area(self, max_efpr: float) -> float:
        """The mean of the staircase from 0 to `max_efpr`."""
        return float((np.diff(self.efpr_M, append=max_efpr) * self.tpr_M).sum() / max_efpr)


@dataclass(frozen=True)
class Psds:
    """value, per_class (by name)  in [0, 1]; NaN and empty where no class has ground truth
    left_out                   the classes without ground truth
    roc, class_rocs            the curves under which these are the areas
    """

    value: float
    per_class: dict[str, float]
    left_out: tuple[str, ...]
    parameters: PsdsParameters
    roc: PsdRoc
    class_rocs: dict[str, PsdRoc]


def psds(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    dtc: float = 0.7,
    gtc: float = 0.7,
    cttc: float | None = None,
    alpha_ct: float = 0.0,
    alpha_st: float = 1.0,
    max_efpr: float = 100.0,
    missing: str = "refuse",
) -> Psds:
    """Polyphonic Sound Detection Score (Bilen et al. 2020), exact over all thresholds as in Ebbers et al. 2022.

    scores     N tensors [K, T_n], any real numbers, larger for present, all on one device; frame t lasts from
               t * frame_seconds to (t + 1) * frame_seconds, and a threshold detects the frames that reach it
    events     N lists of (onset, offset, class) in seconds; those of one class that overlap or touch are merged first
    durations  N, in seconds [T_n * frame_seconds]: a frame ends with its recording at the latest, and those that begin
               after it are left out. False positives are counted per hour of their sum
    missing    "refuse" or "skip" classes without an event; of those skipped the scores are not looked at either

    A class alone has no other to be confused with: its cross triggers cost nothing.
    Raises ValueError for lists of unequal length, shapes that do not fit, scores that are not numbers, an event that
    does not last or whose class is not in `classes`, and parameters out of range.
    """
    parameters = PsdsParameters(dtc, gtc, cttc, alpha_ct, alpha_st, max_efpr)
    if missing not in ("refuse", "skip"):
        raise ValueError(f"missing {missing!r}: refuse or skip")
    sound = Sound.of(scores, classes, durations, frame_seconds)
    present = {name for found in events for _, _, name in found}
    kept = [k for k, name in enumerate(classes) if name in present]
    left_out = tuple(name for name in classes if name not in present)
    truth = Truth.of(events, [classes[k] for k in kept], sound)
    if left_out and missing == "refuse":
        raise ValueError(f"{left_out[0]!r} has no event in the ground truth: leave it out, or say missing='skip'")
    if not kept:
        nothing = PsdRoc(np.zeros(1), np.full(1, math.nan))
        return Psds(math.nan, {}, left_out, parameters, nothing, {})
    rocs = []
    for block in sound.class_blocks(len(kept)):
        rocs += _rocs(sound, truth, kept, block, parameters)
    roc = _joined(rocs, parameters)
    names = [classes[k] for k in kept]
    areas = {name: one.area(max_efpr) for name, one in zip(names, rocs, strict=True)}
    return Psds(roc.area(max_efpr), areas, left_out, parameters, roc, dict(zip(names, rocs, strict=True)))


def _rocs(sound: Sound, truth: Truth, columns: list[int], block: range, p: PsdsParameters) -> list[PsdRoc]:
    """The staircases of some classes; `block` counts them among those that are kept, `columns` tells their scores."""
    score_KF = sound.block([columns[k] for k in block])
    classes, recordings = len(block), len(sound.score_NKT)
    of_block_Q = (truth.class_Q >= block.start) & (truth.class_Q < block.stop)
    pair_KN = torch.full((classes, recordings), -1, device=score_KF.device)
    pair_KN[truth.class_Q[of_block_Q] - block.start, truth.recording_Q[of_block_Q]] = of_block_Q.nonzero()[:, 0]
    best_KN = torch.full_like(pair_KN, -math.inf, dtype=score_KF.dtype)
    best_KN.scatter_reduce_(1, sound.recording_F.expand_as(score_KF), score_KF, "amax")
    end_K = _last_threshold(best_KN.masked_fill(pair_KN >= 0, -math.inf), sound.duration_N.sum(), p.max_efpr)
    looked_KN = pair_KN >= 0
    cttc = p.cttc if p.alpha_ct and len(truth.count_K) > 1 else None
    if cttc is not None:
        looked_KN |= truth.begin_N1.diff() > 0  # another class may be there
    looked_KN &= best_KN > end_K[:, None]
    parts = [count_false(score_KF, looked_KN[:, sound.recording_F], end_K)]
    class_P, recording_P = looked_KN.nonzero(as_tuple=True)
    weight_P = truth.begin_N1.diff()[recording_P] + 1 if cttc is not None else torch.ones_like(recording_P)
    for part, frames in sound.batches(recording_P, weight_P):
        row_P, column_P = class_P[part], recording_P[part]
        score_PT = score_KF[row_P[:, None], sound.frames(column_P, frames)]
        edge_PT1 = sound.edges(column_P, frames)
        found = Components.of(row_P, block.start, column_P, pair_KN[row_P, column_P], score_PT, edge_PT1)
        parts += examine(found, truth, p.dtc, p.gtc, cttc)
    changes = Changes.joined(parts)
    changes = changes.where(changes.at_X > end_K[changes.class_X])
    return _staircases(changes, truth.count_K[block.start : block.stop], sound.duration_N.sum(), p)


def _last_threshold(best_KN: Tensor, seconds: Tensor, max_efpr: float) -> Tensor:
    """end_K: at this threshold or a lower one, recordings without an event of the class, whose best scores these are
    (else -inf), alone have more false positives than the curve shows."""
    allowed = int(max_efpr * seconds.item() / HOUR) + 1  # one more than allowed, against rounding
    if allowed >= best_KN.shape[1]:
        return torch.full_like(best_KN[:, 0], -math.inf)
    return best_KN.topk(allowed + 1, dim=1).values[:, -1]


def _staircases(changes: Changes, count_K: Tensor, seconds: Tensor, p: PsdsParameters) -> list[PsdRoc]:
    """From what changes to the best rate of true positives at each rate of false ones, class by class."""
    changes = changes.where(changes.at_X.argsort(descending=True))
    changes = changes.where(changes.class_X.argsort(stable=True))
    class_X, at_X = changes.class_X, changes.at_X
    last_X = torch.ones_like(class_X, dtype=torch.bool)
    last_X[:-1] = (class_X[1:] != class_X[:-1]) | (at_X[1:] != at_X[:-1])
    before_K = torch.searchsorted(class_X, torch.arange(len(count_K), device=class_X.device))

    def counts(change_X: Tensor) -> Tensor:
        sum_X = change_X.cumsum(0)
        start_K = torch.nn.functional.pad(sum_X, (1, 0))[before_K]
        return (sum_X - start_K[class_X])[last_X]

    false, true, cross = counts(changes.false_X), counts(changes.true_X), counts(changes.cross_X)
    class_M = class_X[last_X]
    efpr_M = (false / seconds + p.alpha_ct * cross.clamp(min=0)) * HOUR
    shown = efpr_M <= p.max_efpr
    class_M, efpr_M, true_M = class_M[shown], efpr_M[shown], true[shown]
    order = efpr_M.argsort()
    order = order[class_M[order].argsort(stable=True)]
    class_M, efpr_M, true_M = class_M[order], efpr_M[order], true_M[order]
    many = int(count_K.max()) + 1
    best_M = (class_M * many + true_M).cummax(0).values
    start_K = torch.arange(len(count_K), device=class_M.device) * many
    earlier_M = torch.nn.functional.pad(best_M, (1, 0), value=-1)[:-1]
    steps = best_M > torch.maximum(earlier_M, start_K[class_M])
    class_M, efpr_M, true_M = class_M[steps].cpu(), efpr_M[steps].cpu(), true_M[steps].cpu()
    bounds = torch.searchsorted(class_M, torch.arange(len(count_K) + 1)).tolist()
    out = []
    for k, count in enumerate(count_K.tolist()):
        part = slice(bounds[k], bounds[k + 1])
        efpr, tpr = efpr_M[part].numpy(), true_M[part].numpy() / count
        if not len(efpr) or efpr[0] > 0:
            efpr, tpr = np.concatenate(([0.0], efpr)), np.concatenate(([0.0], tpr))
        # Of several at one place the last is the highest.
        distinct = np.flatnonzero(np.diff(efpr, append=math.inf) > 0)
        out.append(PsdRoc(efpr[distinct], tpr[distinct]))
    return out


def _joined(rocs: list[PsdRoc], p: PsdsParameters) -> PsdRoc:
    """The mean over classes less `alpha_st` standard deviations, at least 0."""
    efpr_M = np.unique(np.concatenate([roc.efpr_M for roc in rocs]))
    tpr_M = np.empty_like(efpr_M)
    size = max(1, BLOCK // len(rocs))
    for first in range(0, len(efpr_M), size):
        part = efpr_M[first : first + size]
        tpr_KM = np.stack([roc.tpr_M[np.searchsorted(roc.efpr_M, part, side="right") - 1] for roc in rocs])
        tpr_M[first : first + size] = np.maximum(tpr_KM.mean(axis=0) - p.alpha_st * tpr_KM.std(axis=0), 0.0)
    return PsdRoc(efpr_M, tpr_M)

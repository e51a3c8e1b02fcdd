"""Polyphonic sound detection: the PSD-ROC curve and its score, exact over all thresholds.

True and false positives at every threshold come from what changes as it falls (`crossings`), sorted. Two facts save
most of the work. Where a class has no event, every detection is a false positive, and their number changes at a frame
by what its two neighbours tell. And each such recording with a score above the threshold has at least one, so once more
of them than the curve's end allows have spoken up, lower thresholds need no look.

Shape suffixes: as in `timed`; X changes of counts, M places of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flam_train.metrics.crossings import (
    Changes,
    Components,
    count_false,
    cross_triggers,
    false_positives,
    tolerated,
    true_positives,
)
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

    A class alone has no other to be confused with: its cross triggers cost nothing. Those of a class are averaged over
    the n - 1 others, as in sed_scores_eval; psds_eval 0.3 divides by n: PSDS2 as published in its time (DCASE 2020 to
    2022) is about .005 higher.
    Raises ValueError for lists of unequal length, shapes that do not fit, scores that are not numbers, an event that
    does not last or whose class is not in `classes`, and parameters out of range.
    """
    parameters = PsdsParameters(dtc, gtc, cttc, alpha_ct, alpha_st, max_efpr)
    return psds_of(scores, events, classes, durations, frame_seconds, {"": parameters}, missing)[""]


def psds_of(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    settings: Mapping[str, PsdsParameters] = PSDS,
    missing: str = "refuse",
) -> dict[str, Psds]:
    """`psds` under several settings: what those that differ in `alpha_st` alone have in common is computed once."""
    if missing not in ("refuse", "skip"):
        raise ValueError(f"missing {missing!r}: refuse or skip")
    sound = Sound.of(scores, classes, durations, frame_seconds)
    present = {event[-1] for found in events for event in found}
    kept = [k for k, name in enumerate(classes) if name in present]
    left_out = tuple(name for name in classes if name not in present)
    truth = Truth.of(events, [classes[k] for k in kept], sound)
    if left_out and missing == "refuse":
        raise ValueError(f"{left_out[0]!r} has no event in the ground truth: leave it out, or say missing='skip'")
    if not kept:
        nothing = PsdRoc(np.zeros(1), np.full(1, math.nan))
        return {name: Psds(math.nan, {}, left_out, p, nothing, {}) for name, p in settings.items()}
    rocs: dict[PsdsParameters, list[PsdRoc]] = {replace(p, alpha_st=0.0): [] for p in settings.values()}
    for block in sound.class_blocks(len(kept)):
        score_KF = sound.block([kept[k] for k in block])
        best_KN = score_KF.new_full((len(block), len(scores)), -math.inf)
        best_KN.scatter_reduce_(1, sound.recording_F.expand_as(score_KF), score_KF, "amax")
        for p, found in rocs.items():
            found += _rocs(score_KF, best_KN, sound, truth, block, p)
    names = [classes[k] for k in kept]
    out = {}
    for name, p in settings.items():
        of_classes = dict(zip(names, rocs[replace(p, alpha_st=0.0)], strict=True))
        roc = _joined(list(of_classes.values()), p)
        areas = {c: one.area(p.max_efpr) for c, one in of_classes.items()}
        out[name] = Psds(roc.area(p.max_efpr), areas, left_out, p, roc, of_classes)
    return out


def _rocs(
    score_KF: Tensor, best_KN: Tensor, sound: Sound, truth: Truth, block: range, p: PsdsParameters
) -> list[PsdRoc]:
    """The staircases of some classes; `block` counts them among those that are kept. best_KN: each recording's best."""
    classes, recordings = len(block), len(sound.score_NKT)
    of_block_Q = (truth.class_Q >= block.start) & (truth.class_Q < block.stop)
    pair_KN = torch.full((classes, recordings), -1, device=score_KF.device)
    pair_KN[truth.class_Q[of_block_Q] - block.start, truth.recording_Q[of_block_Q]] = of_block_Q.nonzero()[:, 0]
    end_K = _last_threshold(best_KN.masked_fill(pair_KN >= 0, -math.inf), sound.duration_N.sum(), p.max_efpr)
    looked_KN = pair_KN >= 0
    cttc = p.cttc if p.alpha_ct and len(truth.count_K) > 1 else None
    if cttc is not None:
        looked_KN |= truth.begin_N1.diff() > 0  # another class may be there
    looked_KN &= best_KN > end_K[:, None]
    class_P, recording_P = looked_KN.nonzero(as_tuple=True)
    pair_P = pair_KN[class_P, recording_P]
    found = Components.joined(
        [Components.of(part, score_KF, class_P[part], recording_P[part], sound) for part in sound.batches(recording_P)]
    )
    right_C = tolerated(found, pair_P, truth, p.dtc)
    false, right = found.where(~right_C), found.where(right_C)
    del found, right_C
    parts = [count_false(score_KF, looked_KN[:, sound.recording_F], end_K), *false_positives(false, class_P)]
    curve = _Shown.of(Changes.joined(parts), end_K, sound.duration_N.sum(), p.max_efpr)
    false, right = (some.where(curve.shows(class_P[some.row_C], some)) for some in (false, right))
    parts = [curve.changes(), *true_positives(right, class_P, pair_P, truth, p.gtc)]
    if cttc is not None:
        parts += cross_triggers(false, class_P, block.start, recording_P, truth, cttc)
    return _staircases(Changes.joined(parts), truth.count_K[block.start : block.stop], end_K, sound.duration_N.sum(), p)


@dataclass(frozen=True)
class _Shown:
    """Where the false positives of each class, to which cross triggers only add, lie on the curve.

    class_M, at_M   class by class the thresholds at which their number changes, the highest first
    false_M         their number from there on
    shown_M         whether the curve goes as far
    """

    class_M: Tensor
    at_M: Tensor
    false_M: Tensor
    shown_M: Tensor

    @classmethod
    def of(cls, changes: Changes, end_K: Tensor, seconds: Tensor, max_efpr: float) -> _Shown:
        class_M, at_M, (false_M,) = _counts(changes, end_K, ("false_X",))
        return cls(class_M, at_M, false_M, false_M / seconds * HOUR <= max_efpr)

    def shows(self, class_C: Tensor, found: Components) -> Tensor:
        """Whether each lives at a threshold that is shown."""
        at_U = self.at_M.unique()  # ascending
        turned = len(at_U) + 1
        key_M = self.class_M * turned + (len(at_U) - 1 - torch.searchsorted(at_U, self.at_M))

        def reached(at_C: Tensor, right: bool) -> Tensor:
            """How many of M lie at or above (right), or above, a score: those of lower classes, and its own."""
            above_C = len(at_U) - torch.searchsorted(at_U, at_C, right=not right)
            return torch.searchsorted(key_M, class_C * turned + above_C)

        shown_M1 = torch.nn.functional.pad(self.shown_M.long().cumsum(0), (1, 0))
        before_M1 = torch.nn.functional.pad(self.shown_M, (1, 0), value=True)
        first_C, last_C = reached(found.score_C, True), reached(found.low_C, False)
        appears_C = (first_C == torch.searchsorted(self.class_M, class_C)) | before_M1[first_C]
        return appears_C | (shown_M1[last_C] > shown_M1[first_C])

    def changes(self) -> Changes:
        """Of their number: in one go where thresholds that are not shown follow each other."""
        begins_M = torch.ones_like(self.shown_M)
        begins_M[1:] = self.class_M[1:] != self.class_M[:-1]
        before_M = torch.nn.functional.pad(self.shown_M, (1, 0))[:-1]
        keep_M = self.shown_M | before_M | begins_M
        class_X, false_X = self.class_M[keep_M], self.false_M[keep_M]
        change_X = false_X.clone()
        change_X[1:] -= false_X[:-1] * (class_X[1:] == class_X[:-1])
        return Changes(class_X, self.at_M[keep_M], false_X=change_X)


def _last_threshold(best_KN: Tensor, seconds: Tensor, max_efpr: float) -> Tensor:
    """end_K: at this threshold or a lower one, recordings without an event of the class, whose best scores these are
    (else -inf), alone have more false positives than the curve shows."""
    allowed = int(max_efpr * seconds.item() / HOUR) + 1  # one more than allowed, against rounding
    if allowed >= best_KN.shape[1]:
        return torch.full_like(best_KN[:, 0], -math.inf)
    return best_KN.topk(allowed + 1, dim=1).values[:, -1]


def _counts(changes: Changes, end_K: Tensor, names: tuple[str, ...]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(class_M, at_M, counts): class by class and threshold by threshold, the highest first and down to end_K, what the
    changes named add up to."""
    order = (changes.at_X > end_K[changes.class_X]).nonzero()[:, 0]
    order = order[changes.at_X[order].argsort(descending=True)]
    if len(end_K) > 1:
        order = order[changes.class_X[order].argsort(stable=True)]
    class_X, at_X = changes.class_X[order], changes.at_X[order]
    last_X = torch.ones_like(class_X, dtype=torch.bool)
    last_X[:-1] = (class_X[1:] != class_X[:-1]) | (at_X[1:] != at_X[:-1])
    before_K = torch.searchsorted(class_X, torch.arange(len(end_K), device=class_X.device))
    counts = []
    for name in names:
        change_X = getattr(changes, name)
        if change_X is None:
            counts.append(torch.zeros_like(class_X[last_X]))
            continue
        sum_X = change_X[order].cumsum(0)
        start_K = torch.nn.functional.pad(sum_X, (1, 0))[before_K]
        counts.append((sum_X - start_K[class_X])[last_X])
    return class_X[last_X], at_X[last_X], counts


def _staircases(changes: Changes, count_K: Tensor, end_K: Tensor, seconds: Tensor, p: PsdsParameters) -> list[PsdRoc]:
    """From what changes to the best rate of true positives at each rate of false ones, class by class."""
    class_M, _, (false, true, cross) = _counts(changes, end_K, ("false_X", "true_X", "cross_X"))
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

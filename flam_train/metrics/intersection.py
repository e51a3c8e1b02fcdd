"""Detections beside the time that events take, at a threshold: intersection-based F1, mean IoU, cross triggers.

A run of frames with a score above the threshold is a detection. It is tolerated if events of its class cover at least
the share `dtc` of it (detection tolerance criterion); an event is found if tolerated detections cover at least `gtc` of
it (ground truth intersection criterion); a detection that is not tolerated triggers another class if events of that
class cover at least `cttc` of it (cross trigger tolerance criterion): Bilen et al. 2020, as in psds_eval. `psd` has the
same over all thresholds at once. Times are compared to the microsecond, thresholds as in float64.

Shape suffixes: as in `timed`, but for P, thresholds here; D detections, X any of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics import timed
from flam_train.metrics.f1 import F1Curve
from flam_train.metrics.runs import InPairs, detections_in_pairs, runs, runs_above
from flam_train.metrics.timed import DECIMALS, Detection, Truth, laid_out, lowered, micro, spread


def intersection_f1(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    thresholds: Sequence[float] = (0.5,),
    dtc: float = 0.5,
    gtc: float = 0.5,
) -> F1Curve:
    """Intersection-based F1 of DCASE 2020 task 4 and after (dtc and gtc .5 there): true positives are the events that
    are found, false positives the detections that are not tolerated, so one detection may find several events and an
    event may take several. `raised_PK` of the curve is the sum of both.

    dtc, gtc: shares, more than 0 and at most 1. Other arguments and errors as in `psds`.
    """
    _shares(dtc=dtc, gtc=gtc)
    sound, truth = laid_out(scores, events, classes, durations, frame_seconds)
    curves = []
    for columns in sound.class_blocks(len(classes)):
        score_KF = sound.block(list(columns))
        right, found = [], []
        found_at = detections_in_pairs(score_KF, columns, sound, truth, thresholds)
        for some in (one for several in found_at for one in several.each()):
            good_D = _tolerated(some, truth, dtc)
            right.append(_of_each(truth.class_Q[some.pair_D[good_D]], columns))
            covered_E = _covered(some, truth, good_D)
            is_found_E = micro(covered_E) >= micro(gtc * (truth.offset_E - truth.onset_E)).clamp(min=10**-DECIMALS)
            found.append(_of_each(truth.class_Q[truth.pair_E[is_found_E]], columns))
        all_PK = runs_above(score_KF, thresholds).T.cpu()
        hit_PK = torch.stack(found)
        raised_PK = hit_PK + all_PK - torch.stack(right)
        positive_K = truth.count_K[columns.start : columns.stop].cpu()
        curves.append(F1Curve(tuple(thresholds), hit_PK, raised_PK, positive_K))
    return F1Curve.joined(curves)


@dataclass(frozen=True)
class MeanIou:
    """value: the mean over all pairs of a class and a recording that have an event or a detection; macro: the mean over
    classes of each class's own; per_class_K: float64; pairs_K: how many pairs each has (int64). In [0, 1]; NaN where
    there is no such pair."""

    value: float
    macro: float
    per_class_K: Tensor
    pairs_K: Tensor
    threshold: float


def mean_iou(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    threshold: float = 0.5,
) -> MeanIou:
    """Intersection over union of the time that is found and the time that is annotated: the measure that AEGBench names
    for grounding, defined here; its own code was not at hand to compare with.

    Of each pair of a class and a recording: the seconds that lie both in detections and in events, over those that lie
    in either; of all intervals together, none is matched with another. What an event lasts behind the recording's end
    does not count: nothing can be found there. The mean runs over the pairs with an event or a detection: a phrase that
    is wrongly found counts 0, as does one that is missed, and one that is rightly not found does not count. Arguments
    and errors as in `psds`.
    """
    sound, truth = laid_out(scores, events, classes, durations, frame_seconds)
    sums, pairs = [], []
    end_Q = sound.duration_N[truth.recording_Q]
    there_Q = truth.coverage(torch.arange(len(end_Q), device=end_Q.device), end_Q)
    for columns in sound.class_blocks(len(classes)):
        score_KF = sound.block(list(columns))
        (some,) = detections_in_pairs(score_KF, columns, sound, truth, (threshold,))
        found_Q, both_Q = torch.zeros_like(end_Q), torch.zeros_like(end_Q)
        found_Q.index_add_(0, some.pair_D, some.offset_D - some.onset_D)
        both_Q.index_add_(0, some.pair_D, _within(some, truth))
        mine_Q = (truth.class_Q >= columns.start) & (truth.class_Q < columns.stop)
        iou_Q = (both_Q / (found_Q + there_Q - both_Q))[mine_Q]
        class_Q, recording_Q = truth.class_Q[mine_Q] - columns.start, truth.recording_Q[mine_Q]
        is_pair_KN = torch.zeros(len(columns), len(sound.score_NKT), dtype=torch.bool, device=score_KF.device)
        row_X, frame_X = (score_KF > lowered([threshold], score_KF.dtype).item()).nonzero(as_tuple=True)
        is_pair_KN[row_X, sound.recording_F[frame_X]] = True
        is_pair_KN[class_Q, recording_Q] = True
        pairs.append(is_pair_KN.sum(dim=1).cpu())
        sums.append(iou_Q.new_zeros(len(columns)).index_add_(0, class_Q, iou_Q).cpu())
    sum_K, pairs_K = torch.cat(sums), torch.cat(pairs)
    per_class_K = sum_K / pairs_K
    total = int(pairs_K.sum())
    return MeanIou(
        value=float(sum_K.sum()) / total if total else math.nan,
        macro=float(per_class_K[pairs_K > 0].mean()),
        per_class_K=per_class_K,
        pairs_K=pairs_K,
        threshold=threshold,
    )


@dataclass(frozen=True)
class CrossTriggers:
    """Which class is taken for which: counts (int64) of detections.

    count_KK    row: the class that is detected, column: another class whose events the detection lies on. One may count
                in several columns of its row; the diagonal is 0
    false_K     the detections of each class that are not tolerated, wherever they lie
    crossed_K   those of them that trigger at least one other class
    right_K     the detections that are tolerated
    """

    count_KK: Tensor
    false_K: Tensor
    crossed_K: Tensor
    right_K: Tensor
    threshold: float

    @property
    def share(self) -> float:
        """Of all detections that are not tolerated those that trigger another class, in [0, 1]; NaN if there are
        none."""
        false = int(self.false_K.sum())
        return int(self.crossed_K.sum()) / false if false else math.nan


def cross_triggers(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    threshold: float = 0.5,
    dtc: float = 0.5,
    cttc: float = 0.3,
) -> CrossTriggers:
    """Detections that lie on events of other classes than their own, class by class (Bilen et al. 2020; the shares are
    those of DCASE 2020 task 4).

    dtc, cttc: shares, more than 0 and at most 1. Other arguments and errors as in `psds`.
    """
    _shares(dtc=dtc, cttc=cttc)
    sound, truth = laid_out(scores, events, classes, durations, frame_seconds)
    many, recordings = len(classes), len(sound.score_NKT)
    key_Q = truth.class_Q * recordings + truth.recording_Q  # ascending: Q is sorted by both
    count_X = torch.zeros(many * many, dtype=torch.int64, device=key_Q.device)
    false_K, crossed_K, right_K = (torch.zeros(many, dtype=torch.int64, device=key_Q.device) for _ in range(3))
    for columns in sound.class_blocks(many):
        score_KF = sound.block(list(columns))
        begins_KF, ends_KF = runs(score_KF > lowered([threshold], score_KF.dtype).item())
        row_D, begin_D = begins_KF.nonzero(as_tuple=True)
        end_D = ends_KF.nonzero(as_tuple=True)[1]
        class_D, recording_D = row_D + columns.start, sound.recording_F[begin_D]
        onset_D, offset_D = sound.onset_F[begin_D], sound.offset_F[end_D]
        key_D = class_D * recordings + recording_D
        pair_D = torch.searchsorted(key_Q, key_D)
        good_D = key_D == torch.nn.functional.pad(key_Q, (0, 1), value=-1)[pair_D]
        own = InPairs(1, torch.zeros_like(pair_D), pair_D, onset_D, offset_D).where(good_D)
        good_D[good_D.clone()] = _tolerated(own, truth, dtc)
        right_K += torch.bincount(class_D[good_D], minlength=many)
        false_K += torch.bincount(class_D[~good_D], minlength=many)
        wrong_D = (~good_D).nonzero()[:, 0]
        for part_D in _parts(wrong_D, truth.begin_N1.diff()[recording_D[wrong_D]]):
            recording_X = recording_D[part_D]
            row_X, entry_X = spread(truth.begin_N1[recording_X], truth.begin_N1.diff()[recording_X])
            some_X, pair_X = part_D[row_X], truth.pair_of_recording[entry_X]
            on_X = InPairs(1, torch.zeros_like(pair_X), pair_X, onset_D[some_X], offset_D[some_X])
            triggers_X = (truth.class_Q[pair_X] != class_D[some_X]) & _tolerated(on_X, truth, cttc)
            key_X = class_D[some_X] * many + truth.class_Q[pair_X]
            count_X += torch.bincount(key_X[triggers_X], minlength=many * many)
            crossed_K += torch.bincount(class_D[some_X[triggers_X].unique()], minlength=many)
    count_KK = count_X.reshape(many, many).cpu()
    return CrossTriggers(count_KK, false_K.cpu(), crossed_K.cpu(), right_K.cpu(), threshold)


def _shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise ValueError(f"{name} {share}: it must be more than 0 and at most 1")


def _within(some: InPairs, truth: Truth) -> Tensor:
    """Seconds of the pair's events inside each."""
    return truth.coverage(some.pair_D, some.offset_D) - truth.coverage(some.pair_D, some.onset_D)


def _tolerated(some: InPairs, truth: Truth, share: float) -> Tensor:
    """Whether events of the pair cover a share of each."""
    return micro(_within(some, truth)) >= micro(share * (some.offset_D - some.onset_D))


def _covered(some: InPairs, truth: Truth, good_D: Tensor) -> Tensor:
    """Seconds of each event inside the detections that are good."""
    pair_D, onset_D, offset_D = some.pair_D[good_D], some.onset_D[good_D], some.offset_D[good_D]
    first_D = truth.ended(pair_D, onset_D)
    row_X, event_X = spread(first_D, (truth.begun(pair_D, offset_D) - first_D).clamp(min=0))
    shared_X = torch.minimum(offset_D[row_X], truth.offset_E[event_X])
    shared_X = shared_X - torch.maximum(onset_D[row_X], truth.onset_E[event_X])
    return torch.zeros_like(truth.onset_E).index_add_(0, event_X, shared_X)


def _of_each(class_X: Tensor, columns: range) -> Tensor:
    """How many there are of each class of a block; those of others do not count."""
    mine_X = (class_X >= columns.start) & (class_X < columns.stop)
    return torch.bincount(class_X[mine_X].cpu() - columns.start, minlength=len(columns))


def _parts(row_D: Tensor, count_D: Tensor) -> Iterator[Tensor]:
    """Rows in order, some at a time: about as many as `timed.BLOCK` counts together, but at least one."""
    share_D = count_D.cumsum(0).div(timed.BLOCK, rounding_mode="floor")
    yield from row_D.split(share_D.unique_consecutive(return_counts=True)[1].tolist() or [0])

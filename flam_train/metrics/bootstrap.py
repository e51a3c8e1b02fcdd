"""How sure a metric is: F1 and AUROC of sets that are drawn again from the recordings of one, from counts alone.

What is drawn is a unit: a recording, or a group of recordings that are alike (a site, a night). A resample draws as
many units as there are, with replacement, so a unit counts 0, 1, 2 ... times in it, and its counts as often. Nothing is
scored again: the numbers are those of a set in which each recording really stands as often. Efron and Tibshirani 1993,
chapter 13 (percentile intervals).

A class without positives in a resample is left out of that resample's macro mean, as it is of the metric's.

Shape suffixes: as in `detection` and `f1`, but for N recordings, U units, R resamples, B levels, X positive frames of a
class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flam_train.metrics.f1 import check_collar, matched, segments, segments_until
from flam_train.metrics.ordered import Blocks
from flam_train.metrics.runs import InPairs, runs
from flam_train.metrics.timed import Detection, Sound, checked, laid_out, lowered

RESAMPLES = 1000
LEVEL = 0.95

LEVELS = 1024
"""Of scores that micro AUROC tells apart where there are more positive pairs of different scores."""

LEVEL_CELLS = 1 << 26
"""Units times levels that are counted at most: half a GB."""

TABLE = 1 << 22
"""Numbers of a class that are worked on at a time."""

EXACT = 1 << 24
"""Whole numbers up to it are float32's."""

CACHED = 1 << 18
"""Numbers that are multiplied at a time: a processor's cache holds them."""


@dataclass(frozen=True)
class Interval:
    """low, high: between them lie the middle `level` of the resampled values. error: their standard deviation.
    undefined: resamples in which nothing defined the metric, which are left out."""

    low: float
    high: float
    error: float
    undefined: int = 0


def draws(units: int, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """weight_UR int32: how often each unit is drawn in each resample; of one seed the same ones on every machine.

    Raises ValueError for fewer than two units, of which nothing can be learnt, and for no resample.
    """
    if units < 2:
        raise ValueError(f"{units} unit: of one recording or group no bootstrap can say how sure a number is")
    if resamples < 1:
        raise ValueError(f"resamples {resamples}: draw at least 1")
    generator = np.random.default_rng(seed)
    weight_RU = np.empty((resamples, units), dtype=np.int32)
    for weight_U in weight_RU:
        weight_U[:] = np.bincount(generator.integers(units, size=units), minlength=units)
    return torch.from_numpy(np.ascontiguousarray(weight_RU.T))


def interval(value_R: Tensor, level: float = LEVEL) -> Interval:
    """The percentile interval of resampled values; NaN among them, where nothing defined the metric, are left out.

    level: from above 0 to below 1. All NaN gives NaN, and so does one that is infinite, as the d' of a resample without
    a mistake: it has no interval.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level}: it must be more than 0 and less than 1, as 0.95")
    value_R = torch.as_tensor(value_R)
    undefined = int(value_R.isnan().sum())
    value_R = value_R[~value_R.isnan()].double().cpu()
    if not len(value_R) or value_R.isinf().any():
        return Interval(math.nan, math.nan, math.nan, undefined)
    low, high = np.quantile(value_R.numpy(), [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high, float(value_R.std()) if len(value_R) > 1 else math.nan, undefined)


@dataclass(frozen=True)
class Counts:
    """What an F1 is made of, int32: found and right, all that are found, and those to be found, of each unit."""

    hit_UK: Tensor
    raised_UK: Tensor
    positive_UK: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Counts]) -> Counts:
        """The classes of all of them."""
        names = ("hit_UK", "raised_UK", "positive_UK")
        return cls(*(torch.cat([getattr(one, name) for one in parts], dim=1) for name in names))

    def f1(self, weight_UR: Tensor) -> tuple[Tensor, Tensor]:
        """(macro_R, micro_R) float64, as `F1`: counts are summed exactly. weight_UR: as from `draws`, on any device."""
        hit_RK, raised_RK, positive_RK = self._drawn(weight_UR)
        micro_R = 2 * hit_RK.sum(1) / (raised_RK.sum(1) + positive_RK.sum(1))
        return _macro(2 * hit_RK / (raised_RK + positive_RK), positive_RK), micro_R

    def precision(self, weight_UR: Tensor) -> tuple[Tensor, Tensor]:
        """As `f1`, as `Rates` has it: where nothing is found 0."""
        hit_RK, raised_RK, positive_RK = self._drawn(weight_UR)
        found_R, there_R = raised_RK.sum(1), positive_RK.sum(1)
        micro_R = torch.where(found_R + there_R > 0, hit_RK.sum(1) / found_R.clamp(min=1), torch.nan)
        return _macro(hit_RK / raised_RK.clamp(min=1), positive_RK), micro_R

    def recall(self, weight_UR: Tensor) -> tuple[Tensor, Tensor]:
        """As `f1`."""
        hit_RK, _, positive_RK = self._drawn(weight_UR)
        return _macro(hit_RK / positive_RK, positive_RK), hit_RK.sum(1) / positive_RK.sum(1)

    def _drawn(self, weight_UR: Tensor) -> list[Tensor]:
        weight_RU = weight_UR.to(self.hit_UK.device).T.double()
        return [weight_RU @ x.double() for x in (self.hit_UK, self.raised_UK, self.positive_UK)]


def _macro(value_RK: Tensor, positive_RK: Tensor) -> Tensor:
    return value_RK.masked_fill(positive_RK == 0, torch.nan).nanmean(dim=1)


def mean_resampled(value_I: Tensor, unit_I: Tensor, weight_UR: Tensor) -> Tensor:
    """mean_R float64: the mean of values, each as often as its unit is drawn; NaN where none is.

    value_I  finite numbers; unit_I int64: whose each is, row of weight_UR
    """
    value_I, unit_I, weight_UR = torch.as_tensor(value_I), _units(unit_I), torch.as_tensor(weight_UR)
    _check_units(unit_I, len(value_I), len(weight_UR))
    both_I2 = torch.stack((value_I.double(), torch.ones_like(value_I, dtype=torch.float64)), dim=1)
    of_unit_U2 = both_I2.new_zeros(len(weight_UR), 2).index_add_(0, unit_I.to(value_I.device), both_I2)
    sum_R, count_R = (weight_UR.to(value_I.device).T.double() @ of_unit_U2).T
    return sum_R / count_R


def frame_counts(
    score_FK: Tensor,
    label_FK: Tensor,
    unit_F: Tensor,
    units: int,
    threshold: float = 0.5,
    mask_FK: Tensor | None = None,
) -> Counts:
    """Of frames. unit_F int64: whose a frame is, from 0 to below `units`; the rest as in `frame_f1`."""
    score_FK, label_FK, mask_FK = checked(score_FK, label_FK, mask_FK)
    unit_F = _units(unit_F)
    _check_units(unit_F, len(score_FK), units)
    unit_F = unit_F.to(score_FK.device)
    raised_FK = score_FK > lowered([threshold], score_FK.dtype).to(score_FK.device)
    if mask_FK is not None:
        raised_FK, label_FK = raised_FK & mask_FK, label_FK & mask_FK
    zero_UK = torch.zeros(units, score_FK.shape[1], dtype=torch.int32, device=score_FK.device)
    return Counts(*(zero_UK.index_add(0, unit_F, x.int()) for x in (raised_FK & label_FK, raised_FK, label_FK)))


def segment_counts(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None,
    frame_seconds: float,
    unit_N: Tensor,
    units: int,
    threshold: float = 0.5,
    segment_seconds: float = 1.0,
) -> Counts:
    """Of segments. unit_N int64: whose a recording is; the rest as in `segment_f1`."""
    pooled_SK, label_SK = segments(scores, events, classes, durations, frame_seconds, segment_seconds)
    unit_N = _units(unit_N)
    _check_units(unit_N, len(scores), units)
    segments_N = segments_until(Sound.of(scores, classes, durations, frame_seconds).duration_N, segment_seconds)
    unit_S = unit_N.to(segments_N.device).repeat_interleave(segments_N)
    return frame_counts(pooled_SK, label_SK, unit_S, units, threshold)


def event_counts(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None,
    frame_seconds: float,
    unit_N: Tensor,
    units: int,
    threshold: float = 0.5,
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
) -> Counts:
    """Of events. unit_N: as in `segment_counts`; the rest as in `event_f1`."""
    check_collar(collar_seconds, offset_share)
    sound, truth = laid_out(scores, events, classes, durations, frame_seconds)
    unit_N = _units(unit_N)
    _check_units(unit_N, len(scores), units)
    unit_N = unit_N.to(sound.recording_F.device)
    recordings = len(scores)
    key_Q = truth.class_Q * recordings + truth.recording_Q  # in order
    hits, raised = [], []
    for columns in sound.class_blocks(len(classes)):
        score_KF = sound.block(list(columns))
        begin_KF, end_KF = runs(score_KF > lowered([threshold], score_KF.dtype).item())
        class_D, begin_D = begin_KF.nonzero(as_tuple=True)
        end_D, class_D = end_KF.nonzero(as_tuple=True)[1], class_D + columns.start
        recording_D = sound.recording_F[begin_D]
        raised.append(_place(unit_N[recording_D], class_D, len(classes)))
        key_D = class_D * recordings + recording_D
        pair_D = torch.searchsorted(key_Q, key_D).clamp(max=max(0, len(key_Q) - 1))
        mine_D = key_Q[pair_D] == key_D if len(key_Q) else torch.zeros_like(key_D, dtype=torch.bool)
        onset_D, offset_D = sound.onset_F[begin_D[mine_D]], sound.offset_F[end_D[mine_D]]
        some = InPairs(1, torch.zeros_like(onset_D, dtype=torch.int64), pair_D[mine_D], onset_D, offset_D)
        _, found = matched(truth, some, collar_seconds, offset_share)
        hits.append(_place(unit_N[truth.recording_Q[found]], truth.class_Q[found], len(classes)))
    events_E = _place(unit_N[truth.recording_Q[truth.pair_E]], truth.class_Q[truth.pair_E], len(classes))
    size = units * len(classes)
    return Counts(*(
        torch.bincount(place, minlength=size).reshape(units, -1).int()
        for place in (torch.cat(hits), torch.cat(raised), events_E)
    ))  # fmt: skip


def _place(unit_I: Tensor, class_I: Tensor, classes: int) -> Tensor:
    return unit_I * classes + class_I


@dataclass(frozen=True)
class ResampledAuroc:
    """area_KR: of each class in each resample, NaN where it has not both positives and negatives; micro_R: pooled, None
    where it was not asked for. float64."""

    area_KR: Tensor
    micro_R: Tensor | None

    @property
    def macro_R(self) -> Tensor:
        return self.area_KR.nanmean(dim=0)


def auroc_resampled(blocks: Blocks, unit_F: Tensor, weight_UR: Tensor, micro: bool = True) -> ResampledAuroc:
    """`auroc` of each resample. micro: whether that is computed too.

    macro is exact: pairs are counted in whole numbers, in float32 only where these are so small that it holds each of
    them. micro is exact where the positive pairs have `levels_told` different scores at most; else that many levels are
    told apart, of equally many positive pairs each, and pairs within one count half: off by less than one over twice
    their number, in practice by far less. Time grows with (negative frames) x K x R, memory with blocks, U x R and
    U x LEVELS.

    blocks     as of `auroc_of_blocks`, masks allowed; they are gone through once, for micro twice
    unit_F     int64: whose a frame is, row of weight_UR
    weight_UR  as from `draws`

    Raises ValueError as `auroc` does, and for units that do not fit.
    """
    unit_F = _units(unit_F)
    order_F, weight_UR = unit_F.argsort(stable=True), torch.as_tensor(weight_UR).float()
    heaviest = float(weight_UR.max())
    parts, positive = [], []
    for block in blocks():
        score_FK, label_FK, mask_FK = _checked(block)
        _check_units(unit_F, len(score_FK), len(weight_UR))
        weight_UR, unit_F, order_F = (x.to(score_FK.device) for x in (weight_UR, unit_F, order_F))
        for k in range(score_FK.shape[1]):
            at_F = order_F if mask_FK is None else order_F[mask_FK[order_F, k]]
            parts.append(_lost(score_FK[at_F, k], label_FK[at_F, k], unit_F[at_F], weight_UR, heaviest))
        if micro:
            positive.append(score_FK[label_FK if mask_FK is None else label_FK & mask_FK])
    if not parts:
        raise ValueError("no class: nothing to compute a score of")
    lost_KR, positives_KR, negatives_KU = (torch.stack(x) for x in zip(*parts, strict=True))
    pairs_KR = 2 * positives_KR * (negatives_KU.double() @ weight_UR.double())
    area_KR = (pairs_KR - lost_KR) / pairs_KR  # NaN where a resample lacks positives or negatives
    return ResampledAuroc(area_KR, _micro(blocks, torch.cat(positive), unit_F, weight_UR) if micro else None)


def _lost(
    score_F: Tensor, label_F: Tensor, unit_F: Tensor, weight_UR: Tensor, heaviest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(lost_R, positives_R, negatives_U) of a class: twice the pairs that are lost, ties once; positive frames;
    negative frames of each unit. Frames in the order of their units; weights float32, `heaviest` the largest.

    A negative frame wins over the positives that lie below it: what those weigh together is looked up in one table of
    all resamples, at the frame's place among the positives.
    """
    units = len(weight_UR)
    positive_X, order_X = score_F[label_F].sort()
    negative_F = score_F[~label_F]
    unit_X, unit_M = unit_F[label_F][order_X], unit_F[~label_F]
    place_M2 = torch.stack([torch.searchsorted(positive_X, negative_F, right=right) for right in (False, True)], dim=1)
    if torch.equal(place_M2[:, 0], place_M2[:, 1]):  # no ties: once is enough
        place_M2 = place_M2[:, :1]
    times = place_M2.shape[1]
    negatives_U = torch.bincount(unit_M, minlength=units)
    start_U1 = torch.nn.functional.pad(negatives_U.cumsum(0), (1, 0)) * times
    place, starts = place_M2.flatten(), start_U1.tolist()
    most = times * int(negatives_U.max()) * heaviest
    lost, positives = [], []
    for weight_UP in weight_UR.split(max(1, min(256, TABLE // (len(positive_X) + 1))), dim=1):
        below_XP = torch.nn.functional.pad(weight_UP[unit_X], (0, 0, 1, 0)).cumsum(0, dtype=torch.float64)
        positives_P = below_XP[-1]
        if most * float(positives_P.max()) < EXACT:
            below_XP = below_XP.float()
        lost_P = torch.zeros_like(positives_P)
        size = max(1, CACHED // weight_UP.shape[1])
        for a in range(0, units, size):
            b = min(a + size, units)
            if starts[a] < starts[b]:
                mine, begin_U = place[starts[a] : starts[b]], start_U1[a:b] - starts[a]
                lost_UP = torch.nn.functional.embedding_bag(mine, below_XP, begin_U, mode="sum")
                lost_P += (lost_UP * weight_UP[a:b]).sum(0, dtype=torch.float64)
        lost.append(lost_P * (2 // times))
        positives.append(positives_P)
    return torch.cat(lost), torch.cat(positives), negatives_U


def levels_told(units: int) -> int:
    """How many different scores of positive pairs micro AUROC tells apart: fewer than LEVELS of very many units."""
    return min(LEVELS, max(2, LEVEL_CELLS // (2 * units)))


def _micro(blocks: Blocks, positive: Tensor, unit_F: Tensor, weight_UR: Tensor) -> Tensor:
    """A level of its own for each score of `edge`, and one for what lies between two of them."""
    units, resamples = weight_UR.shape
    if not len(positive):
        return weight_UR.new_full((resamples,), torch.nan, dtype=torch.float64)
    edge = positive.unique()
    most = levels_told(units)
    if len(edge) > most:
        rank = torch.linspace(0, len(positive) - 1, most, dtype=torch.float64, device=edge.device).round().long()
        edge = positive.sort().values[rank].unique()
    levels = 2 * len(edge) + 1
    count_2V = torch.zeros(2, units * levels, dtype=torch.int32, device=unit_F.device)
    for block in blocks():
        score_FK, label_FK, mask_FK = _checked(block)
        for k in range(score_FK.shape[1]):
            at_F = slice(None) if mask_FK is None else mask_FK[:, k]
            score_F, label_F = score_FK[at_F, k].contiguous(), label_FK[at_F, k]
            level_F = torch.searchsorted(edge, score_F) + torch.searchsorted(edge, score_F, right=True)
            cell_F = unit_F[at_F] * levels + level_F
            for count_V, mine_F in zip(count_2V, (label_F, ~label_F), strict=True):
                cell = cell_F[mine_F]
                count_V.index_add_(0, cell, torch.ones_like(cell, dtype=torch.int32))
    weight_RU = weight_UR.T.double()
    positive_RB, negative_RB = (
        torch.cat([weight_RU @ part.double() for part in count_V.reshape(units, -1).split(256, dim=1)], dim=1)
        for count_V in count_2V
    )
    below_RB = negative_RB.cumsum(1) - negative_RB / 2
    return (positive_RB * below_RB).sum(1) / (positive_RB.sum(1) * negative_RB.sum(1))


def _checked(block: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
    return checked(block[0], block[1], block[2] if len(block) > 2 else None)


def _units(unit_I: Tensor | Sequence[int]) -> Tensor:
    unit_I = torch.as_tensor(unit_I)
    if unit_I.is_floating_point() or unit_I.dtype == torch.bool:
        raise ValueError(f"units are {unit_I.dtype}: give their numbers, from 0")
    return unit_I.long()


def _check_units(unit_I: Tensor, things: int, units: int) -> None:
    if unit_I.shape != (things,):
        raise ValueError(f"units {tuple(unit_I.shape)}: give one of each of the {things}")
    if things and not 0 <= int(unit_I.min()) <= int(unit_I.max()) < units:
        raise ValueError(f"units {int(unit_I.min())} to {int(unit_I.max())}, but there are {units}")

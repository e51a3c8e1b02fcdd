"""Runs of frames above thresholds, which are detections: how many there are, and where events of their class are.

Shape suffixes: as in `timed`, but for P, thresholds here; I levels, D detections, X frames of pairs with events.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics import timed
from flam_train.metrics.timed import Sound, Truth, lowered, spread


@dataclass(frozen=True)
class Levels:
    """Thresholds P, in any order, and in the precision `dtype` of the scores; a score's level is how many it passes."""

    thresholds: Sequence[float]
    dtype: torch.dtype

    @functools.cached_property
    def level_P(self) -> Tensor:
        return lowered(self.thresholds, self.dtype)

    @functools.cached_property
    def order_P(self) -> Tensor:
        """The lowest first: lowering keeps their order."""
        return torch.tensor(self.thresholds, dtype=torch.float64).argsort(stable=True)

    @property
    def places(self) -> int:
        return len(self.thresholds) + 1

    def passed(self, score: Tensor) -> Tensor:
        """int32, of the scores' shape."""
        level_P = self.level_P[self.order_P].to(score.device)
        if score.is_cuda or score.dtype != torch.float32 or score.numel() < len(self._by_upper_half):
            return torch.bucketize(score, level_P, out_int32=True)
        upper = score.contiguous().view(torch.int32).bitwise_right_shift(16).bitwise_and_(0xFFFF)
        passed = self._by_upper_half[upper]
        unsure = passed < 0
        passed[unsure] = torch.bucketize(score[unsure], level_P, out_int32=True)
        return passed

    @functools.cached_property
    def _by_upper_half(self) -> Tensor:
        """int32 [2**16]: how many thresholds a float32 number passes, which the upper half of its bits tells, but where
        a threshold has the same: -1."""
        bits = torch.arange(1 << 16, dtype=torch.int64) << 16
        ends = torch.stack((bits, bits + 0xFFFF)).to(torch.int32).view(torch.float32)
        first, last = torch.bucketize(ends, self.level_P[self.order_P], out_int32=True)
        return first.masked_fill(first != last, -1)

    def above(self, count_KI: Tensor) -> Tensor:
        """count_KP: of counts at each of the levels I, those that pass each threshold."""
        more_KI = count_KI.flip(1).cumsum(1).flip(1)[:, 1:]
        return more_KI[:, self.order_P.argsort().to(count_KI.device)]


@dataclass(frozen=True)
class InPairs:
    """Detections D at some thresholds, in the pairs Q of a class and a recording that have events, threshold by
    threshold: place_D, which of the thresholds; pair_D; onset_D, offset_D in seconds, float64."""

    thresholds: int
    place_D: Tensor
    pair_D: Tensor
    onset_D: Tensor
    offset_D: Tensor

    def where(self, keep_D: Tensor) -> InPairs:
        columns = self.place_D, self.pair_D, self.onset_D, self.offset_D
        return InPairs(self.thresholds, *(x[keep_D] for x in columns))

    def each(self) -> Iterator[InPairs]:
        """Of one threshold after the other."""
        counts = torch.bincount(self.place_D, minlength=self.thresholds).tolist()
        columns = (x.split(counts) for x in (self.place_D, self.pair_D, self.onset_D, self.offset_D))
        for place_D, pair_D, onset_D, offset_D in zip(*columns, strict=True):
            yield InPairs(1, torch.zeros_like(place_D), pair_D, onset_D, offset_D)


def detections_in_pairs(
    score_KF: Tensor, columns: range, sound: Sound, truth: Truth, levels: Levels
) -> Iterator[InPairs]:
    """At some thresholds after the others, of some classes: runs of frames above them. Elsewhere a detection is wrong
    wherever it lies: `runs_above` counts them at once."""
    mine_Q = ((truth.class_Q >= columns.start) & (truth.class_Q < columns.stop)).nonzero()[:, 0]
    begin_Q, end_Q = (sound.start_N1[truth.recording_Q[mine_Q] + n] for n in (0, 1))
    row_X, frame_X = spread(begin_Q, end_Q - begin_Q)
    score_X = score_KF[truth.class_Q[mine_Q][row_X] - columns.start, frame_X]
    for level_P in levels.level_P.to(score_X.device).split(max(1, timed.BLOCK // max(1, len(score_X)))):
        begins, ends = runs(score_X > level_P[:, None])
        (place_D, begin_D), end_D = begins.nonzero(as_tuple=True), ends.nonzero()[:, 1]
        onset_D, offset_D = sound.onset_F[frame_X[begin_D]], sound.offset_F[frame_X[end_D]]
        yield InPairs(len(level_P), place_D, mine_Q[row_X[begin_D]], onset_D, offset_D)


def runs_above(score_KF: Tensor, levels: Levels) -> Tensor:
    """runs_KP: of each row, how many runs of frames pass each threshold. One begins at every threshold that a frame
    passes and the one before it does not."""
    passed_KF = levels.passed(score_KF)
    before_KF = torch.nn.functional.pad(passed_KF, (1, -1))
    rises_KF = passed_KF > before_KF
    first_X = rises_KF.nonzero()[:, 0] * levels.places
    size = len(score_KF) * levels.places
    to_KI, from_KI = (
        torch.bincount(first_X + at_KF[rises_KF], minlength=size).reshape(-1, levels.places)
        for at_KF in (passed_KF, before_KF)
    )
    return levels.above(to_KI - from_KI)


def runs(active_KF: Tensor) -> tuple[Tensor, Tensor]:
    """begins_KF, ends_KF: the first and the last frame of each run of active ones; the i-th of each belong together."""
    if not active_KF.shape[1]:
        return active_KF, active_KF
    before = torch.nn.functional.pad(active_KF, (1, -1), value=False)
    after = torch.nn.functional.pad(active_KF, (-1, 1), value=False)
    return active_KF & ~before, active_KF & ~after

"""Runs of frames above thresholds, which are detections: how many there are, and where events of their class are.

Shape suffixes: as in `timed`, but for P, thresholds here; I levels, D detections, X frames of pairs with events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics import timed
from flam_train.metrics.ordered import ascending, passing
from flam_train.metrics.timed import Sound, Truth, lowered, spread

FEW = 8
"""Thresholds that are compared faster one by one than after sorting."""


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
    score_KF: Tensor, columns: range, sound: Sound, truth: Truth, thresholds: Sequence[float]
) -> Iterator[InPairs]:
    """At some thresholds after the others, of some classes: runs of frames above them. Elsewhere a detection is wrong
    wherever it lies: `runs_above` counts them at once."""
    mine_Q = ((truth.class_Q >= columns.start) & (truth.class_Q < columns.stop)).nonzero()[:, 0]
    begin_Q, end_Q = (sound.start_N1[truth.recording_Q[mine_Q] + n] for n in (0, 1))
    row_X, frame_X = spread(begin_Q, end_Q - begin_Q)
    score_X = score_KF[truth.class_Q[mine_Q][row_X] - columns.start, frame_X]
    levels = lowered(thresholds, score_X.dtype).to(score_X.device)
    for level_P in levels.split(max(1, timed.BLOCK // max(1, len(score_X)))):
        begins, ends = runs(score_X > level_P[:, None])
        (place_D, begin_D), end_D = begins.nonzero(as_tuple=True), ends.nonzero()[:, 1]
        onset_D, offset_D = sound.onset_F[frame_X[begin_D]], sound.offset_F[frame_X[end_D]]
        yield InPairs(len(level_P), place_D, mine_Q[row_X[begin_D]], onset_D, offset_D)


def runs_above(score_KF: Tensor, thresholds: Sequence[float]) -> Tensor:
    """runs_KP int64: of each row, how many runs of frames are above each threshold: as many as frames are, less the
    neighbours that both are."""
    both_KF = torch.minimum(score_KF[:, 1:], score_KF[:, :-1])
    return _above(score_KF, thresholds) - _above(both_KF, thresholds)


def _above(score_KF: Tensor, thresholds: Sequence[float]) -> Tensor:
    if len(thresholds) > FEW:
        return passing(ascending(score_KF), thresholds)
    return torch.stack([(score_KF > level).sum(dim=1) for level in lowered(thresholds, score_KF.dtype).tolist()], dim=1)


def runs(active_KF: Tensor) -> tuple[Tensor, Tensor]:
    """begins_KF, ends_KF: the first and the last frame of each run of active ones; the i-th of each belong together."""
    if not active_KF.shape[1]:
        return active_KF, active_KF
    before = torch.nn.functional.pad(active_KF, (1, -1), value=False)
    after = torch.nn.functional.pad(active_KF, (-1, 1), value=False)
    return active_KF & ~before, active_KF & ~after

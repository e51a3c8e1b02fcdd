"""What changes as a threshold falls: detections that appear and merge, events that are found and lost.

As the threshold falls, the detections of one class in one recording only appear, grow together and never part: over all
thresholds they are the connected components of the score sequence, at most one a frame, and each lives for an interval
of thresholds. Whether one is tolerated (dtc) or a cross trigger (cttc) is a property of it, and how much of an event is
covered (gtc) is a sum over those alive.

Shape suffixes: as in `timed`; X changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.timed import BLOCK, Truth, spread

DECIMALS = 6
"""Durations are compared to the microsecond, as sed_scores_eval does: so that 0.7 of 10 s is reached by 7 s."""


@dataclass(frozen=True)
class Changes:
    """What changes at X thresholds: class_X, at_X (the score that the threshold falls to), and the change in false and
    true positives (int64) and in the weight of cross triggers (float64)."""

    class_X: Tensor
    at_X: Tensor
    false_X: Tensor
    true_X: Tensor
    cross_X: Tensor

    @classmethod
    def of(cls, class_X: Tensor, at_X: Tensor, false=None, true=None, cross=None) -> Changes:
        def whole(given: Tensor | None, dtype: torch.dtype) -> Tensor:
            return torch.zeros_like(class_X, dtype=dtype) if given is None else given.to(dtype)

        return cls(class_X, at_X, whole(false, torch.int64), whole(true, torch.int64), whole(cross, torch.float64))

    def where(self, keep_X: Tensor) -> Changes:
        return Changes(*(getattr(self, name)[keep_X] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Changes]) -> Changes:
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))


def count_false(score_KF: Tensor, elsewhere_KF: Tensor, end_K: Tensor) -> Changes:
    """False positives of recordings without events: a component appears at a frame above the one before, and two become
    one at a frame below the next."""
    before = torch.nn.functional.pad(score_KF, (1, -1), value=-math.inf)
    after = torch.nn.functional.pad(score_KF, (-1, 1), value=-math.inf)
    begins, joins = score_KF > before, after > score_KF
    keep_KF = (begins ^ joins) & (score_KF > end_K[:, None]) & ~elsewhere_KF
    class_X = keep_KF.nonzero()[:, 0]
    return Changes.of(class_X, score_KF[keep_KF], false=2 * begins[keep_KF].to(torch.int64) - 1)


@dataclass(frozen=True)
class Components:
    """Of P pairs of a class and a recording: the run of frames [from, to) around each frame t that reach its score.

    class_P    counted from `first`, where their block begins; recording_P
    pair_P     which of the Q pairs with events it is; -1: it has none
    score_PT   where the run appears as the threshold falls; low_PT: where it becomes part of a longer one
    is_one_PT  t is the first of the lowest frames of its run, so that each run counts once; never a frame of -inf
    edge_PT1   where frames begin and end, in seconds
    """

    class_P: Tensor
    first: int
    recording_P: Tensor
    pair_P: Tensor
    score_PT: Tensor
    low_PT: Tensor
    from_PT: Tensor
    to_PT: Tensor
    is_one_PT: Tensor
    edge_PT1: Tensor

    @classmethod
    def of(
        cls, class_P: Tensor, first: int, recording_P: Tensor, pair_P: Tensor, score_PT: Tensor, edge_PT1: Tensor
    ) -> Components:
        """By windows of 1, 2, 4, ... frames whose minimum is known, the longest first."""
        frames = score_PT.shape[1]
        lowest = [score_PT]  # lowest[j][:, t]: of the frames t to t + 2**j - 1
        while 2 ** len(lowest) <= frames:
            half = 2 ** (len(lowest) - 1)
            lowest.append(torch.minimum(lowest[-1][:, :-half], lowest[-1][:, half:]))
        start_PT = torch.arange(frames, device=score_PT.device).expand_as(score_PT)
        to_PT, from_PT, above_PT = start_PT, start_PT, start_PT
        for j in reversed(range(len(lowest))):
            width, last = 2**j, lowest[j].shape[1] - 1
            reached = (to_PT <= last) & (lowest[j].gather(1, to_PT.clamp(max=last)) >= score_PT)
            to_PT = to_PT + width * reached
            reached = (from_PT >= width) & (lowest[j].gather(1, (from_PT - width).clamp(min=0)) >= score_PT)
            from_PT = from_PT - width * reached
            reached = (above_PT >= width) & (lowest[j].gather(1, (above_PT - width).clamp(min=0)) > score_PT)
            above_PT = above_PT - width * reached
        around_PT2 = torch.nn.functional.pad(score_PT, (1, 1), value=-math.inf)  # at 0: before the first frame
        low_PT = torch.maximum(around_PT2.gather(1, from_PT), around_PT2.gather(1, to_PT + 1))
        is_one_PT = (above_PT == from_PT) & (score_PT > -math.inf)
        return cls(class_P, first, recording_P, pair_P, score_PT, low_PT, from_PT, to_PT, is_one_PT, edge_PT1)

    @property
    def seconds_PT(self) -> Tensor:
        return self.within(self.edge_PT1)

    def within(self, before_PT1: Tensor) -> Tensor:
        """Seconds inside each run, of what has so many before each edge."""
        return before_PT1.gather(1, self.to_PT) - before_PT1.gather(1, self.from_PT)


def examine(found: Components, truth: Truth, dtc: float, gtc: float, cttc: float | None) -> list[Changes]:
    """All that changes in some pairs, from their components. cttc None: cross triggers are not looked at."""
    own_PT = found.within(truth.coverage(found.pair_P, found.edge_PT1))
    tolerated_PT = _reaches(own_PT, dtc, found.seconds_PT)
    false_PT = found.is_one_PT & ~tolerated_PT
    class_X = found.class_P[:, None].expand_as(false_PT)[false_PT]
    cross_X = torch.zeros_like(class_X, dtype=torch.float64)
    if cttc is not None:
        cross_X = _cross_triggers(found, truth, cttc)[false_PT]
    one_X = torch.ones_like(class_X)
    return [
        Changes.of(class_X, found.score_PT[false_PT], false=one_X, cross=cross_X),
        Changes.of(class_X, found.low_PT[false_PT], false=-one_X, cross=-cross_X),
        *_covered(found, truth, found.is_one_PT & tolerated_PT, gtc),
    ]


def _cross_triggers(found: Components, truth: Truth, cttc: float) -> Tensor:
    """cross_PT: for each component the sum of 1 / (seconds of all events of a class) over the other classes whose
    events have their share of it, divided by the number of other classes. float64, per second."""
    count_P = truth.begin_N1.diff()[found.recording_P]
    row_X, place_X = spread(truth.begin_N1[found.recording_P], count_P)
    pair_X = truth.pair_of_recording[place_X]
    other = truth.class_Q[pair_X] != found.class_P[row_X] + found.first
    row_X, pair_X = row_X[other], pair_X[other]
    # Of each pair with events the coverage is computed once, on the edges of any row with its recording.
    pair_R, index_X = pair_X.unique(return_inverse=True)
    row_R = torch.empty_like(pair_R)
    row_R[index_X] = row_X
    covered_XT1 = truth.coverage(pair_R, found.edge_PT1[row_R])[index_X]
    seconds_XT = covered_XT1.gather(1, found.to_PT[row_X]) - covered_XT1.gather(1, found.from_PT[row_X])
    triggers_XT = _reaches(seconds_XT, cttc, found.seconds_PT[row_X])
    weight_K = 1.0 / (truth.seconds_K * (len(truth.count_K) - 1))
    weight_XT = triggers_XT * weight_K[truth.class_Q[pair_X], None]
    return torch.zeros_like(found.seconds_PT).index_add_(0, row_X, weight_XT)


def _covered(found: Components, truth: Truth, tolerated_PT: Tensor, gtc: float) -> Iterator[Changes]:
    """When events become found and lost again, as components that cover them come (at `score`) and go (at `low`)."""
    several = max(1, BLOCK // tolerated_PT.shape[1])
    for row_E, onset_E1, offset_E1 in zip(*(x.split(several) for x in truth.events(found.pair_P)), strict=True):
        yield _of_events(found, tolerated_PT, gtc, row_E, onset_E1, offset_E1)


def _of_events(
    found: Components, tolerated_PT: Tensor, gtc: float, row_E: Tensor, onset_E1: Tensor, offset_E1: Tensor
) -> Changes:
    onset_ET, offset_ET = (found.edge_PT1[row_E].gather(1, at[row_E]) for at in (found.from_PT, found.to_PT))
    covers_ET = torch.minimum(offset_ET, offset_E1) - torch.maximum(onset_ET, onset_E1)
    covers_ET = covers_ET.clamp_(min=0) * tolerated_PT[row_E]
    at_E2T, order = torch.cat((found.score_PT[row_E], found.low_PT[row_E]), dim=1).sort(dim=1, descending=True)
    covered_E2T = torch.cat((covers_ET, -covers_ET), dim=1).gather(1, order).cumsum(dim=1)
    found_E2T = _reaches(covered_E2T, gtc, offset_E1 - onset_E1)
    last = torch.ones_like(found_E2T)
    last[:, :-1] = at_E2T[:, 1:] < at_E2T[:, :-1]  # what happens at one threshold happens at once
    event_X, place_X = (last & (at_E2T > -math.inf)).nonzero(as_tuple=True)
    found_X = found_E2T[event_X, place_X].to(torch.int64)
    change_X = found_X.clone()
    change_X[1:] -= found_X[:-1] * (event_X[1:] == event_X[:-1])
    keep = change_X != 0
    return Changes.of(found.class_P[row_E[event_X[keep]]], at_E2T[event_X[keep], place_X[keep]], true=change_X[keep])


def _reaches(seconds: Tensor, share: float, whole: Tensor) -> Tensor:
    return seconds.round(decimals=DECIMALS) >= (share * whole).round(decimals=DECIMALS)

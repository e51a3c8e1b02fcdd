"""What changes as a threshold falls: detections that appear and merge, events that are found and lost.

As the threshold falls, the detections of one class in one recording only appear, grow together and never part: over all
thresholds they are the connected components of the score sequence, at most one a frame, and each lives for an interval
of thresholds. Whether one is tolerated (dtc) or a cross trigger (cttc) is a property of it, and how much of an event is
covered (gtc) is a sum over those alive. An end of a component lies inside one event at most, and what it holds as a
whole is found with it: time and memory grow with frames and events, not with their product.

Shape suffixes: as in `timed`; X changes, C components, Y frames of the pairs that are looked at, I any of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.timed import BLOCK, Sound, Truth, micro, spread

ROUNDS = 32
"""Steps towards lower scores; almost all frames have found one by then."""


@dataclass(frozen=True)
class Changes:
    """What changes at X thresholds: class_X, at_X (the score that the threshold falls to), and the change in false and
    true positives (int64) and in the weight of cross triggers (float64). None: there is none in any."""

    class_X: Tensor
    at_X: Tensor
    false_X: Tensor | None = None
    true_X: Tensor | None = None
    cross_X: Tensor | None = None

    @classmethod
    def joined(cls, parts: list[Changes]) -> Changes:
        def column(name: str, dtype: torch.dtype) -> Tensor | None:
            given = [getattr(p, name) for p in parts]
            if all(one is None for one in given):
                return None
            rows = [p.class_X if one is None else one for p, one in zip(parts, given, strict=True)]
            rows = [torch.zeros_like(x, dtype=dtype) if given[n] is None else x for n, x in enumerate(rows)]
            return torch.cat(rows)

        return cls(
            torch.cat([p.class_X for p in parts]),
            torch.cat([p.at_X for p in parts]),
            column("false_X", torch.int64),
            column("true_X", torch.int64),
            column("cross_X", torch.float64),
        )


def count_false(score_KF: Tensor, elsewhere_KF: Tensor, end_K: Tensor) -> Changes:
    """False positives of recordings without events: a component appears at a frame above the one before, and two become
    one at a frame below the next."""
    before = torch.nn.functional.pad(score_KF, (1, -1), value=-math.inf)
    after = torch.nn.functional.pad(score_KF, (-1, 1), value=-math.inf)
    begins, joins = score_KF > before, after > score_KF
    keep_KF = (begins ^ joins) & (score_KF > end_K[:, None]) & ~elsewhere_KF
    class_X = keep_KF.nonzero()[:, 0]
    return Changes(class_X, score_KF[keep_KF], false_X=2 * begins[keep_KF].to(torch.int64) - 1)


def nearest_not_higher(score_Y: Tensor) -> Tensor:
    """Where the nearest score before each that is no higher stands: int64. The first score is -inf, and of -inf it says
    nothing.

    Everyone steps to where the one it stands at has got to, over scores that are higher than that one's; whoever is not
    there after a few steps looks it up in windows of 1, 2, 4, ... scores whose minimum is known."""
    at_Y = torch.arange(-1, len(score_Y) - 1, device=score_Y.device)
    open_I = (score_Y > -math.inf).nonzero()[:, 0]
    for _ in range(ROUNDS):
        open_I = open_I[score_Y[at_Y[open_I]] > score_Y[open_I]]
        if not len(open_I):
            return at_Y
        at_Y[open_I] = at_Y[at_Y[open_I]]
    lowest = [score_Y]  # lowest[j][y]: of the scores y to y + 2**j - 1
    while 2 ** len(lowest) <= len(score_Y):
        half = 2 ** (len(lowest) - 1)
        lowest.append(torch.minimum(lowest[-1][:-half], lowest[-1][half:]))
    here_I, score_I = at_Y[open_I], score_Y[open_I]
    for j in reversed(range(len(lowest))):
        begin_I = here_I - 2**j + 1  # the window that ends here
        higher_I = (begin_I >= 0) & (lowest[j][begin_I.clamp(min=0)] > score_I)
        here_I = here_I - 2**j * higher_I
    at_Y[open_I] = here_I
    return at_Y


def nearest_lower(score_Y: Tensor, at_Y: Tensor) -> Tensor:
    """As `nearest_not_higher`, which at_Y is, but lower: each steps over those that equal it."""
    at_Y = at_Y.clone()
    open_I = (score_Y > -math.inf).nonzero()[:, 0]
    while len(open_I := open_I[score_Y[at_Y[open_I]] == score_Y[open_I]]):
        at_Y[open_I] = at_Y[at_Y[open_I]]
    return at_Y


@dataclass(frozen=True)
class Components:
    """Of P pairs of a class and a recording all their components: each counts once.

    row_C              which of the pairs
    onset_C, offset_C  in seconds, float64
    score_C, low_C     where it appears as the threshold falls, and where it becomes part of a longer one
    """

    row_C: Tensor
    onset_C: Tensor
    offset_C: Tensor
    score_C: Tensor
    low_C: Tensor

    @classmethod
    def of(cls, row_P: Tensor, score_KF: Tensor, class_P: Tensor, recording_P: Tensor, sound: Sound) -> Components:
        """row_P: what the pairs are called; score_KF: of the classes that class_P counts."""
        # Behind a recording's frames stands a separator of -inf: each pair has the one before, too.
        begin_P = sound.start_N1[recording_P]
        place_Y, frame_Y = spread(begin_P - 1, sound.start_N1[recording_P + 1] - begin_P + 1)
        outside_Y = frame_Y < begin_P[place_Y]
        frame_Y.clamp_(min=0)
        score_Y = score_KF[class_P[place_Y], frame_Y].masked_fill_(outside_Y, -math.inf)
        before_Y = nearest_not_higher(score_Y)
        first_Y = (score_Y[before_Y] < score_Y) & (score_Y > -math.inf)  # of the lowest frames of its component
        turned_Y = score_Y.flip(0)
        behind_Y = len(score_Y) - 1 - nearest_lower(turned_Y, nearest_not_higher(turned_Y)).flip(0)
        before_C, end_C = before_Y[first_Y], behind_Y[first_Y]
        return cls(
            row_P[place_Y[first_Y]],
            sound.onset_F[frame_Y[before_C + 1]],
            sound.offset_F[frame_Y[end_C - 1]],
            score_Y[first_Y],
            torch.maximum(score_Y[before_C], score_Y[end_C]),
        )

    def where(self, keep_C: Tensor) -> Components:
        return Components(*(getattr(self, name)[keep_C] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Components]) -> Components:
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))

    @property
    def seconds_C(self) -> Tensor:
        return self.offset_C - self.onset_C

    def within(self, pair_C: Tensor, truth: Truth) -> Tensor:
        """Seconds of the events of a pair inside each. float64."""
        return truth.coverage(pair_C, self.offset_C) - truth.coverage(pair_C, self.onset_C)


def tolerated(found: Components, pair_P: Tensor, truth: Truth, dtc: float) -> Tensor:
    """Whether each lies on events of its class by its share. pair_P: which of Q has them; -1: none has."""
    pair_C = pair_P[found.row_C]
    right_C = pair_C >= 0
    some = found.where(right_C)
    right_C[right_C.clone()] = _reaches(some.within(pair_C[right_C], truth), dtc, some.seconds_C)
    return right_C


def false_positives(found: Components, class_P: Tensor) -> list[Changes]:
    """Of those that are not tolerated."""
    class_C, one_C = class_P[found.row_C], torch.ones_like(found.row_C)
    return [Changes(class_C, found.score_C, false_X=one_C), Changes(class_C, found.low_C, false_X=-one_C)]


def cross_triggers(
    found: Components, class_P: Tensor, first: int, recording_P: Tensor, truth: Truth, cttc: float
) -> list[Changes]:
    """Of those that are not tolerated: the sum of 1 / (seconds of all events of a class) over the other classes whose
    events have their share of it, divided by the number of other classes. float64, per second.

    class_P counts from `first`. psds_eval 0.3 divided by the number of all classes: see `psd.psds`.
    """
    cross_C = torch.zeros_like(found.onset_C)
    weight_K = 1.0 / (truth.seconds_K * (len(truth.count_K) - 1))
    recording_C, class_C = recording_P[found.row_C], class_P[found.row_C]
    begin_C, count_C = truth.begin_N1[recording_C], truth.begin_N1.diff()[recording_C]
    several = max(1, BLOCK // max(1, int(truth.begin_N1.diff().max())))
    for part in torch.arange(len(cross_C), device=cross_C.device).split(several):
        place_X, entry_X = spread(begin_C[part], count_C[part])
        pair_X, row_X = truth.pair_of_recording[entry_X], part[place_X]
        other = truth.class_Q[pair_X] != class_C[row_X] + first
        pair_X, row_X = pair_X[other], row_X[other]
        some = found.where(row_X)
        triggers_X = _reaches(some.within(pair_X, truth), cttc, some.seconds_C)
        cross_C.index_add_(0, row_X, triggers_X * weight_K[truth.class_Q[pair_X]])
    is_one = cross_C > 0
    some, cross_C, class_C = found.where(is_one), cross_C[is_one], class_C[is_one]
    return [Changes(class_C, some.score_C, cross_X=cross_C), Changes(class_C, some.low_C, cross_X=-cross_C)]


def true_positives(found: Components, class_P: Tensor, pair_P: Tensor, truth: Truth, gtc: float) -> Iterator[Changes]:
    """When events become found and lost again, as tolerated components that cover them come and go."""
    class_C, pair_C = class_P[found.row_C], pair_P[found.row_C]
    # Those that lie in one as a whole: nothing else covers them while it lives.
    whole_C = (truth.ended(pair_C, found.offset_C) - truth.begun(pair_C, found.onset_C)).clamp(min=0)
    some = whole_C > 0
    for at_C, sign in ((found.score_C, 1), (found.low_C, -1)):
        yield Changes(class_C[some], at_C[some], true_X=sign * whole_C[some])
    # Those in which one begins, and those in which one ends, perhaps the same.
    first_C = truth.begun(pair_C, found.onset_C) - 1
    last_C = truth.begun(pair_C, found.offset_C) - 1
    begins_C = first_C >= truth.first_Q1[pair_C]
    begins_C &= truth.offset_E[first_C.clamp(min=0)] > found.onset_C
    ends_C = last_C >= truth.first_Q1[pair_C]
    ends_C &= truth.offset_E[last_C.clamp(min=0)] > found.offset_C
    ends_C &= ~(begins_C & (first_C == last_C))
    part_C = torch.cat((begins_C.nonzero()[:, 0], ends_C.nonzero()[:, 0]))
    event_C = torch.cat((first_C[begins_C], last_C[ends_C]))
    yield _in_parts(found.where(part_C), class_C[part_C], event_C, truth, gtc)


def _in_parts(found: Components, class_C: Tensor, event_C: Tensor, truth: Truth, gtc: float) -> Changes:
    """Of events, one for each component, that are covered by parts of components, or by components that are parts of
    them."""
    covers_C = torch.minimum(found.offset_C, truth.offset_E[event_C])
    covers_C = covers_C - torch.maximum(found.onset_C, truth.onset_E[event_C])
    event_X, class_X = torch.cat((event_C, event_C)), torch.cat((class_C, class_C))
    at_X, covers_X = torch.cat((found.score_C, found.low_C)), torch.cat((covers_C, -covers_C))
    order = at_X.argsort(descending=True)
    order = order[event_X[order].argsort(stable=True)]
    event_X, class_X, at_X, covers_X = event_X[order], class_X[order], at_X[order], covers_X[order]
    begins_X = torch.ones_like(event_X, dtype=torch.bool)
    begins_X[1:] = event_X[1:] != event_X[:-1]
    covered_X = covers_X.cumsum(0)
    covered_X = covered_X - (covered_X - covers_X)[begins_X][begins_X.cumsum(0) - 1]
    found_X = _reaches(covered_X, gtc, (truth.offset_E - truth.onset_E)[event_X])
    last_X = torch.ones_like(found_X)
    last_X[:-1] = begins_X[1:] | (at_X[1:] < at_X[:-1])  # what happens at one threshold happens at once
    last_X &= at_X > -math.inf
    event_X, class_X, at_X, found_X = event_X[last_X], class_X[last_X], at_X[last_X], found_X[last_X].long()
    change_X = found_X.clone()
    change_X[1:] -= found_X[:-1] * (event_X[1:] == event_X[:-1])
    changed = change_X != 0
    return Changes(class_X[changed], at_X[changed], true_X=change_X[changed])


def _reaches(seconds: Tensor, share: float, whole: Tensor) -> Tensor:
    return micro(seconds) >= micro(share * whole)

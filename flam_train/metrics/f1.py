"""F1, precision and recall of frames, of segments and of events, at many thresholds at once.

Times are compared to the microsecond, thresholds as in float64 whatever precision scores have. sed_eval compares raw
sums and products: its numbers differ where a frame's edge lies on one of a segment, or a collar is met exactly.

A score above a threshold is a detection. Micro: from the pooled counts of all classes. Macro: the mean over the classes
with ground truth, one that is never detected counting 0; sed_eval leaves such a class out of its mean, without a word.

Shape suffixes: as in `timed`, but for P, thresholds here; S segments of all recordings, D detections.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from flam_train.metrics.ordered import Ordered, ordered_classes, passing
from flam_train.metrics.runs import InPairs, detections_in_pairs, runs_above
from flam_train.metrics.timed import DECIMALS, Detection, Truth, laid_out, micro, spread

THRESHOLDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, *(n / 100 for n in range(1, 100)))
"""Those of a sweep; the low ones for biased scores, which start near the prior, sigmoid(-8)."""


@dataclass(frozen=True)
class F1:
    """macro, micro: NaN where nothing defines them. `per_class_K` float64, NaN for a class without ground truth;
    `left_out` has their columns. `threshold` is the one used."""

    macro: float
    micro: float
    threshold: float
    per_class_K: Tensor
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class Rates:
    """Precision (right / found) and recall (right / to be found) at a threshold, in [0, 1].

    precision_K, recall_K  float64, NaN for a class without ground truth; where nothing is found precision is 0, as in
                           scikit-learn (sed_eval leaves such a class out of its mean, sed_scores_eval counts 1)
    macro, micro           as in `F1`: means over the classes with ground truth; from pooled counts of all classes
    """

    precision_macro: float
    precision_micro: float
    recall_macro: float
    recall_micro: float
    precision_K: Tensor
    recall_K: Tensor
    threshold: float


@dataclass(frozen=True)
class BestOfEach:
    """Of each class its highest F1 and the threshold that reaches it, of equals the lowest: float64, NaN for a class
    without ground truth. macro: the mean over the others.

    The thresholds are chosen on the set that is scored: an upper bound, not a result to compare systems by. To use them
    elsewhere, choose them on another set than the one that is reported.
    """

    f1_K: Tensor
    threshold_K: Tensor
    macro: float


@dataclass(frozen=True)
class F1Curve:
    """Counts (int64) at each threshold: those that are found and right, all that are found; and those to be found."""

    thresholds: tuple[float, ...]
    hit_PK: Tensor
    raised_PK: Tensor
    positive_K: Tensor

    @classmethod
    def of(cls, classes: Iterable[Ordered], thresholds: Sequence[float]) -> F1Curve:
        """Each frame a decision. Raises ValueError for no class."""
        counts = [
            (passing(one.positive_X, thresholds), passing(one.negative_Z, thresholds), len(one.positive_X))
            for one in classes
        ]
        if not counts:
            raise ValueError("no class: nothing to compute a score of")
        hits, wrong, positives = zip(*counts, strict=True)
        hit_PK, wrong_PK = (torch.stack(x, dim=1).cpu() for x in (hits, wrong))
        return cls(tuple(thresholds), hit_PK, hit_PK + wrong_PK, torch.tensor(positives))

    @classmethod
    def joined(cls, curves: Sequence[F1Curve]) -> F1Curve:
        """The classes of all curves, which have the same thresholds. Raises ValueError for none."""
        if not curves:
            raise ValueError("no class: nothing to compute a score of")
        return cls(
            curves[0].thresholds,
            torch.cat([curve.hit_PK for curve in curves], dim=1),
            torch.cat([curve.raised_PK for curve in curves], dim=1),
            torch.cat([curve.positive_K for curve in curves]),
        )

    def at(self, threshold: float) -> F1:
        """At one of the thresholds. F1 = 2 right / (found + to be found)."""
        p = self._place(threshold)
        per_class_K = 2.0 * self.hit_PK[p].double() / (self.raised_PK[p] + self.positive_K)
        per_class_K[self.positive_K == 0] = torch.nan
        total = int(self.raised_PK[p].sum() + self.positive_K.sum())
        return F1(
            macro=float(per_class_K[self.positive_K > 0].mean()),
            micro=2.0 * int(self.hit_PK[p].sum()) / total if total else math.nan,
            threshold=threshold,
            per_class_K=per_class_K,
            left_out=tuple((self.positive_K == 0).nonzero().flatten().tolist()),
        )

    def rates_at(self, threshold: float) -> Rates:
        """Precision and recall at one of the thresholds."""
        p = self._place(threshold)
        right, found, there = int(self.hit_PK[p].sum()), int(self.raised_PK[p].sum()), int(self.positive_K.sum())
        precision_K = self.hit_PK[p].double() / self.raised_PK[p].clamp(min=1)
        recall_K = self.hit_PK[p].double() / self.positive_K
        precision_K[self.positive_K == 0] = recall_K[self.positive_K == 0] = torch.nan
        return Rates(
            precision_macro=float(precision_K[self.positive_K > 0].mean()),
            precision_micro=right / max(1, found) if found or there else math.nan,
            recall_macro=float(recall_K[self.positive_K > 0].mean()),
            recall_micro=right / there if there else math.nan,
            precision_K=precision_K,
            recall_K=recall_K,
            threshold=threshold,
        )

    def _place(self, threshold: float) -> int:
        if threshold not in self.thresholds:
            raise ValueError(f"threshold {threshold} is not one of those that were counted: {self.thresholds}")
        return self.thresholds.index(threshold)

    def all(self) -> list[F1]:
        return [self.at(threshold) for threshold in self.thresholds]

    @property
    def best(self) -> F1:
        """The highest macro value over one threshold for all classes; of equals the lowest threshold.

        The threshold is chosen on the set that is scored: an upper bound, not a result to compare systems by.
        """
        return max(self.all(), key=lambda f1: (-1.0 if math.isnan(f1.macro) else f1.macro, -f1.threshold))

    @property
    def best_of_each(self) -> BestOfEach:
        """The highest value of each class over a threshold of its own."""
        threshold_P = torch.tensor(self.thresholds, dtype=torch.float64)
        order_P = threshold_P.argsort(stable=True)
        f1_PK = 2.0 * self.hit_PK[order_P].double() / (self.raised_PK[order_P] + self.positive_K).clamp(min=1)
        f1_K = f1_PK.amax(dim=0)
        lowest_K = torch.from_numpy((f1_PK == f1_K).numpy().argmax(axis=0))  # numpy's: the first of equals
        threshold_K = threshold_P[order_P][lowest_K]
        f1_K[self.positive_K == 0] = threshold_K[self.positive_K == 0] = torch.nan
        return BestOfEach(f1_K, threshold_K, float(f1_K[self.positive_K > 0].mean()))


def frame_f1(
    score_FK: Tensor, label_FK: Tensor, thresholds: Sequence[float] = (0.5,), mask_FK: Tensor | None = None
) -> F1Curve:
    """F1 over frames: each (frame, class) pair is one decision. Arguments and errors as in `auroc`."""
    return F1Curve.of(ordered_classes(score_FK, label_FK, mask_FK), thresholds)


def segment_f1(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    thresholds: Sequence[float] = (0.5,),
    segment_seconds: float = 1.0,
) -> F1Curve:
    """Segment-based F1 (Mesaros et al. 2016): a class is active in a segment if it is at any moment of it.

    Arguments and errors as in `psds`, segments as in `segments`.
    """
    pooled_SK, label_SK = segments(scores, events, classes, durations, frame_seconds, segment_seconds)
    return frame_f1(pooled_SK, label_SK, thresholds)


def segments(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    segment_seconds: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(score_SK, label_SK bool): a recording has ceil(duration / segment_seconds) segments, what lies behind them is
    left out. The score is the highest of the frames that touch the segment (-inf where there is none), so a segment
    is detected at the thresholds at which one of them is; the label is whether an event touches it."""
    if not 0 < segment_seconds < math.inf:
        raise ValueError(f"segment_seconds {segment_seconds}: it must be more than 0")
    sound, truth = laid_out(scores, events, classes, durations, frame_seconds)
    segments_N = segments_until(sound.duration_N, segment_seconds)
    first_N1 = torch.nn.functional.pad(segments_N.cumsum(0), (1, 0))
    segments_F = segments_N[sound.recording_F]
    frame_X, place_X = _touched(sound.onset_F, sound.offset_F, segments_F, segment_seconds)
    segment_X = first_N1[sound.recording_F[frame_X]] + place_X
    pooled = []
    for columns in sound.class_blocks(len(classes)):
        score_KF = sound.block(list(columns))
        pooled_KS = score_KF.new_full((len(columns), int(first_N1[-1])), -math.inf)
        pooled.append(pooled_KS.scatter_reduce_(1, segment_X.expand(len(columns), -1), score_KF[:, frame_X], "amax"))
    recording_E, class_E = truth.recording_Q[truth.pair_E], truth.class_Q[truth.pair_E]
    event_X, place_X = _touched(truth.onset_E, truth.offset_E, segments_N[recording_E], segment_seconds)
    label_SK = torch.zeros(int(first_N1[-1]), len(classes), dtype=torch.bool, device=first_N1.device)
    label_SK[first_N1[recording_E[event_X]] + place_X, class_E[event_X]] = True
    return torch.cat(pooled).T, label_SK


def _touched(onset_I: Tensor, offset_I: Tensor, segments_I: Tensor, segment_seconds: float) -> tuple[Tensor, Tensor]:
    """(which interval, which segment of its recording): every segment that an interval touches. onset, offset: seconds;
    segments_I: how many the recording has."""
    begin_I = (onset_I / segment_seconds).floor().clamp(min=0)
    begin_I += micro((begin_I + 1) * segment_seconds - onset_I) <= 0  # it begins where the next one does
    begin_I = begin_I.long()
    end_I = torch.minimum(segments_until(offset_I, segment_seconds), segments_I)
    return spread(begin_I, (end_I - begin_I).clamp(min=0))


def segments_until(offset_I: Tensor, segment_seconds: float) -> Tensor:
    """How many segments there are up to a time: int64."""
    end_I = (offset_I / segment_seconds).ceil()
    return (end_I - (micro(offset_I - (end_I - 1) * segment_seconds) <= 0).double()).long()


def event_f1(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    thresholds: Sequence[float] = (0.5,),
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
) -> F1Curve:
    """Event-based F1 (Mesaros et al. 2016): a detection matches an event if its onset lies within the collar and its
    offset within the larger of the collar and `offset_share` of the event's length; as many as can be are matched, each
    once. Events of one class that overlap or touch are merged first. Arguments and errors as in `psds`."""
    check_collar(collar_seconds, offset_share)
    sound, truth = laid_out(scores, events, classes, durations, frame_seconds)
    curves = []
    for columns in sound.class_blocks(len(classes)):
        score_KF = sound.block(list(columns))
        hits = []
        for some in detections_in_pairs(score_KF, columns, sound, truth, thresholds):
            place, pair = matched(truth, some, collar_seconds, offset_share)
            at = place * len(columns) + truth.class_Q[pair] - columns.start
            hits.append(torch.bincount(at.cpu(), minlength=some.thresholds * len(columns)).reshape(-1, len(columns)))
        curves.append(
            F1Curve(
                tuple(thresholds),
                torch.cat(hits),
                runs_above(score_KF, thresholds).T.cpu(),
                truth.count_K[columns.start : columns.stop].cpu(),
            )
        )
    return F1Curve.joined(curves)


def check_collar(collar_seconds: float, offset_share: float) -> None:
    if not collar_seconds >= 0 or not offset_share >= 0:
        raise ValueError(f"collar_seconds {collar_seconds} and offset_share {offset_share} must be at least 0")


def matched(truth: Truth, some: InPairs, collar: float, share: float) -> tuple[Tensor, Tensor]:
    """(threshold, pair of Q) of each event that is matched by detections of that threshold."""
    pair_D = some.pair_D
    row_X, event_X = spread(truth.first_Q1[pair_D], truth.first_Q1.diff()[pair_D])
    onset_E, offset_E = truth.onset_E[event_X], truth.offset_E[event_X]
    allowed_E = torch.clamp(share * (offset_E - onset_E), min=collar)
    near = micro((onset_E - some.onset_D[row_X]).abs()) <= round(collar, DECIMALS)
    near &= micro((offset_E - some.offset_D[row_X]).abs()) <= micro(allowed_E)
    row, event, place = row_X[near], event_X[near], some.place_D[row_X[near]]
    if not len(row):
        return place, pair_D[:0]
    # An event of one threshold is none of another: one graph for all, of what is near anything.
    one, column = (place * len(truth.onset_E) + event).unique(return_inverse=True)
    who, line = row.unique(return_inverse=True)
    edges = np.ones(len(row), dtype=np.int8), (line.cpu().numpy(), column.cpu().numpy())
    match = maximum_bipartite_matching(csr_array(edges, shape=(len(who), len(one))), perm_type="column")
    found = one[torch.from_numpy(match[match >= 0].astype(np.int64)).to(one.device)]
    return found // len(truth.onset_E), truth.pair_E[found % len(truth.onset_E)]

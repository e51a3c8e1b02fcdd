"""Areas under the ROC curve of frames (or clips, or segments), exact: no thresholds are chosen.

Shape suffixes: as in `ordered`; M different scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.ordered import Blocks, Ordered, ordered_classes, ordered_pairs, pooled


@dataclass(frozen=True)
class Auroc:
    """macro: mean over the classes that have one; micro: all (frame, class) pairs pooled, of every class.

    per_class_K is float64, NaN for a class without both positives and negatives; `left_out` has their columns.
    macro and micro are NaN where nothing defines them.
    """

    macro: float
    micro: float
    per_class_K: Tensor
    left_out: tuple[int, ...]

    @classmethod
    def joined(cls, per_class: Sequence[float], micro: float) -> Auroc:
        """From each class's area, NaN where it has none, and the pooled one."""
        per_class_K = torch.tensor(per_class, dtype=torch.float64)
        defined_K = ~per_class_K.isnan()
        left_out = tuple((~defined_K).nonzero().flatten().tolist())
        return cls(float(per_class_K[defined_K].mean()), micro, per_class_K, left_out)

    @property
    def per_class(self) -> Tensor:
        return self.per_class_K


def auroc(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None) -> Auroc:
    """Area under the ROC curve: the chance that a positive frame scores above a negative one, ties counting half.

    Exact: pairs are counted in integers (Mann-Whitney), no thresholds are chosen.

    score_FK  real numbers of any range, larger for present
    label_FK  bool (or 0 and 1)
    mask_FK   bool, False leaves a pair out; shape [F, K] or [F, 1]

    Raises ValueError for shapes that differ and for scores that are not numbers.
    """
    return _over_classes(score_FK, label_FK, mask_FK, lambda some: area([some]))


def _over_classes(
    score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None, area: Callable[[Ordered], float]
) -> Auroc:
    per_class = [area(one) for one in ordered_classes(score_FK, label_FK, mask_FK)]
    return Auroc.joined(per_class, area(ordered_pairs(score_FK, label_FK, mask_FK)))


def auroc_of_blocks(blocks: Blocks) -> Auroc:
    """`auroc` where not all classes fit in memory at once: equal to it, to the last bit. The blocks are gone through
    twice, and the scores of all positive pairs are kept. Errors as in `auroc`."""
    per_class: list[float] = []
    positive: list[Tensor] = []
    for block in blocks():
        for one in ordered_classes(*block):
            per_class.append(area([one]))
            positive.append(one.positive_X)
    if not positive:
        raise ValueError("no class: nothing to compute a score of")
    return Auroc.joined(per_class, area(pooled(blocks, positive)))


def area(parts: Iterable[Ordered]) -> float:
    """Of the same positives beside some negatives after the others. NaN where there are no pairs."""
    pairs = lost = 0  # lost: pairs in which the negative scores above the positive, twice, and once those of equal ones
    for some in parts:
        pairs += len(some.positive_X) * len(some.negative_Z)
        lost += sum(int(passing_X.sum()) for passing_X in some.negatives_passing())
    return (2 * pairs - lost) / (2 * pairs) if pairs else math.nan


def partial_auroc(score_FK: Tensor, label_FK: Tensor, max_fpr: float = 0.1, mask_FK: Tensor | None = None) -> Auroc:
    """Area under the ROC curve up to `max_fpr` (0 to 1) over `max_fpr`, in [0, 1]; a coin reaches max_fpr / 2, and so
    do scores that are all equal.

    Pairs that score the same count half, as in `auroc`: the curve is straight between the points that thresholds
    reach. (sed_scores_eval 0.0.4 takes a staircase, under which ties count nothing; scikit-learn's `max_fpr` rescales
    the area as McClish 1989 does.) The mean over classes (`macro`) of segments of 1 s, with max_fpr 0.1, is the MPAUC
    of DCASE 2024 task 4. Arguments and errors as in `auroc`.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr {max_fpr}: it must be more than 0 and at most 1")
    return _over_classes(score_FK, label_FK, mask_FK, lambda some: _partial_area(some, max_fpr))


def _partial_area(some: Ordered, max_fpr: float) -> float:
    """Between the scores of negatives the curve only rises: the area lies under the pieces at these scores."""
    positive_X, negative_Z = some.positive_X, some.negative_Z
    positives, negatives = len(positive_X), len(negative_Z)
    if not positives or not negatives:
        return math.nan
    last = max(0, negatives - int(max_fpr * negatives) - 1)  # below it the curve has ended
    negative_Z = negative_Z[int(torch.searchsorted(negative_Z, negative_Z[last : last + 1])) :]
    value_M, count_M = (x.flip(0) for x in negative_Z.unique_consecutive(return_counts=True))  # the highest first
    found_2M = torch.stack([torch.searchsorted(positive_X, value_M, right=right) for right in (True, False)])
    before_M, with_M = (positives - found_2M).double()  # positives above a score, and with those at it
    end = max_fpr * negatives
    inside_M = torch.minimum(end - (count_M.cumsum(0) - count_M).double(), count_M.double()).clamp(min=0)
    height_M = before_M + (with_M - before_M) * inside_M / count_M / 2
    return float((height_M * inside_M).sum()) / (positives * end)

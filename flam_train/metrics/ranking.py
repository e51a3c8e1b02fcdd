"""How well scores rank frames (or clips): average precision, and d' from the area under the ROC curve.

Exact: no thresholds are chosen. Shape suffixes: F frames, K classes, X positive pairs of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.ordered import Blocks, Ordered, ordered_classes, ordered_pairs, pooled
from flam_train.metrics.roc import Auroc


@dataclass(frozen=True)
class AveragePrecision:
    """macro (mAP): mean over the classes with a positive; micro: all (frame, class) pairs pooled, of every class.

    per_class_K: float64 in [0, 1], NaN for a class without a positive. macro and micro are NaN where there is none.
    """

    macro: float
    micro: float
    per_class_K: Tensor

    @classmethod
    def joined(cls, per_class: Sequence[float], micro: float) -> AveragePrecision:
        """From each class's, NaN where it has none, and the pooled one."""
        per_class_K = torch.tensor(per_class, dtype=torch.float64)
        return cls(float(per_class_K[~per_class_K.isnan()].mean()), micro, per_class_K)


def average_precision(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None) -> AveragePrecision:
    """The mean over positives of the precision at their score: the area under the precision-recall curve as steps, as
    scikit-learn's `average_precision_score` has it (not by trapezoids, which promise too much: Davis and Goadrich
    2006). Of scores that are equal all count at once. Arguments and errors as in `roc.auroc`.
    """
    per_class = [mean_precision([one]) for one in ordered_classes(score_FK, label_FK, mask_FK)]
    return AveragePrecision.joined(per_class, mean_precision([ordered_pairs(score_FK, label_FK, mask_FK)]))


def average_precision_of_blocks(blocks: Blocks) -> AveragePrecision:
    """`average_precision` where not all classes fit in memory at once, equal to it. The blocks are gone through twice,
    and the scores of all positive pairs are kept. Errors as in `roc.auroc`."""
    per_class: list[float] = []
    positive: list[Tensor] = []
    for block in blocks():
        for one in ordered_classes(*block):
            per_class.append(mean_precision([one]))
            positive.append(one.positive_X)
    if not positive:
        raise ValueError("no class: nothing to compute a score of")
    return AveragePrecision.joined(per_class, mean_precision(pooled(blocks, positive)))


def mean_precision(parts: Iterable[Ordered]) -> float:
    """Of the same positives beside some negatives after the others. NaN where there is no positive."""
    wrong_X: Tensor | int = 0
    for some in parts:
        positive_X, wrong_X = some.positive_X, wrong_X + some.negatives_passing()[0]
    if not len(positive_X):
        return math.nan
    right_X = len(positive_X) - torch.searchsorted(positive_X, positive_X)
    return float((right_X.double() / (right_X + wrong_X)).mean())


@dataclass(frozen=True)
class DPrime:
    """macro: the mean over classes of each class's d' (AudioSet); of_macro: d' of the mean AUROC, which others publish
    under the same name (PANNs, AST); micro: of the pooled AUROC. per_class_K: float64.

    0 is chance, in no unit; NaN where there is no AUROC, infinite where it is 1 or 0, and then so is the mean, which is
    NaN where both occur.
    """

    macro: float
    of_macro: float
    micro: float
    per_class_K: Tensor


def d_prime(area: Auroc) -> DPrime:
    """sqrt(2) times the standard normal quantile of the AUROC: how many standard deviations apart the scores of
    positives and negatives would lie if both were normal with the same deviation (Gemmeke et al. 2017, AudioSet)."""
    per_class_K = d_prime_of(area.per_class_K)
    of_macro, micro = d_prime_of(torch.tensor([area.macro, area.micro], dtype=torch.float64)).tolist()
    return DPrime(float(per_class_K[~per_class_K.isnan()].mean()), of_macro, micro, per_class_K)


def d_prime_of(area: Tensor) -> Tensor:
    """Of areas of any shape."""
    return math.sqrt(2) * torch.special.ndtri(torch.as_tensor(area, dtype=torch.float64))

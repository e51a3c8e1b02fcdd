"""How well scores rank frames (or clips): average precision, and d' from the area under the ROC curve.

Exact: no thresholds are chosen. Shape suffixes: F frames, K classes, X positive pairs of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.detection import Auroc, Blocks
from flam_train.metrics.timed import checked


@dataclass(frozen=True)
class AveragePrecision:
    """macro (mAP): mean over the classes with a positive; micro: all (frame, class) pairs pooled, of every class.

    per_class_K: float64 in [0, 1], NaN for a class without a positive. macro and micro are NaN where there is none.
    """

    macro: float
    micro: float
    per_class_K: Tensor


def average_precision(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None) -> AveragePrecision:
    """The mean over positives of the precision at their score: the area under the precision-recall curve as steps, as
    scikit-learn's `average_precision_score` has it (not by trapezoids, which promise too much: Davis and Goadrich
    2006). Of scores that are equal all count at once. Arguments and errors as in `detection.auroc`.
    """
    score_FK, label_FK, mask_FK = checked(score_FK, label_FK, mask_FK)
    per_class_K = torch.full((score_FK.shape[1],), torch.nan, dtype=torch.float64)
    for k in range(score_FK.shape[1]):
        counted_F = slice(None) if mask_FK is None else mask_FK[:, k]
        per_class_K[k] = _average_precision(score_FK[counted_F, k], label_FK[counted_F, k])
    pooled = (score_FK, label_FK) if mask_FK is None else (score_FK[mask_FK], label_FK[mask_FK])
    return _joined(per_class_K, _average_precision(pooled[0].flatten(), pooled[1].flatten()))


def average_precision_of_blocks(blocks: Blocks) -> AveragePrecision:
    """`average_precision` where not all classes fit in memory at once, equal to it. The blocks are gone through twice,
    and the scores of all positive pairs are kept. Errors as in `detection.auroc`."""
    per_class: list[float] = []
    positive: list[Tensor] = []
    for block in blocks():
        score_FK, label_FK, _ = checked(*block, None)
        per_class += [_average_precision(score_FK[:, k], label_FK[:, k]) for k in range(score_FK.shape[1])]
        positive.append(score_FK[label_FK])
    if not positive:
        raise ValueError("no class: nothing to compute a score of")
    positive_X = torch.cat(positive).sort().values
    passes_X1 = torch.zeros(len(positive_X) + 1, dtype=torch.int64, device=positive_X.device)
    for score_FK, label_FK in blocks():
        passes_X1 += _passes(positive_X, score_FK[~label_FK.bool()])
    return _joined(torch.tensor(per_class, dtype=torch.float64), _mean_precision(positive_X, passes_X1))


def _joined(per_class_K: Tensor, micro: float) -> AveragePrecision:
    return AveragePrecision(float(per_class_K[~per_class_K.isnan()].mean()), micro, per_class_K)


def _average_precision(score_F: Tensor, label_F: Tensor) -> float:
    positive_X = score_F[label_F].sort().values  # they are few
    return _mean_precision(positive_X, _passes(positive_X, score_F[~label_F]))


def _passes(positive_X: Tensor, negative: Tensor) -> Tensor:
    """Of the negatives how many score at least as high as 0, 1, 2, ... of the positives (sorted): int64."""
    return torch.bincount(torch.searchsorted(positive_X, negative, right=True), minlength=len(positive_X) + 1)


def _mean_precision(positive_X: Tensor, passes_X1: Tensor) -> float:
    if not len(positive_X):
        return math.nan
    first_X, behind_X = (torch.searchsorted(positive_X, positive_X, right=right) for right in (False, True))
    right_X = len(positive_X) - first_X
    wrong_X = passes_X1.flip(0).cumsum(0).flip(0)[behind_X]
    return float((right_X.double() / (right_X + wrong_X)).mean())


@dataclass(frozen=True)
class DPrime:
    """macro: the mean over classes of each class's d' (AudioSet); of_macro: d' of the mean AUROC, which others publish
    under the same name (PANNs, AST); micro: of the pooled AUROC. per_class_K: float64.

    0 is chance, in no unit; NaN where there is no AUROC, infinite where it is 1, and then so is the mean.
    """

    macro: float
    of_macro: float
    micro: float
    per_class_K: Tensor


def d_prime(area: Auroc) -> DPrime:
    """sqrt(2) times the standard normal quantile of the AUROC: how many standard deviations apart the scores of
    positives and negatives would lie if both were normal with the same deviation (Gemmeke et al. 2017, AudioSet)."""
    per_class_K = _quantile(area.per_class_K)
    of_macro, micro = _quantile(torch.tensor([area.macro, area.micro], dtype=torch.float64)).tolist()
    return DPrime(float(per_class_K[~per_class_K.isnan()].mean()), of_macro, micro, per_class_K)


def _quantile(area: Tensor) -> Tensor:
    return math.sqrt(2) * torch.special.ndtri(area)

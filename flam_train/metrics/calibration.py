"""Whether probabilities mean what they say: Brier score, expected calibration error, reliability diagram.

Shape suffixes: F frames of all recordings together, K classes, N bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.timed import checked


@dataclass(frozen=True)
class Calibration:
    """Over all counted (frame, class) pairs, in bins of equal width from 0 to 1.

    ece    expected calibration error (Naeini et al. 2015): the mean distance of a bin's share of positives from its
           mean probability, bins weighted by their pairs; in [0, 1]
    brier  mean squared distance of probability and label (Brier 1950), in [0, 1]
    edge_N1, count_N (int64), mean_N, positive_N: the bins, their pairs, mean probability and share of positives (NaN in
    an empty bin), float64: the reliability diagram
    """

    ece: float
    brier: float
    edge_N1: Tensor
    count_N: Tensor
    mean_N: Tensor
    positive_N: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Calibration]) -> Calibration:
        """Of the pairs of all parts, which have the same bins."""
        count_N = torch.stack([part.count_N for part in parts]).sum(dim=0)
        score_N = torch.stack([(part.mean_N * part.count_N).nan_to_num() for part in parts]).sum(dim=0)
        label_N = torch.stack([(part.positive_N * part.count_N).nan_to_num() for part in parts]).sum(dim=0)
        squared = sum(part.brier * int(part.count_N.sum()) for part in parts if int(part.count_N.sum()))
        return _of_sums(parts[0].edge_N1, count_N, score_N, label_N, squared)


def calibration(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None, bins: int = 15) -> Calibration:
    """score_FK: probabilities in [0, 1]; label_FK bool; mask_FK as in `auroc`. A bin holds its lower edge, the last one
    both. ece and brier are NaN where nothing is counted.

    Raises ValueError for shapes that differ, scores that are no probabilities, and fewer than one bin.
    """
    if bins < 1:
        raise ValueError(f"bins {bins}: at least 1")
    score_FK, label_FK, mask_FK = checked(score_FK, label_FK, mask_FK)
    if score_FK.numel() and not (score_FK.min() >= 0 and score_FK.max() <= 1):
        raise ValueError(
            f"scores from {float(score_FK.min()):g} to {float(score_FK.max()):g} are no probabilities: only those in "
            "[0, 1] can be calibrated"
        )
    edge_N1 = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=score_FK.device)
    sums_3N = torch.zeros(3, bins, dtype=torch.float64, device=score_FK.device)
    squared = 0.0
    for k in range(score_FK.shape[1]):  # class by class: all pairs of a large set at once take ten times their size
        counted_F = slice(None) if mask_FK is None else mask_FK[:, k]
        score_F, label_F = score_FK[counted_F, k].double(), label_FK[counted_F, k]
        place_F = (torch.searchsorted(edge_N1, score_F, right=True) - 1).clamp_(max=bins - 1)
        counts = (place_F, None), (place_F, score_F), (place_F[label_F], None)
        sums_3N += torch.stack([torch.bincount(at, weights=w, minlength=bins).double() for at, w in counts])
        squared += float((score_F - label_F.double()).square().sum())
    sums_3N = sums_3N.cpu()
    return _of_sums(edge_N1.cpu(), sums_3N[0].long(), sums_3N[1], sums_3N[2], squared)


def _of_sums(edge_N1: Tensor, count_N: Tensor, score_N: Tensor, label_N: Tensor, squared: float) -> Calibration:
    """From the number of pairs, the sum of their probabilities and of their labels in each bin, and of all squares."""
    pairs = int(count_N.sum())
    mean_N, positive_N = score_N / count_N, label_N / count_N
    apart_N = (mean_N - positive_N).abs().nan_to_num()
    return Calibration(
        ece=float((apart_N * count_N).sum() / pairs) if pairs else math.nan,
        brier=squared / pairs if pairs else math.nan,
        edge_N1=edge_N1,
        count_N=count_N,
        mean_N=mean_N,
        positive_N=positive_N,
    )

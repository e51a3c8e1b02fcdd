"""Whether probabilities mean what they say: Brier score, expected calibration error, reliability diagram.

Shape suffixes: F frames of all recordings together, K classes, N bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.ordered import Ordered, ordered_classes
from flam_train.metrics.timed import lowered


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
        """Of the pairs of all parts, which have the same bins. Raises ValueError for none."""
        if not parts:
            raise ValueError("no part: nothing to join")
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
    return calibration_of(ordered_classes(score_FK, label_FK, mask_FK), bins)


def calibration_of(classes: Iterable[Ordered], bins: int = 15) -> Calibration:
    """From the scores of each class in order; errors as in `calibration`."""
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"bins {bins!r}: a whole number of at least 1")
    edge_N1 = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    count_N, positive_N, score_N = (torch.zeros(bins, dtype=torch.float64) for _ in range(3))
    squared = 0.0
    for one in classes:
        for score_X, label in ((one.positive_X, 1), (one.negative_Z, 0)):
            _check_probable(score_X)
            first_N1 = _first_in(score_X, edge_N1)
            in_bin_N = first_N1.diff()
            count_N += in_bin_N
            positive_N += label * in_bin_N
            exact_X = score_X.double()
            score_N += torch.stack([part.sum() for part in exact_X.split(in_bin_N.tolist())]).cpu()
            squared += float((exact_X - label).square_().sum())
    return _of_sums(edge_N1, count_N.long(), score_N, positive_N, squared)


def _check_probable(score_X: Tensor) -> None:
    if len(score_X) and not 0 <= float(score_X[0]) <= float(score_X[-1]) <= 1:
        raise ValueError(
            f"scores from {float(score_X[0]):g} to {float(score_X[-1]):g} are no probabilities: only those in [0, 1] "
            "can be calibrated"
        )


def _first_in(score_X: Tensor, edge_N1: Tensor) -> Tensor:
    """int64, N + 1: where each bin begins among scores in order, and their number."""
    low_N = -lowered((-edge_N1[:-1]).tolist(), score_X.dtype)  # the lowest numbers of their precision in each bin
    first_N = torch.searchsorted(score_X, low_N.to(score_X.device)).cpu()
    return torch.cat((first_N, torch.tensor([len(score_X)])))


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

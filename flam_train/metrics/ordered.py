"""The scores of a class in order: how many pass a threshold, and how many negatives pass a positive, is looked up.

Sorted once, they tell ROC and precision-recall curves, counts at any thresholds, and what lies in a bin.

Shape suffixes: F frames of all recordings together, K classes, X positive and Z negative frames of a class (or of all),
P thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flam_train.metrics.timed import checked, lowered

Blocks = Callable[[], Iterable[tuple[Tensor, ...]]]
"""Gives (score_FK, label_FK), or (score_FK, label_FK, mask_FK), of some classes after the other, the same each time."""


@dataclass(frozen=True)
class Ordered:
    """positive_X, negative_Z: the scores of positive and of negative frames, each ascending; float32 or float64."""

    positive_X: Tensor
    negative_Z: Tensor

    @classmethod
    def of(cls, score_F: Tensor, label_F: Tensor) -> Ordered:
        """Of what `checked` gives, in any shape."""
        if score_F.is_cuda:
            return cls(ascending(score_F[label_F]), ascending(score_F[~label_F]))
        score, label = _exact(score_F).numpy(), label_F.numpy()  # numpy picks three times as fast as torch
        positive_X, negative_Z = score[label], score[~label]
        positive_X.sort()
        negative_Z.sort()
        return cls(torch.from_numpy(positive_X), torch.from_numpy(negative_Z))

    def negatives_passing(self) -> tuple[Tensor, Tensor]:
        """(least_X, above_X) int64: how many negatives score at least as high as each positive, and higher."""
        first_X, behind_X = (torch.searchsorted(self.negative_Z, self.positive_X, right=r) for r in (False, True))
        return len(self.negative_Z) - first_X, len(self.negative_Z) - behind_X


def ordered_classes(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None) -> Iterator[Ordered]:
    """Of each class. Arguments and errors as in `roc.auroc`; these come at once."""
    score_FK, label_FK, mask_FK = checked(score_FK, label_FK, mask_FK)

    def one(k: int) -> Ordered:
        counted_F = slice(None) if mask_FK is None else mask_FK[:, k]
        return Ordered.of(score_FK[counted_F, k], label_FK[counted_F, k])

    return (one(k) for k in range(score_FK.shape[1]))


def ordered_pairs(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None) -> Ordered:
    """Of all pairs of a frame and a class together. Arguments and errors as in `roc.auroc`."""
    score_FK, label_FK, mask_FK = checked(score_FK, label_FK, mask_FK)
    if mask_FK is not None:
        return Ordered.of(score_FK[mask_FK], label_FK[mask_FK])
    return Ordered.of(score_FK.T, label_FK.T) if score_FK.T.is_contiguous() else Ordered.of(score_FK, label_FK)


def pooled(blocks: Blocks, positive: list[Tensor]) -> Iterator[Ordered]:
    """All positive pairs (of which `positive` has the scores, in any order) beside the negative ones of one block after
    the other."""
    positive_X = ascending(torch.cat(positive))
    for block in blocks():
        yield Ordered(positive_X, ordered_pairs(*block).negative_Z)


def ascending(score: Tensor) -> Tensor:
    """Sorted along the last dimension, those of 16 bits as float32. NumPy sorts numbers of 32 and 64 bits with vectors,
    ten times as fast as torch on a CPU."""
    score = _exact(score)
    return score.sort().values if score.is_cuda else torch.from_numpy(np.sort(score.numpy()))


def passing(ascending: Tensor, thresholds: Sequence[float]) -> Tensor:
    """How many of the scores, sorted along the last dimension, are above each threshold: int64 [..., P]."""
    level_P = lowered(thresholds, ascending.dtype).to(ascending.device)
    level = level_P.expand(*ascending.shape[:-1], -1).contiguous()
    return ascending.shape[-1] - torch.searchsorted(ascending, level, right=True)


def _exact(score: Tensor) -> Tensor:
    return score if score.dtype.itemsize >= 4 else score.float()

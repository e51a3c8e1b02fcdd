"""A loss before its mean: what each clip adds to it, so that it can be told of every corpus by itself.

Shape suffixes: B this rank's clips, K groups of clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.distributed import joined_mean


@dataclass(frozen=True)
class ClipTerms:
    """total_B    float, with gradient: the sum of each clip's terms
    counted_B  int64: how many they are
    count      int64, a scalar: those of the clips of all ranks
    """

    total_B: Tensor
    counted_B: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """The loss of the joined batch of all ranks, a scalar, on every rank; averaging gradients over ranks gives its
        gradient."""
        return joined_mean(self.total_B.sum(), self.count)

    @torch.no_grad()
    def by_group(self, group_B: Tensor, groups: int) -> Tensor:
        """[K, 2] float64: the sum of the terms of this rank's clips of each group, and how many they are.

        Summed over ranks: a group's own mean is sum / count, and the mean of these, weighted by their counts, is
        `mean()`. group_B: int64, 0 to groups - 1.
        """
        # A product, not a scattered sum, whose order, and so its last bits, would be chance on a GPU.
        mine_KB = (torch.arange(groups, device=group_B.device)[:, None] == group_B).double()
        return mine_KB @ torch.stack([self.total_B.double(), self.counted_B.double()], 1)

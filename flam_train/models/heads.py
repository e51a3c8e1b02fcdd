"""Small heads on top of the encoders. Layer numbers are OpenFLAM's, so its checkpoints map name by name."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flam_train.settings import one_of

SCALE_START = math.log(10.0)
"""log alpha before training: sigmoid(10 cos + beta)."""
BIAS_START = -8.0
"""beta before training: about 3 positive frames in 10,000."""
HEADS = ("phrase", "one", "none")
"""Kinds of phrase heads: see `phrase_head`."""


def projection(width: int, embedding: int) -> nn.Sequential:
    """Linear-ReLU-Linear into the joint embedding space."""
    return nn.Sequential(nn.Linear(width, embedding), nn.ReLU(), nn.Linear(embedding, embedding))


class PhraseHead(nn.Sequential):
    """pooled_CH -> one number a phrase [C]: Linear-GELU-Linear, its last bias started at `start`."""

    def __init__(self, width: int, start: float):
        last = nn.Linear(width, 1)
        nn.init.normal_(last.weight, std=0.02 / math.sqrt(width))  # every phrase starts near `start`
        nn.init.constant_(last.bias, start)
        super().__init__(nn.Linear(width, width), nn.GELU(), last)

    def forward(self, pooled_CH: Tensor) -> Tensor:
        return super().forward(pooled_CH)[:, 0]


class OnePerModel(nn.Module):
    """The ablation of a phrase head: one learned number for all phrases [C]."""

    def __init__(self, start: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(start))

    def forward(self, pooled_CH: Tensor) -> Tensor:
        return self.value.expand(pooled_CH.shape[0])


class Zero(nn.Module):
    """The head that is left out: zero for all phrases [C]."""

    def forward(self, pooled_CH: Tensor) -> Tensor:
        return pooled_CH.new_zeros(pooled_CH.shape[0])


def phrase_head(kind: str, width: int, start: float) -> nn.Module:
    """kind: `phrase` (FLAM), `one` (a learned number shared by all phrases), `none` (zero)."""
    if kind == "phrase":
        return PhraseHead(width, start)
    if kind == "one":
        return OnePerModel(start)
    one_of("phrase head", kind, HEADS)
    return Zero()

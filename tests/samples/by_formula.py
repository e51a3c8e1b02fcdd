"""Weights and waveforms by a seeded rule of their names: golden numbers need no stored weights."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor


def weight(name: str, shape: Sequence[int]) -> Tensor:
    """float32: what training might have made of a parameter or a running statistic of this name."""
    x = torch.randn(list(shape), generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return 200 + 20 * x.abs()
    if name.endswith("running_mean"):
        return -30 + 3 * x
    if not shape:
        return torch.tensor(0.0) if "aed" in name else torch.tensor(math.log(1 / 0.07))
    if len(shape) == 1:
        return 1 + 0.1 * x if name.endswith("weight") else 0.1 * x
    if "relative_position_bias_table" in name:
        return 0.5 * x
    if "embeddings" in name:
        return 0.1 * x
    return x * 1.5 / math.sqrt(math.prod(shape[1:]))


def waveforms() -> Tensor:
    """float32 [4, 480000] in [-1, 1]: a tone in noise, bursts of noise, silence, a sweep."""
    g, t = torch.Generator().manual_seed(7), torch.arange(480_000) / 48_000
    return torch.stack(
        [
            0.3 * torch.sin(2 * math.pi * 440 * t) * (t < 4) + 0.05 * torch.randn(480_000, generator=g),
            0.5 * torch.randn(480_000, generator=g) * ((t % 2) < 0.5),
            torch.zeros(480_000),
            0.2 * torch.sin(2 * math.pi * (200 + 300 * t) * t),
        ]
    )


def tokens(vocabulary: int, pad: int = 1) -> tuple[Tensor, Tensor]:
    """(tokens_CL, attention_CL), int64 [3, 12]: of 12, 7 and 3 tokens, marked as RoBERTa does."""
    tokens_CL = torch.randint(4, vocabulary, (3, 12), generator=torch.Generator().manual_seed(11))
    attention_CL = torch.zeros(3, 12, dtype=torch.int64)
    for row, length in enumerate((12, 7, 3)):
        attention_CL[row, :length] = 1
        tokens_CL[row, 0], tokens_CL[row, length - 1] = 0, 2
    return torch.where(attention_CL == 1, tokens_CL, pad), attention_CL

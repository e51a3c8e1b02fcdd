"""Random numbers as a function of a clip's seed: the same on every device, rank and batch position.

Shape suffixes: B clips, N numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

# SplitMix64's constants as signed int64; int64 arithmetic in torch wraps, as the generator wants.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64: torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX1
    x = (x ^ _shift_right(x, 27)) * _MIX2
    return x ^ _shift_right(x, 31)


def uniform(seed_B: Tensor, stream: int, count: int) -> Tensor:
    """float32 [B, count] in [0, 1): SplitMix64 of (seed, stream, number). seed_B: int64.

    Different streams of one seed are independent, so that each use of a seed names its own.
    """
    number = torch.arange(1, count + 1, device=seed_B.device, dtype=torch.int64)
    # Hashing the stream twice before it is added keeps (seed, stream) pairs apart.
    base_B = _mix(_mix(seed_B + _GOLDEN) + stream * 0x632BE5AB)
    bits = _mix(base_B[:, None] + number[None, :] * _GOLDEN)
    return _shift_right(bits, 40).to(torch.float32) * (1.0 / (1 << 24))

"""Large batches in little memory: an encoder goes through its rows share by share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_shares(function: Callable[..., tuple[Tensor, ...]], shares: int, *rows: Tensor | None) -> tuple[Tensor, ...]:
    """function(*rows), with the activations of one share of the rows in memory at a time.

    rows: tensors that agree in dimension 0, or None. function: takes and returns rows, and lets none of them depend on
    another. Values and gradients are those of one call. The activations of all shares but the last are thrown away and
    computed again when the backward pass comes to them (cached embeddings: GradCache, arXiv 2101.06983); it begins
    with the last one, whose are still there. So n shares cost (n - 1) / n of a forward pass more.
    """
    if shares == 1:
        return function(*rows)
    count = next(len(x) for x in rows if x is not None)
    parts = list(zip(*(split(x, shares, count) for x in rows), strict=True))
    done = [
        function(*part) if n == len(parts) - 1 else checkpoint(function, *part, use_reentrant=False)
        for n, part in enumerate(parts)
    ]
    return tuple(torch.cat(columns) for columns in zip(*done, strict=True))


def split(x: Tensor | None, shares: int, count: int) -> Sequence[Tensor | None]:
    """At most `shares` parts of `count` rows, as even as can be, none of them empty."""
    shares = max(1, min(shares, count))
    return [None] * shares if x is None else x.tensor_split(shares)

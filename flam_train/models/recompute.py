"""Large batches in little memory: a tower goes through its rows share by share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def in_shares(tower: nn.Module, shares: int, *rows: Tensor | None, call: Callable[..., Tensor] | None = None) -> Tensor:
    """tower(*rows), with the activations of one share of the rows in memory at a time.

    rows: tensors that agree in dimension 0, or None. tower: gives a row for each row, and lets none depend on another.
    call: a method of the tower that is called in its place.
    Values and gradients are those of one call, but for what the tower draws at random, which each share draws for
    itself. The activations of all shares but the last are thrown away and computed again when the backward pass comes
    to them (cached embeddings: GradCache, arXiv 2101.06983); it begins with the last one, whose are still there. So n
    shares cost (n - 1) / n of a forward pass more, and nothing where nothing in the tower learns.
    """
    call = call or tower
    if shares > 1:
        shares = max(1, min(shares, next(len(x) for x in rows if x is not None)))
    if shares <= 1:
        return call(*rows)
    columns = [[None] * shares if x is None else x.tensor_split(shares) for x in rows]
    parts = list(zip(*columns, strict=True))
    learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (*rows, *tower.parameters()))
    again = [checkpoint(call, *part, use_reentrant=False) if learns else call(*part) for part in parts[:-1]]
    return torch.cat([*again, call(*parts[-1])])

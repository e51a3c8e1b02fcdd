"""Collectives that carry gradients. In one process every one of them is the identity.

Only the default process group of torch.distributed is used; nothing here takes a rank or a world size.
Gradient convention: a collective's backward is its exact transpose over all ranks, so that the *sum* of
the ranks' losses is differentiated; whoever averages gradients over ranks (DDP) scales its loss by
`world_size()`.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    return dist.get_rank() if is_distributed() else 0


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor of one shape over ranks, on every rank, without gradient."""
    x = x.detach()
    if is_distributed():
        x = x.clone()
        dist.all_reduce(x)
    return x


class _GatherRows(torch.autograd.Function):
    """Rows of all ranks, one rank after another; the ranks' counts may differ."""

    @staticmethod
    def forward(ctx, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _gather(x, counts)

    @staticmethod
    def backward(ctx, grad: Tensor):
        # Every rank used every row: a row's gradient is the sum over ranks. all_reduce, since gloo
        # has no reduce_scatter on every platform; the gathered text side is small.
        grad = grad.contiguous()
        dist.all_reduce(grad)
        first = sum(ctx.counts[: dist.get_rank()])
        return grad[first : first + ctx.counts[dist.get_rank()]], None


def _gather(x: Tensor, counts: list[int]) -> Tensor:
    longest = max(counts)
    padded = x.new_zeros((longest, *x.shape[1:]))
    padded[: len(x)] = x
    as_bool = padded.dtype == torch.bool
    padded = padded.to(torch.uint8) if as_bool else padded
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded.contiguous())
    joined = torch.cat([p[:n] for p, n in zip(parts, counts, strict=True)])
    return joined.to(torch.bool) if as_bool else joined


def row_counts(x: Tensor) -> list[int]:
    """How many rows each rank has: [len(x)] in one process."""
    if not is_distributed():
        return [len(x)]
    mine = torch.tensor([len(x)], device=x.device)
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return torch.cat(parts).tolist()


def gather_rows(x: Tensor, counts: list[int]) -> Tensor:
    """Concatenates the ranks' rows (dimension 0); with gradient for floating point tensors.

    counts: `row_counts(x)`, taken once for tensors that share their rows.
    """
    if not is_distributed():
        return x
    if x.is_floating_point():
        # Every rank must take part in the backward collective, so the graph is kept even where the
        # local rows do not ask for a gradient (one rank's phrase list may be empty).
        if torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        return _GatherRows.apply(x, counts)
    return _gather(x, counts)


def joined_mean(total: Tensor, count: Tensor) -> Tensor:
    """The mean over all ranks of a sum whose terms are spread over ranks.

    total: this rank's sum, with gradient; count: how many terms all ranks have together.
    Returns the joined value on every rank. Its gradient is `world_size()` times this rank's share, so
    averaging gradients over ranks, as DDP does, gives the gradient of the joined mean.
    """
    count = count.clamp(min=1).to(total.dtype)
    share = total * (world_size() / count)
    joined = sum_over_ranks(total) / count
    return share + (joined - share).detach()

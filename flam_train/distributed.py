"""Collectives that carry gradients. In one process every one of them is the identity.

Only the default process group of torch.distributed is used; nothing here takes a rank or a world size.
Besides collectives there is a ring: rows that visit every rank, one neighbour after another, each transfer under way
while the rank works on what it has.

Gradient convention: a collective's backward is its exact transpose over all ranks, so that the *sum* of
the ranks' losses is differentiated; whoever averages gradients over ranks (DDP) scales its loss by
`world_size()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

begun = 0
"""How many of these collectives this process has begun. Of ranks that wait for one another the one behind is late."""


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _count() -> None:
    global begun
    begun += 1


def world_size() -> int:
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    return dist.get_rank() if is_distributed() else 0


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor of one shape over ranks, on every rank, without gradient."""
    x = x.detach()
    if is_distributed() and x.numel():
        _count()
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
        if not max(ctx.counts):
            return grad, None
        # Every rank used every row: a row's gradient is the sum over ranks, and goes to the rank it came from.
        _count()
        mine = grad.new_empty((max(ctx.counts), *grad.shape[1:]))
        dist.reduce_scatter(mine, [_padded(part, max(ctx.counts)) for part in grad.split(ctx.counts)])
        return mine[: ctx.counts[dist.get_rank()]], None


def _gather(x: Tensor, counts: list[int]) -> Tensor:
    if not max(counts):
        return x.clone()
    _count()
    padded = _padded(x, max(counts))
    as_bool = padded.dtype == torch.bool
    padded = padded.to(torch.uint8) if as_bool else padded
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    joined = torch.cat([p[:n] for p, n in zip(parts, counts, strict=True)])
    return joined.to(torch.bool) if as_bool else joined


def _padded(x: Tensor, rows: int) -> Tensor:
    """x with zeros below it, contiguous."""
    if len(x) == rows:
        return x.contiguous()
    padded = x.new_zeros((rows, *x.shape[1:]))
    padded[: len(x)] = x
    return padded


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


def gather_plain(x: Any) -> list[Any]:
    """Plain data of every rank, in the ranks' order. Called by all of them."""
    if not is_distributed():
        return [x]
    out: list[Any] = [None] * world_size()
    dist.all_gather_object(out, x)
    return out


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


def round_the_ring(rows: Tensor, counts: list[int]) -> Iterator[tuple[int, Tensor]]:
    """(owner, the owner's rows) of every rank, this rank's own first, then those of the rank before it, and so on.

    Each block comes from the rank before and goes on to the rank behind while the caller works on it, so a rank holds
    two blocks however many ranks there are. counts: `row_counts(rows)`. No gradient: see `Homeward`. All ranks must
    take all blocks.
    """
    ranks, block = world_size(), rows.detach().contiguous()
    for hop in range(ranks):
        owner = (rank() - hop) % ranks
        if hop == ranks - 1:
            yield owner, block
            return
        following = block.new_empty((counts[owner - 1], *block.shape[1:]))
        under_way = _pass_on(block, following)
        yield owner, block
        for work in under_way:
            work.wait()
        block = following


class Homeward:
    """Sums of what every rank has to add to each block of `round_the_ring`; they travel behind it and end at its owner.

    counts: of the blocks' rows. What a rank adds is on its way while it works on the next block.
    """

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts
        self.arriving: Tensor | None = None
        self.leaving: Tensor | None = None  # must not be freed before it has been sent
        self.under_way: list[dist.Work] = []

    def add(self, owner: int, rows: Tensor) -> None:
        """rows: this rank's share of the block that `round_the_ring` gave last; it is used up."""
        sums = self._arrived()
        self.leaving = rows if sums is None else rows.add_(sums)
        if world_size() > 1:
            self.arriving = rows.new_empty((self.counts[owner - 1], *rows.shape[1:]))
            self.under_way = _pass_on(self.leaving, self.arriving, tag=1)

    def home(self) -> Tensor:
        """The sum over all ranks for this rank's own block, once all blocks were added to."""
        sums = self._arrived()
        assert self.leaving is not None
        return self.leaving if sums is None else sums

    def _arrived(self) -> Tensor | None:
        for work in self.under_way:
            work.wait()
        return self.arriving


def _pass_on(rows: Tensor, into: Tensor, tag: int = 0) -> list[dist.Work]:
    """Begins to send rows to the next rank and to fill `into` from the one before; both must wait before they are used.
    Nothing is sent of tensors without elements, whose sizes both sides know."""
    _count()
    here, ranks = dist.get_rank(), dist.get_world_size()
    transfers = []
    if rows.numel():
        transfers.append(dist.P2POp(dist.isend, rows, (here + 1) % ranks, tag=tag))
    if into.numel():
        transfers.append(dist.P2POp(dist.irecv, into, (here - 1) % ranks, tag=tag))
    return dist.batch_isend_irecv(transfers) if transfers else []

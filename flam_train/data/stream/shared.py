"""Memory that a loader worker shares with its trainer, used again and again.

Torch puts every batch of a worker into a fresh block of shared memory; touching its pages for the first time costs a
sixth of what decoding the batch costs. Here a worker has a ring of blocks for each large tensor of a batch. A block is
written anew only after as many batches as the ring has blocks. A worker is asked for a further batch when the trainer
takes one of its batches: so `prefetch` of them are under way while `in_use` of them are, and the ring has a block to
spare. Whoever keeps a batch for longer must copy it (moving it to a GPU or into pinned memory does).
"""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""

_blocks = 0
_rings: dict[str, Ring] = {}


class Ring:
    """Blocks of shared memory, taken in turn."""

    def __init__(self, blocks: int) -> None:
        self.blocks: list[Tensor] = [torch.empty(0, dtype=torch.uint8)] * blocks
        self.turn = 0

    def take(self, size: int) -> Tensor:
        """uint8 [size], in shared memory."""
        self.turn = (self.turn + 1) % len(self.blocks)
        if self.blocks[self.turn].numel() < size:
            self.blocks[self.turn] = torch.empty(size, dtype=torch.uint8).share_memory_()
        return self.blocks[self.turn][:size]


def blocks(prefetch: int, in_use: int = 1) -> int:
    """Of the ring that a worker comes to hold for each large tensor: under way, in use, and one to write to."""
    return prefetch + in_use + 1


def start(prefetch: int, in_use: int = 1) -> None:
    """Called once in a loader worker that has up to `prefetch` batches under way (DataLoader's prefetch_factor), and
    of whose batches the trainer uses up to `in_use` at a time."""
    global _blocks
    _blocks = blocks(prefetch, in_use)
    _rings.clear()
    keep_freed_memory()


def empty(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor to be filled, which is taken once a batch under this name: of a ring in a loader worker that called
    `start`, of its own elsewhere."""
    if not _blocks:
        return torch.empty(shape, dtype=dtype)
    ring = _rings.setdefault(name, Ring(_blocks))
    return ring.take(math.prod(shape) * dtype.itemsize).view(dtype).view(shape)


def keep_freed_memory() -> None:
    """Asks glibc to keep what is freed for the next clip: else it returns each megabyte, and fresh pages cost time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)

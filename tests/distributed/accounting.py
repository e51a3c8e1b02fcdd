"""What a call allocates, and what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch.distributed as dist
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object]) -> int:
    """The most that torch's CPU allocator holds at once during call(), beyond what it holds when it begins.

    Every allocation and release of this thread counts; what gloo allocates for itself does not.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@contextmanager
def counted_traffic() -> Iterator[list[tuple[str, int]]]:
    """The collectives and transfers that this rank begins: (name, bytes it sends).

    Bytes are those of ring algorithms, which NCCL uses for large tensors: of all_gather and reduce_scatter a rank
    sends one rank's part W - 1 times, of all_reduce 2 (W - 1) / W of the tensor.
    """
    sent: list[tuple[str, int]] = []
    ranks = dist.get_world_size()
    real = {name: getattr(dist, name) for name in ("all_gather", "all_reduce", "reduce_scatter", "batch_isend_irecv")}

    def all_gather(parts: list[Tensor], x: Tensor, **options):
        sent.append(("all_gather", (ranks - 1) * x.nbytes))
        return real["all_gather"](parts, x, **options)

    def all_reduce(x: Tensor, **options):
        sent.append(("all_reduce", 2 * (ranks - 1) * x.nbytes // ranks))
        return real["all_reduce"](x, **options)

    def reduce_scatter(mine: Tensor, parts: list[Tensor], **options):
        sent.append(("reduce_scatter", (ranks - 1) * mine.nbytes))
        return real["reduce_scatter"](mine, parts, **options)

    def batch_isend_irecv(transfers: list[dist.P2POp]):
        sent.extend(("send", t.tensor.nbytes) for t in transfers if t.op is dist.isend)
        return real["batch_isend_irecv"](transfers)

    with mock.patch.multiple(
        dist,
        all_gather=all_gather,
        all_reduce=all_reduce,
        reduce_scatter=reduce_scatter,
        batch_isend_irecv=batch_isend_irecv,
    ):
        yield sent

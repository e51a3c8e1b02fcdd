"""Whether a step may change the weights: losses that are numbers, few bad samples, no request to stop.

All ranks must come to the same verdict, at the same step, before the optimiser moves. What each knows is summed on the
device as the forward pass ends (`begin`), and read once, after the backward pass has been launched (`judge`): between
them the host does not wait for the device.

Shape suffixes: N numbers, R ranks.
"""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flam_train.batch import FrameBatch, GlobalBatch, StepBatch
from flam_train.distributed import gather_plain, gather_rows, rank, sum_over_ranks, world_size


class StepFailed(ValueError):
    """Raised on all ranks at the same step. found: what this rank knows of it, plain data."""

    def __init__(self, message: str, step: int, found: dict[str, Any]):
        super().__init__(message)
        self.step, self.found = step, found


REQUEST_KINDS = 3
"""Of requests to stop: `interrupt.REQUESTS`."""


@dataclass
class Requests:
    """asked: whether this process was asked to stop: 0, or 1 + the place of the request in `interrupt.REQUESTS`."""

    asked: int = 0


class Health:
    """Of a run's steps.

    max_bad_share, bad_grace: of `LossConfig`. bad, seen: samples of all ranks since the run began. step: the one that
    was begun last; losses: its own, of all ranks, without gradient. stopping: as `requests.asked`, agreed by all ranks:
    at the end of this step.
    """

    def __init__(self, max_bad_share: float, bad_grace: int):
        self.max_bad_share, self.bad_grace = max_bad_share, bad_grace
        self.bad, self.seen, self.stopping, self.step = 0, 0, 0, 0
        self.requests = Requests()
        self.losses: dict[str, Tensor] = {}
        self.keys: dict[str, list[str]] = {}
        self._parts: list[GlobalBatch | FrameBatch] = []
        self._embeddings: list[Tensor] = []
        self._counts_N: Tensor | None = None
        self._told, self._untold = float("-inf"), 0

    def begin(self, losses: dict[str, Tensor], batch: StepBatch, *embeddings: Tensor) -> None:
        """Sums what ranks know, without waiting for it.

        embeddings: of this rank; the losses are those of all ranks, and do not tell whose clips they come from."""
        self.step, self.keys = batch.step, keys_of(batch)
        self.losses = {name: value.detach() for name, value in losses.items()}
        self._embeddings = [x.detach() for x in embeddings]
        self._parts = batch.parts()
        mine = [sum(len(p.errors) for p in self._parts), sum(len(p.keys) for p in self._parts)]
        finite = torch.stack(list(self.losses.values())).isfinite().all()
        asked = [int(self.requests.asked == request) for request in range(1, 1 + REQUEST_KINDS)]
        known_N = torch.tensor([*mine, *asked])
        if finite.is_cuda:  # from memory that is not pinned the copy would wait
            known_N = known_N.pin_memory()
        known_N = known_N.to(finite.device, non_blocking=True)
        self._counts_N = sum_over_ranks(torch.cat([(~finite)[None].to(known_N.dtype), known_N]))

    def judge(self, norm: Tensor | None = None) -> None:
        """Raises StepFailed on all ranks, for a loss that is not finite, too many bad samples, and a gradient's norm
        that is not finite (None: it may be otherwise)."""
        assert self._counts_N is not None
        # Counts are exact in float64, so that all is read at once.
        numbers_N = self._counts_N.double()
        numbers_N = numbers_N if norm is None else torch.cat([numbers_N, norm.detach().to(numbers_N)[None]])
        found = numbers_N.tolist()
        broken, bad, seen, *asked = (int(x) for x in found[: len(self._counts_N)])
        self.stopping = max((request for request, count in enumerate(asked, 1) if count), default=0)
        if broken:
            values = {k: float(v) for k, v in self.losses.items()}
            said = ", ".join(f"{k} {v:g}" for k, v in values.items())
            own = torch.stack([x.isfinite().all() for x in self._embeddings]).all()
            finite_R = gather_rows(own[None], [1] * world_size()).tolist()
            whose = ", ".join(str(r) for r, one in enumerate(finite_R) if not one) or "none"
            raise self.failed(f"a loss is not finite ({said}); embeddings that are not: of rank {whose}", losses=values)
        self.bad, self.seen = self.bad + bad, self.seen + seen
        here = f"{socket.gethostname()}: " if world_size() > 1 else ""
        errors = [f"{here}{e}" for p in self._parts for e in p.errors]
        self.tell(errors)
        self._parts, self._embeddings = [], []
        if bad and self.bad > self.max_bad_share * max(self.seen, self.bad_grace):
            some = [e for of_rank in gather_plain(errors[:5]) for e in of_rank]
            raise self.failed(
                f"{self.bad} of {self.seen} samples are bad, over {self.max_bad_share:.0%}: mend the shards, "
                f"or raise loss.max_bad_share; {'; '.join(some[:5])}",
                errors=errors,
            )
        if norm is not None and not abs(found[-1]) < float("inf"):
            raise self.failed(f"the gradient's norm is {found[-1]}", gradient_norm=found[-1])

    def failed(self, why: str, **found: Any) -> StepFailed:
        """What all ranks meet in this step."""
        return StepFailed(
            f"step {self.step}: {why}", self.step, {"rank": rank(), "step": self.step} | self.keys | found
        )

    def tell(self, errors: list[str]) -> None:
        """Prints this rank's bad samples, at most one line in 10 s: a broken disk must not fill the log."""
        now = time.monotonic()
        self._untold += len(errors)
        if errors and now - self._told > 10:
            more = f" (and {self._untold - 1} more since the last such line)" if self._untold > 1 else ""
            print(f"\nbad sample {errors[0]}{more}", file=sys.stderr, flush=True)
            self._told, self._untold = now, 0


def keys_of(batch: StepBatch) -> dict[str, list[str]]:
    """Which samples this rank has."""
    parts = {"global": batch.captions, "frame": batch.events, "weak": batch.tags}
    return {f"{name} keys": list(part.keys) for name, part in parts.items() if part is not None}

"""What a text tower that does not learn makes of phrases, kept from step to step.

A run asks for the same phrasings again and again, and a frozen tower makes the same vectors of them. They must not
depend on what has been kept before: a run that goes on after a stop begins with nothing, and is to go on bit for bit.
So rows go through the tower in batches of one shape for each length, in which a row's numbers do not depend on the
other rows, nor on its place among them. That is looked at, and where it does not hold nothing is kept.

Shape suffixes: C phrases, L tokens, H width, M phrases that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST = 1 << 16
"""Phrases that are kept: 100 MB at MiniLM's width."""

AT_ONCE = {"cpu": 8}
"""Rows that go through the tower together, by type of device."""
AT_ONCE_ELSEWHERE = 64

ROUND = 4
"""Rows are padded to a multiple of so many tokens, for fewer shapes."""


class KeptText:
    """Pooled vectors by `batch.token_row`. Begins anew with other weights, precision or device."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._made_by: tuple[Any, ...] | None = None
        self._forget()

    def _forget(self) -> None:
        self._place: dict[bytes, int] = {}
        self._pooled_MH: Tensor | None = None
        self._looked_at: set[int] = set()
        self.holds = True

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptText:
        return KeptText(self.most)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptText, (self.most,)

    def __call__(self, tower: nn.Module, rows: Sequence[bytes]) -> Tensor | None:
        """pooled_CH without a gradient; None where the tower learns or draws, or rows depend on one another."""
        made_by = _made_by(tower)
        if made_by is None:
            return None
        if made_by != self._made_by:
            self._forget()
            self._made_by = made_by
        if not self.holds:
            return None
        missing = [row for row in dict.fromkeys(rows) if row not in self._place]
        if missing and len(self._place) + len(missing) > self.most:
            self._forget()
            missing = list(dict.fromkeys(rows))
        for some, pooled_CH in self._made(tower, missing):
            if not self.holds:
                return None
            self._keep(some, pooled_CH)
        assert self._pooled_MH is not None
        place_C = torch.tensor([self._place[row] for row in rows])
        return self._pooled_MH[place_C.to(self._pooled_MH.device, non_blocking=True)]

    def _keep(self, rows: list[bytes], pooled_CH: Tensor) -> None:
        first, behind = len(self._place), len(self._place) + len(rows)
        if self._pooled_MH is None or behind > len(self._pooled_MH):  # twice as much, so that little is copied
            wider_MH = pooled_CH.new_empty(max(64, 2 * behind), pooled_CH.shape[1])
            if self._pooled_MH is not None:
                wider_MH[:first] = self._pooled_MH[:first]
            self._pooled_MH = wider_MH
        self._pooled_MH[first:behind] = pooled_CH
        self._place |= {row: first + n for n, row in enumerate(rows)}

    @torch.no_grad()
    def _made(self, tower: nn.Module, rows: Sequence[bytes]) -> Iterator[tuple[list[bytes], Tensor]]:
        device = next(tower.parameters()).device
        size = AT_ONCE.get(device.type, AT_ONCE_ELSEWHERE)
        of_length: dict[int, list[bytes]] = {}
        for row in rows:
            length = -(-len(row) // (4 * ROUND)) * ROUND
            of_length.setdefault(length, []).append(row)
        for length, alike in of_length.items():
            for first in range(0, len(alike), size):
                some = alike[first : first + size]
                tokens_CL = torch.zeros(size, length, dtype=torch.int64)
                attention_CL = torch.zeros(size, length, dtype=torch.int64)
                for n in range(size):  # what is left of the shape is filled with the last row
                    ids = np.frombuffer(some[min(n, len(some) - 1)], dtype=np.int32)
                    tokens_CL[n, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
                    attention_CL[n, : len(ids)] = 1
                tokens_CL, attention_CL = tokens_CL.to(device), attention_CL.to(device)
                pooled_CH = tower(tokens_CL, attention_CL)
                if length not in self._looked_at:
                    self._looked_at.add(length)
                    again_CH = tower(tokens_CL.flip(0), attention_CL.flip(0)).flip(0)
                    self.holds = self.holds and torch.equal(pooled_CH, again_CH)
                yield some, pooled_CH[: len(some)]


def _made_by(tower: nn.Module) -> tuple[Any, ...] | None:
    """What the tower's vectors depend on beside the tokens; None where they are not the same each time."""
    parameters = list(tower.parameters())
    if tower.training or any(p.requires_grad or p.is_inference() for p in parameters):
        return None
    kind = parameters[0].device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return precision, tuple((p.data_ptr(), p._version) for p in parameters)

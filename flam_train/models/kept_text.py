"""What a text tower that does not learn makes of phrases, kept from step to step.

A run asks for the same phrasings again and again, and a frozen tower makes the same vectors of them. They must not
depend on what has been kept before: a run that goes on after a stop begins with nothing, and is to go on bit for bit.
So rows go through the tower in batches of one shape for each length, in which a row's numbers do not depend on the
other rows, nor on its place among them. Each length is tried, with rows that are always the same; where it does not
hold, nothing of that length is kept.

On CPUs alone: on a GPU a batch of one shape for each length costs launches, and what it saves was not measured.

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

AT_ONCE = 8
"""Rows that go through the tower together. The last one is a single token: towers look whether there is any padding."""

ROUND = 4
"""Rows are padded to a multiple of so many tokens, for fewer shapes."""


class KeptText:
    """Pooled vectors by `batch.token_row`. Begins anew with other weights or precision. max_tokens: of a row."""

    def __init__(self, max_tokens: int, most: int = MOST) -> None:
        self.max_tokens, self.most = max_tokens, most
        self._made_by: tuple[Any, ...] | None = None
        self._holds: dict[int, bool] = {}
        self._forget()

    def _forget(self) -> None:
        self._place: dict[bytes, int] = {}
        self._pooled_MH: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptText:
        return KeptText(self.max_tokens, self.most)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptText, (self.max_tokens, self.most)

    def __call__(self, tower: nn.Module, rows: Sequence[bytes]) -> Tensor | None:
        """pooled_CH without a gradient; None where the tower learns, draws or is on another device, for rows of a
        length that does not hold, and for no rows."""
        made_by = _made_by(tower)
        if made_by is None or not rows:
            return None
        if made_by != self._made_by:
            self._forget()
            self._made_by, self._holds = made_by, {}
        for length in {self._length(row) for row in rows}:
            if length not in self._holds:
                self._holds[length] = _holds(tower, length)
            if not self._holds[length]:
                return None
        missing = [row for row in dict.fromkeys(rows) if row not in self._place]
        if missing and len(self._place) + len(missing) > self.most:
            self._forget()
            missing = list(dict.fromkeys(rows))
        for some, pooled_CH in self._made(tower, missing):
            self._keep(some, pooled_CH)
        assert self._pooled_MH is not None
        return self._pooled_MH[torch.tensor([self._place[row] for row in rows])]

    def _length(self, row: bytes) -> int:
        return min(-(-len(row) // (4 * ROUND)) * ROUND, self.max_tokens)

    def _keep(self, rows: list[bytes], pooled_CH: Tensor) -> None:
        first, behind = len(self._place), len(self._place) + len(rows)
        if self._pooled_MH is None or behind > len(self._pooled_MH):  # twice as much, so that little is copied
            wider_MH = pooled_CH.new_empty(max(64, 2 * behind), pooled_CH.shape[1])
            if self._pooled_MH is not None:
                wider_MH[:first] = self._pooled_MH[:first]
            self._pooled_MH = wider_MH
        self._pooled_MH[first:behind] = pooled_CH
        self._place |= {row: first + n for n, row in enumerate(rows)}

    def _made(self, tower: nn.Module, rows: Sequence[bytes]) -> Iterator[tuple[list[bytes], Tensor]]:
        of_length: dict[int, list[bytes]] = {}
        for row in rows:
            of_length.setdefault(self._length(row), []).append(row)
        for length, alike in of_length.items():
            for first in range(0, len(alike), AT_ONCE - 1):
                some = alike[first : first + AT_ONCE - 1]
                yield some, _pooled(tower, [np.frombuffer(row, dtype=np.int32) for row in some], length)[: len(some)]


@torch.no_grad()
def _pooled(tower: nn.Module, rows: Sequence[np.ndarray], length: int) -> Tensor:
    """Of up to AT_ONCE - 1 rows of tokens, in the one shape of their length: [AT_ONCE, H]."""
    tokens_CL = torch.zeros(AT_ONCE, length, dtype=torch.int64)
    attention_CL = torch.zeros(AT_ONCE, length, dtype=torch.int64)
    for n in range(AT_ONCE):  # what is left of the shape is filled with the first token of the first row
        ids = rows[n] if n < len(rows) else rows[0][:1]
        tokens_CL[n, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
        attention_CL[n, : len(ids)] = 1
    return tower(tokens_CL, attention_CL)


def _holds(tower: nn.Module, length: int) -> bool:
    """Whether the same bits come of a row beside other rows and at another place, of two lengths of rows."""
    full, short = (np.arange(1, 1 + many, dtype=np.int32) for many in (length, max(1, length - 2)))
    others = [np.arange(5, 5 + 1 + n % length, dtype=np.int32) for n in range(AT_ONCE - 3)]
    one_CH = _pooled(tower, [full, short], length)
    other_CH = _pooled(tower, [*others, short, full], length)
    return torch.equal(one_CH[0], other_CH[len(others) + 1]) and torch.equal(one_CH[1], other_CH[len(others)])


def _made_by(tower: nn.Module) -> tuple[Any, ...] | None:
    """What the tower's vectors depend on beside the tokens; None where they are not the same each time, or not
    on a CPU."""
    parameters = list(tower.parameters())
    if tower.training or any(p.requires_grad or p.is_inference() or not p.is_cpu for p in parameters):
        return None
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    return precision, tuple((p.data_ptr(), p._version) for p in parameters)

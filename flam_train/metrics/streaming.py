"""Retrieval while training: embeddings kept batch by batch, joined over ranks, each clip counted once.

A clip is known by an int64 id (`vocabulary.phrase_id` of its key). Ranks may see different numbers of clips, or none.

Shape suffixes: B clips, D embedding width, C captions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from flam_train.metrics.retrieval import chance_level, retrieval_metrics


class _Gathered(Metric):
    """A metric whose states are lists of tensors, concatenated over ranks."""

    full_state_update = False
    _empty: dict[str, Tensor]

    def _add(self, **empty: Tensor) -> None:
        self._empty = empty
        for name in empty:
            self.add_state(name, [], dist_reduce_fx="cat")

    def sync(self, *args, **options) -> None:
        # A rank without clips must still offer tensors of the right shape and type: torchmetrics would send an empty
        # vector of floats, and the gathering would wait or fail.
        for name, empty in self._empty.items():
            if not getattr(self, name):
                setattr(self, name, [empty.to(self.device)])
        super().sync(*args, **options)

    def _append(self, **values: Tensor) -> None:
        for name, value in values.items():
            getattr(self, name).append(value.detach())

    def _state(self, name: str) -> Tensor:
        value = getattr(self, name)
        return dim_zero_cat(value) if len(value) else self._empty[name]


class Retrieval(_Gathered):
    """`metrics.retrieval.retrieval_metrics` over all clips and captions of all ranks.

    joined: of the last `compute`, until `reset`: (audio_ND, id_N), all clips once, in the order of their ids. None
    where there was nothing to compute.
    """

    joined: tuple[Tensor, Tensor] | None = None

    def __init__(self, width: int, **options) -> None:
        super().__init__(**options)
        self._add(
            audio=torch.empty(0, width),
            clip=torch.empty(0, dtype=torch.int64),
            text=torch.empty(0, width),
            owner=torch.empty(0, dtype=torch.int64),
            number=torch.empty(0, dtype=torch.int64),
        )

    def update(self, clip_BD: Tensor, clip_B: Tensor, text_CD: Tensor, row_C: Tensor) -> None:
        """clip_BD, text_CD float, unit length; clip_B int64 ids; row_C int64: the row b that each caption describes.

        All captions of a clip come in the same update as the clip. Raises ValueError for rows that are not there.
        """
        if len(row_C) and not 0 <= int(row_C.min()) <= int(row_C.max()) < len(clip_B):
            raise ValueError(f"captions of clips {row_C.tolist()[:5]} ..., but the batch has {len(clip_B)}")
        # Which of its clip's captions a caption is: so a clip that comes twice does not bring its captions twice.
        number_C = (row_C[:, None] == row_C).tril(-1).sum(dim=1)
        self._append(audio=clip_BD.float(), clip=clip_B, text=text_CD.float(), owner=clip_B[row_C], number=number_C)

    def compute(self) -> dict[str, float]:
        """`retrieval_metrics` and `chance_level` in one dict; empty if no clip or no caption was seen."""
        clip_B, owner_C = self._state("clip"), self._state("owner")
        if not len(clip_B) or not len(owner_C):
            return {}
        first_B = first_of_each(clip_B)
        id_N, order_N = clip_B[first_B].sort()
        row_C = torch.searchsorted(id_N, owner_C)
        captions = int(self._state("number").max()) + 1
        once_C = first_of_each(row_C * captions + self._state("number"))
        audio_ND, text_MD, clip_of_text_M = self._state("audio")[first_B][order_N], self._state("text"), row_C[once_C]
        self.joined = audio_ND, id_N
        return retrieval_metrics(audio_ND, text_MD[once_C], clip_of_text_M) | chance_level(clip_of_text_M, len(id_N))

    def reset(self) -> None:
        super().reset()
        self.joined = None


def first_of_each(id_B: Tensor) -> Tensor:
    """Row of the first occurrence of each id, in order of appearance: int64."""
    unique, inverse_B = id_B.unique(return_inverse=True)
    first = torch.full((len(unique),), len(id_B), dtype=torch.int64, device=id_B.device)
    rows_B = torch.arange(len(id_B), device=id_B.device)
    return first.scatter_reduce(0, inverse_B, rows_B, reduce="amin").sort().values

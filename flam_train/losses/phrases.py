"""The distinct phrases of all ranks, and what this rank's clips say about each.

Shape suffixes: B this rank's clips, C this rank's phrase columns, G columns of all ranks one after another,
P distinct valid phrases of all ranks, T frames, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.distributed import gather_rows, rank, row_counts


@dataclass(frozen=True)
class JoinedPhrases:
    """column_P: where each distinct phrase stands among the gathered columns G (its first valid listing).
    label_BPT: this rank's true labels for it. counted_BP: whether the pair counts in means."""

    counts: list[int]
    column_P: Tensor
    label_BPT: Tensor
    counted_BP: Tensor

    def take(self, value_C: Tensor) -> Tensor:
        """Gathers a per-phrase value of all ranks, with gradient, and keeps the distinct phrases: [P, ...]."""
        return gather_rows(value_C, self.counts)[self.column_P]


def join_phrases(
    label_BCT: Tensor,
    audio_valid_B: Tensor,
    phrase_valid_C: Tensor,
    phrase_ids_C: Tensor | None = None,
    corpus_B: Tensor | None = None,
    annotated_in_C: Tensor | None = None,
) -> JoinedPhrases:
    """Every phrase that is valid on some rank, once, by its identity.

    A clip's label for a phrase of another rank comes from the clip's own columns, valid or not; a phrase that
    its own rank does not list is negative. Without `phrase_ids_C` every column is a phrase of its own.
    A pair counts if the clip is valid and, where `corpus_B` and `annotated_in_C` are given, the clip's corpus
    annotates the phrase (bit `corpus` of `annotated_in`).
    """
    if (corpus_B is None) != (annotated_in_C is None):
        raise ValueError(
            "corpus_B and annotated_in_C go together: give both, or neither (what is unannotated is negative)"
        )
    B, C, T = label_BCT.shape
    device = label_BCT.device
    counts = row_counts(phrase_valid_C)
    valid_G = gather_rows(phrase_valid_C.bool(), counts)
    if phrase_ids_C is None:
        mine = sum(counts[: rank()]) + torch.arange(C, device=device)
        phrase_ids_C, ids_G = mine, torch.arange(sum(counts), device=device)
    else:
        ids_G = gather_rows(phrase_ids_C, counts)

    # The first valid listing of each id: a stable sort keeps equal ids in order of rank and column.
    candidate = valid_G.nonzero().flatten()
    order = torch.argsort(ids_G[candidate], stable=True)
    column = candidate[order]
    ids = ids_G[column]
    first = torch.ones_like(ids, dtype=torch.bool)
    first[1:] = ids[1:] != ids[:-1]
    column_P, ids_P = column[first], ids[first]

    # same_PC: my column C is distinct phrase P. A phrase may stand in several of my columns; any positive counts.
    same_PC = ids_P[:, None] == phrase_ids_C[None, :]
    if len(phrase_ids_C) > len(phrase_ids_C.unique()):
        label_BPT = torch.einsum("pc,bct->bpt", same_PC.float(), label_BCT.float()) > 0.5
    elif C == 0:
        label_BPT = torch.zeros(B, len(ids_P), T, dtype=torch.bool, device=device)
    else:
        present_P = same_PC.any(1)
        label_BPT = label_BCT.bool()[:, same_PC.int().argmax(1)] & present_P[None, :, None]

    counted_BP = audio_valid_B.bool()[:, None].expand(B, len(ids_P))
    if annotated_in_C is not None and corpus_B is not None:
        annotated_P = _any_bit(gather_rows(annotated_in_C, counts), ids_G, ids_P)
        counted_BP = counted_BP & ((annotated_P[None, :] >> corpus_B[:, None]) & 1).bool()
    return JoinedPhrases(counts, column_P, label_BPT, counted_BP)


def _any_bit(bits_G: Tensor, ids_G: Tensor, ids_P: Tensor) -> Tensor:
    """Bitwise or over all listings of each phrase: an open corpus annotates it where any rank has clips of it."""
    bit_K = torch.arange(63, device=bits_G.device)
    listed_GK = ((bits_G[:, None] >> bit_K) & 1).double()
    same_PG = (ids_P[:, None] == ids_G[None, :]).double()
    return ((same_PG @ listed_GK > 0).long() << bit_K).sum(1)

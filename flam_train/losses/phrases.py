"""The distinct phrases of all ranks, and what this rank's clips say about each: joined once for all losses of a step.

Ranks exchange 24 bytes of each phrase they list: its id, whether it is valid, which corpora annotate it; and they sum
how many frames count, and are positive. Labels stay where they are.

Shape suffixes: B this rank's clips, C this rank's phrase columns, G columns of all ranks one after another,
N distinct ids of all ranks, P those of them that are valid somewhere, K corpora, T frames, D embedding width,
U this rank's distinct ids and one blank column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.distributed import gather_rows, rank, sum_over_ranks, world_size

BITS = 63
"""Of `annotated_in_C`: an int64 without its sign."""


@dataclass(frozen=True)
class Pairs:
    """What this rank knows of its clips, its phrases, and each pair of them.

    label_BCT        bool, true labels also of columns that are not valid
    audio_valid_B, phrase_valid_C    bool, False for padding
    phrase_ids_C     int64 identity: a phrase in two ranks' lists, or columns, counts once. Without it every column is
                     a phrase of its own
    corpus_B, annotated_in_C    int64, together: a pair counts only where the clip's corpus annotates the phrase (bit
                     `corpus` of `annotated_in`), as any rank says, for an open corpus annotates a phrase where some
                     rank has clips of it. Without them what is not annotated is negative, the paper's rule
    frame_valid_BT   bool, frames that count
    unknown_BC       bool, pairs of which nobody knows whether the phrase is heard: where it is not positive, such a
                     pair counts in nothing
    """

    label_BCT: Tensor
    audio_valid_B: Tensor
    phrase_valid_C: Tensor
    phrase_ids_C: Tensor | None = None
    corpus_B: Tensor | None = None
    annotated_in_C: Tensor | None = None
    frame_valid_BT: Tensor | None = None
    unknown_BC: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.corpus_B is None) != (self.annotated_in_C is None):
            raise ValueError(
                "corpus_B and annotated_in_C go together: give both, or neither (what is unannotated is negative)"
            )


@dataclass(frozen=True)
class JoinedPhrases:
    """Every phrase that is valid on some rank, once: P, in the order of the ranks whose listing stands for it.

    mine: those of this rank's columns that do. sizes: how many of P each rank has.
    most_clips: the largest B of all ranks. positive_P, counted_P: int64, frames of the clips of all ranks that are
    positive, and that count. label_BUT: this rank's true labels by id; the last column has none. place_P: the phrase's
    column of label_BUT. listed_P: whether this rank lists it as valid. annotated_P: bits, or None where every pair of a
    valid clip counts. audio_valid_B, corpus_B, frame_valid_BT: of this rank's clips. unknown_BU: pairs by id that do
    not count, or None.
    """

    mine: Tensor
    sizes: list[int]
    most_clips: int
    positive_P: Tensor
    counted_P: Tensor
    label_BUT: Tensor
    place_P: Tensor
    listed_P: Tensor
    annotated_P: Tensor | None
    audio_valid_B: Tensor
    corpus_B: Tensor | None
    frame_valid_BT: Tensor | None
    unknown_BU: Tensor | None

    def label_BPT(self, some: slice) -> Tensor:
        """bool: a clip's label for a phrase of another rank comes from the clip's own columns, valid or not; a phrase
        that its own rank does not list is negative. some: which of P."""
        return self.label_BUT[:, self.place_P[some]]

    def counted_BPT(self, some: slice) -> Tensor:
        """bool, to be broadcast over frames where they all count: which terms count in means."""
        if self.annotated_P is None or self.corpus_B is None:
            pair_BP = self.audio_valid_B[:, None].expand(-1, len(self.place_P[some]))
        else:
            pair_BP = self.audio_valid_B[:, None] & _annotated(self.annotated_P[some], self.corpus_B)
        if self.unknown_BU is not None:
            pair_BP = pair_BP & ~self.unknown_BU[:, self.place_P[some]]
        if self.frame_valid_BT is None:
            return pair_BP[:, :, None]
        return pair_BP[:, :, None] & self.frame_valid_BT[:, None]

    def counted_B(self, frames: int) -> Tensor:
        """int64: how many terms of each of this rank's clips count. frames: T."""
        total_B = torch.zeros_like(self.audio_valid_B, dtype=torch.int64)
        for at in range(0, len(self.place_P), 4096):  # not all pairs at once: there may be many
            counted_BPT = self.counted_BPT(slice(at, at + 4096))
            total_B += counted_BPT.sum((1, 2)) * (frames // counted_BPT.shape[2])
        return total_B


def join_phrases(pairs: Pairs) -> JoinedPhrases:
    """Every phrase that is valid on some rank, once, by its identity. All ranks must take part."""
    B, C, T = pairs.label_BCT.shape
    device, ranks = pairs.label_BCT.device, world_size()
    shapes = gather_rows(torch.tensor([[B, C]], device=device), [1] * ranks).tolist()
    counts = [columns for _, columns in shapes]
    first = sum(counts[: rank()])
    valid_C = pairs.phrase_valid_C.long()
    ids_C = first + torch.arange(C, device=device) if pairs.phrase_ids_C is None else pairs.phrase_ids_C
    annotated_C = torch.zeros_like(valid_C) if pairs.annotated_in_C is None else pairs.annotated_in_C
    ids_G, valid_G, annotated_G = gather_rows(torch.stack([ids_C, valid_C, annotated_C], 1), counts).unbind(1)

    # Of each id one valid listing: of the first rank that has one, counted from a rank that the id decides, so that
    # ranks share evenly what many of them list; of that rank's the first. `none` where there is none.
    ids_N, id_of_G = ids_G.unique(return_inverse=True)
    ends = torch.tensor(counts, device=device).cumsum(0)
    place_G = torch.arange(len(ids_G), device=device)
    rank_G = torch.searchsorted(ends, place_G, right=True)
    none = ranks * len(ids_G)
    order_G = (rank_G - ids_G % ranks) % ranks * len(ids_G) + place_G
    first_N = torch.full_like(ids_N, none).scatter_reduce(0, id_of_G, order_G.where(valid_G > 0, none), "amin")
    column_P = (first_N[first_N < none] % max(1, len(ids_G))).sort().values
    owner_P = rank_G[column_P]

    # Each of my ids once; a phrase may stand in several of my columns, and any positive counts.
    ids_U, id_of_C = ids_C.unique(return_inverse=True)
    U = len(ids_U)
    label_BUT = torch.zeros(B, U + 1, T, dtype=torch.int32, device=device)
    label_BUT = label_BUT.index_add_(1, id_of_C, pairs.label_BCT.int()) > 0
    unknown_BU = None
    if pairs.unknown_BC is not None:
        unknown_BU = torch.zeros(B, U + 1, dtype=torch.int32, device=device)
        unknown_BU = (unknown_BU.index_add_(1, id_of_C, pairs.unknown_BC.int()) > 0) & ~label_BUT.any(2)
    listed_U = torch.zeros(U + 1, dtype=torch.long, device=device).index_add_(0, id_of_C, valid_C) > 0
    ids_P = ids_G[column_P]
    place_P = torch.searchsorted(ids_U, ids_P)
    found_P = (place_P < U) & (torch.cat([ids_U, ids_U.new_zeros(1)])[place_P] == ids_P)
    place_P = place_P.where(found_P, U)

    annotated_P = None
    if pairs.annotated_in_C is not None:
        annotated_P = _any_bit(annotated_G, id_of_G, len(ids_N))[id_of_G[column_P]]
    positive_P, counted_P = sum_over_ranks(torch.stack(_frames(pairs, label_BUT, unknown_BU, place_P, annotated_P)))
    return JoinedPhrases(
        mine=column_P[owner_P == rank()] - first,
        sizes=owner_P.bincount(minlength=ranks).tolist(),
        most_clips=max(clips for clips, _ in shapes),
        positive_P=positive_P,
        counted_P=counted_P,
        label_BUT=label_BUT,
        place_P=place_P,
        listed_P=listed_U[place_P],
        annotated_P=annotated_P,
        audio_valid_B=pairs.audio_valid_B.bool(),
        corpus_B=pairs.corpus_B,
        frame_valid_BT=None if pairs.frame_valid_BT is None else pairs.frame_valid_BT.bool(),
        unknown_BU=unknown_BU,
    )


def _frames(
    pairs: Pairs, label_BUT: Tensor, unknown_BU: Tensor | None, place_P: Tensor, annotated_P: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(positive_P, counted_P): int64, of the frames of this rank's clips that count; without a tensor [B, P, T]."""
    B, U, T = label_BUT.shape
    frames_BT = pairs.audio_valid_B.bool()[:, None].expand(B, T)
    if pairs.frame_valid_BT is not None:
        frames_BT = frames_BT & pairs.frame_valid_BT.bool()
    positive_BU = (label_BUT & frames_BT[:, None]).sum(2)
    frames_B = frames_BT.sum(1)
    unknown_U = torch.zeros(U, dtype=torch.int64, device=frames_B.device)  # frames that do not count
    if annotated_P is None or pairs.corpus_B is None:
        if unknown_BU is not None:
            unknown_U = (unknown_BU * frames_B[:, None]).sum(0)
        return positive_BU.sum(0)[place_P], frames_B.sum() - unknown_U[place_P]
    # All phrases that this rank does not list share the blank column, which has no positive frame anyway.
    annotated_U = annotated_P.new_zeros(U).index_put((place_P,), annotated_P)
    annotated_BU = _annotated(annotated_U, pairs.corpus_B)
    positive_U = (positive_BU * annotated_BU).sum(0)
    if unknown_BU is not None:
        unknown_U = (unknown_BU * annotated_BU * frames_B[:, None]).sum(0)
    # float64 is exact here, and CUDA has no product of integer matrices.
    frames_K = torch.zeros(BITS, dtype=torch.float64, device=frames_B.device)
    frames_K = frames_K.index_add(0, pairs.corpus_B, frames_B.double())
    counted = [_bits(part).double() @ frames_K for part in annotated_P.split(4096)]
    return positive_U[place_P], torch.cat(counted).long() - unknown_U[place_P]


def _annotated(bits_P: Tensor, corpus_B: Tensor) -> Tensor:
    """bool [B, P]: whether the clip's corpus annotates the phrase."""
    return ((bits_P[None, :] >> corpus_B[:, None]) & 1).bool()


def _bits(bits_P: Tensor) -> Tensor:
    """[P, K] of 0 and 1."""
    return (bits_P[:, None] >> torch.arange(BITS, device=bits_P.device)) & 1


def _any_bit(bits_G: Tensor, id_of_G: Tensor, count: int) -> Tensor:
    """bits_N: bitwise or over all listings of each id. A few bits at a time, for there may be many listings."""
    any_N = bits_G.new_zeros(count)
    for bit_K in (1 << torch.arange(BITS, device=bits_G.device)).split(8):
        bits_KG = bits_G[None, :] & bit_K[:, None]
        any_KN = bits_G.new_zeros(len(bit_K), count).scatter_reduce(1, id_of_G.expand_as(bits_KG), bits_KG, "amax")
        any_N = any_N | any_KN.sum(0)
    return any_N

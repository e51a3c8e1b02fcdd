"""The frame-wise loss (FLAM, arXiv 2505.05335, Eq. 4).

Two ways to bring every rank's clips and every rank's phrases together, with the same values and gradients but for the
order of summation: `gather` gives each rank all phrases at once; with `ring` they pass by, block after block, and
nothing of a block is kept: the backward pass sends the blocks round once more and computes each again.
docs/scaling.md has what each costs.

Shape suffixes: B clips, C phrases, T frames, D embedding width, P distinct phrases of all ranks, X = D + 2: a phrase's
embedding, scale and bias in one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from flam_train.batch import full_precision
from flam_train.distributed import Homeward, gather_rows, round_the_ring
from flam_train.losses.phrases import JoinedPhrases, Pairs, join_phrases
from flam_train.losses.terms import ClipTerms
from flam_train.settings import one_of

EXCHANGES = ("auto", "gather", "ring")
REMOTE_NORMS = ("joined", "released")

RING_FROM = 1 << 30
"""Bytes of a rank's logits [B, P, T] from which on `auto` takes the ring: gathered, they cost several times that."""

BLOCK_TERMS = 1 << 22
"""The ring's blocks are cut so that one has about so many terms [B, C, T]."""

Block = Callable[[Tensor, Tensor, JoinedPhrases, slice], Tensor]
"""(frame_BTD, row_CX of some phrases, joined, which of its phrases these are) -> total_B, the sum of each clip's terms
with them."""


def framewise_loss(
    frame_BTD: Tensor,
    text_CD: Tensor,
    scale_C: Tensor,
    bias_C: Tensor,
    label_BCT: Tensor,
    audio_valid_B: Tensor,
    phrase_valid_C: Tensor,
    phrase_ids_C: Tensor | None = None,
    corpus_B: Tensor | None = None,
    annotated_in_C: Tensor | None = None,
    frame_valid_BT: Tensor | None = None,
    exchange: str = "auto",
    remote_norm: str = "joined",
) -> Tensor:
    """L_SED = -mean log sigmoid(z (alpha(y) <e_l, t_y> + beta(y))) over all clips, phrases and frames of all ranks.

    label_BCT to frame_valid_BT: as in `phrases.Pairs`. The rest, and what is raised: as in `framewise_terms`, which
    takes the phrases of all ranks when they are joined already. Returns the scalar of the joined batch, on every rank;
    averaging gradients over ranks gives its gradient.
    """
    pairs = Pairs(label_BCT, audio_valid_B, phrase_valid_C, phrase_ids_C, corpus_B, annotated_in_C, frame_valid_BT)
    return framewise_terms(join_phrases(pairs), frame_BTD, text_CD, scale_C, bias_C, exchange, remote_norm).mean()


def framewise_terms(
    joined: JoinedPhrases,
    frame_BTD: Tensor,
    text_CD: Tensor,
    scale_C: Tensor,
    bias_C: Tensor,
    exchange: str = "auto",
    remote_norm: str = "joined",
) -> ClipTerms:
    """The terms of L_SED over what `join_phrases` found of this rank's clips and phrases.

    frame_BTD, text_CD: float, unit length. scale_C: alpha > 0. bias_C: beta; detached here, it learns from `prior_loss`
    alone.

    exchange: `gather`, `ring`, or `auto`: the ring where the logits of the rank with the most clips would take
    `RING_FROM` bytes. remote_norm: `joined` is the mean; `released` gives a pair whose phrase the clip's own rank does
    not list as valid the weight T / D, as OpenFLAM's multi-GPU loss does, which divides the blocks of other ranks by
    the embedding width instead of the frames; the count stays that of all pairs. (From 4 ranks on the release also
    joins phrases with masks, scales and biases of others: that is not reproduced.)

    A term is one of a clip, a phrase and a frame. Raises ValueError for an unknown exchange or remote_norm.
    """
    one_of("exchange", exchange, EXCHANGES)
    one_of("remote_norm", remote_norm, REMOTE_NORMS)
    with torch.autocast(frame_BTD.device.type, enabled=False):
        T, D = frame_BTD.shape[1:]
        weight_P = None
        if remote_norm == "released":
            weight_P = torch.where(joined.listed_P, 1.0, T / D).to(full_precision(frame_BTD).dtype)
        block = partial(block_loss, weight_P=weight_P)
        total_B = sum_over_pairs(block, joined, frame_BTD, text_CD, scale_C, bias_C, exchange)
        return ClipTerms(total_B, joined.counted_B(T), joined.counted_P.sum())


def sum_over_pairs(
    block: Block,
    joined: JoinedPhrases,
    frame_BTD: Tensor,
    text_CD: Tensor,
    scale_C: Tensor,
    bias_C: Tensor,
    exchange: str = "auto",
) -> Tensor:
    """total_B: the sum of `block` over the phrases of all ranks; the rest as in `framewise_terms`."""
    frame_BTD = full_precision(frame_BTD)
    parts = text_CD, scale_C[:, None], bias_C.detach()[:, None]
    row_CX = torch.cat([part.to(frame_BTD.dtype) for part in parts], dim=1)[joined.mine]
    if exchange == "auto":
        logits = joined.most_clips * len(joined.place_P) * frame_BTD.shape[1] * frame_BTD.element_size()
        exchange = "ring" if logits >= RING_FROM else "gather"
    if exchange == "gather":
        return block(frame_BTD, gather_rows(row_CX, joined.sizes), joined, slice(0, len(joined.place_P)))
    if torch.is_grad_enabled() and not (frame_BTD.requires_grad or row_CX.requires_grad):
        row_CX = row_CX.detach().requires_grad_()  # all ranks must be there when the blocks go round again
    return _RingSum.apply(frame_BTD, row_CX, joined, block)


def frame_logits(frame_BTD: Tensor, row_CX: Tensor) -> Tensor:
    """logit_BCT = alpha(y) <e_l, t_y> + beta(y) of the phrases whose rows these are; beta gets no gradient."""
    text_CD, scale_C, bias_C = row_CX[:, :-2], row_CX[:, -2], row_CX[:, -1].detach()
    cosine_BCT = torch.einsum("btd,cd->bct", frame_BTD, text_CD)
    return scale_C[:, None] * cosine_BCT + bias_C[:, None]


def block_loss(
    frame_BTD: Tensor, row_CX: Tensor, joined: JoinedPhrases, some: slice, weight_P: Tensor | None = None
) -> Tensor:
    """total_B: the sum of each clip's terms with some of the phrases. row_CX: these phrases' rows."""
    logit_BCT = frame_logits(frame_BTD, row_CX)
    # -log sigmoid(z x) with z = +1 or -1 is BCE-with-logits.
    label_BCT = joined.label_BPT(some).to(logit_BCT.dtype)
    loss_BCT = F.binary_cross_entropy_with_logits(logit_BCT, label_BCT, reduction="none")
    # where, not a product: a clip that does not count may hold anything, and 0 * inf is NaN.
    loss_BCT = torch.where(joined.counted_BPT(some), loss_BCT, 0.0)
    return loss_BCT.sum((1, 2)) if weight_P is None else loss_BCT.sum(2) @ weight_P[some]


class _RingSum(torch.autograd.Function):
    """The sum of `block` over the blocks of all ranks. It keeps this rank's frames and rows, and nothing else."""

    @staticmethod
    def forward(ctx, frame_BTD: Tensor, row_CX: Tensor, joined: JoinedPhrases, block: Block) -> Tensor:
        ctx.save_for_backward(frame_BTD, row_CX)
        ctx.joined, ctx.block = joined, block
        total_B = frame_BTD.new_zeros(len(frame_BTD))
        for owner, block_CX in round_the_ring(row_CX, joined.sizes):
            for rows, some in _pieces(frame_BTD, joined.sizes, owner):
                total_B += block(frame_BTD, block_CX[rows], joined, some)
        return total_B

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_B: Tensor):
        frame_BTD, row_CX = ctx.saved_tensors
        by_frame_BTD = torch.zeros_like(frame_BTD) if ctx.needs_input_grad[0] else None
        homeward = Homeward(ctx.joined.sizes)
        for owner, block_CX in round_the_ring(row_CX, ctx.joined.sizes):
            by_row_CX = torch.empty_like(block_CX)
            for rows, some in _pieces(frame_BTD, ctx.joined.sizes, owner):
                inputs = block_CX[rows].detach().requires_grad_(), frame_BTD.detach()
                if by_frame_BTD is not None:
                    inputs[1].requires_grad_()
                with torch.enable_grad(), torch.autocast(frame_BTD.device.type, enabled=False):
                    total_B = ctx.block(inputs[1], inputs[0], ctx.joined, some)
                got = torch.autograd.grad(total_B, [x for x in inputs if x.requires_grad], grad_B)
                by_row_CX[rows] = got[0]
                if by_frame_BTD is not None:
                    by_frame_BTD += got[1]
            homeward.add(owner, by_row_CX)
        return by_frame_BTD, homeward.home(), None, None


def _pieces(frame_BTD: Tensor, sizes: list[int], owner: int) -> Iterator[tuple[slice, slice]]:
    """The owner's block in pieces of about `BLOCK_TERMS` terms: (which of its rows, which of all phrases)."""
    B, T, _ = frame_BTD.shape
    step = max(1, BLOCK_TERMS // max(1, B * T))
    start, size = [0, *accumulate(sizes)][owner], sizes[owner]
    for at in range(0, size, step):
        end = min(at + step, size)
        yield slice(at, end), slice(start + at, start + end)

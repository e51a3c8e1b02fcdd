"""The global contrastive loss: symmetric InfoNCE over the clips and captions of all ranks (CLAP).

Shape suffixes: B this rank's pairs, G pairs of all ranks, D embedding width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flam_train.distributed import gather_rows, rank, row_counts, sum_over_ranks
from flam_train.losses.terms import ClipTerms


def contrastive_loss(
    clip_BD: Tensor,
    text_BD: Tensor,
    logit_scale: Tensor,
    valid_B: Tensor | None = None,
    caption_ids_B: Tensor | None = None,
    hard_negative: float = 0.0,
    clip_ids_B: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE: row b of the clips belongs to row b of the captions.

    clip_BD, text_BD: float, unit length. logit_scale: the temperature's inverse (already exponentiated).
    valid_B: bool, False for a pair that counts neither as a row nor as a negative. caption_ids_B: int64; pairs with
    equal ids are positives of one another (cross-entropy to the uniform distribution over a row's positives);
    without them each row has one positive, CLAP's rule. hard_negative: beta of `hard_negative_weights`; 0 weighs all
    negatives alike. clip_ids_B: int64; pairs of one clip, whatever their captions, are positives of one another too.

    Returns the scalar of the joined batch, on every rank; averaging gradients over ranks gives its gradient.
    """
    return contrastive_terms(clip_BD, text_BD, logit_scale, valid_B, caption_ids_B, hard_negative, clip_ids_B).mean()


def contrastive_terms(
    clip_BD: Tensor,
    text_BD: Tensor,
    logit_scale: Tensor,
    valid_B: Tensor | None = None,
    caption_ids_B: Tensor | None = None,
    hard_negative: float = 0.0,
    clip_ids_B: Tensor | None = None,
) -> ClipTerms:
    """As `contrastive_loss`. A term is one of a pair: half of what its clip says and half of what its caption does."""
    if clip_BD.shape != text_BD.shape:
        raise ValueError(
            f"clips {tuple(clip_BD.shape)} and captions {tuple(text_BD.shape)} differ: each clip needs one caption"
        )
    B, device = len(clip_BD), clip_BD.device
    valid_B = torch.ones(B, dtype=torch.bool, device=device) if valid_B is None else valid_B.bool()
    counts = row_counts(valid_B)
    if caption_ids_B is None:
        caption_ids_B = sum(counts[: rank()]) + torch.arange(B, device=device)
    ids = [caption_ids_B] if clip_ids_B is None else [caption_ids_B, clip_ids_B]
    # Few messages: on many ranks it is their number that costs.
    *ids_G, valid_G = gather_rows(torch.stack([*ids, valid_B.long()], 1), counts).unbind(1)
    valid_G = valid_G.bool()
    same_BG = torch.stack([one_B[:, None] == one_G[None, :] for one_B, one_G in zip(ids, ids_G, strict=True)])
    positive_BG = same_BG.any(0) & valid_G[None, :]
    with torch.autocast(device.type, enabled=False):
        dtype = torch.float64 if clip_BD.dtype == torch.float64 else torch.float32
        clip_BD, text_BD = clip_BD.to(dtype), text_BD.to(dtype)
        total_B = torch.zeros(B, dtype=dtype, device=device)
        clip_GD, text_GD = gather_rows(torch.cat([clip_BD, text_BD], 1), counts).chunk(2, dim=1)
        for query_BD, key_GD in ((clip_BD, text_GD), (text_BD, clip_GD)):
            # The smallest number, not -inf: a batch without one valid pair must give 0, not NaN.
            hidden = torch.finfo(dtype).min
            logit_BG = (logit_scale.to(dtype) * query_BD @ key_GD.T).masked_fill(~valid_G[None, :], hidden)
            if hard_negative:
                logit_BG = logit_BG + hard_negative_weights(logit_BG, ~positive_BG & valid_G[None, :], hard_negative)
            logp_BG = torch.log_softmax(logit_BG, dim=1)
            row_B = -torch.where(positive_BG, logp_BG, 0.0).sum(1) / positive_BG.sum(1).clamp(min=1)
            total_B = total_B + 0.5 * torch.where(valid_B, row_B, 0.0)
        return ClipTerms(total_B, valid_B.long(), sum_over_ranks(valid_B.sum()))


@torch.no_grad()
def hard_negative_weights(logit_BG: Tensor, negative_BG: Tensor, beta: float) -> Tensor:
    """log w_BG, what is added to the logits for MGA-CLAP's hard-negative guided loss (arXiv 2408.07919).

    Published: in row i's denominator exp(s_ij / tau) of a negative j is multiplied by
    w_ij = (B - 1) exp(beta s_ij / tau) / sum_k!=i exp(beta s_ik / tau), of mean 1 over the row's negatives.
    Inferred: the weights are constants for the gradient. Ours, where a caption stands more than once in a batch: only
    what is no positive of row i is one of its k, and counts instead of B - 1.

    logit_BG: s / tau of this rank's rows and all ranks' columns. negative_BG: bool; the others' log w is 0.
    """
    hidden = torch.finfo(logit_BG.dtype).min
    guide_BG = torch.log_softmax((beta * logit_BG).masked_fill(~negative_BG, hidden), dim=1)
    return torch.where(negative_BG, guide_BG + negative_BG.sum(1, keepdim=True).to(guide_BG.dtype).log(), 0.0)

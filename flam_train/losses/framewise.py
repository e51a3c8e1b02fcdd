"""The frame-wise loss (FLAM, arXiv 2505.05335, Eq. 4).

Shape suffixes: B clips, C phrases, T frames, D embedding width, P distinct phrases of all ranks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flam_train.distributed import joined_mean, sum_over_ranks
from flam_train.losses.phrases import join_phrases


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
) -> Tensor:
    """L_SED = -mean log sigmoid(z (alpha(y) <e_l, t_y> + beta(y))) over all clips, phrases and frames of all ranks.

    frame_BTD, text_CD: float, unit length. scale_C: alpha > 0. bias_C: beta; detached here, it learns from
    `prior_loss` alone. label_BCT: bool, true labels also of columns that are not valid. audio_valid_B,
    phrase_valid_C: bool, False for padding. phrase_ids_C: int64 identity; a phrase in two ranks' lists counts
    once. corpus_B (int64) and annotated_in_C (int64, bit k: corpus k annotates the phrase), together: a pair
    counts only where the clip's corpus annotates the phrase; without them what is not annotated is negative,
    the paper's rule. frame_valid_BT: bool, frames that count.

    Returns the scalar of the joined batch, on every rank; averaging gradients over ranks gives its gradient.
    """
    joined = join_phrases(label_BCT, audio_valid_B, phrase_valid_C, phrase_ids_C, corpus_B, annotated_in_C)
    text_PD, scale_P = joined.take(text_CD), joined.take(scale_C)
    with torch.no_grad():
        bias_P = joined.take(bias_C)
    with torch.autocast(frame_BTD.device.type, enabled=False):
        dtype = torch.float64 if frame_BTD.dtype == torch.float64 else torch.float32
        cosine_BPT = torch.einsum("btd,pd->bpt", frame_BTD.to(dtype), text_PD.to(dtype))
        logit_BPT = scale_P.to(dtype)[:, None] * cosine_BPT + bias_P.to(dtype)[:, None]
        # -log sigmoid(z x) with z = +1 or -1 is BCE-with-logits.
        loss_BPT = F.binary_cross_entropy_with_logits(logit_BPT, joined.label_BPT.to(dtype), reduction="none")
        counted_BPT = joined.counted_BP[:, :, None].expand_as(loss_BPT)
        if frame_valid_BT is not None:
            counted_BPT = counted_BPT & frame_valid_BT[:, None, :].bool()
        count = sum_over_ranks(counted_BPT.sum())
        # where, not a product: a clip that does not count may hold anything, and 0 * inf is NaN.
        return joined_mean(torch.where(counted_BPT, loss_BPT, 0.0).sum(), count)

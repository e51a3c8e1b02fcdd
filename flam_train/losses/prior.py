"""The prior loss: what the per-phrase bias learns from (FLAM, arXiv 2505.05335, Eq. 10).

Shape suffixes: B clips, C phrases, T frames, P distinct phrases of all ranks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flam_train.batch import full_precision
from flam_train.distributed import gather_rows, joined_mean, world_size
from flam_train.losses.phrases import JoinedPhrases, Pairs, join_phrases


def prior_loss(
    bias_C: Tensor,
    label_BCT: Tensor,
    audio_valid_B: Tensor,
    phrase_valid_C: Tensor,
    phrase_ids_C: Tensor | None = None,
    corpus_B: Tensor | None = None,
    annotated_in_C: Tensor | None = None,
    frame_valid_BT: Tensor | None = None,
) -> Tensor:
    """BCE-with-logits(beta(y), the fraction of positive frames of y in the joined batch), mean over distinct phrases.

    label_BCT to frame_valid_BT: as in `phrases.Pairs`. What is returned: as in `prior_loss_of`.
    """
    pairs = Pairs(label_BCT, audio_valid_B, phrase_valid_C, phrase_ids_C, corpus_B, annotated_in_C, frame_valid_BT)
    return prior_loss_of(join_phrases(pairs), bias_C)


def prior_loss_of(joined: JoinedPhrases, bias_C: Tensor) -> Tensor:
    """The prior loss over what `join_phrases` found of this rank's clips and phrases.

    bias_C: float, beta of this rank's phrases. The fraction runs over the counted (clip, frame) pairs of all ranks; a
    phrase without any is left out of the mean. Returns the scalar of the joined batch, on every rank; averaging
    gradients over ranks gives its gradient.
    """
    positive_P, counted_P = joined.positive_P, joined.counted_P
    with torch.autocast(bias_C.device.type, enabled=False):
        bias_P = gather_rows(full_precision(bias_C)[joined.mine], joined.sizes)
        fraction_P = positive_P.to(bias_P.dtype) / counted_P.clamp(min=1)
        loss_P = F.binary_cross_entropy_with_logits(bias_P, fraction_P, reduction="none")
        total = torch.where(counted_P > 0, loss_P, 0.0).sum()
        # Every rank holds the whole list of distinct phrases, so each computes the whole sum: its share is 1 / ranks.
        return joined_mean(total / world_size(), (counted_P > 0).sum())

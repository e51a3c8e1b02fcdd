"""The weak loss: what the frame scores learn from tags, which say that a phrase is heard somewhere in some seconds.

A pair of a clip and a phrase is a bag of frames (multiple-instance learning): those of the tag's seconds, or all of a
clip that does not have the phrase. The bag's score is pooled from the frames' and compared with the tag.

Only the frame scores learn: beta, the logit of the share of frames in which a phrase is heard, learns from `prior_loss`
alone, as in Eq. 4 (arXiv 2505.05335). Tags do not say that share; a bias that learned from bags would become the
logit of another one, that of clips, and scores that divide by the prior (Eq. 9) would lose their meaning.

Shape suffixes: B clips, C phrases, T frames, D embedding width, X = D + 2 (`losses.framewise`).
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from flam_train.losses.framewise import EXCHANGES, frame_logits, sum_over_pairs
from flam_train.losses.phrases import JoinedPhrases, Pairs, join_phrases
from flam_train.losses.terms import ClipTerms
from flam_train.settings import one_of

POOLINGS = ("linear_softmax", "max")


def weak_loss(
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
    unknown_BC: Tensor | None = None,
    pooling: str = "linear_softmax",
    exchange: str = "auto",
) -> Tensor:
    """-mean log P(tag) over all pairs of a clip and a phrase of all ranks, P from the pooled frames of the pair.

    label_BCT: bool, frames somewhere in which the phrase is heard; a pair without any is negative, in all its frames.
    audio_valid_B to unknown_BC: as in `phrases.Pairs`. The rest, and what is raised: as in `weak_terms`. Returns the
    scalar of the joined batch, on every rank; averaging gradients over ranks gives its gradient.
    """
    pairs = Pairs(
        label_BCT, audio_valid_B, phrase_valid_C, phrase_ids_C, corpus_B, annotated_in_C, unknown_BC=unknown_BC
    )
    return weak_terms(join_phrases(pairs), frame_BTD, text_CD, scale_C, bias_C, pooling, exchange).mean()


def weak_terms(
    joined: JoinedPhrases,
    frame_BTD: Tensor,
    text_CD: Tensor,
    scale_C: Tensor,
    bias_C: Tensor,
    pooling: str = "linear_softmax",
    exchange: str = "auto",
) -> ClipTerms:
    """The terms of the weak loss over what `join_phrases` found of this rank's clips and phrases.

    It takes no `frame_valid_BT`. frame_BTD to exchange: as in `framewise.framewise_terms`. pooling: `max` is the
    largest of the bag's frames; `linear_softmax` is sum p^2 / sum p over their probabilities p (Wang et al., ICASSP
    2019): frames above half of the pooled probability are drawn towards the tag, those below it away from it.

    A term is one of a clip and a phrase. Raises ValueError for an unknown pooling or exchange.
    """
    one_of("pooling", pooling, POOLINGS)
    one_of("exchange", exchange, EXCHANGES)
    assert joined.frame_valid_BT is None
    with torch.autocast(frame_BTD.device.type, enabled=False):
        block = partial(block_loss, pooling=pooling)
        total_B = sum_over_pairs(block, joined, frame_BTD, text_CD, scale_C, bias_C, exchange)
        T = frame_BTD.shape[1]
        return ClipTerms(total_B, joined.counted_B(T) // T, joined.counted_P.sum() // T)


def block_loss(frame_BTD: Tensor, row_CX: Tensor, joined: JoinedPhrases, some: slice, pooling: str) -> Tensor:
    """total_B: the sum of each clip's terms with some of the phrases. row_CX: these phrases' rows."""
    logit_BCT = frame_logits(frame_BTD, row_CX)
    label_BCT = joined.label_BPT(some)
    positive_BC = label_BCT.any(2)
    bag_BCT = label_BCT | ~positive_BC[:, :, None]
    loss_BC = _POOLED[pooling](logit_BCT, bag_BCT, positive_BC)
    return torch.where(joined.counted_BPT(some)[:, :, 0], loss_BC, 0.0).sum(1)


def _max(logit_BCT: Tensor, bag_BCT: Tensor, positive_BC: Tensor) -> Tensor:
    """loss_BC: -log of the probability of the tag."""
    most_BC = logit_BCT.masked_fill(~bag_BCT, torch.finfo(logit_BCT.dtype).min).amax(2)
    return F.binary_cross_entropy_with_logits(most_BC, positive_BC.to(most_BC.dtype), reduction="none")


def _linear_softmax(logit_BCT: Tensor, bag_BCT: Tensor, positive_BC: Tensor) -> Tensor:
    """As `_max`. With P = sum p^2 / sum p, 1 - P = sum p (1 - p) / sum p: both without a difference, and as sums of
    logarithms, for p may be too small for its square to be a number."""
    outside = torch.finfo(logit_BCT.dtype).min / 4  # twice it is still a number
    log_p_BCT = F.logsigmoid(logit_BCT).masked_fill(~bag_BCT, outside)
    log_weight_BCT = torch.where(positive_BC[:, :, None], log_p_BCT, F.logsigmoid(-logit_BCT))
    return log_p_BCT.logsumexp(2) - (log_p_BCT + log_weight_BCT).logsumexp(2)


_POOLED = {"linear_softmax": _linear_softmax, "max": _max}

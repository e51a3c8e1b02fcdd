"""What MGA-CLAP (arXiv 2408.07919) adds to a CLAP: a codebook that clips and texts share, and a last block of the audio
encoder in which no position hears of another. Its third part, hard negatives, is in `losses.contrastive`.

Shape suffixes: C clips or texts, L their frames or tokens, D embedding width, M codewords; B clips, R and C rows and
columns of HTS-AT's map.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sparsemax(logit_CM: Tensor) -> Tensor:
    """The point of the probability simplex that is nearest to each row (Martins & Astudillo 2016, arXiv 1602.02068).

    logit_CM: float. Returns float [C, M]: max(logit - tau, 0) with the tau of the row that makes its sum 1. A codeword
    far below the row's largest weighs exactly 0, and has a gradient of exactly 0.
    """
    # Adding a number to a row changes nothing; near 0 the sums keep their digits.
    logit_CM = logit_CM - logit_CM.detach().amax(-1, keepdim=True)
    sorted_CM = logit_CM.sort(-1, descending=True).values
    above_CM = sorted_CM.cumsum(-1) - 1
    rank_M = torch.arange(1, logit_CM.shape[-1] + 1, device=logit_CM.device, dtype=logit_CM.dtype)
    support_C1 = (rank_M * sorted_CM > above_CM).sum(-1, keepdim=True)
    tau_C1 = above_CM.gather(-1, support_C1 - 1) / support_C1
    return (logit_CM - tau_C1).clamp(min=0)


class SharedCodebook(nn.Module):
    """Local features (frames of a clip, tokens of a text) into one global embedding, with the same codewords for both.

    Published: affinities are inner products of projected features and codewords; each codeword's is its largest over
    the frames or words; sparsemax makes them weights; the embedding is the weighted sum of the codewords.
    Inferred: the features enter as unit vectors; of a text every token counts that attention sees, the tokenizer's
    marks at both ends included; codewords start normally distributed with an expected squared length of 1. So a fresh
    model spreads its weights over some dozens of codewords, and no affinity can run away from the others. Where one
    codeword has all the weight, sparsemax has no gradient: that is how training from scratch ended with features of any
    length (at a high learning rate), or with codewords of length sqrt(D).
    """

    def __init__(self, codewords: int, width: int):
        super().__init__()
        self.codeword_MD = nn.Parameter(torch.randn(codewords, width) / math.sqrt(width))

    def forward(self, local_CLD: Tensor, valid_CL: Tensor | None = None) -> Tensor:
        """local_CLD: float, of unit length. valid_CL: bool, False for padding. Returns global_CD, of unit length."""
        return F.normalize(self.weights(local_CLD, valid_CL) @ self.codeword_MD, dim=-1)

    def weights(self, local_CLD: Tensor, valid_CL: Tensor | None = None) -> Tensor:
        """How much of each codeword is in each row: weight_CM at least 0, of sum 1, most of them 0."""
        affinity_CLM = local_CLD @ self.codeword_MD.T
        if valid_CL is not None:
            # The smallest number, not -inf: a row without one valid entry must not be NaN.
            hidden = torch.finfo(affinity_CLM.dtype).min
            affinity_CLM = affinity_CLM.masked_fill(~valid_CL[..., None], hidden)
        return sparsemax(affinity_CLM.max(1).values)


class LocalValue(nn.Module):
    """What attention does to a position that attends to itself alone: its value, and the output projection."""

    def __init__(self, width: int):
        super().__init__()
        self.value, self.proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.value(x))


class LocalBlock(nn.Module):
    """The locality-aware block: a frame's embedding stays that of its own sound.

    Published: in place of the last block of the audio tower; LayerNorm, value and output projection, without queries,
    keys and MLP. Inferred: its residual path, which is a Swin block's, dropped in training as that is.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = LocalValue(width)

    def forward(self, x_BRCD: Tensor, kept_B2: Tensor | None) -> Tensor:
        """kept_B2: as in `htsat.Block`; the second branch is the MLP that this block lacks."""
        y = self.attn(self.norm1(x_BRCD))
        return x_BRCD + (y if kept_B2 is None else y * kept_B2[:, 0, None, None, None].to(y.dtype))

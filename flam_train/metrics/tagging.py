"""Tagging: which classes sound in a clip, from the scores of its frames.

Shape suffixes: F frames of all clips, one after the other, N clips, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.detection import Auroc, auroc
from flam_train.metrics.f1 import F1, frame_f1
from flam_train.metrics.ranking import AveragePrecision, DPrime, average_precision, d_prime

POOLS = ("max", "mean")
"""Over a clip's frames."""


@dataclass(frozen=True)
class Tagging:
    """Of clips what `average_precision`, `auroc`, `d_prime` and `frame_f1` are of frames. Its mAP is the first's
    `macro`: the mean over the classes that a clip has."""

    average_precision: AveragePrecision
    auroc: Auroc
    d_prime: DPrime
    f1: F1


def clip_scores(score_FK: Tensor, start_N1: Tensor, pool: str = "max") -> Tensor:
    """score_NK: the highest score of each clip's frames, or their mean.

    start_N1: where each clip begins among the frames, and their end (int64); pool: of POOLS.
    Raises ValueError for another pool, starts that do not fit the frames, and a clip without frames.
    """
    if pool not in POOLS:
        raise ValueError(f"pool {pool!r}: {' or '.join(POOLS)}")
    score_FK, start_N1 = torch.as_tensor(score_FK).detach(), torch.as_tensor(start_N1)
    if not score_FK.is_floating_point() or start_N1.is_floating_point():
        raise ValueError(
            f"scores are {score_FK.dtype}, starts {start_N1.dtype}: give numbers of floating point and whole ones"
        )
    if score_FK.ndim != 2 or start_N1.ndim != 1 or start_N1.tolist()[:1] != [0] or int(start_N1[-1]) != len(score_FK):
        raise ValueError(
            f"scores {tuple(score_FK.shape)} must be [frames, classes], and clips begin at 0, ..., the last ends at "
            f"{len(score_FK)}: the starts are {tuple(start_N1.tolist())[:5]} ..."
        )
    frames_N = start_N1.diff().to(score_FK.device)
    if (frames_N < 1).any():
        raise ValueError(f"clip {int((frames_N < 1).nonzero()[0, 0])} has no frame: leave it out")
    clip_FK = (
        torch.arange(len(frames_N), device=score_FK.device).repeat_interleave(frames_N)[:, None].expand_as(score_FK)
    )
    pooled_NK = score_FK.new_full((len(frames_N), score_FK.shape[1]), -math.inf if pool == "max" else 0.0)
    if pool == "max":
        return pooled_NK.scatter_reduce_(0, clip_FK, score_FK, "amax")
    return pooled_NK.double().scatter_add_(0, clip_FK, score_FK.double()) / frames_N[:, None]


def tagging_metrics(
    score_NK: Tensor, label_NK: Tensor, threshold: float = 0.5, mask_NK: Tensor | None = None
) -> Tagging:
    """From a score of each clip and class (`clip_scores`) and whether the clip has an event of the class.

    threshold: of F1. Arguments and errors as in `auroc`, clips for frames.
    """
    area = auroc(score_NK, label_NK, mask_NK)
    f1 = frame_f1(score_NK, label_NK, (threshold,), mask_NK).at(threshold)
    return Tagging(average_precision(score_NK, label_NK, mask_NK), area, d_prime(area), f1)

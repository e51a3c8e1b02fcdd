"""Error rate of segments: substitutions, deletions and insertions over what there is to be found.

Shape suffixes: S segments of all recordings, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_train.metrics.f1 import segments
from flam_train.metrics.timed import Detection, checked, lowered


@dataclass(frozen=True)
class ErrorRate:
    """value: substitutions + deletions + insertions, each over the active pairs of a segment and a class: at least 0,
    and above 1 where more is wrong than there is to be found; all NaN where nothing is.

    per_class_K  float64: of a class alone, where nothing can be substituted; NaN for a class without ground truth
    macro        the mean over the others, as in `F1`
    """

    value: float
    substitutions: float
    deletions: float
    insertions: float
    macro: float
    per_class_K: Tensor
    threshold: float


def error_rate(score_SK: Tensor, label_SK: Tensor, threshold: float = 0.5) -> ErrorRate:
    """Mesaros et al. 2016. In a segment a class that is missed and one that is found wrongly make a substitution
    together; those that are left over are deletions (missed) or insertions. Lower is better; a system that finds
    nothing has 1. Arguments and errors as in `roc.auroc`, segments for frames.
    """
    score_SK, label_SK, _ = checked(score_SK, label_SK, None)
    passed_SK = score_SK > lowered([threshold], score_SK.dtype).to(score_SK.device)
    missed_SK, wrong_SK = label_SK & ~passed_SK, passed_SK & ~label_SK
    missed_S, wrong_S = missed_SK.sum(dim=1), wrong_SK.sum(dim=1)
    positive_K = label_SK.sum(dim=0)
    errors_K = missed_SK.sum(dim=0) + wrong_SK.sum(dim=0)
    per_class_K = torch.where(positive_K > 0, errors_K.double() / positive_K, torch.nan).cpu()
    substitutions_S = torch.minimum(missed_S, wrong_S)
    counts = torch.stack((substitutions_S, missed_S - substitutions_S, wrong_S - substitutions_S)).sum(dim=1)
    total = int(positive_K.sum())
    substituted, deleted, inserted = (count / total if total else math.nan for count in counts.tolist())
    return ErrorRate(
        value=int(counts.sum()) / total if total else math.nan,
        substitutions=substituted,
        deletions=deleted,
        insertions=inserted,
        macro=float(per_class_K[~per_class_K.isnan()].mean()),
        per_class_K=per_class_K,
        threshold=threshold,
    )


def segment_error_rate(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None = None,
    frame_seconds: float = 0.3125,
    threshold: float = 0.5,
    segment_seconds: float = 1.0,
) -> ErrorRate:
    """`error_rate` of the segments of `segment_f1`. Arguments and errors as there."""
    return error_rate(*segments(scores, events, classes, durations, frame_seconds, segment_seconds), threshold)

"""Sound event detection, frame by frame: AUROC, F1 at a threshold, and detections made from scores.

Shape suffixes: F frames of all recordings together, K classes, T frames of one recording, P thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import median_filter as _scipy_median
from torch import Tensor

from flam_train.frames import FrameGrid

Detection = tuple[float, float, str]
"""Onset and offset in seconds, class name."""


@dataclass(frozen=True)
class Auroc:
    """macro: mean over the classes that have one; micro: all (frame, class) pairs pooled, of every class.

    per_class_K is float64, NaN for a class without both positives and negatives; `left_out` has their columns.
    macro and micro are NaN where nothing defines them.
    """

    macro: float
    micro: float
    per_class_K: Tensor
    left_out: tuple[int, ...]

    @property
    def per_class(self) -> Tensor:
        return self.per_class_K


def auroc(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None) -> Auroc:
    """Area under the ROC curve: the chance that a positive frame scores above a negative one, ties counting half.

    Exact: pairs are counted in integers (Mann-Whitney), no thresholds are chosen.

    score_FK  real numbers of any range, larger for present
    label_FK  bool (or 0 and 1)
    mask_FK   bool, False leaves a pair out; shape [F, K] or [F, 1]

    Raises ValueError for shapes that differ and for scores that are not numbers.
    """
    score_FK, label_FK, mask_FK = _checked(score_FK, label_FK, mask_FK)
    per_class_K = torch.full((score_FK.shape[1],), torch.nan, dtype=torch.float64)
    for k in range(score_FK.shape[1]):
        counted_F = slice(None) if mask_FK is None else mask_FK[:, k]
        per_class_K[k] = _auroc(score_FK[counted_F, k], label_FK[counted_F, k])
    pooled = (score_FK, label_FK) if mask_FK is None else (score_FK[mask_FK], label_FK[mask_FK])
    defined_K = ~per_class_K.isnan()
    return Auroc(
        macro=float(per_class_K[defined_K].mean()),
        micro=_auroc(pooled[0].flatten(), pooled[1].flatten()),
        per_class_K=per_class_K,
        left_out=tuple((~defined_K).nonzero().flatten().tolist()),
    )


def _auroc(score_F: Tensor, label_F: Tensor) -> float:
    positive, negative = score_F[label_F].contiguous(), score_F[~label_F].sort().values
    if not len(positive) or not len(negative):
        return float("nan")
    below = int(torch.searchsorted(negative, positive, right=False).sum())
    not_above = int(torch.searchsorted(negative, positive, right=True).sum())
    return (below + not_above) / (2 * len(positive) * len(negative))


@dataclass(frozen=True)
class F1:
    """macro: mean over the classes with at least one positive in the ground truth, a class never detected counting 0;
    micro: from the pooled counts of all classes. `per_class_K` float64, NaN for a class without ground truth;
    `left_out` has their columns. `threshold` is the one used: a score above it is a detection.
    """

    macro: float
    micro: float
    threshold: float
    per_class_K: Tensor
    left_out: tuple[int, ...]


THRESHOLDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, *(n / 100 for n in range(1, 100)))
"""What `best_frame_f1` tries; the low ones for biased scores, which start near the prior, sigmoid(-8)."""


def frame_f1(score_FK: Tensor, label_FK: Tensor, threshold: float = 0.5, mask_FK: Tensor | None = None) -> F1:
    """F1 over frames: each (frame, class) pair is one decision. Arguments and errors as in `auroc`."""
    return _frame_f1(score_FK, label_FK, (threshold,), mask_FK)[0]


def best_frame_f1(
    score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None = None, thresholds: tuple[float, ...] = THRESHOLDS
) -> F1:
    """The F1 with the highest macro value over one threshold for the whole set; of equals the lowest threshold.

    The threshold is chosen on the set that is scored: an upper bound, not a result to compare systems by.
    """
    results = _frame_f1(score_FK, label_FK, thresholds, mask_FK)
    return max(results, key=lambda r: (-1.0 if np.isnan(r.macro) else r.macro, -r.threshold))


def _frame_f1(score_FK: Tensor, label_FK: Tensor, thresholds: tuple[float, ...], mask_FK: Tensor | None) -> list[F1]:
    score_FK, label_FK, mask_FK = _checked(score_FK, label_FK, mask_FK)
    threshold_P = torch.tensor(thresholds, dtype=score_FK.dtype)
    hit_PK, raised_PK, positive_K = [], [], []
    for k in range(score_FK.shape[1]):
        counted_F = slice(None) if mask_FK is None else mask_FK[:, k]
        score_F, label_F = score_FK[counted_F, k], label_FK[counted_F, k]
        positive, everything = score_F[label_F].sort().values, score_F.sort().values
        positive_K.append(len(positive))
        hit_PK.append(len(positive) - torch.searchsorted(positive, threshold_P, right=True))
        raised_PK.append(len(everything) - torch.searchsorted(everything, threshold_P, right=True))
    hits, raised = torch.stack(hit_PK, dim=1), torch.stack(raised_PK, dim=1)
    return [f1_of_counts(hits[p], raised[p], torch.tensor(positive_K), t) for p, t in enumerate(thresholds)]


def f1_of_counts(hit_K: Tensor, raised_K: Tensor, positive_K: Tensor, threshold: float) -> F1:
    """F1 = 2 TP / (detected + positives) from int64 counts per class."""
    per_class_K = 2.0 * hit_K.double() / (raised_K + positive_K)
    per_class_K[positive_K == 0] = torch.nan
    total = int(raised_K.sum() + positive_K.sum())
    return F1(
        macro=float(per_class_K[positive_K > 0].mean()),
        micro=2.0 * int(hit_K.sum()) / total if total else float("nan"),
        threshold=threshold,
        per_class_K=per_class_K,
        left_out=tuple((positive_K == 0).nonzero().flatten().tolist()),
    )


def median_filter(score_KT: np.ndarray, frames: int = 3) -> np.ndarray:
    """Each frame becomes the median of the `frames` (odd) around it; the ends are continued by their own value."""
    if frames < 1 or frames % 2 == 0:
        raise ValueError(f"a median filter takes an odd number of frames, got {frames}")
    return score_KT if frames == 1 else _scipy_median(score_KT, size=(1, frames), mode="nearest")


def detections(score_KT: np.ndarray, classes: list[str], threshold: float, frame_seconds: float) -> list[Detection]:
    """Runs of frames with a score above the threshold, as events in seconds, class by class.

    Apply `median_filter` first where the protocol asks for it (a median commutes with a threshold).
    """
    frames = score_KT.shape[1]
    grid = FrameGrid(frames, frames * frame_seconds)
    return [
        (onset, offset, name)
        for name, score_T in zip(classes, score_KT, strict=True)
        for onset, offset in grid.segments(score_T > threshold)
    ]


def merge_overlapping(events: list[Detection]) -> list[Detection]:
    """Events of one class that overlap or touch become one; sorted by class, then onset."""
    merged: list[Detection] = []
    for onset, offset, name in sorted(events, key=lambda e: (e[2], e[0], e[1])):
        if merged and merged[-1][2] == name and onset <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], offset), name)
        else:
            merged.append((onset, offset, name))
    return merged


def _checked(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    if score_FK.ndim != 2 or score_FK.shape != label_FK.shape:
        raise ValueError(
            f"scores {tuple(score_FK.shape)} and labels {tuple(label_FK.shape)} must both be [frames, classes]"
        )
    if score_FK.isnan().any():
        row, column = (int(x) for x in score_FK.isnan().nonzero()[0])
        raise ValueError(f"the score of frame {row}, class {column} is not a number: look at the model's output")
    if mask_FK is not None:
        if mask_FK.ndim != 2 or mask_FK.shape[0] != score_FK.shape[0] or mask_FK.shape[1] not in (1, score_FK.shape[1]):
            raise ValueError(f"the mask {tuple(mask_FK.shape)} must be {tuple(score_FK.shape)} or [{len(score_FK)}, 1]")
        mask_FK = mask_FK.detach().cpu().bool().expand_as(score_FK)
    return score_FK.detach().cpu(), label_FK.detach().cpu().bool(), mask_FK

"""Sound event detection: detections made from scores; and the calls of `auroc`, `f1` and `psd`.

Shape suffixes: F frames of all recordings together, K classes, T frames of one recording.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flam_train.frames import FrameGrid
from flam_train.metrics.f1 import F1, THRESHOLDS, F1Curve, event_f1, frame_f1, segment_f1, segments
from flam_train.metrics.psd import PSDS, Psds, PsdsParameters, psds, psds_of
from flam_train.metrics.roc import Auroc, auroc, auroc_of_blocks, partial_auroc
from flam_train.metrics.timed import BLOCK, DECIMALS, Detection, lowered

__all__ = [
    "F1", "PSDS", "THRESHOLDS", "Auroc", "Detection", "F1Curve", "Psds", "PsdsParameters", "auroc", "auroc_of_blocks",
    "detections", "event_f1", "frame_f1", "median_filter", "merge_overlapping", "partial_auroc", "psds", "psds_of",
    "segment_f1", "segments",
]  # fmt: skip


EDGES = ("repeat", "reflect")
"""How a median filter continues a recording: with its last value, or mirrored, the last value first (scipy)."""


def median_filter(
    score_KF: Tensor, frames: int | Sequence[int] = 3, start_N1: Tensor | None = None, edges: str = "repeat"
) -> Tensor:
    """Each frame becomes the median of the `frames` (odd) around it.

    frames: one number, or one for each class.
    start_N1: where each of several recordings that lie one after the other begins, and their end (int64); a recording
    does not hear its neighbours. None: one recording.
    edges: of EDGES; "repeat" is `scipy.ndimage.median_filter`'s mode "nearest", "reflect" its default.
    Raises ValueError for an even number of frames, for other edges, and for starts that do not fit."""
    if edges not in EDGES:
        raise ValueError(f"edges {edges!r}: {' or '.join(EDGES)}")
    score_KF = torch.as_tensor(score_KF)
    if score_KF.ndim != 2:
        raise ValueError(f"scores {tuple(score_KF.shape)} must be [classes, frames]")
    frames_K = torch.as_tensor(frames)
    frames_K = frames_K.long().expand(len(score_KF)) if frames_K.ndim == 0 else frames_K.long()
    if len(frames_K) != len(score_KF):
        raise ValueError(f"median filters of {len(frames_K)} classes, but {len(score_KF)} classes have scores")
    widths = frames_K.unique().tolist()
    if wrong := [n for n in widths if n < 1 or n % 2 == 0]:
        raise ValueError(f"a median filter takes an odd number of frames, got {wrong[0]}")
    if widths in ([], [1]) or not score_KF.shape[1]:
        return score_KF
    start_N1 = torch.tensor([0, score_KF.shape[1]]) if start_N1 is None else torch.as_tensor(start_N1)
    if start_N1.ndim != 1 or start_N1.tolist()[:1] != [0] or int(start_N1[-1]) != score_KF.shape[1]:
        raise ValueError(
            f"starts {start_N1.tolist()[:5]} ...: recordings begin at 0, the last ends at {score_KF.shape[1]}"
        )
    start_N1 = start_N1.to(score_KF.device)
    frames_N = start_N1.diff()
    first_F, last_F = (x.repeat_interleave(frames_N) for x in (start_N1[:-1], start_N1[1:] - 1))
    here_F = torch.arange(score_KF.shape[1], device=score_KF.device)
    smooth_KF = score_KF.clone()
    for width in widths:
        around = [_inside(here_F + n, first_F, last_F, edges) for n in range(-(width // 2), width // 2 + 1)]
        of_width = (frames_K == width).nonzero()[:, 0].to(score_KF.device)
        for rows in of_width.split(max(1, BLOCK // (width * score_KF.shape[1]))):
            score_RF = score_KF[rows]
            smooth_KF[rows] = _median([score_RF[:, at_F] for at_F in around])
    return smooth_KF


def _median(around: list[Tensor]) -> Tensor:
    """Element by element, of an odd number; of three, which is the default, without sorting."""
    if len(around) != 3:
        return torch.stack(around).median(dim=0).values
    before, here, after = around
    return torch.maximum(torch.minimum(before, here), torch.minimum(torch.maximum(before, here), after))


def _inside(at_F: Tensor, first_F: Tensor, last_F: Tensor, edges: str) -> Tensor:
    """The frames of a recording that stand for those before its first and behind its last one."""
    if edges == "repeat":
        return at_F.clamp(first_F, last_F)
    frames_F = last_F - first_F + 1
    place_F = (at_F - first_F) % (2 * frames_F)  # there and back, as often as it takes
    return first_F + torch.minimum(place_F, 2 * frames_F - 1 - place_F)


def detections(score_KT: np.ndarray, classes: list[str], threshold: float, frame_seconds: float) -> list[Detection]:
    """Runs of frames with a score above the threshold, as events in seconds, class by class.

    Apply `median_filter` first where the protocol asks for it (a median commutes with a threshold).
    """
    score_KT = np.asarray(score_KT)
    if score_KT.ndim != 2 or len(score_KT) != len(classes):
        raise ValueError(f"scores {score_KT.shape} must be [{len(classes)} classes, frames]")
    frames = score_KT.shape[1]
    grid = FrameGrid(frames, frames * frame_seconds)
    level = lowered([threshold], torch.as_tensor(score_KT[:0]).dtype).item()
    return [
        (onset, offset, name)
        for name, score_T in zip(classes, score_KT, strict=True)
        for onset, offset in grid.segments(score_T > level)
    ]


def merge_overlapping(events: list[Detection]) -> list[Detection]:
    """Events of one class that overlap or touch become one; sorted by class, then onset."""
    merged: list[Detection] = []
    for onset, offset, name in sorted(events, key=lambda e: (e[2], e[0], e[1])):
        if merged and merged[-1][2] == name and round(onset - merged[-1][1], DECIMALS) <= 0:
            merged[-1] = (merged[-1][0], max(merged[-1][1], offset), name)
        else:
            merged.append((onset, offset, name))
    return merged

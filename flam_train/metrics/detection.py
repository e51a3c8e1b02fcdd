"""Sound event detection: AUROC of frames, detections made from scores; and the calls of `f1` and `psd`.

Shape suffixes: F frames of all recordings together, K classes, T frames of one recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flam_train.frames import FrameGrid
from flam_train.metrics.f1 import F1, THRESHOLDS, F1Curve, event_f1, frame_f1, segment_f1, segments
from flam_train.metrics.psd import PSDS, Psds, PsdsParameters, psds, psds_of
from flam_train.metrics.timed import BLOCK, Detection, checked, lowered

__all__ = [
    "F1", "PSDS", "THRESHOLDS", "Auroc", "Detection", "F1Curve", "Psds", "PsdsParameters", "auroc", "auroc_of_blocks",
    "detections", "event_f1", "frame_f1", "median_filter", "merge_overlapping", "partial_auroc", "psds", "psds_of",
    "segment_f1", "segments",
]  # fmt: skip


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
    return _over_classes(score_FK, label_FK, mask_FK, _auroc)


def _over_classes(
    score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None, area: Callable[[Tensor, Tensor], float]
) -> Auroc:
    score_FK, label_FK, mask_FK = checked(score_FK, label_FK, mask_FK)
    per_class_K = torch.full((score_FK.shape[1],), torch.nan, dtype=torch.float64)
    for k in range(score_FK.shape[1]):
        counted_F = slice(None) if mask_FK is None else mask_FK[:, k]
        per_class_K[k] = area(score_FK[counted_F, k], label_FK[counted_F, k])
    pooled = (score_FK, label_FK) if mask_FK is None else (score_FK[mask_FK], label_FK[mask_FK])
    return _joined(per_class_K, area(pooled[0].flatten(), pooled[1].flatten()))


def _joined(per_class_K: Tensor, micro: float) -> Auroc:
    defined_K = ~per_class_K.isnan()
    return Auroc(
        macro=float(per_class_K[defined_K].mean()),
        micro=micro,
        per_class_K=per_class_K,
        left_out=tuple((~defined_K).nonzero().flatten().tolist()),
    )


Blocks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Gives (score_FK, label_FK) of some classes after the other, the same each time it is called."""


def auroc_of_blocks(blocks: Blocks) -> Auroc:
    """`auroc` where not all classes fit in memory at once: equal to it, to the last bit. The blocks are gone through
    twice, and the scores of all positive pairs are kept. Errors as in `auroc`."""
    per_class: list[float] = []
    positive: list[Tensor] = []
    for block in blocks():
        score_FK, label_FK, _ = checked(*block, None)
        per_class += [_auroc(score_FK[:, k], label_FK[:, k]) for k in range(score_FK.shape[1])]
        positive.append(score_FK[label_FK])
    if not positive:
        raise ValueError("no class: nothing to compute a score of")
    positive_X = _sorted(torch.cat(positive))
    lost = negatives = 0
    for block in blocks():
        score_FK, label_FK, _ = checked(*block, None)
        for k in range(score_FK.shape[1]):
            negative_X = _sorted(score_FK[:, k][~label_FK[:, k]])
            lost += _lost(positive_X, negative_X)
            negatives += len(negative_X)
    pairs = len(positive_X) * negatives
    micro = (2 * pairs - lost) / (2 * pairs) if pairs else float("nan")
    return _joined(torch.tensor(per_class, dtype=torch.float64), micro)


def partial_auroc(score_FK: Tensor, label_FK: Tensor, max_fpr: float = 0.1, mask_FK: Tensor | None = None) -> Auroc:
    """Area under the ROC curve up to `max_fpr` (0 to 1) over `max_fpr`, in [0, 1]; a coin reaches max_fpr / 2, and so
    do scores that are all equal.

    Pairs that score the same count half, as in `auroc`: the curve is straight between the points that thresholds
    reach. (sed_scores_eval 0.0.4 takes a staircase, under which ties count nothing; scikit-learn's `max_fpr` rescales
    the area as McClish 1989 does.) The mean over classes (`macro`) of segments of 1 s, with max_fpr 0.1, is the MPAUC
    of DCASE 2024 task 4. Arguments and errors as in `auroc`.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr {max_fpr}: it must be more than 0 and at most 1")
    return _over_classes(score_FK, label_FK, mask_FK, lambda score, label: _partial_area(score, label, max_fpr))


def _partial_area(score_F: Tensor, label_F: Tensor, max_fpr: float) -> float:
    """Between the scores of negatives the curve only rises: the area lies under the pieces at these scores."""
    positive_X, negative_X = _sorted(score_F[label_F]), _sorted(score_F[~label_F])
    positives, negatives = len(positive_X), len(negative_X)
    if not positives or not negatives:
        return float("nan")
    last = max(0, negatives - int(max_fpr * negatives) - 1)  # below it the curve has ended
    negative_X = negative_X[int(torch.searchsorted(negative_X, negative_X[last : last + 1])) :]
    value_M, count_M = (x.flip(0) for x in negative_X.unique_consecutive(return_counts=True))  # the highest first
    found_2M = torch.stack([torch.searchsorted(positive_X, value_M, right=right) for right in (True, False)])
    before_M, with_M = (positives - found_2M).double()  # positives above a score, and with those at it
    end = max_fpr * negatives
    inside_M = torch.minimum(end - (count_M.cumsum(0) - count_M).double(), count_M.double()).clamp(min=0)
    height_M = before_M + (with_M - before_M) * inside_M / count_M / 2
    return float((height_M * inside_M).sum()) / (positives * end)


def _auroc(score_F: Tensor, label_F: Tensor) -> float:
    positive_X, negative_X = _sorted(score_F[label_F]), _sorted(score_F[~label_F])
    pairs = len(positive_X) * len(negative_X)
    return (2 * pairs - _lost(positive_X, negative_X)) / (2 * pairs) if pairs else float("nan")


def _sorted(score_X: Tensor) -> Tensor:
    """Ascending. NumPy sorts numbers of 32 and 64 bits with vectors, ten times as fast as torch on a CPU."""
    if score_X.is_cuda:
        return score_X.sort().values
    exact = score_X if score_X.dtype.itemsize >= 4 else score_X.float()
    return torch.from_numpy(np.sort(exact.numpy()))


def _lost(positive_X: Tensor, negative_X: Tensor) -> int:
    """Pairs in which the negative scores above the positive, counted twice, and once those of equal scores; both are
    sorted. Of the fewer each is looked up among the others."""
    if len(negative_X) <= len(positive_X):
        return sum(int(torch.searchsorted(positive_X, negative_X, right=right).sum()) for right in (False, True))
    below = sum(int(torch.searchsorted(negative_X, positive_X, right=right).sum()) for right in (False, True))
    return 2 * len(positive_X) * len(negative_X) - below


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
    Raises ValueError for an even number of frames, and for other edges."""
    if edges not in EDGES:
        raise ValueError(f"edges {edges!r}: {' or '.join(EDGES)}")
    frames_K = torch.tensor([frames] * len(score_KF) if isinstance(frames, int) else list(frames), dtype=torch.long)
    if len(frames_K) != len(score_KF):
        raise ValueError(f"median filters of {len(frames_K)} classes, but {len(score_KF)} classes have scores")
    widths = frames_K.unique().tolist()
    if wrong := [n for n in widths if n < 1 or n % 2 == 0]:
        raise ValueError(f"a median filter takes an odd number of frames, got {wrong[0]}")
    if widths in ([], [1]) or not score_KF.shape[1]:
        return score_KF
    start_N1 = torch.tensor([0, score_KF.shape[1]]) if start_N1 is None else start_N1
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
        if merged and merged[-1][2] == name and onset <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], offset), name)
        else:
            merged.append((onset, offset, name))
    return merged

"""Scores of frames -> smooth ones: a Gaussian over their logits, then a median.

Shape suffixes: T frames. Scores have any axes before their last, T.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, median_filter
from scipy.special import expit

BELOW_ONE = 2.0**-25
"""What a score of 1 may be short of it, as float32 rounds."""

FARTHEST = -np.log(BELOW_ONE)
"""A logit's from 0, in means: a score of 0 is no farther than one of 1."""

REACH = 3.0
"""Standard deviations at which the Gaussian ends."""


def logit(score: np.ndarray) -> np.ndarray:
    """float64, of scores in [0, 1]: -inf of 0, and of 1 that of the greatest score that float32 rounds to it."""
    exact = np.asarray(score, np.float64)
    with np.errstate(divide="ignore"):
        return np.log(exact) - np.log(np.maximum(1 - exact, BELOW_ONE))


def median_frames(seconds: float, frame_seconds: float) -> int:
    """An odd number, the nearest to so many seconds; 1: no median."""
    return max(1, 2 * round((seconds / frame_seconds - 1) / 2) + 1)


def gaussian_reach(seconds: float, frame_seconds: float) -> int:
    """So many frames on either side of one have a part in its mean; seconds: the standard deviation."""
    return round(REACH * seconds / frame_seconds)


def gaussian(score_T: np.ndarray, heard_T: np.ndarray, seconds: float, frame_seconds: float) -> np.ndarray:
    """Of each frame the mean of the logits around it, as score of the same dtype in [0, 1].

    score_T  in [0, 1]; heard_T: bool, frames that sound: only they count, and only they get a score, others have 0
    seconds  the standard deviation of the weights; 0: scores stay as they are
    What is behind an edge is as it is at the edge. A higher score never makes another one lower.
    """
    reach = gaussian_reach(seconds, frame_seconds)
    if not reach:
        return score_T * heard_T
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) * frame_seconds / seconds) ** 2)
    logit_T = np.clip(logit(np.minimum(score_T, 1)), -FARTHEST, FARTHEST) * heard_T
    sum_T = correlate1d(logit_T, weight, mode="nearest")
    count_T = correlate1d(heard_T.astype(np.float64), weight, mode="nearest")
    mean_T = np.divide(sum_T, count_T, out=np.zeros_like(sum_T), where=np.broadcast_to(heard_T, sum_T.shape))
    return (expit(mean_T) * heard_T).astype(score_T.dtype)


def median(score_T: np.ndarray, seconds: float, frame_seconds: float) -> np.ndarray:
    """Of each frame the median of so many seconds around it; what is behind an edge is as it is at the edge."""
    frames = median_frames(seconds, frame_seconds)
    size = *(1 for _ in score_T.shape[1:]), frames
    return median_filter(score_T, size, mode="nearest") if frames > 1 else score_T

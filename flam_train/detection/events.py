"""Scores of frames -> events in seconds.

Shape suffixes: C phrases, T frames, R runs (consecutive frames, as (first, behind the last)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flam_train.detection.smoothing import gaussian, median
from flam_train.settings import setting, settle

if TYPE_CHECKING:
    from flam_train.detection.scoring import Scores  # torch, which tables and options do not need

DECIMALS = 3
"""Of times: milliseconds."""

SECONDS = ("smooth", "median", "close", "shortest")
"""Of the rules those in seconds."""


@dataclass(frozen=True)
class Rules:
    """What makes an event of scores, in this order: smoothing, median, thresholds, gaps, shortest.

    A higher threshold never adds time, and no phrase has two events at once. The defaults are those that found most in
    recordings of 5 minutes made of ESC-10's clips (docs/LOG.md).
    """

    threshold: float = setting(0.85, "a phrase's score must exceed it in some frame of an event", least=0, most=1)
    low: float = setting(
        0.4, "share of the threshold that the score must exceed in all frames of an event", least=0, most=1
    )
    median: float = setting(1.6, "seconds of the median that smooths scores; 0: none", least=0)
    close: float = setting(0.7, "seconds up to which a gap between two events of a phrase is closed", least=0)
    shortest: float = setting(0.35, "seconds below which there is no event, but at a recording's edge", least=0)
    smooth: float = setting(
        0.2, "seconds (standard deviation) of the mean of scores' logits, before the median; 0: none", least=0
    )

    def __post_init__(self) -> None:
        settle(self, "detection")


@dataclass(frozen=True)
class Detection:
    """A phrase found between two times, in seconds of the recording. score: the mean over its frames, peak: the
    highest, both in [0, 1]. channel: of the recording, from 1, where channels are looked at one by one."""

    onset: float
    offset: float
    phrase: str
    score: float
    peak: float = math.nan
    channel: int | None = None


def events_of(
    scores: Scores, rules: Rules = Rules(), thresholds: Mapping[str, float] | None = None, channel: int | None = None
) -> list[Detection]:
    """What `rules` find, ordered by onset, then by phrase. thresholds: of single phrases, instead of the rules'."""
    found, time = [], scores.time
    edges, heard_T = time.edges(), time.heard()
    for phrase, score_T in zip(scores.phrases, scores.score_CT, strict=True):
        threshold = (thresholds or {}).get(phrase, rules.threshold)
        for first, behind in runs_of(score_T, heard_T, rules, threshold, time.frame_seconds):
            onset, offset = rounded(edges[first], edges[behind], time.stop)
            if offset > onset:  # not in a recording of a few samples
                found.append(event_of(phrase, score_T[first:behind], onset, offset, channel))
    return sorted(found, key=by_onset)


def by_onset(event: Detection) -> tuple[float, str]:
    return event.onset, event.phrase


def event_of(phrase: str, score_T: np.ndarray, onset: float, offset: float, channel: int | None) -> Detection:
    """score_T: of the event's frames."""
    return Detection(onset, offset, phrase, float(score_T.mean(dtype=np.float64)), float(score_T.max()), channel)


def runs_of(
    score_T: np.ndarray, heard_T: np.ndarray, rules: Rules, threshold: float, frame_seconds: float
) -> list[tuple[int, int]]:
    """Runs of frames that are one phrase's events. score_T: float in [0, 1]; heard_T: bool, frames that sound."""
    smooth_T = smoothed(score_T, heard_T, rules, frame_seconds)
    return runs_of_smooth(smooth_T, heard_T, rules, threshold, frame_seconds)


def smoothed(score_T: np.ndarray, heard_T: np.ndarray, rules: Rules, frame_seconds: float) -> np.ndarray:
    """What thresholds are compared with, 0 where nothing sounds. score_T: of one phrase, or [C, T]."""
    mean_T = gaussian(score_T, heard_T, rules.smooth, frame_seconds)
    return median(mean_T, rules.median, frame_seconds) * heard_T


def runs_of_smooth(
    smooth_T: np.ndarray, heard_T: np.ndarray, rules: Rules, threshold: float, frame_seconds: float
) -> list[tuple[int, int]]:
    """As `runs_of`, of what `smoothed` returns."""
    runs_R2 = above(smooth_T, threshold, rules.low * threshold)
    runs_R2 = closed(runs_R2, rules.close / frame_seconds, heard_T)
    long_R = runs_R2[:, 1] - runs_R2[:, 0] >= rules.shortest / frame_seconds - 1e-6
    at_edge_R = (runs_R2[:, 0] == 0) | (runs_R2[:, 1] == len(smooth_T))
    return [(int(first), int(behind)) for first, behind in runs_R2[long_R | at_edge_R]]


def above(score_T: np.ndarray, high: float, low: float) -> np.ndarray:
    """int [R, 2]: runs of frames over `low` in which one is over `high` (hysteresis)."""
    runs_R2 = _runs(score_T > low)
    if high <= low or not len(runs_R2):
        return runs_R2
    high_T = np.concatenate([[0], np.cumsum(score_T > high)])
    return runs_R2[high_T[runs_R2[:, 1]] > high_T[runs_R2[:, 0]]]


def closed(runs_R2: np.ndarray, gap: float, heard_T: np.ndarray) -> np.ndarray:
    """int [R, 2]: the same runs, those joined that are up to `gap` frames apart, all of which sound."""
    if len(runs_R2) < 2:
        return runs_R2
    ends_R, starts_R = runs_R2[:-1, 1], runs_R2[1:, 0]
    silent_T = np.concatenate([[0], np.cumsum(~heard_T)])
    apart_R = (starts_R - ends_R > gap + 1e-6) | (silent_T[starts_R] > silent_T[ends_R])
    return np.stack(
        [runs_R2[np.concatenate([[True], apart_R]), 0], runs_R2[np.concatenate([apart_R, [True]]), 1]], axis=1
    )


def _runs(active_T: np.ndarray) -> np.ndarray:
    change = np.flatnonzero(np.diff(np.concatenate([[0], active_T.astype(np.int8), [0]])))
    return change.reshape(-1, 2)


def rounded(onset: float, offset: float, stop: float) -> tuple[float, float]:
    """To milliseconds, and not behind the recording's end, which may lie within one."""
    end = math.floor(stop * 10**DECIMALS + 1e-6) / 10**DECIMALS
    return round(float(onset), DECIMALS), min(round(float(offset), DECIMALS), max(end, round(float(onset), DECIMALS)))

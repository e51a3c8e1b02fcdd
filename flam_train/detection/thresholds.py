"""Thresholds of phrases: how well events are found at each, and which are the best.

Shape suffixes: C phrases, T frames, P thresholds, J judged events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from flam_train.detection.events import Rules, runs_of_smooth, smoothed
from flam_train.detection.labelled import Data, Labelled, frames_of
from flam_train.metrics.f1 import F1Curve, event_f1
from flam_train.metrics.intersection import mean_iou

GRID = (0.01, 0.02, 0.03, 0.05, 0.07, *(n / 100 for n in range(10, 95, 5)), 0.93, 0.95, 0.97, 0.98, 0.99)
"""The thresholds of which the best is taken."""

LOWS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
"""The shares of thresholds (`Rules.low`) of which the best is taken."""

PRIOR_EVENTS = 100
"""So many events of all phrases count with those of each: with few of its own a phrase gets what is good for all."""


@dataclass(frozen=True)
class Chosen:
    """Under some rules: of each phrase with an event its own threshold, that of unseen ones, what that is without each
    phrase's concept; f1: mean event F1 at their own."""

    rules: Rules
    own: dict[str, float]
    unseen: float
    folds: dict[str, float]
    f1: float


def chosen(data: Data, rules: Rules) -> Chosen:
    grid_P = np.array(GRID)
    found, _ = curve(data, rules, np.tile(grid_P, (len(data.phrases), 1)))
    allowed_PC = _allowed(data, rules)
    best_C = best_of_each(found, allowed_PC)
    there_C, concepts = found.positive_K.numpy() > 0, np.array(data.concepts)
    own = {phrase: GRID[best_C[c]] for c, phrase in enumerate(data.phrases) if there_C[c]}
    folds: dict[str, float] = {}
    for concept in dict.fromkeys(data.concepts):
        others_C = there_C & (concepts != concept)
        if others_C.any():
            threshold = GRID[best_of_all(found, allowed_PC, others_C)]
            folds |= {p: threshold for p, c in zip(data.phrases, data.concepts, strict=True) if c == concept}
    f1 = float(np.mean([found.at(best_C[c]).per_class_K[c] for c in there_C.nonzero()[0]]))
    return Chosen(rules, own, GRID[best_of_all(found, allowed_PC, there_C)], folds, f1)


def _allowed(data: Data, rules: Rules) -> np.ndarray:
    """bool [P, C]: thresholds of GRID about which something is known."""
    if not data.judged:
        return np.ones((len(GRID), len(data.phrases)), bool)
    phrase_J, peak_J, _ = judged_peaks(data, rules)
    least_C = np.full(len(data.phrases), np.inf)
    np.minimum.at(least_C, phrase_J, peak_J)
    # From the last threshold on that all judged events of the phrase exceed.
    allowed_PC = np.array([*GRID[1:], np.inf])[:, None] >= least_C
    allowed_PC[-1] = True
    return allowed_PC


def best_of_each(found: F1Curve, allowed_PC: np.ndarray) -> np.ndarray:
    """int [C]: of each phrase the place of the threshold with the highest F1 among those allowed, of equals the lowest,
    with PRIOR_EVENTS events in which all phrases together are found and missed as they are."""
    hit_PC, raised_PC, positive_C = (x.double().numpy() for x in (found.hit_PK, found.raised_PK, found.positive_K))
    there_C = positive_C > 0
    hit_P1, raised_P1 = (
        PRIOR_EVENTS * x_PC[:, there_C].sum(axis=1, keepdims=True) / positive_C.sum() for x_PC in (hit_PC, raised_PC)
    )
    f1_PC = 2 * (hit_PC + hit_P1) / (raised_PC + raised_P1 + positive_C + PRIOR_EVENTS)
    return np.where(allowed_PC, f1_PC, -1).argmax(axis=0)


def best_of_all(found: F1Curve, allowed_PC: np.ndarray, some_C: np.ndarray) -> int:
    """The place of the threshold with the highest mean F1 of some phrases, all with an event; of equals the lowest."""
    f1_PC = np.stack([at.per_class_K.numpy() for at in found.all()])
    return int(np.where(allowed_PC[:, some_C].any(axis=1), f1_PC[:, some_C].mean(axis=1), -1).argmax())


def levels(recording: Labelled, rules: Rules, grid_CP: np.ndarray) -> np.ndarray:
    """int16 [C, T]: at how many of its thresholds, which ascend, a phrase has an event there. A higher threshold never
    adds time, so that those are the first ones."""
    time = recording.scores.time
    heard_T, seconds = time.heard(), time.frame_seconds
    smooth_CT = smoothed(recording.scores.score_CT, heard_T, rules, seconds)
    level_CT = np.zeros(smooth_CT.shape, np.int16)
    top_C = np.where(recording.known_CT.any(axis=1), smooth_CT.max(axis=1), 0)
    for c, p in zip(*(grid_CP < top_C[:, None]).nonzero(), strict=True):
        for first, behind in runs_of_smooth(smooth_CT[c], heard_T, rules, float(grid_CP[c, p]), seconds):
            level_CT[c, first:behind] = p + 1
    return level_CT


def curve(data: Data, rules: Rules, grid_CP: np.ndarray) -> tuple[F1Curve, float]:
    """(F1 of each phrase at the thresholds grid_CP[c, p], which are called p; mean IoU at the last of them)."""
    places = tuple(range(grid_CP.shape[1]))
    if data.judged:
        return _of_judged(data, rules, grid_CP), math.nan
    found = [torch.from_numpy(levels(recording, rules, grid_CP)).float() for recording in data.recordings]
    events = [recording.events for recording in data.recordings]
    ends = [recording.scores.time.stop for recording in data.recordings]
    about = events, data.phrases, ends, data.recordings[0].scores.time.frame_seconds
    return event_f1(found, *about, places), mean_iou(found, *about, places[-1]).value


def _of_judged(data: Data, rules: Rules, grid_CP: np.ndarray) -> F1Curve:
    phrase_J, peak_J, heard_J = judged_peaks(data, rules)
    raised_JP = peak_J[:, None] > grid_CP[phrase_J]
    hit_PC, raised_PC = np.zeros((2, *grid_CP.T.shape), np.int64)
    np.add.at(raised_PC.T, phrase_J, raised_JP)
    np.add.at(hit_PC.T, phrase_J, raised_JP & heard_J[:, None])
    positive_C = np.bincount(phrase_J[heard_J], minlength=len(grid_CP))
    places = tuple(range(grid_CP.shape[1]))
    return F1Curve(places, *(torch.from_numpy(x) for x in (hit_PC, raised_PC, positive_C)))


def judged_peaks(data: Data, rules: Rules) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of judged events (phrase_J: its number; peak_J: the highest score in them, smoothed; heard_J: bool)."""
    rows = []
    for recording in data.recordings:
        scores = recording.scores
        smooth_CT = smoothed(scores.score_CT, scores.time.heard(), rules, scores.time.frame_seconds)
        for event, heard in recording.judged:
            span_CT = frames_of(recording.scores, [event])
            rows.append((data.phrases.index(event[2]), smooth_CT[span_CT].max(initial=0.0), heard))
    phrase_J, peak_J, heard_J = zip(*rows, strict=True)
    return np.array(phrase_J), np.array(peak_J), np.array(heard_J)

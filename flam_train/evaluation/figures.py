"""Which clips of an evaluated set to look at, and their figures.

Shape suffixes: K classes, T frames, S samples.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from flam_train.evaluation.scores import Scores
from flam_train.frames import FrameGrid
from flam_train.plotting import localization_figure

ROWS = 10
"""Phrases in one figure."""


def clips_with_most_classes(scores: Scores, count: int) -> list[int]:
    """Numbers of the recordings with the most different classes; of equals the first, but each mix of classes once.

    So the figures show different things; if there are not enough different mixes, more of the same follow.
    """
    mixes = [frozenset(name for _, _, name in events) for events in scores.events]
    ordered = sorted(range(len(mixes)), key=lambda n: -len(mixes[n]))
    first = {mix: n for mix, n in reversed([(mixes[n], n) for n in ordered])}
    fresh = [n for n in ordered if first[mixes[n]] == n]
    return (fresh + [n for n in ordered if first[mixes[n]] != n])[:count]


def clip_figure(
    scores: Scores, number: int, waveform_S: np.ndarray, rows: int = ROWS, method: str = "unbiased"
) -> Figure:
    """The classes of a recording in order of appearance, then those that the model wrongly gave the highest scores.

    The scores are those of the first phrasing of each class.
    """
    score_KT = scores.recordings(scores.score_KF(method).numpy())[number]
    label_KT = scores.recordings(scores.label_KF)[number]
    appeared = dict.fromkeys(name for _, _, name in sorted(scores.events[number]))
    present = [scores.classes.index(name) for name in appeared][:rows]
    absent = [int(k) for k in np.argsort(-score_KT.max(axis=1), kind="stable") if scores.classes[k] not in appeared]
    shown = present + absent[: rows - len(present)]
    frames = score_KT.shape[1]
    return localization_figure(
        waveform_S,
        score_KT[shown],
        label_KT[shown],
        [scores.phrases[0][k] for k in shown],
        FrameGrid(frames, frames * scores.frame_seconds),
    )

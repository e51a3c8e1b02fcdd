"""A recording's spectrogram, the scores of phrases below it and, where they are known, labels: called as OpenFLAM's.

Shape suffixes: S samples, T frames, K phrases.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soxr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flam_train.batch import SAMPLE_RATE
from flam_train.plotting.localization import SCORE_COLOURS
from flam_train.plotting.spectrogram import log_mel, show_spectrogram
from flam_train.plotting.style import blank_figure, literal, save_figure

NEGATIVE = "#c81e1e"
PHRASE_SHARE = 0.55
"""Of the height, at most, for each panel of phrases beside the spectrogram's 1."""


def plot_sed_heatmap(
    audio: np.ndarray,
    sr: int,
    post_similarity: Mapping[str, np.ndarray] | None = None,
    label: Mapping[str, np.ndarray] | None = None,
    duration: float = 10.0,
    title_fontsize: float = 14,
    label_fontsize: float = 15,
    axis_fontsize: float = 10,
    linewidth: float = 0.8,
    negative_class: Sequence[str] | int = (),
    figsize: tuple[float, float] = (14, 8),
    save_path: str | Path | None = None,
) -> Figure:
    """Panels on one time axis, from above: spectrogram, scores, labels; the last two where they are given.

    audio            float in [-1, 1] or int16 [S] at `sr` Hz, numpy or torch
    post_similarity  phrase -> [T] in [0, 1], spread over `duration`; the first phrase is the top row
    label            likewise; its frames and phrases may be others
    duration         seconds that are shown; what the scores cover. Of audio that is longer or shorter by more than a
                     frame it is warned
    negative_class   phrases whose names are red: the names, or how many of the last
    linewidth        points between rows; 0: none
    figsize          inches
    save_path        a file of any kind that matplotlib writes, whole or not at all; None: it is shown where there is a
                     display
    Returns the figure. Raises ValueError for rows of different lengths or beyond [0, 1], and negative names that are
    none of the phrases.
    """
    panels = {
        title: (list(rows), _rows(rows, title))
        for title, rows in (("Scores", post_similarity), ("Labels", label))
        if rows is not None
    }
    wave_S = _mono(audio, sr, duration, [score_KT.shape[1] for _, score_KT in panels.values()])
    red = _negative(negative_class, [phrases for phrases, _ in panels.values()])
    figure = blank_figure(*figsize) if save_path else _shown(figsize)
    figure.set_layout_engine("constrained")
    shares = [1.0] + [min(PHRASE_SHARE, 0.15 + 0.12 * len(phrases)) * 2 for phrases, _ in panels.values()]
    every = figure.subplots(len(shares), 1, sharex=True, squeeze=False, height_ratios=shares)[:, 0]
    show_spectrogram(every[0], *log_mel(wave_S), fontsize=axis_fontsize)
    every[0].set_title("Spectrogram", fontsize=title_fontsize)
    for axes, (title, (phrases, score_KT)) in zip(every[1:], panels.items(), strict=True):
        edges_T1, edges_K1 = np.linspace(0, duration, score_KT.shape[1] + 1), np.arange(len(phrases) + 1)
        axes.pcolormesh(edges_T1, edges_K1, score_KT, cmap=SCORE_COLOURS, vmin=0, vmax=1, rasterized=True)
        axes.hlines(edges_K1[1:-1], 0, duration, color="white", linewidth=linewidth)
        axes.set_ylim(len(phrases), 0)
        axes.set_yticks(edges_K1[:-1] + 0.5, [literal(phrase) for phrase in phrases], fontsize=label_fontsize)
        axes.tick_params(axis="y", length=0)
        for phrase, text in zip(phrases, axes.get_yticklabels(), strict=True):
            text.set_color(NEGATIVE if phrase in red else "black")
        axes.set_title(title, fontsize=title_fontsize)
    every[-1].set_xlim(0, duration)
    every[-1].set_xlabel("seconds", fontsize=axis_fontsize)
    every[-1].tick_params(axis="x", labelsize=axis_fontsize)
    if panels:
        colours = ScalarMappable(Normalize(0, 1), SCORE_COLOURS)
        bar = figure.colorbar(colours, ax=every[1:].tolist(), ticks=[0, 0.25, 0.5, 0.75, 1], fraction=0.03, pad=0.01)
        bar.ax.tick_params(labelsize=axis_fontsize)
    if save_path:
        save_figure(figure, save_path)
    else:
        _show()
    return figure


def _rows(rows: Mapping[str, np.ndarray], title: str) -> np.ndarray:
    """float [K, T]."""
    arrays = [np.asarray(row, dtype=np.float64) for row in rows.values()]
    shapes = {row.shape for row in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise ValueError(f"{title}: one array [frames] a phrase, all of one length, got shapes {sorted(shapes)}")
    score_KT = np.stack(arrays)
    if not ((score_KT >= 0) & (score_KT <= 1)).all():
        raise ValueError(f"{title}: from {score_KT.min():.4g} to {score_KT.max():.4g}, must lie in [0, 1]")
    return score_KT


def _negative(negative: Sequence[str] | int, panels: list[list[str]]) -> set[str]:
    if isinstance(negative, int):
        most = max(map(len, panels), default=0)
        if not 0 <= negative <= most:
            raise ValueError(f"negative_class: {negative} of {most} phrases: give names, or how many of the last")
        return {phrase for phrases in panels for phrase in phrases[max(len(phrases) - negative, 0) :]}
    names = {negative} if isinstance(negative, str) else set(negative)
    unknown = sorted(names - {phrase for phrases in panels for phrase in phrases})
    if unknown:
        raise ValueError(f"negative_class: {', '.join(map(repr, unknown))} is none of the phrases: give their names")
    return names


def _mono(audio: np.ndarray, rate: int, duration: float, frames: list[int]) -> np.ndarray:
    """At 48 kHz, no longer than what is shown."""
    wave_S = np.asarray(audio)
    if wave_S.ndim != 1 or not len(wave_S):
        raise ValueError(f"audio: one row of samples is expected, got shape {wave_S.shape}")
    if not rate > 0 or not duration > 0:
        raise ValueError(f"sr and duration must be above 0, got {rate} and {duration}")
    apart = abs(len(wave_S) / rate - duration)
    if frames and apart > duration / min(frames):
        said = (
            f"{len(wave_S) / rate:g} s of audio, and duration={duration:g}: scores are drawn over the latter; give the "
            "seconds that they cover"
        )
        warnings.warn(said, UserWarning, stacklevel=3)
    if wave_S.dtype == np.int16:
        wave_S = wave_S / 32768
    wave_S = wave_S[: round(duration * rate)].astype(np.float64)
    return wave_S if rate == SAMPLE_RATE else soxr.resample(wave_S, rate, SAMPLE_RATE)


def _shown(figsize: tuple[float, float]) -> Figure:
    import matplotlib.pyplot as plt  # the only one here with a state of its own: to show, there must be a window

    return plt.figure(figsize=figsize)


def _show() -> None:
    import matplotlib.pyplot as plt

    if plt.get_backend().lower() != "agg":  # which has no window
        plt.show()

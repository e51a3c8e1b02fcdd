"""Where phrases were found in a recording.

Shape suffixes: S samples, F frequency bins, H spectrogram columns, K phrases, T frames.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.frames import FrameGrid
from flam_train.plotting.style import INK, QUIET, blank_figure, fitting, headline, inches, literal

TRUTH, FOUND = "#e4572e", "#111827"
SCORE_COLOURS = LinearSegmentedColormap.from_list("score", ["#f7f8fb", "#c9dbee", "#6fa8d6", "#2569a8", "#0b2f5b"])
MOST_PHRASES = 24
"""More rows than this are not readable in one figure."""

BOX = 0.75
"""Of a row's height, for what is annotated; below it there is room for a line."""

WIDTH, HEAD, MEL, ROW = 10.0, 0.74, 2.1, 0.38
"""Inches: the figure, what is written above the spectrogram, the spectrogram, a phrase's row."""


def localization_figure(
    waveform_S: np.ndarray,
    score_KT: np.ndarray,
    label_KT: np.ndarray | None,
    phrases: Sequence[str],
    grid: FrameGrid,
    *,
    title: str = "Where each phrase is heard",
    name: str = "",
    start: float = 0.0,
    threshold: float | None = None,
    meaning: str = "score: how sure the model is that the phrase sounds (0 to 1)",
) -> Figure:
    """Log-mel spectrogram above a heatmap of scores with the ground truth outlined, on one time axis.

    waveform_S  int16, or float in [-1, 1]; 48 kHz mono; shorter than the grid is shown as it is
    score_KT    in [0, 1]; one row a phrase, the first on top
    label_KT    bool, or None where the truth is not known
    grid        the T frames' places in time, from `start` on
    name        of the recording, shown below the title with the time that is seen of it
    start       seconds of the recording at which waveform and grid begin
    threshold   in [0, 1): frames with a score above it are underlined; None: it is not used
    meaning     of the colours, in words

    Raises ValueError for shapes that do not fit, more than MOST_PHRASES phrases, and a threshold out of range.
    """
    score_KT = np.asarray(score_KT, dtype=np.float64)
    if score_KT.shape != (len(phrases), grid.frames) or not len(phrases):
        raise ValueError(
            f"scores {score_KT.shape} must be [{len(phrases)} phrases, {grid.frames} frames], at least one row"
        )
    if label_KT is not None and np.shape(label_KT) != score_KT.shape:
        raise ValueError(f"labels {np.shape(label_KT)} must have the shape of the scores {score_KT.shape}")
    if len(phrases) > MOST_PHRASES:
        raise ValueError(f"{len(phrases)} phrases are too many for one figure: choose up to {MOST_PHRASES}")
    if threshold is not None and not 0 <= threshold < 1:
        raise ValueError(f"threshold {threshold:g}: scores lie in [0, 1], give one from 0 to below 1")
    heat = ROW * len(phrases) + 0.12
    height = HEAD + MEL + 0.18 + heat + 1.22
    figure = blank_figure(WIDTH, height)
    names = [
        "\n".join(fitting(line, 3.0, 10) for line in textwrap.wrap(p, 34, max_lines=2, placeholder=" …"))
        for p in phrases
    ]
    left = 0.3 + max(0.4, *(inches(line, 10) for text in names for line in text.split("\n")))
    width = WIDTH - left - 0.35

    def panel(top: float, tall: float) -> Axes:
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    above, below = panel(HEAD, MEL), panel(HEAD + MEL + 0.18, heat)
    _spectrogram(above, waveform_S, start)
    edges_T1 = start + grid.edges()
    image = below.pcolormesh(
        edges_T1, np.arange(len(phrases) + 1), score_KT, cmap=SCORE_COLOURS, vmin=0, vmax=1, edgecolors="none",
        rasterized=True,
    )  # fmt: skip
    below.hlines(np.arange(1, len(phrases)), *edges_T1[[0, -1]], color="white", linewidth=1.6)
    keys: dict[str, Artist] = {}
    if label_KT is not None:
        keys["annotated"] = Rectangle((0, 0), 1, 1, edgecolor=TRUTH, facecolor="none", linewidth=2.0)
        for k, (onset, offset) in _runs(label_KT, grid):
            below.add_patch(
                Rectangle(
                    (start + onset, k + 0.07), offset - onset, BOX, edgecolor=TRUTH, facecolor="none", linewidth=2.0,
                    zorder=4, clip_on=False,
                )
            )  # fmt: skip
    if threshold is not None:
        look: dict[str, Any] = {
            "color": FOUND,
            "linewidth": 2.8,
            "path_effects": [withStroke(linewidth=4.6, foreground="white")],
        }
        keys[f"score above the threshold {threshold:g}"] = Line2D([], [], **look)
        for k, (onset, offset) in _runs(score_KT > threshold, grid):
            below.plot([start + onset, start + offset], [k + 0.93] * 2, solid_capstyle="butt", zorder=5, **look)
    below.set_ylim(len(phrases) + 0.06, 0)
    below.set_yticks(np.arange(len(phrases)) + 0.5, names, fontsize=10, color=INK)
    below.tick_params(axis="y", length=0, pad=6)
    below.set_xlabel("seconds of the recording", color=QUIET, fontsize=9)
    for axes in (above, below):
        axes.set_xlim(*edges_T1[[0, -1]])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
        axes.ticklabel_format(axis="x", useOffset=False, style="plain")
        axes.tick_params(axis="x", colors=QUIET, labelsize=9)
        for spine in axes.spines.values():
            spine.set_visible(False)
    above.tick_params(axis="x", labelbottom=False)
    _colour_bar(figure, image, threshold, meaning, left)
    if keys:
        figure.legend(
            list(keys.values()), list(keys), loc="lower right", ncols=2,
            bbox_to_anchor=((left + width) / WIDTH, 1 - (HEAD - 0.06) / height), frameon=False, fontsize=9,
            labelcolor=QUIET, handlelength=1.6, borderaxespad=0, borderpad=0.2, columnspacing=1.4,
        )  # fmt: skip
    headline(figure, left / WIDTH, title)
    seen = f"{edges_T1[0]:.6g} to {edges_T1[-1]:.6g} s"
    room = width - sum(0.6 + inches(text, 9) for text in keys)
    text = f"{fitting(name, max(1.0, room - inches(f', {seen}', 9)), 9)}, {seen}" if name else seen
    figure.text(left / WIDTH, 1 - (HEAD - 0.12) / height, text, fontsize=9, color=QUIET)
    return figure


def _runs(active_KT: np.ndarray, grid: FrameGrid) -> Iterator[tuple[int, tuple[float, float]]]:
    """(row, (onset, offset)), seconds from the grid's start."""
    for k, active_T in enumerate(np.asarray(active_KT, dtype=bool)):
        for run in grid.segments(active_T):
            yield k, run


def _spectrogram(axes: Axes, waveform_S: np.ndarray, start: float) -> None:
    level_FH, times, frequencies = log_mel(waveform_S)
    axes.set_facecolor("#f3f4f6")  # what lies after a short recording's end
    top = level_FH.max()
    axes.pcolormesh(
        start + times, np.arange(len(frequencies) + 1), level_FH, cmap="magma", vmin=top - 70, vmax=top, rasterized=True
    )
    ticks = [100, 300, 1000, 3000, 10000]
    places = np.interp(ticks, frequencies, np.arange(len(frequencies)) + 0.5)
    axes.set_yticks(places, ["100", "300", "1k", "3k", "10k"])
    axes.set_ylabel("Hz (mel scale)", color=QUIET, fontsize=9)
    axes.tick_params(axis="y", colors=QUIET, labelsize=9)


def _colour_bar(figure: Figure, image: QuadMesh, threshold: float | None, meaning: str, left: float) -> None:
    """Below the heatmap, from `left` inches on: the bar, beside it what its colours mean."""
    height = figure.get_figheight()
    bar = figure.add_axes((left / WIDTH, 0.42 / height, 1.5 / WIDTH, 0.13 / height))
    colours = figure.colorbar(image, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    colours.outline.set_visible(False)
    bar.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    bar.tick_params(colors=QUIET, labelsize=9, length=0)
    if threshold is not None:
        bar.axvline(threshold, color=FOUND, linewidth=2.2, path_effects=[withStroke(linewidth=4, foreground="white")])
    at = left + 1.7
    lines = textwrap.wrap(meaning, max(20, int(len(meaning) * (WIDTH - at - 0.3) / inches(meaning, 9))))
    text = "\n".join(literal(line) for line in lines)
    figure.text(at / WIDTH, 0.485 / height, text, fontsize=9, color=QUIET, va="center")


def log_mel(waveform_S: np.ndarray, bins: int = 96) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the eye, not for the model: (dB [F, H], column edges in seconds [H + 1], bin centres in Hz [F])."""
    waveform_S = np.asarray(waveform_S)
    wave_S = waveform_S / INT16_SCALE if waveform_S.dtype == np.int16 else waveform_S.astype(np.float64)
    window, hop = 2048, 480
    if wave_S.ndim != 1 or len(wave_S) == 0:
        raise ValueError(f"a recording is one row of samples, got shape {wave_S.shape}")
    wave_S = np.pad(wave_S, (0, max(0, window - len(wave_S))))
    transform = ShortTimeFFT(hann(window, sym=False), hop, SAMPLE_RATE)
    power = transform.spectrogram(wave_S, p0=0, p1=len(wave_S) // hop)
    mel = np.linspace(_mel(50.0), _mel(16000.0), bins + 2)
    corner = 700 * (10 ** (mel / 2595) - 1)
    rise = (transform.f - corner[:-2, None]) / (corner[1:-1] - corner[:-2])[:, None]
    fall = (corner[2:, None] - transform.f) / (corner[2:] - corner[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    # Low triangles can lie between two FFT bins; then the nearest bin stands for them.
    for f in np.flatnonzero(filters.sum(axis=1) == 0):
        filters[f, np.abs(transform.f - corner[f + 1]).argmin()] = 1.0
    level_FH = 10 * np.log10(np.maximum(filters @ power / filters.sum(axis=1, keepdims=True), 1e-12))
    return level_FH, np.arange(level_FH.shape[1] + 1) * hop / SAMPLE_RATE, corner[1:-1]


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)

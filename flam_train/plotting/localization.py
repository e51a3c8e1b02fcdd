"""Where phrases were found in a recording.

Shape suffixes: S samples, F mel bins, H spectrogram columns, K phrases, T frames.
"""

from __future__ import annotations

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

from flam_train.frames import FrameGrid
from flam_train.plotting.glyphs import drawable
from flam_train.plotting.spectrogram import log_mel, show_spectrogram
from flam_train.plotting.style import INK, QUIET, blank_figure, fitting, headline, inches, legend_above, literal

MEANING = "score: how sure the model is that the phrase sounds (0 to 1)"
TRUTH, FOUND = "#e4572e", "#111827"
SCORE_COLOURS = LinearSegmentedColormap.from_list("score", ["#f7f8fb", "#c9dbee", "#6fa8d6", "#2569a8", "#0b2f5b"])
MOST_PHRASES = 24
"""More rows than this are not readable in one figure."""

BOX = 0.75
"""Of a row's height, for what is annotated; below it there is room for a line."""

WIDTH, HEAD, MEL, ROW = 10.0, 0.74, 2.1, 0.38
"""Inches: the figure, what is written above the spectrogram, the spectrogram, a phrase's row."""

WIDEST = 3.0
"""Inches, of a phrase."""


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
    threshold: float | Sequence[float] | None = None,
    meaning: str = MEANING,
) -> Figure:
    """Log-mel spectrogram above a heatmap of scores with the ground truth outlined, on one time axis.

    waveform_S  int16, or float in [-1, 1]; 48 kHz mono; shorter than the grid is shown as it is
    score_KT    in [0, 1]; one row a phrase, the first on top
    label_KT    bool, or None where the truth is not known
    grid        the T frames' places in time, from `start` on
    name        of the recording, shown below the title with the time that is seen of it
    start       seconds of the recording at which waveform and grid begin
    threshold   in [0, 1): frames with a score above it are underlined; one for all phrases or one of each; None: it is
                not used
    meaning     of the colours, in words

    Raises ValueError for shapes and numbers of thresholds that do not fit, more than MOST_PHRASES phrases, and one
    threshold out of range.
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
    same = threshold if isinstance(threshold, float | int) else None
    if same is not None and not 0 <= same < 1:
        raise ValueError(f"threshold {same:g}: scores lie in [0, 1], give one from 0 to below 1")
    if isinstance(threshold, Sequence) and len(threshold) != len(phrases):
        raise ValueError(f"{len(threshold)} thresholds of {len(phrases)} phrases: give one of each, or one for all")
    heat = ROW * len(phrases) + 0.12
    height = HEAD + MEL + 0.18 + heat + 1.22
    figure = blank_figure(WIDTH, height)
    names = row_names(phrases)
    left = 0.3 + max(0.4, widest(names))
    width = WIDTH - left - 0.35

    def panel(top: float, tall: float) -> Axes:
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    above, below = panel(HEAD, MEL), panel(HEAD + MEL + 0.18, heat)
    level_FH, times, frequencies = log_mel(waveform_S)
    show_spectrogram(above, level_FH, start + times, frequencies, QUIET)
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
        which = "of its phrase" if same is None else f"{same:g}"
        keys[f"score above the threshold {which}"] = Line2D([], [], **look)
        threshold_K = np.broadcast_to(np.asarray(threshold, np.float64), len(phrases))
        for k, (onset, offset) in _runs(score_KT > threshold_K[:, None], grid):
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
    colour_bar(figure, image, same, meaning, left)
    taken = legend_above(figure, keys, left + width, HEAD)
    headline(figure, left / WIDTH, title)
    seen = f"{edges_T1[0]:.6g} to {edges_T1[-1]:.6g} s"
    room = width - taken
    text = f"{fitting(name, max(1.0, room - inches(f', {seen}', 9)), 9)}, {seen}" if name else seen
    figure.text(left / WIDTH, 1 - (HEAD - 0.12) / height, text, fontsize=9, color=QUIET)
    return figure


def _runs(active_KT: np.ndarray, grid: FrameGrid) -> Iterator[tuple[int, tuple[float, float]]]:
    """(row, (onset, offset)), seconds from the grid's start."""
    for k, active_T in enumerate(np.asarray(active_KT, dtype=bool)):
        for run in grid.segments(active_T):
            yield k, run


def row_names(phrases: Sequence[str], size: float = 10, lines: int = 2) -> list[str]:
    """As they are to be read beside rows: over so many lines of at most WIDEST inches, what is longer ends in "…"."""
    names = []
    for phrase in phrases:
        rest = drawable(phrase)
        wrapped = textwrap.wrap(rest, 34)
        if len(wrapped) > lines:
            for line in wrapped[: lines - 1]:
                rest = rest[len(line) :].lstrip()
            wrapped[lines - 1 :] = [rest]
        names.append("\n".join(fitting(line, WIDEST, size) for line in wrapped))
    return names


def widest(names: Sequence[str], size: float = 10) -> float:
    """Inches, of all their lines."""
    return max(inches(line.replace(r"\$", "$"), size) for name in names for line in name.split("\n"))


def colour_bar(figure: Figure, image: QuadMesh, threshold: float | None, meaning: str, left: float) -> None:
    """Below the heatmap, from `left` inches on: the bar, beside it what its colours mean."""
    width, height = figure.get_size_inches()
    bar = figure.add_axes((left / width, 0.42 / height, 1.5 / width, 0.13 / height))
    colours = figure.colorbar(image, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    colours.outline.set_visible(False)
    bar.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    bar.tick_params(colors=QUIET, labelsize=9, length=0)
    if threshold is not None:
        bar.axvline(threshold, color=FOUND, linewidth=2.2, path_effects=[withStroke(linewidth=4, foreground="white")])
    at = left + 1.7
    lines = textwrap.wrap(meaning, max(20, int(len(meaning) * (width - at - 0.3) / inches(meaning, 9))))
    text = "\n".join(literal(line) for line in lines)
    figure.text(at / width, 0.485 / height, text, fontsize=9, color=QUIET, va="center")

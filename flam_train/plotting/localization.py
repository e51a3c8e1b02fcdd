"""Where phrases were found in a recording.

Shape suffixes: S samples, F frequency bins, H spectrogram columns, K phrases, T frames.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.frames import FrameGrid
from flam_train.plotting.style import INK, QUIET, blank_figure, literal

TRUTH = "#e4572e"
SCORE_COLOURS = LinearSegmentedColormap.from_list("score", ["#f7f8fb", "#c9dbee", "#6fa8d6", "#2569a8", "#0b2f5b"])
MOST_PHRASES = 24
"""More rows than this are not readable in one figure."""


def localization_figure(
    waveform_S: np.ndarray,
    score_KT: np.ndarray,
    label_KT: np.ndarray | None,
    phrases: Sequence[str],
    grid: FrameGrid,
    *,
    title: str = "",
) -> Figure:
    """Log-mel spectrogram above a heatmap of scores with the ground truth outlined, on one time axis.

    waveform_S  int16, or float in [-1, 1]; 48 kHz mono; shorter than the grid is shown as it is
    score_KT    in [0, 1]; one row a phrase, the first on top
    label_KT    bool, or None where the truth is not known
    grid        the T frames' places in time

    Raises ValueError for shapes that do not fit, or more than MOST_PHRASES phrases.
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
    rows = len(phrases)
    heat_inches = 0.36 * rows + 0.12
    height = 0.45 + 2.1 + 0.18 + heat_inches + 0.6
    figure = blank_figure(10.0, height)
    names = [literal("\n".join(textwrap.wrap(p, 34)[:2])) for p in phrases]
    left = min(0.34, 0.055 + 0.0078 * max(len(line) for name in names for line in name.split("\n")))
    width = 0.925 - left

    def panel(top: float, inches: float):
        return figure.add_axes((left, 1 - (top + inches) / height, width, inches / height))

    above = panel(0.45, 2.1)
    level_FH, times, frequencies = log_mel(waveform_S)
    above.set_facecolor("#f3f4f6")  # what lies after a short recording's end
    top = level_FH.max()
    above.pcolormesh(
        times, np.arange(len(frequencies) + 1), level_FH, cmap="magma", vmin=top - 70, vmax=top, rasterized=True
    )
    ticks = [100, 300, 1000, 3000, 10000]
    above.set_yticks(
        np.interp(ticks, frequencies, np.arange(len(frequencies)) + 0.5), ["100", "300", "1k", "3k", "10k"]
    )
    above.set_ylabel("Hz (mel scale)", color=QUIET, fontsize=9)
    above.tick_params(labelbottom=False)

    below = panel(0.45 + 2.1 + 0.18, heat_inches)
    edges = grid.edges()
    image = below.pcolormesh(
        edges, np.arange(rows + 1), score_KT, cmap=SCORE_COLOURS, vmin=0, vmax=1, edgecolors="none", rasterized=True
    )
    for k in range(1, rows):
        below.axhline(k, color="white", linewidth=1.6)
    if label_KT is not None:
        for k, label_T in enumerate(np.asarray(label_KT, dtype=bool)):
            for onset, offset in grid.segments(label_T):
                box = (onset, k + 0.09)
                below.add_patch(
                    Rectangle(
                        box,
                        offset - onset,
                        0.82,
                        edgecolor=TRUTH,
                        facecolor="none",
                        linewidth=2.0,
                        zorder=4,
                        clip_on=False,
                    )
                )
    below.set_ylim(rows, 0)
    below.set_yticks(np.arange(rows) + 0.5, names, fontsize=10, color=INK)
    below.tick_params(axis="y", length=0, pad=6)
    below.set_xlabel("seconds", color=QUIET, fontsize=9)
    for axes in (above, below):
        axes.set_xlim(0, grid.seconds)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
        axes.tick_params(axis="x", colors=QUIET, labelsize=9)
        for spine in axes.spines.values():
            spine.set_visible(False)
    above.tick_params(axis="y", colors=QUIET, labelsize=9)
    bar = figure.add_axes((left + width + 0.012, below.get_position().y0, 0.011, below.get_position().height))
    colours = figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1])
    colours.outline.set_visible(False)
    bar.tick_params(colors=QUIET, labelsize=8, length=0)
    bar.set_title("score", fontsize=9, color=QUIET, pad=5, loc="left")
    if label_KT is not None:
        key = Rectangle((0, 0), 1, 1, edgecolor=TRUTH, facecolor="none", linewidth=2.0)
        figure.legend(
            [key], ["annotated"], loc="lower right", bbox_to_anchor=(left + width, 1 - 0.38 / height),
            frameon=False, fontsize=10, labelcolor=QUIET, handlelength=1.6, borderaxespad=0,
        )  # fmt: skip
    figure.text(
        left, 1 - 0.30 / height, title or "Where each phrase is heard", fontsize=12, fontweight="bold", color=INK
    )
    return figure


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

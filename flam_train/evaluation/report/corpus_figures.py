"""Figures of what a corpus holds: how often each class comes, how long the clips are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from flam_train.plotting import INK, LINES, QUIET, blank_figure, dress, fitting, headline

MOST_CLASSES = 60
"""More bars than this are not readable; the rest is counted in the title."""


def class_histogram_figure(counts: Mapping[str, int], title: str) -> Figure:
    """A bar for each class, the most frequent on top, on a logarithmic axis where they span more than a factor of 50.

    counts  class -> how often it comes; at least one, none of them 0
    Raises ValueError for no classes.
    """
    if not counts:
        raise ValueError(f"{title}: no classes to count: a corpus of captions alone has no such figure")
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ordered[:MOST_CLASSES]
    rest = f", the {MOST_CLASSES} most frequent" if len(ordered) > MOST_CLASSES else ""
    names = [fitting(name, 2.8, 8) for name, _ in shown]
    values = [count for _, count in shown]
    height = 1.1 + 0.2 * len(shown)
    figure = blank_figure(8.0, height)
    left = min(0.42, 0.04 + 0.0105 * max(map(len, names)))
    axes = figure.add_axes((left, 0.55 / height, 0.90 - left, 0.2 * len(shown) / height))
    axes.barh(range(len(shown)), values, height=0.72, color=LINES[0])
    if values[0] > 50 * values[-1]:
        axes.set_xscale("log")
        axes.set_xlim(left=0.8 * values[-1])
    for n, value in enumerate(values):
        axes.annotate(
            f"{value:,}", (value, n), (4, 0), textcoords="offset points", va="center", fontsize=7, color=QUIET
        )
    axes.set_yticks(range(len(shown)), names, fontsize=8, color=INK)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("how often", fontsize=9, color=QUIET)
    dress(axes, "x")
    headline(figure, left, f"{title}: {len(ordered):,} classes{rest}")
    return figure


def duration_histogram_figure(seconds: Sequence[float] | np.ndarray, title: str) -> Figure:
    """How many clips there are of each length, with the median marked.

    seconds  of each clip. Raises ValueError for no clips.
    """
    seconds = np.asarray(seconds, dtype=np.float64)
    if not len(seconds):
        raise ValueError(f"{title}: no clips to count: the corpus is empty")
    height = 3.4
    figure = blank_figure(8.0, height)
    axes = figure.add_axes((0.09, 0.55 / height, 0.87, (height - 1.05) / height))
    top = max(float(seconds.max()), 0.1)
    axes.hist(seconds, bins=60, range=(0.0, top * 1.001), color=LINES[0])
    if len(np.unique(np.round(seconds, 1))) > 1:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.8)
    low, high = axes.get_ylim()
    # Room for the median's name above the bars.
    axes.set_ylim(top=high * (high / low) ** 0.12 if axes.get_yscale() == "log" else 1.12 * high)
    median = float(np.median(seconds))
    axes.axvline(median, color=LINES[1], linewidth=1.6)
    right = median > 0.7 * top
    axes.annotate(
        f"median {median:.1f} s", (median, 0.94), (-6 if right else 6, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right" if right else "left", fontsize=9, color=LINES[1],
            )  # fmt: skip
    axes.set_xlim(0, top * 1.02)
    axes.tick_params(axis="x", colors=QUIET, labelsize=9)
    axes.set_xlabel("seconds", fontsize=9, color=QUIET)
    axes.set_ylabel("clips", fontsize=9, color=QUIET)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    dress(axes, "y")
    headline(figure, 0.09, f"{title}: {len(seconds):,} clips, {seconds.sum() / 3600:,.1f} hours")
    return figure

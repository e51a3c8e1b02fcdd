"""Whether a probability of 0.7 is right seven times in ten.

Shape suffixes: N bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from flam_train.plotting.style import INK, LINES, QUIET, blank_figure, dress, fitting, headline

MOST_PANELS = 4


class Bins(Protocol):
    """As `metrics.calibration.Calibration`; arrays, or tensors in main memory."""

    @property
    def ece(self) -> float: ...
    @property
    def brier(self) -> float: ...
    @property
    def edge_N1(self) -> Any: ...
    @property
    def count_N(self) -> Any: ...
    @property
    def mean_N(self) -> Any: ...
    @property
    def positive_N(self) -> Any: ...


def reliability_figure(calibrations: Mapping[str, Bins], title: str = "Reliability of the scores") -> Figure:
    """A column for each system: the share of positives in each bin against its mean probability, and the bins' counts.

    What is perfectly calibrated lies on the diagonal; red lines show how far each bin is from it.
    calibrations  name -> bins; an empty bin has no bar
    Raises ValueError for no systems, or more than MOST_PANELS.
    """
    if not 1 <= len(calibrations) <= MOST_PANELS:
        raise ValueError(f"{len(calibrations)} calibrations: give 1 to {MOST_PANELS}")
    width, height = max(6.0, 0.85 + 3.6 * len(calibrations)), 5.95
    figure = blank_figure(width, height)
    most = max(int(np.asarray(one.count_N).max()) for one in calibrations.values())
    for n, (name, one) in enumerate(calibrations.items()):
        left = (0.75 + 3.6 * n) / width
        above = figure.add_axes((left, 1.6 / height, 3.25 / width, 3.25 / height))
        below = figure.add_axes((left, 0.55 / height, 3.25 / width, 0.9 / height))
        _diagram(above, one)
        _counts(below, one, most)
        above.set_title(
            fitting(name, 3.3, 11, bold=True), loc="left", fontsize=11, fontweight="bold", color=INK, pad=18
        )
        told = "nothing counted" if math.isnan(one.ece) else f"ECE {one.ece:.4f}, Brier score {one.brier:.4f}"
        above.text(0, 1.02, told, transform=above.transAxes, fontsize=8.5, color=QUIET, va="bottom")
        for axes in (above, below):
            axes.tick_params(labelleft=n == 0)
        if n == 0:
            above.set_ylabel("share of positives", fontsize=9, color=QUIET)
            below.set_ylabel("pairs", fontsize=9, color=QUIET)
    headline(figure, 0.75 / width, title)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.75 / width, 1 - 0.4 / height),
        frameon=False, fontsize=8.5, labelcolor=INK, borderaxespad=0, borderpad=0, ncols=3, columnspacing=1.2,
        handlelength=1.4,
    )  # fmt: skip
    return figure


def _diagram(axes: Axes, one: Bins) -> None:
    edge_N1, mean_N, positive_N = (np.asarray(x, dtype=np.float64) for x in (one.edge_N1, one.mean_N, one.positive_N))
    axes.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1.0, label="perfect")
    axes.bar(
        edge_N1[:-1], np.nan_to_num(positive_N), width=np.diff(edge_N1), align="edge", color=LINES[0], alpha=0.75,
        edgecolor="white", linewidth=0.8, label="share of positives",
    )  # fmt: skip
    filled_N = ~np.isnan(positive_N)
    mean_N, positive_N = mean_N[filled_N], positive_N[filled_N]
    axes.vlines(
        mean_N, np.minimum(mean_N, positive_N), np.maximum(mean_N, positive_N), color=LINES[1], linewidth=2,
        label="from the diagonal",
    )  # fmt: skip
    axes.plot(mean_N, positive_N, "o", color=LINES[1], markersize=4)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    dress(axes)
    axes.tick_params(labelbottom=False)


def _counts(axes: Axes, one: Bins, most: int) -> None:
    edge_N1, count_N = np.asarray(one.edge_N1, dtype=np.float64), np.asarray(one.count_N)
    filled_N = count_N > 0
    axes.set_yscale("log")
    axes.bar(
        edge_N1[:-1][filled_N], count_N[filled_N], width=np.diff(edge_N1)[filled_N], align="edge", color=LINES[5],
        edgecolor="white",
    )  # fmt: skip
    axes.set_ylim(0.5, max(10, 2 * most))
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("probability", fontsize=9, color=QUIET)
    dress(axes)

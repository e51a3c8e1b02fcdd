"""Numbers that several runs reached, group by group: each of them, their mean, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from flam_train.plotting.style import INK, LINES, blank_figure, dress, fitting, inches

WIDTH, WIDEST_LABEL, MARGIN = 8.5, 3.6, 0.3
"""Inches: the figure, the longest label of a group, on the right."""

ROW, HEAD, BELOW, ABOVE = 0.26, 0.4, 0.34, 0.42
"""Inches: a group in a panel; a panel's title; its axis; the legend."""

Panels = Mapping[str, Mapping[str, Sequence[float]]]
"""What is measured -> group -> finite numbers, one a run."""


def spread_figure(panels: Panels) -> Figure:
    """A panel for each measure, a row for each group: a dot a run, a bar at their mean, and a line as far as one sample
    standard deviation to either side of it (of a single run none). The first group stands on top.

    Raises ValueError for no panel, or one without a number.
    """
    if not panels or not all(any(len(values) for values in one.values()) for one in panels.values()):
        raise ValueError("no numbers to draw: give runs that were validated or evaluated")
    labels = list(dict.fromkeys(group for one in panels.values() for group in one))
    tall = ROW * len(labels)
    height = ABOVE + len(panels) * (HEAD + tall + BELOW)
    figure = blank_figure(WIDTH, height)
    left = 0.3 + min(WIDEST_LABEL, max(inches(label, 8) for label in labels))
    top = ABOVE
    for title, groups in panels.items():
        top += HEAD
        place = (left / WIDTH, 1 - (top + tall) / height, (WIDTH - left - MARGIN) / WIDTH, tall / height)
        axes = figure.add_axes(place)
        _rows(axes, [np.asarray(groups.get(label, ()), dtype=np.float64) for label in labels])
        axes.set_yticks(
            range(len(labels)), [fitting(label, WIDEST_LABEL, 8) for label in labels], fontsize=8, color=INK
        )
        axes.set_title(
            fitting(title, WIDTH - left - MARGIN, 10, bold=True), loc="left", fontsize=10, fontweight="bold", color=INK
        )
        top += tall + BELOW
    figure.legend(
        [
            Line2D([], [], marker="o", linestyle="", color=LINES[0], alpha=0.55),
            Line2D([], [], marker="|", markersize=12, markeredgewidth=2, color=LINES[1]),
        ],
        ["a run", "mean ± sample standard deviation"],
        loc="upper left", bbox_to_anchor=(0.03, 1 - 0.1 / height), ncols=2, frameon=False, fontsize=9, labelcolor=INK,
        borderaxespad=0, borderpad=0,
    )  # fmt: skip
    return figure


def _rows(axes: Axes, groups: Sequence[np.ndarray]) -> None:
    for n, values in enumerate(groups):
        if not len(values):
            continue
        mean = values.mean()
        if len(values) > 1:
            deviation = values.std(ddof=1)
            axes.plot([mean - deviation, mean + deviation], [n, n], color=LINES[1], linewidth=2, zorder=2)
        axes.plot([mean], [n], "|", color=LINES[1], markersize=12, markeredgewidth=2, zorder=3)
        axes.plot(values, np.full(len(values), n), "o", color=LINES[0], alpha=0.55, markersize=5, zorder=4)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.margins(x=0.06)
    dress(axes, "x")

"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flam_train.plotting.style import INK, LINES, QUIET, blank_figure, fitting, headline, inches

MOST_CLASSES = 24
"""Of more than this those that are taken for others, or others for them, most often are shown."""

CELL = 0.34
"""Inches."""

WIDEST_NAME = 2.4
"""Inches."""

COLOURS = LinearSegmentedColormap.from_list("triggers", ["white", LINES[0]])


def cross_trigger_figure(count_KK: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """count_KK: whole numbers of 0 or more; row: the class that was detected, column: the class that is there.

    Raises ValueError for counts whose shape is not that of the classes, and for no class.
    """
    count_KK = np.asarray(count_KK)
    if not len(classes) or count_KK.shape != (len(classes), len(classes)):
        raise ValueError(
            f"{title}: counts {count_KK.shape} must be [{len(classes)}, {len(classes)}], at least one class"
        )
    together_K = count_KK.sum(axis=0) + count_KK.sum(axis=1)
    shown = sorted(np.argsort(-together_K, kind="stable")[:MOST_CLASSES].tolist())
    some = count_KK[np.ix_(shown, shown)]
    names = [fitting(classes[k], WIDEST_NAME, 8) for k in shown]
    longest = min(WIDEST_NAME, max(inches(classes[k], 8) for k in shown))
    side = max(CELL * len(shown), 1.6)
    left, above = longest + 0.75, 0.65
    width, height = max(left + side + 1.25, 6.5), above + side + longest + 0.6
    figure = blank_figure(width, height)
    axes = figure.add_axes((left / width, 1 - (above + side) / height, side / width, side / height))
    top = max(1, int(some.max()))  # colours grow with the root of a count, so that one class hides no other
    edges = np.arange(len(shown) + 1) - 0.5
    image = axes.pcolormesh(
        edges, edges, some, cmap=COLOURS, norm=PowerNorm(0.5, 0, top), edgecolors="#f3f4f6", linewidth=0.6
    )
    for row, column in zip(*some.nonzero(), strict=True):
        count = int(some[row, column])
        axes.text(
            column, row, str(count) if count < 1000 else f"{count / 1000:.3g}k", ha="center", va="center",
            fontsize=6.5, color="white" if count > 0.3 * top else INK,
        )  # fmt: skip
    axes.plot(edges[[0, -1]], edges[[0, -1]], color="#d1d5db", linewidth=0.8)  # the diagonal: no class triggers itself
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=8, color=INK)
    axes.set_yticks(range(len(shown)), names, fontsize=8, color=INK)
    axes.tick_params(length=0)
    axes.set_ylabel("detected, wrongly", fontsize=9, color=QUIET)
    axes.set_xlabel("there instead", fontsize=9, color=QUIET)
    for spine in axes.spines.values():
        spine.set_color("#d1d5db")
    bar = figure.colorbar(
        image,
        cax=figure.add_axes(((left + side + 0.2) / width, 1 - (above + side) / height, 0.14 / width, side / height)),
    )
    bar.set_label("wrong detections on its events", fontsize=8, color=QUIET)
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    bar.ax.tick_params(length=0, labelsize=8, colors=QUIET)
    bar.outline.set_visible(False)
    many = len(classes)
    said = f"{many} classes" if many <= MOST_CLASSES else f"the {len(shown)} most confused of {many:,} classes"
    headline(figure, 0.03, f"{title}: {said}")
    return figure

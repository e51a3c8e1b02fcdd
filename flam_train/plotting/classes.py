"""A number for each class, of one or several metrics or systems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from flam_train.plotting.style import INK, LINES, QUIET, blank_figure, dress, fitting, headline, inches

MOST_CLASSES = 50
"""Of more than this the best and the worst are shown."""

ENDS = 20
"""How many of the best, and how many of the worst."""

MOST_SERIES = 4
"""More bars side by side than this are not readable."""

WIDEST_NAME = 3.6
"""Inches."""


def class_bars(values: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Bars for each class, the best by the first series on top; each series' mean is a dashed line.

    values  series (a metric, or a system) -> class -> number of any range. A class that a series lacks, or whose value
            is NaN there, has no bar in it and does not count in its mean; without a value in the first it stands last

    Of more than MOST_CLASSES classes those with a value in the first series are ranked, the best and the worst ENDS
    shown, and the heading says so.
    Raises ValueError for no classes, more than MOST_SERIES series, and values that are infinite.
    """
    series = list(values)
    classes = list(dict.fromkeys(name for one in values.values() for name in one))
    if not classes or len(series) > MOST_SERIES:
        raise ValueError(
            f"{title}: {len(series)} series of {len(classes)} classes: give 1 to {MOST_SERIES} with a class"
        )
    value_VK = np.array([[float(one.get(name, math.nan)) for name in classes] for one in values.values()])
    if np.isinf(value_VK).any():
        raise ValueError(f"{title}: {classes[int(np.isinf(value_VK).any(axis=0).argmax())]!r} has an infinite value")
    ranked = sorted(range(len(classes)), key=lambda k: (math.isnan(value_VK[0, k]), -value_VK[0, k], classes[k]))
    defined = int((~np.isnan(value_VK[0])).sum())
    groups, said = _chosen(ranked, defined)
    bar = 0.2 if len(series) == 1 else 0.15 * len(series) + 0.06
    gap = 0.5 if len(groups) > 1 else 0.0
    above, below = 0.52 + 0.19 * len(series), 0.5
    height = above + bar * sum(map(len, groups)) + gap + below
    figure = blank_figure(8.5, height)
    names = [[fitting(classes[k], WIDEST_NAME, 8) for k in group] for group in groups]
    left = (0.4 + min(WIDEST_NAME, max(inches(classes[k], 8) for group in groups for k in group))) / 8.5
    limits = _limits(value_VK)
    top = above
    for group, labels in zip(groups, names, strict=True):
        tall = bar * len(group)
        axes = figure.add_axes((left, 1 - (top + tall) / height, 0.95 - left, tall / height))
        _bars(axes, value_VK[:, group], labels, limits)
        for value_K, colour in zip(value_VK, LINES, strict=False):
            if not np.isnan(value_K).all():
                axes.axvline(np.nanmean(value_K), color=colour, linestyle="--", linewidth=1.0, alpha=0.8, zorder=0.9)
        axes.tick_params(labelbottom=group is groups[-1])
        top += tall + gap
    if len(groups) > 1:
        middle = 1 - (above + bar * len(groups[0]) + gap / 2) / height
        text = f"{defined - 2 * ENDS:,} classes between the best and the worst are not shown"
        text += f", nor {len(ranked) - defined:,} without a value" if defined < len(ranked) else ""
        figure.text(0.5, middle, text, fontsize=8.5, color=QUIET, ha="center", va="center", style="italic")
    headline(figure, 0.03, f"{title}: {said}")
    figure.legend(
        [Patch(color=LINES[v]) for v in range(len(series))],
        [f"{fitting(name, 5.0, 9)}, {_mean(value_VK[v])}" for v, name in enumerate(series)],
        loc="upper left", bbox_to_anchor=(0.03, 1 - 0.4 / height), frameon=False, fontsize=9, labelcolor=INK,
        borderaxespad=0, borderpad=0, handlelength=1.2,
    )  # fmt: skip
    return figure


def _chosen(ranked: list[int], defined: int) -> tuple[list[list[int]], str]:
    """Groups of classes to show, and in words which they are; the first `defined` of those ranked have a value."""
    if len(ranked) <= MOST_CLASSES:
        return [ranked], f"{len(ranked)} class{'es' if len(ranked) != 1 else ''}"
    if defined <= 2 * ENDS:
        shown = max(defined, ENDS)
        without = f", and {shown - defined} without" if shown > defined else ""
        return [ranked[:shown]], f"{defined} with a value of {len(ranked):,} classes{without}"
    return [ranked[:ENDS], ranked[defined - ENDS : defined]], f"the best and worst {ENDS} of {len(ranked):,} classes"


def _mean(value_K: np.ndarray) -> str:
    defined_K = value_K[~np.isnan(value_K)]
    return f"mean {defined_K.mean():.3f} (dashed) over {len(defined_K):,}" if len(defined_K) else "no value"


def _limits(value_VK: np.ndarray) -> tuple[float, float]:
    """From 0 (or the lowest value below it) to the highest, with room for the numbers beside the bars."""
    defined = value_VK[~np.isnan(value_VK)]
    low, high = (min(0.0, float(defined.min())), max(0.0, float(defined.max()))) if len(defined) else (0.0, 1.0)
    room = 0.08 * ((high - low) or 1.0)
    return (low - room if low < 0 else 0.0), high + room


def _bars(axes: Axes, value_VK: np.ndarray, labels: Sequence[str], limits: tuple[float, float]) -> None:
    thick = 0.76 / len(value_VK)
    for v, value_K in enumerate(value_VK):
        place_K = np.arange(len(labels)) - 0.38 + (v + 0.5) * thick
        axes.barh(place_K, np.nan_to_num(value_K), height=thick, color=LINES[v])
        for place, value in zip(place_K, value_K, strict=True):
            axes.annotate(
                "no value" if math.isnan(value) else f"{value:.3f}",
                (0 if math.isnan(value) else value, place), (-3 if value < 0 else 3, 0), textcoords="offset points",
                va="center", ha="right" if value < 0 else "left", fontsize=7 if len(value_VK) < 3 else 6, color=QUIET,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )  # fmt: skip
    axes.set_xlim(*limits)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.set_yticks(range(len(labels)), labels, fontsize=8, color=INK)
    dress(axes, "x")

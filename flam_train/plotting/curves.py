"""Detection over all thresholds: F1 of several kinds of scores, and the curves behind the PSDS.

Shape suffixes: M places of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flam_train.plotting.style import GRID, INK, LINES, QUIET, blank_figure, dress, fitting, headline

THRESHOLD_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 1.0)
MOST_PANELS = 4


class F1AtThreshold(Protocol):
    """As `metrics.f1.F1`."""

    @property
    def macro(self) -> float: ...
    @property
    def threshold(self) -> float: ...


class F1OverThresholds(Protocol):
    """As `metrics.f1.F1Curve`."""

    def all(self) -> Sequence[F1AtThreshold]: ...
    @property
    def best(self) -> F1AtThreshold: ...


class Staircase(Protocol):
    """As `metrics.psd.PsdRoc`."""

    @property
    def efpr_M(self) -> np.ndarray: ...
    @property
    def tpr_M(self) -> np.ndarray: ...


class DetectionScore(Protocol):
    """As `metrics.psd.Psds`."""

    @property
    def value(self) -> float: ...
    @property
    def parameters(self) -> Any: ...
    @property
    def roc(self) -> Staircase: ...
    @property
    def class_rocs(self) -> Mapping[str, Staircase]: ...


def f1_curves(curves: Mapping[str, F1OverThresholds], title: str = "Macro F1 over the threshold") -> Figure:
    """Macro F1 at every threshold, the best of each curve marked.

    curves  name -> the curve, thresholds in (0, 1]; such as scores without bias, with it, and plain cosines. A curve
            without a class to be found has no line, and the legend says so

    The axis is that of log odds, but ends at 1: low thresholds, which biased scores need, are as readable as others.
    Raises ValueError for no curves, more than there are colours, and thresholds outside (0, 1].
    """
    if not 1 <= len(curves) <= len(LINES):
        raise ValueError(f"{len(curves)} curves: give 1 to {len(LINES)}")
    figure = blank_figure(8.0, 4.55 + 0.19 * len(curves))
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.085, 0.55 / height, 0.885, 3.4 / height))
    axes.axvline(0.5, color=GRID, linewidth=1.6)
    highest = 0.0
    for (name, curve), colour in zip(curves.items(), LINES, strict=False):
        points = sorted((f1.threshold, f1.macro) for f1 in curve.all())
        if not 0 < points[0][0] <= points[-1][0] <= 1:
            raise ValueError(f"{name}: thresholds from {points[0][0]:g} to {points[-1][0]:g}: they must be in (0, 1]")
        best = curve.best
        if math.isnan(best.macro):
            axes.plot([], [], color=colour, label=f"{fitting(name, 4.0, 9)}: no class with ground truth")
            continue
        label = f"{fitting(name, 4.0, 9)}: best {best.macro:.3f} at {best.threshold:g}"
        if at_half := [macro for threshold, macro in points if threshold == 0.5]:
            label += f"; {at_half[0]:.3f} at 0.5"
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=label, zorder=3)
        axes.plot(best.threshold, best.macro, "o", color=colour, markersize=8, markeredgecolor="white", zorder=4)
        highest = max(highest, best.macro)
    axes.set_xscale("function", functions=(_spread, _gather))
    axes.set_xlim(0.00009, 1.0)
    axes.xaxis.set_major_locator(FixedLocator(THRESHOLD_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 0.001 else f"{x:.4f}"))
    axes.set_ylim(0, min(1.02, 1.12 * highest) or 1.0)
    axes.set_xlabel("threshold", fontsize=9, color=QUIET)
    axes.set_ylabel("macro F1", fontsize=9, color=QUIET)
    dress(axes)
    axes.tick_params(axis="x", pad=7)
    headline(figure, 0.085, title)
    figure.legend(
        loc="upper left", bbox_to_anchor=(0.085, 1 - 0.42 / height), frameon=False, fontsize=9, labelcolor=INK,
        borderaxespad=0, borderpad=0, handlelength=1.6,
    )  # fmt: skip
    return figure


def _spread(threshold: Any) -> Any:
    """Log odds that stay finite up to 1; what is outside (0, 1], matplotlib's own trials, is moved to its ends."""
    threshold = np.clip(threshold, 1e-9, 1.0)
    return np.log10(threshold / (1.05 - threshold))


def _gather(place: Any) -> Any:
    odds = 10.0 ** np.asarray(place)
    return 1.05 * odds / (1 + odds)


def psd_roc_figure(psds: Mapping[str, DetectionScore], title: str = "PSD-ROC curves") -> Figure:
    """A panel for each setting: the joined staircase with its area shaded, behind it those of the classes, faint.

    psds  name of the setting -> score. One without a class that has ground truth gets an empty panel that says so
    Raises ValueError for no settings, or more than MOST_PANELS.
    """
    if not 1 <= len(psds) <= MOST_PANELS:
        raise ValueError(f"{len(psds)} settings: give 1 to {MOST_PANELS}")
    panel = 3.75 if len(psds) > 1 else 6.0
    width, height = 0.75 + (panel + 0.35) * len(psds), 4.4
    figure = blank_figure(width, height)
    for n, (name, score) in enumerate(psds.items()):
        axes = figure.add_axes(((0.65 + (panel + 0.35) * n) / width, 0.55 / height, panel / width, 3.0 / height))
        _psd_roc(axes, score)
        value = "not defined" if math.isnan(score.value) else f"{score.value:.3f}"
        axes.set_title(
            fitting(f"{name}: {value}", panel, 11, bold=True),
            loc="left",
            fontsize=11,
            fontweight="bold",
            color=INK,
            pad=18,
        )
        axes.text(0, 1.02, _settings(score.parameters), transform=axes.transAxes, fontsize=8, color=QUIET, va="bottom")
        axes.set_xlabel("effective false positives per hour", fontsize=9, color=QUIET)
        axes.tick_params(labelleft=n == 0)
        if n == 0:
            axes.set_ylabel("rate of true positives", fontsize=9, color=QUIET)
    headline(figure, 0.65 / width, title)
    return figure


def _psd_roc(axes: Axes, score: DetectionScore) -> None:
    end = score.parameters.max_efpr
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1.0)
    dress(axes)
    if math.isnan(score.value):
        axes.text(0.5, 0.5, "no class with ground truth", transform=axes.transAxes, ha="center", color=QUIET)
        return
    count = len(score.class_rocs)
    faint = min(0.6, max(0.05, 6 / count))
    for roc in score.class_rocs.values():
        axes.plot(*_steps(roc, end), color=LINES[5], alpha=faint, linewidth=0.8)
    place, rate = _steps(score.roc, end)
    axes.fill_between(place, rate, color=LINES[0], alpha=0.18, linewidth=0)
    axes.plot(place, rate, color=LINES[0], linewidth=2.2, label="joined")
    axes.plot([], [], color=LINES[5], alpha=0.6, linewidth=0.8, label=f"{count} class{'es' if count != 1 else ''}")
    axes.legend(loc="upper right", framealpha=0.85, edgecolor="none", fontsize=8, labelcolor=INK)


def _steps(roc: Staircase, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the staircase up to `end`."""
    return np.repeat(np.append(roc.efpr_M, end), 2)[1:-1], np.repeat(roc.tpr_M, 2)


def _settings(parameters: Any) -> str:
    cross = "" if parameters.cttc is None else f", cttc {parameters.cttc:g}, α_ct {parameters.alpha_ct:g}"
    return f"dtc {parameters.dtc:g}, gtc {parameters.gtc:g}{cross}, α_st {parameters.alpha_st:g}"

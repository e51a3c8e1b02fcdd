"""How a training went: the curves of its metrics.csv."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from flam_train.plotting.style import INK, LINES, QUIET, blank_figure, dress, fitting, inches

Points = list[tuple[int, float]]
"""(step, value), in the file's order."""

MARKERS = "osD^vPX*"
DASHES = ("-", "--", ":", "-.")
MANY = 100
"""Of more points than this a running mean is drawn, the points pale behind it."""

COLUMN, PLOT, BELOW, LEFT, RIGHT = 6.2, 2.35, 0.62, 0.95, 0.3
"""Inches: a column of panels, the height of a plot, room for its axis below it and left of it, room on its right."""

HEAD, LEGEND_ROW, MOST_ROWS = 0.48, 0.17, 3
"""Inches: above a plot for its title, for each row of its legend; rows of a legend in a panel of one column."""


@dataclass(frozen=True)
class _Panel:
    """What is measured in one unit and shares an axis.

    pattern  of the names of its curves; its groups, joined, are a line's name in the legend
    axis     its name and unit
    scale    linear; from0 (linear, from 0 on); share (from 0 on, in per cent, a few highest readings off the scale);
             wide (logarithmic where values span more than a factor of 50)
    noisy    many points get a running mean
    """

    pattern: str
    title: str
    axis: str
    scale: Literal["linear", "from0", "share", "wide"] = "linear"
    noisy: bool = True


PANELS = (
    _Panel(r"loss/([^/]+)", "loss", "loss (total: weighted sum)", "wide"),
    _Panel(r"loss/(.+)", "loss by corpus", "loss (mean of a corpus' own)", "wide"),
    _Panel(r"train/(.+)", "train", "value", "wide"),
    _Panel(r"val/(.+/|)auroc(.*)", "validation: frame AUROC", "AUROC (chance 0.5, best 1)"),
    _Panel(r"val/(.*R@\d+.*)", "validation: retrieval", "recall (share of queries)", "from0"),
    _Panel(r"val/(.*(?:event_f1|psds1))", "validation: events", "PSDS1, event F1 at 0.5", "from0"),
    _Panel(r"val/(.+)", "validation: other", "value"),
    _Panel(r"(?:optim/lr|learning_rate)", "learning rate", "learning rate", "from0", noisy=False),
    _Panel(r"optim/gradient_norm", "gradient norm", "norm before clipping", "wide"),
    _Panel(r"speed/clips_per_s", "speed", "clips per second", "from0"),
    _Panel(r"speed/data_wait", "waiting for data", "share of the time (%)", "share"),
    _Panel(r"data/bad_samples", "bad samples", "samples since the start", "from0", noisy=False),
)


def curves_figure(metrics_csv: str | Path) -> Figure:
    """Training curves from the trainer's long-format CSV (`step,name,value`): a panel for each of PANELS that has any,
    then one for each group of other names, what stands before their first slash.

    All panels show the same steps. Lines differ in colour, dash and marker; the legend stands above the plot. Values
    that are not finite are left out of the lines, and a curve without any other is not drawn.
    Raises ValueError that names the file and the row, or for a file without a finite value.
    """
    curves = {n: [p for p in points if math.isfinite(p[1])] for n, points in read_curves(metrics_csv).items()}
    panels = _panels({name: points for name, points in curves.items() if points})
    if not panels:
        raise ValueError(f"{metrics_csv}: not one finite value: the run logged nothing that can be drawn")
    rows = _rows(panels)
    heads = [HEAD + LEGEND_ROW * max(_legend_rows(series, width) for _, series, width in row) for row in rows]
    figure = blank_figure(2 * COLUMN, sum(heads) + len(rows) * (PLOT + BELOW))
    width, height = figure.get_size_inches()
    last = max(1, *(step for points in curves.values() for step, _ in points))
    top = 0.0
    for head, row in zip(heads, rows, strict=True):
        top += head
        for n, (panel, series, wide) in enumerate(row):
            place = ((LEFT + n * COLUMN) / width, 1 - (top + PLOT) / height, wide / width, PLOT / height)
            axes = figure.add_axes(place)
            axes.set_xlim(-0.02 * last, 1.02 * last)
            _draw(axes, panel, series, wide)
        top += PLOT + BELOW
    return figure


def _panels(curves: dict[str, Points]) -> list[tuple[_Panel, dict[str, Points]]]:
    """Those that have curves, each with its lines by their names in the legend."""
    found: dict[_Panel, dict[str, Points]] = {}
    for name, points in sorted(curves.items()):
        group = name.partition("/")[0] if "/" in name else "other"
        other = _Panel(rf"(?:{re.escape(group)}/)?(.+)", group, "value")
        panel = next((one for one in PANELS if re.fullmatch(one.pattern, name)), other)
        match = re.fullmatch(panel.pattern, name)
        assert match is not None, name
        label = "".join(match.groups()).replace("/_", ": ").replace("/", ": ").replace("_", " ").strip()
        label = re.sub(r"\b(f1|psds1)\b", lambda one: one[0].upper(), label)
        found.setdefault(panel, {})[label or name] = points
    return sorted(found.items(), key=lambda pair: PANELS.index(pair[0]) if pair[0] in PANELS else len(PANELS))


def _rows(panels: list[tuple[_Panel, dict[str, Points]]]) -> list[list[tuple[_Panel, dict[str, Points], float]]]:
    """One or two panels a row, each with its plot's width in inches; no place stays empty.

    The first is as wide as the figure, as are those with many lines; of an odd number of others the last one.
    """
    narrow, whole = COLUMN - LEFT - RIGHT, 2 * COLUMN - LEFT - RIGHT
    wide = [n == 0 or _legend_rows(series, narrow) > MOST_ROWS for n, (_, series) in enumerate(panels)]
    rows = [[(*one, whole)] for one, is_wide in zip(panels, wide, strict=True) if is_wide]
    others = [(*one, narrow) for one, is_wide in zip(panels, wide, strict=True) if not is_wide]
    rows += [list(pair) for pair in zip(others[::2], others[1::2], strict=False)]
    return rows + ([[(*others[-1][:2], whole)]] if len(others) % 2 else [])


def _legend_rows(series: dict[str, Points], width: float) -> int:
    """0 where the panel's title says it all."""
    return -(-len(series) // _legend_columns(series, width)) if len(series) > 1 else 0


def _legend_columns(series: dict[str, Points], width: float) -> int:
    entry = 0.62 + max(inches(fitting(label, width - 0.7, 8.5), 8.5) for label in series)
    return max(1, int((width + 0.2) / entry))


def _draw(axes: Axes, panel: _Panel, series: dict[str, Points], width: float) -> None:
    shown = series
    if panel.scale == "share":
        shown = {label: _on_the_scale(axes, points) for label, points in series.items()}
    for n, (label, points) in enumerate(shown.items()):
        step, value = np.array(points, dtype=np.float64).T
        colour = LINES[n % len(LINES)]
        if panel.noisy and len(value) > MANY:  # noise behind, trend in front
            axes.plot(step, value, color=colour, alpha=0.22, linewidth=0.8)
            value = _smooth(value, len(value) // 40)
        axes.plot(
            step, value, DASHES[(n + n // len(LINES)) % len(DASHES)], color=colour, linewidth=1.8,
            marker=MARKERS[n % len(MARKERS)], markersize=5, markeredgecolor="white", markeredgewidth=0.4,
            markevery=max(1, len(value) // 25), label=fitting(label, width - 0.7, 8.5),
        )  # fmt: skip
    _scale(axes, panel, np.array([value for points in shown.values() for _, value in points]))
    rows = _legend_rows(series, width)
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=8 + 72 * LEGEND_ROW * rows)
    axes.set_xlabel("step", fontsize=9, color=QUIET)
    axes.set_ylabel(panel.axis, fontsize=9, color=QUIET)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    dress(axes)
    if rows:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1 + 0.06 / PLOT), ncols=-(-len(series) // rows), frameon=False,
            fontsize=8.5, labelcolor=INK, borderaxespad=0, borderpad=0, handlelength=3.0, handletextpad=0.6,
            columnspacing=1.6, labelspacing=0.3,
        )  # fmt: skip


def _scale(axes: Axes, panel: _Panel, values: np.ndarray) -> None:
    low, high = values.min(), values.max()
    if panel.scale == "wide" and low > 0 and high > 50 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    if panel.scale in ("from0", "share"):
        top = high if high > 0 else 1.0
        axes.set_ylim(-0.02 * top, 1.1 * top)  # a line at 0 is seen whole
    percent = panel.scale == "share"
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %" if percent else f"{y:g}"))


def _on_the_scale(axes: Axes, points: Points) -> Points:
    """Without the few readings that would flatten all others, which are marked above the plot: a run waits for its
    first batch, and again where it goes on."""
    values = sorted(value for _, value in points)
    most = values[-1 - max(1, len(values) // 10)] if len(values) > 2 else values[-1]
    over = [(step, value) for step, value in points if value > 5 * most > 0]
    if not over:
        return points
    axes.plot(
        [step for step, _ in over], [1.0] * len(over), "^", color=LINES[1], markersize=7, clip_on=False, zorder=5,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    many = "" if len(over) == 1 else f"{len(over)} readings, up to "
    axes.annotate(
        f"▲ off the scale: {many}{100 * max(value for _, value in over):.0f} %", (1.0, 1.0), (0, 6), ha="right",
        va="bottom", xycoords="axes fraction", textcoords="offset points", fontsize=8.5, color=LINES[1],
    )  # fmt: skip
    return [point for point in points if point not in over]


def _smooth(value: np.ndarray, width: int) -> np.ndarray:
    """Centred running mean that shrinks at the ends."""
    total = np.concatenate([[0.0], np.cumsum(value)])
    place = np.arange(len(value))
    first, last = np.maximum(place - width, 0), np.minimum(place + width + 1, len(value))
    return (total[last] - total[first]) / (last - first)


def read_curves(metrics_csv: str | Path) -> dict[str, Points]:
    """Of each name. Raises ValueError that names the file and the row."""
    series: dict[str, Points] = {}
    try:
        with open(metrics_csv, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"step", "name", "value"} <= set(reader.fieldnames or ()):
                raise ValueError(f"{metrics_csv}: the header must have step, name, value; it has {reader.fieldnames}")
            for row in reader:
                try:
                    series.setdefault(row["name"], []).append((int(row["step"]), float(row["value"])))
                except (TypeError, ValueError) as error:
                    raise ValueError(
                        f"{metrics_csv}: row {reader.line_num} is not `step,name,value`: remove it"
                    ) from error
    except OSError as error:
        raise ValueError(f"{metrics_csv}: {error.strerror}: give the metrics.csv of a run") from error
    if not series:
        raise ValueError(f"{metrics_csv}: has no rows: the run logged nothing yet")
    return series

"""How a training went: the curves of its metrics.csv."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flam_train.plotting.style import INK, LINES, QUIET, blank_figure, dress


def curves_figure(metrics_csv: str | Path) -> Figure:
    """Training curves from the trainer's long-format CSV (`step,name,value`): a panel for each group of names.

    A group is what stands before the first slash of a name, validation split into frame AUROC and the rest; each panel
    has its own scale, logarithmic where losses span more than a factor of 50. Values that are not finite are left out
    of the lines.
    Raises ValueError that names the file and the row.
    """
    groups: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, points in read_curves(metrics_csv).items():
        group, _, label = name.partition("/")
        if group == "val":
            group = "validation: frame AUROC" if "auroc" in label else "validation: retrieval"
        groups.setdefault(group if label else "other", {})[label or name] = points
    ordered = sorted(groups, key=lambda g: (not g.startswith(("train", "loss")), not g.startswith("val"), g))
    columns = min(2, len(ordered))
    rows = -(-len(ordered) // columns)
    figure = blank_figure(6.0 * columns, 3.4 * rows + 0.2)
    figure.subplots_adjust(
        left=0.75 / (6 * columns), right=1 - 0.25 / (6 * columns), top=1 - 0.5 / (3.4 * rows + 0.2),
        bottom=0.55 / (3.4 * rows + 0.2), hspace=0.42, wspace=0.18,
    )  # fmt: skip
    for n, group in enumerate(ordered):
        axes = figure.add_subplot(rows, columns, n + 1)
        _curves(axes, group, groups[group])
    return figure


def _curves(axes, group: str, series: dict[str, list[tuple[int, float]]]) -> None:
    everything: list[float] = []
    for n, (label, points) in enumerate(sorted(series.items())):
        step, value = np.array([p for p in points if math.isfinite(p[1])]).reshape(-1, 2).T
        everything += value.tolist()
        colour = LINES[n % len(LINES)]
        dash = "-" if n < len(LINES) else "--"
        if len(value) > 100:  # noise behind, trend in front
            axes.plot(step, value, color=colour, alpha=0.22, linewidth=0.8)
            axes.plot(step, _smooth(value, len(value) // 40), dash, color=colour, linewidth=1.8, label=label)
        else:
            axes.plot(step, value, dash, color=colour, linewidth=1.8, label=label, marker="o", markersize=3)
    if (
        group.startswith(("train", "loss"))
        and everything
        and min(everything) > 0
        and max(everything) > 50 * min(everything)
    ):
        axes.set_yscale("log")
    axes.set_title(group, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel("step", fontsize=9, color=QUIET)
    dress(axes)
    axes.legend(loc="best", frameon=True, framealpha=0.8, edgecolor="none", fontsize=8, labelcolor=INK)


def _smooth(value: np.ndarray, width: int) -> np.ndarray:
    """Centred running mean that shrinks at the ends."""
    total = np.concatenate([[0.0], np.cumsum(value)])
    place = np.arange(len(value))
    first, last = np.maximum(place - width, 0), np.minimum(place + width + 1, len(value))
    return (total[last] - total[first]) / (last - first)


def read_curves(metrics_csv: str | Path) -> dict[str, list[tuple[int, float]]]:
    """name -> [(step, value)], in the file's order."""
    series: dict[str, list[tuple[int, float]]] = {}
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

"""Groups of runs as tables and a figure: means over seeds, and how far apart the seeds are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from flam_train.evaluation.report.table import COLUMNS, Table
from flam_train.evaluation.seeds import BEST, LAST, Group, places, spread
from flam_train.plotting.spread import spread_figure

NOTE = "mean ± sample standard deviation over seeds (no ± of a single one)"

PLACES = 4
"""Decimals of what is no column of a results' table."""


def seed_tables(groups: Sequence[Group]) -> list[Table]:
    """A table of the validations at the last step and at the best one, and of each result; a row a group. Of results
    the metrics that tables of results have, in the same units."""
    tables = []
    for where, metrics in places(groups).items():
        shown = columns(where, metrics)
        rows = []
        for group in groups:
            cells = [_cell(group, where, metric, factor, decimals) for _, metric, factor, decimals in shown]
            rows.append([group.label, str(len(group.runs)), *cells])
        heads = ["settings", "seeds", *(heading for heading, *_ in shown)]
        tables.append(Table(_title(where), heads, rows, (NOTE, *_fewer(groups, where, shown))))
    return tables


def _title(where: str) -> str:
    how = {BEST: "the step that trainer.monitor finds best", LAST: "the last step"}
    return f"Validation at {how[where]}" if where in how else f"Evaluation: {where}"


def columns(where: str, metrics: Sequence[str]) -> list[tuple[str, str, float, int]]:
    """(heading, metric, factor, decimals) of the numbers that are shown."""
    if where in (LAST, BEST):
        return [(metric, metric, 1, PLACES) for metric in sorted(metrics)]
    full = {metric.split("[")[0]: metric for metric in metrics}
    known = next((columns for kind, columns in COLUMNS.items() if where.startswith(kind)), [])
    return [(head, full[name], factor, decimals) for head, name, factor, decimals in known if name in full]


def _cell(group: Group, where: str, metric: str, factor: float, decimals: int) -> str:
    found = spread(group.values(where, metric))
    if found is None:
        return ""
    text = f"{factor * found.mean:.{decimals}f}"
    return text if math.isnan(found.deviation) else f"{text} ± {factor * found.deviation:.{decimals}f}"


def _fewer(groups: Sequence[Group], where: str, shown: Sequence[tuple[str, str, float, int]]) -> list[str]:
    """A line for each number that not all seeds of a group have."""
    out = []
    for group in groups:
        for heading, metric, *_ in shown:
            n = len(group.values(where, metric))
            if 0 < n < len(group.runs):
                out.append(f"{group.label}: {heading} of {n} of {len(group.runs)} seeds")
    return out


def seed_csv(groups: Sequence[Group]) -> list[tuple]:
    """Rows of a CSV file, a number each, the head first."""
    rows: list[tuple] = [("where", "metric", "settings", "n", "mean", "deviation", "low", "high")]
    for where, metrics in places(groups).items():
        for metric in metrics:
            for group in groups:
                if (found := spread(group.values(where, metric))) is not None:
                    deviation = "" if math.isnan(found.deviation) else found.deviation
                    rows.append((where, metric, group.label, found.n, found.mean, deviation, found.low, found.high))
    return rows


def seed_figure(groups: Sequence[Group]) -> Figure:
    """A panel for each number of the tables. Raises ValueError as `spread_figure`."""
    panels = {}
    for where, metrics in places(groups).items():
        for heading, metric, factor, _ in columns(where, metrics):
            values = {group.label: [factor * x for x in group.values(where, metric)] for group in groups}
            if any(values.values()):
                panels[f"{heading}, {where}"] = values
    return spread_figure(panels)

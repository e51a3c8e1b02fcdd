"""Results as tables. `published` puts them beside published numbers, `formats` and `html` write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Literal

from flam_train.evaluation.result import Result

Kind = Literal["published", "ours", "difference"]
Better = Literal["higher", "lower", "neither"]

SPREAD = r" ± | \["
"""Begins what follows a number in a cell."""

LOWER = (
    "ECE", "Brier", "rank", "segment_er", "segment_er/macro", "/substitutions", "/deletions", "/insertions",
    "cross_triggers",
)  # fmt: skip
"""Metrics whose names end so are better when they are lower."""


def better(metric: str) -> Better:
    """Which values of a metric are better; neither where no model is good at it, as chance, and of no metric, ""."""
    plain = metric.split("[")[0]
    if not plain or plain.endswith(("/chance", "/threshold")):
        return "neither"
    return "lower" if plain.endswith(LOWER) else "higher"


@dataclass(frozen=True)
class Table:
    """Cells are text, an empty one was not measured.

    notes      general remarks, below the table
    kinds      of each row; empty where all are ours
    footnotes  mark -> text, below the table
    marks      (row, column), both from 0 -> the mark of the cell's footnote
    better     of each column, which of its numbers are better; empty where none are compared
    sets       of each row, what it was measured on: numbers on other sets are not compared; empty where all rows are
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    footnotes: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)
    better: tuple[Better, ...] = ()
    sets: tuple[str, ...] = ()

    @cached_property
    def best(self) -> frozenset[tuple[int, int, int]]:
        """(row, column, part), from 0: the best numbers of their columns as printed, all of those that tie.

        A part is one of the numbers of a cell like "4.4 / 15.2". Published rows and ours count, differences do not; a
        number that no other row can be compared with is no best one.
        """
        found: dict[tuple[str, int, int], list[tuple[Decimal, int]]] = {}
        for n, row in enumerate(self.rows):
            if self.kinds and self.kinds[n] == "difference":
                continue
            for c, (cell, which) in enumerate(zip(row, self.better, strict=False)):
                for part, text in enumerate(cell.split(" / ") if which != "neither" else ()):
                    try:
                        value = Decimal(re.split(SPREAD, text)[0])
                    except InvalidOperation:  # an empty cell, or no number
                        continue
                    key = (self.sets[n] if self.sets else "", c, part)
                    found.setdefault(key, []).append((value, n))
        best = set()
        for (_, c, part), values in found.items():
            most = (min if self.better[c] == "lower" else max)(values)[0]
            best |= {(n, c, part) for value, n in values if value == most and len(values) > 1}
        return frozenset(best)

    def pieces(self, n: int, c: int) -> list[tuple[str, bool]]:
        """The text of a cell in pieces, each with whether it is a best number."""
        pieces = []
        for part, text in enumerate(self.rows[n][c].split(" / ")):
            value = re.split(SPREAD, text)[0]
            pieces += [(" / ", False)] if part else []
            pieces += [(value, (n, c, part) in self.best), (text[len(value) :], False)]
        return [piece for piece in pieces if piece[0]]

    def with_note_on_best(self) -> Table:
        """Itself; where it has best numbers, with a note on what is bold."""
        if not self.best:
            return self
        lower = dict.fromkeys(self.columns[c] for _, c, _ in sorted(self.best) if self.better[c] == "lower")
        same = " among the rows of one set and kind of phrasings" if len(set(self.sets)) > 1 else ""
        note = f"bold: the best of a column{same}" + (f"; lower is better for {', '.join(lower)}" if lower else "")
        return replace(self, notes=(*self.notes, note))

    def remarks(self) -> list[str]:
        """Footnotes, then notes, as lines of text."""
        return [*(f"({mark}) {text}" for mark, text in self.footnotes.items()), *self.notes]


_HEADS = ("model", "set", "protocol", "clips")

_SED = [
    ("AUROC macro", "auroc/macro", 1, 3),
    ("AUROC micro", "auroc/micro", 1, 3),
    ("frame F1", "frame_f1/macro", 1, 3),
    ("frame F1 biased", "frame_f1 biased/macro", 1, 3),
    ("frame F1 best", "frame_f1 best/macro", 1, 3),
    ("segment F1", "segment_f1/macro", 1, 3),
    ("event F1", "event_f1/macro", 1, 3),
    ("intersection F1", "intersection_f1/macro", 1, 3),
    *(
        (f"{kind} {what}", f"{kind}_{what}/macro", 1, 3)
        for kind in ("frame", "segment", "event")
        for what in ("precision", "recall")
    ),
    ("segment ER", "segment_er", 1, 3),
    *(
        (f"{kind} F1 best of each", f"{kind}_f1 best of each class/macro", 1, 3)
        for kind in ("frame", "segment", "event")
    ),
    ("PSDS1", "PSDS1", 1, 3),
    ("PSDS1A", "PSDS1A", 1, 3),
    ("PSDS2", "PSDS2", 1, 3),
    ("MPAUC", "MPAUC", 1, 3),
    ("frame mAP", "ap/macro", 1, 3),
    ("d'", "dprime/macro", 1, 2),
    ("d' of mean AUROC", "dprime/of macro AUROC", 1, 2),
    ("mean IoU", "miou", 1, 3),
    ("cross triggers", "cross_triggers", 1, 3),
    ("tagging mAP", "tagging/mAP", 1, 3),
    ("tagging AUROC", "tagging/auroc", 1, 3),
    ("tagging d'", "tagging/dprime", 1, 2),
    ("tagging d' of mean AUROC", "tagging/dprime of macro AUROC", 1, 2),
    ("tagging F1", "tagging/f1", 1, 3),
    ("ECE", "calibration/ECE", 1, 3),
    ("ECE biased", "calibration biased/ECE", 1, 3),
]
_RETRIEVAL = [
    (f"{short} {title}", f"{side}/{metric}", factor, decimals)
    for short, side in (("T2A", "text_to_audio"), ("A2T", "audio_to_text"))
    for title, metric, factor, decimals in (
        ("R@1", "R@1", 100, 1),
        ("R@5", "R@5", 100, 1),
        ("R@10", "R@10", 100, 1),
        ("mAP@10", "mAP@10", 100, 1),
        ("mAP@16", "mAP@16", 100, 1),
        ("mean rank", "mean_rank", 1, 1),
        ("median rank", "median_rank", 1, 0),
        ("R@1 / chance", "R@1 over chance", 1, 1),
    )
]


_ZERO_SHOT = [
    ("accuracy", "accuracy", 100, 1),
    ("mean over folds", "accuracy/mean over folds", 100, 1),
    ("mean over classes", "accuracy/mean over classes", 100, 1),
    ("top 5", "accuracy/top 5", 100, 1),
    ("chance", "accuracy/chance", 100, 1),
]

COLUMNS = {"sed": _SED, "retrieval": _RETRIEVAL, "zero_shot": _ZERO_SHOT}
"""Of each kind of protocol: (heading, metric up to its parameters, factor, decimals)."""


def result_tables(results: Sequence[Result], intervals: bool = False) -> list[Table]:
    """A table for each kind of protocol, a row a result. The spread follows a mean over phrasings, caption sets or
    folds; where asked for, the interval follows a number that has one, instead."""
    tables = []
    for title, kind in (
        ("Sound event detection", "sed"),
        ("Retrieval (R and mAP in %)", "retrieval"),
        ("Zero-shot classification (accuracy in %)", "zero_shot"),
    ):
        columns = COLUMNS[kind]
        chosen = [r for r in results if r.protocol.split("/")[0] == kind]
        chosen.sort(key=lambda r: (model_name(r), r.dataset, r.split, "held_out" in r.protocol, r.protocol))
        if not chosen:
            continue
        rows = [
            [*_head(r), *(cell_text(r, metric, factor, places, intervals) for _, metric, factor, places in columns)]
            for r in chosen
        ]
        heads = [*_HEADS, *(heading for heading, *_ in columns)]
        ways = tuple(better(metric) for metric in (*[""] * len(_HEADS), *(metric for _, metric, *_ in columns)))
        sets = tuple(f"{row[1]}, {row[2].split(',')[0]}" for row in rows)  # the set and the kind of phrasings
        notes = _notes(chosen, columns) + (_how_sure(chosen) if intervals else ())
        table = Table(title, heads, rows, notes, better=ways, sets=sets)
        tables.append(_without_empty_columns(table).with_note_on_best())
    return tables


def model_name(result: Result) -> str:
    """The run's name if the provenance has one, and the first digits of the weights' sha256."""
    given = result.model.get("name") or result.model.get("run") or Path(str(result.model.get("folder", ""))).name
    short = str(result.model.get("sha256", "unknown"))[:8]
    return f"{given} {short}".strip()


def _head(result: Result) -> list[str]:
    missing = result.clips_expected - result.clips_evaluated
    clips = str(result.clips_evaluated) + (f" of {result.clips_expected}" if missing else "")
    protocol = result.protocol.split("/", 1)[-1].replace("_", "-").replace("/", ", ")
    if result.protocol.startswith("sed"):
        protocol += f", {result.parameters.get('method', '')}"
    return [model_name(result), " ".join(x for x in (result.dataset, result.split) if x), protocol, clips]


def find_metric(result: Result, metric: str) -> str | None:
    """The full name of a metric given by it or by its name without [parameters]; None if it was not measured."""
    if metric in result.metrics:
        return metric
    found = [name for name in result.metrics if name.split("[")[0] == metric]
    return found[0] if len(found) == 1 else None


def cell_text(result: Result, metric: str, factor: float, places: int, intervals: bool = False) -> str:
    """`factor` times the metric, its interval if it is asked for and there, else "± " its spread if it has one; empty
    if it was not measured, or is not defined."""
    name = find_metric(result, metric)
    if name is None or not math.isfinite(result.metrics[name]):
        return ""
    text = f"{factor * result.metrics[name]:.{places}f}"
    if intervals and (found := result.interval(name)):
        return f"{text} [{', '.join(f'{factor * end:.{places}f}' for end in found)}]"
    return f"{text} ± {factor * result.spread[name]:.{places}f}" if name in result.spread else text


def _notes(results: Sequence[Result], columns) -> tuple[str, ...]:
    notes = []
    for _, metric, _, _ in columns:
        full = {name for r in results if (name := find_metric(r, metric)) and "[" in name}
        notes += sorted(name.replace("[", ": ", 1).removesuffix("]").replace(",", ", ") for name in full)
    for r in results:
        left_out = r.parameters.get("classes without ground truth (left out)") or []
        if left_out:
            notes.append(f"{r.name}: {len(left_out)} classes without ground truth left out")
    if any(r.spread for r in results):
        notes.append("±: standard deviation over phrasings, caption sets or folds")
    if any(r.protocol.startswith("sed") for r in results):
        notes.append("F1: macro, threshold 0.5; best: one threshold chosen on the same set, an upper bound")
    on = [r.parameters["calibration"]["found on"] for r in results if "calibration" in r.parameters]
    if on:
        found = ", ".join(dict.fromkeys(one.get("name") or "unnamed data" for one in on))
        notes.append(
            f"calibrated: of each phrase a threshold instead of 0.5, and ECE of calibrated scores (on {found})"
        )
    if any("best of each class" in name for r in results for name in r.metrics):
        notes.append("best of each: F1 with a threshold for each class, chosen on the same set, an upper bound")
    if any("cross_triggers" in r.metrics for r in results):
        notes.append("cross triggers: the share of false detections that lie on another class's events")
    return tuple(notes)


def _how_sure(results: Sequence[Result]) -> tuple[str, ...]:
    lines = {line: r.name for r in results for line in r.how_sure()}
    if len(lines) < 2:
        return tuple(lines)
    return tuple(f"{r.name}: {line}" for r in results for line in r.how_sure())


def _without_empty_columns(table: Table) -> Table:
    kept = [n for n in range(len(table.columns)) if any(row[n] for row in table.rows)]
    rows = [[row[n] for n in kept] for row in table.rows]
    ways = tuple(table.better[n] for n in kept)
    return replace(table, columns=[table.columns[n] for n in kept], rows=rows, better=ways)

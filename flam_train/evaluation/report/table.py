"""Results as tables. `published` puts them beside published numbers, `formats` and `html` write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flam_train.evaluation.result import Result

Kind = Literal["published", "ours", "difference"]


@dataclass(frozen=True)
class Table:
    """Cells are text, an empty one was not measured.

    notes      general remarks, below the table
    kinds      of each row; empty where all are ours
    footnotes  mark -> text, below the table
    marks      (row, column), both from 0 -> the mark of the cell's footnote
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    footnotes: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def printed(self) -> list[list[str]]:
        """The rows, with the mark of its footnote behind a cell: "29.52 (1)"."""
        return [
            [f"{cell} ({mark})" if (mark := self.marks.get((n, c))) else cell for c, cell in enumerate(row)]
            for n, row in enumerate(self.rows)
        ]

    def remarks(self) -> list[str]:
        """Footnotes, then notes, as lines of text."""
        return [*(f"({mark}) {text}" for mark, text in self.footnotes.items()), *self.notes]


# (heading, metric up to its parameters, factor, decimals)
_SED = [
    ("AUROC macro", "auroc/macro", 1, 3),
    ("AUROC micro", "auroc/micro", 1, 3),
    ("frame F1", "frame_f1/macro", 1, 3),
    ("frame F1 biased", "frame_f1 biased/macro", 1, 3),
    ("frame F1 best", "frame_f1 best/macro", 1, 3),
    ("segment F1", "segment_f1/macro", 1, 3),
    ("event F1", "event_f1/macro", 1, 3),
    ("PSDS1", "PSDS1", 1, 3),
    ("PSDS1A", "PSDS1A", 1, 3),
    ("PSDS2", "PSDS2", 1, 3),
    ("MPAUC", "MPAUC", 1, 3),
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


def result_tables(results: Sequence[Result]) -> list[Table]:
    """A table for each kind of protocol, a row a result. The spread follows a mean over phrasings, caption sets or
    folds."""
    tables = []
    for title, kind, columns in (
        ("Sound event detection", "sed", _SED),
        ("Retrieval (R and mAP in %)", "retrieval", _RETRIEVAL),
        ("Zero-shot classification (accuracy in %)", "zero_shot", _ZERO_SHOT),
    ):
        chosen = [r for r in results if r.protocol.split("/")[0] == kind]
        chosen.sort(key=lambda r: (model_name(r), r.dataset, r.split, r.protocol.endswith("held_out")))
        if not chosen:
            continue
        rows = [
            [*_head(r), *(cell_text(r, metric, factor, places) for _, metric, factor, places in columns)]
            for r in chosen
        ]
        heads = ["model", "set", "protocol", "clips", *(heading for heading, *_ in columns)]
        tables.append(_without_empty_columns(Table(title, heads, rows, _notes(chosen, columns))))
    return tables


def model_name(result: Result) -> str:
    """The run's name if the provenance has one, and the first digits of the weights' sha256."""
    given = result.model.get("name") or result.model.get("run") or Path(str(result.model.get("folder", ""))).name
    short = str(result.model.get("sha256", "unknown"))[:8]
    return f"{given} {short}".strip()


def _head(result: Result) -> list[str]:
    missing = result.clips_expected - result.clips_evaluated
    clips = str(result.clips_evaluated) + (f" of {result.clips_expected}" if missing else "")
    protocol = result.protocol.split("/")[-1].replace("_", "-")
    if result.protocol.startswith("sed"):
        protocol += f", {result.parameters.get('method', '')}"
    return [model_name(result), " ".join(x for x in (result.dataset, result.split) if x), protocol, clips]


def find_metric(result: Result, metric: str) -> str | None:
    """The full name of a metric given by it or by its name without [parameters]; None if it was not measured."""
    if metric in result.metrics:
        return metric
    found = [name for name in result.metrics if name.split("[")[0] == metric]
    return found[0] if len(found) == 1 else None


def cell_text(result: Result, metric: str, factor: float, places: int) -> str:
    """`factor` times the metric, "± " its spread if it has one; empty if it was not measured, or is not defined."""
    name = find_metric(result, metric)
    if name is None or math.isnan(result.metrics[name]):
        return ""
    text = f"{factor * result.metrics[name]:.{places}f}"
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
    return tuple(notes)


def _without_empty_columns(table: Table) -> Table:
    kept = [n for n in range(len(table.columns)) if any(row[n] for row in table.rows)]
    rows = [[row[n] for n in kept] for row in table.rows]
    return Table(table.title, [table.columns[n] for n in kept], rows, table.notes)

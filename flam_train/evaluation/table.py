"""Results as tables, alone or beside published numbers. `evaluation.formats` writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flam_train.evaluation.result import Result


@dataclass(frozen=True)
class Table:
    """Cells are text, an empty one was not measured; notes stand below the table."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


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


def result_tables(results: Sequence[Result]) -> list[Table]:
    """One table for detection, one for retrieval; a row a result. A mean over phrasings is followed by its spread."""
    tables = []
    for title, kind, columns in (
        ("Sound event detection", "sed", _SED),
        ("Retrieval (R and mAP in %)", "retrieval", _RETRIEVAL),
    ):
        chosen = [r for r in results if r.protocol.split("/")[0] == kind]
        chosen.sort(key=lambda r: (model_name(r), r.dataset, r.split, r.protocol.endswith("held_out")))
        if not chosen:
            continue
        rows = [
            [*_head(r), *(_cell(r, metric, factor, places) for _, metric, factor, places in columns)] for r in chosen
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


def _cell(result: Result, metric: str, factor: float, places: int) -> str:
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
        notes.append("±: standard deviation over phrasings (or caption sets)")
    if any(r.protocol.startswith("sed") for r in results):
        notes.append("F1: macro, threshold 0.5; best: one threshold chosen on the same set, an upper bound")
    return tuple(notes)


def _without_empty_columns(table: Table) -> Table:
    kept = [n for n in range(len(table.columns)) if any(row[n] for row in table.rows)]
    rows = [[row[n] for n in kept] for row in table.rows]
    return Table(table.title, [table.columns[n] for n in kept], rows, table.notes)


def paper_tables(path: Path, results: Sequence[Result]) -> list[Table]:
    """Published rows, and below them one row for each of our models; what was not measured stays empty.

    Raises ValueError that names the file, the table and the row.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        sources, tables = raw["sources"], raw["tables"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not readable as published tables ({error!r}): see eval/paper_table.yaml") from error
    return [_paper_table(path, table, sources, results) for table in tables]


def _paper_table(path: Path, raw: dict[str, Any], sources: dict[str, str], results: Sequence[Result]) -> Table:
    columns = raw["columns"]
    rows = []
    used = []
    for entry in raw["rows"]:
        source = entry.get("source", raw["source"])
        if len(entry["cells"]) != len(columns) or source not in sources:
            raise ValueError(
                f"{path}: {raw['title']!r}, row {entry['model']!r}: needs {len(columns)} cells and a known source"
            )
        used.append(source)
        rows.append([entry["model"], source, *(_printed(cell) for cell in entry["cells"])])
    for model in dict.fromkeys(model_name(r) for r in results):
        own = [r for r in results if model_name(r) == model]
        cells = [_measured(column.get("ours"), own) for column in columns]
        if any(cells):
            rows.append([model, "ours", *cells])
    notes = [f"{key}: {text}" for key, text in raw.get("notes", {}).items()]
    notes += [f"{key}: {sources[key]}" for key in dict.fromkeys(used)]
    return Table(raw["title"], ["model", "source", *(c["title"] for c in columns)], rows, tuple(notes))


def _printed(cell: Any) -> str:
    if cell is None:
        return ""
    return " / ".join(str(x) for x in cell) if isinstance(cell, list) else str(cell)


def _measured(ours: dict[str, Any] | None, results: Sequence[Result]) -> str:
    """The newest result of this protocol and set."""
    if ours is None:
        return ""
    names = {_plain(name) for name in ours["dataset"]}
    fitting = [r for r in results if r.protocol == ours["protocol"] and _plain(r.dataset) in names]
    if not fitting:
        return ""
    cells = [_cell(max(fitting, key=lambda r: r.date), metric, 100, 2) for metric in ours["metrics"]]
    return " / ".join(cells) if all(cells) else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).casefold()

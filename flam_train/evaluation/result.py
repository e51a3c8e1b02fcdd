"""What a protocol hands back: numbers with everything needed to know what they are numbers of."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import math
import platform
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from flam_train import __version__
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.tars import replace_with

RESULT_VERSION = 1


@dataclass(frozen=True)
class Result:
    """One protocol on one set with one model.

    protocol    "sed/trained", "sed/held_out", "retrieval", "zero_shot"; "sed/trained/calibrated" with a calibration
    dataset, split, vocabulary   of the corpus; vocabulary is None where every label is its own phrase
    parameters  plain data: method, thresholds, filter, parameters of each PSDS, classes left out, ...
    metrics     name -> number; NaN where nothing defines it (null in the file)
    spread      name -> standard deviation (population) where a metric is a mean over phrasings or caption sets
    clips_expected, clips_evaluated, missing   clips in the manifest, clips scored, key -> why it was not
    model       the export's provenance: `sha256` of the weights at least
    data        `sha256` over the hashes of the manifest's shards
    versions    of the packages that computed it
    seed        the model's training seed, if its provenance has one; evaluation itself draws nothing
    date        UTC, ISO 8601
    intervals   where a bootstrap was asked for: `how` it was done (unit, units, resamples, level, seed, method), and
                `of` each metric it gives low, high and error (standard error). Empty, and not in the file, where not
    """

    protocol: str
    dataset: str
    split: str
    vocabulary: str | None
    parameters: dict[str, Any]
    metrics: dict[str, float]
    spread: dict[str, float]
    clips_expected: int
    clips_evaluated: int
    missing: dict[str, str]
    model: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str] = field(default_factory=lambda: versions())
    seed: int | None = None
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    intervals: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A file name without ending: protocol, dataset and split."""
        parts = [self.protocol.replace("/", "-"), self.dataset, self.split]
        return "-".join("".join(c if c.isalnum() or c in "_+-" else "_" for c in part) for part in parts if part)

    def summary(self) -> str:
        """What was evaluated, what was not (the first five), and every metric with its spread, for a terminal."""
        lines = [f"{self.protocol} on {self.dataset}: {self.clips_evaluated} of {self.clips_expected} clips"]
        lines += [f"  not evaluated: {key}: {reason}" for key, reason in list(self.missing.items())[:5]]
        for name, value in self.metrics.items():
            spread = f" ± {self.spread[name]:.4f}" if name in self.spread else ""
            found = self.interval(name)
            between = f" [{found[0]:.4f}, {found[1]:.4f}]" if found else ""
            lines.append(f"  {name:<74} {value:.4f}{spread}{between}")
        lines += [f"  {line}" for line in self.how_sure()]
        return "\n".join(lines)

    def interval(self, name: str) -> tuple[float, float] | None:
        """Between what a metric lies; None where that is not known."""
        found = self.intervals.get("of", {}).get(name)
        return (found["low"], found["high"]) if found else None

    def how_sure(self) -> list[str]:
        """A line that says how intervals were made, where there are any."""
        how = self.intervals.get("how")
        if not how:
            return []
        return [
            f"[low, high]: {100 * how['level']:g} % {how['method']} over {how['units']:,} {how['unit']}, "
            f"{how['resamples']:,} resamples, seed {how['seed']}"
        ]

    def write(self, path: str | Path) -> Path:
        """JSON, whole or not at all. A folder gets a file named after the result."""
        path = Path(path)
        if path.suffix != ".json":
            path = path / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = {"result": RESULT_VERSION, **asdict(self)}
        if not self.intervals:
            del raw["intervals"]
        for group in ("metrics", "spread"):
            raw[group] = {k: v if math.isfinite(v) else None for k, v in raw[group].items()}
        text = json.dumps(raw, indent=2, ensure_ascii=False, allow_nan=False)
        replace_with(path, lambda file: file.write(text.encode() + b"\n"))
        return path

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """Reads what `write` wrote; ValueError that names the file, the field and the fix."""
        path = Path(path)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: not a readable result ({error}): run the evaluation again") from error
        if not isinstance(raw, dict) or "result" not in raw:
            raise ValueError(f"{path}: not a result of eval/sed.py or eval/retrieval.py: leave it out")
        if raw.pop("result") != RESULT_VERSION:
            raise ValueError(f"{path}: a result of another version (this one reads {RESULT_VERSION}): run it again")
        raw.setdefault("intervals", {})
        types = {f.name: f.type for f in fields(cls)}
        if set(raw) != set(types):
            odd = sorted(set(raw) ^ set(types))[0]
            raise ValueError(
                f"{path}: field {odd!r} is {'unknown' if odd in raw else 'missing'}: run the evaluation again"
            )
        for name in ("parameters", "metrics", "spread", "missing", "model", "data", "versions", "intervals"):
            if not isinstance(raw[name], dict):
                raise ValueError(f"{path}: {name!r} is not an object: run the evaluation again")
        for group in ("metrics", "spread"):
            for name, value in raw[group].items():
                if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                    raise ValueError(f"{path}: {group} {name!r} is {value!r}, not a number: run the evaluation again")
            raw[group] = {k: math.nan if v is None else float(v) for k, v in raw[group].items()}
        if raw["intervals"] and not _are_intervals(raw["intervals"]):
            raise ValueError(f"{path}: 'intervals' does not say how, and low, high and error: run the evaluation again")
        return cls(**raw)


def _are_intervals(raw: dict[str, Any]) -> bool:
    how, of = raw.get("how"), raw.get("of")
    if not isinstance(how, dict) or not isinstance(of, dict):
        return False
    known = {"unit", "units", "resamples", "level", "seed", "method"} <= how.keys()
    values = [one.get(end) for one in of.values() if isinstance(one, dict) for end in ("low", "high", "error")]
    return known and len(values) == 3 * len(of) and all(isinstance(x, int | float) for x in values)


def read_results(paths: list[Path]) -> list[tuple[Path, Result]]:
    """Results of files, and of folders with all below them; other JSON files in a folder are passed over."""
    found = []
    for given in paths:
        if given.is_dir():
            files = [p for p in sorted(given.rglob("*.json")) if _is_result(p)]
            if not files:
                raise ValueError(f"{given}: no results in this folder: run eval/sed.py or eval/retrieval.py with --out")
        elif given.is_file():
            files = [given]
        else:
            raise ValueError(f"{given}: no such file or folder: give what was written by --out")
        found += [(p, Result.read(p)) for p in files]
    return found


def _is_result(path: Path) -> bool:
    with path.open("rb") as file:  # the version stands first in the file
        return b'"result"' in file.read(64)


def versions() -> dict[str, str]:
    names = ("torch", "numpy", "scipy", "sed_eval", "sed_scores_eval")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"flam_train": __version__, "python": platform.python_version(), **found}


def describe(model: Any, corpus: Corpus) -> dict[str, Any]:
    """What is known of a result before anything is computed, and the length of the model's clips in `seconds`."""
    return {
        "dataset": corpus.name,
        "vocabulary": corpus.manifest["vocabulary"],
        "clips_expected": len(corpus),
        "model": describe_model(model),
        "data": describe_data(corpus),
        "seed": model.provenance.get("seed"),
        "seconds": model.grid.seconds,
    }


def describe_data(corpus: Corpus) -> dict[str, Any]:
    """`sha256` over the shards' hashes in the manifest's order: two folders with the same shards are the same data."""
    shards = corpus.manifest["shards"]
    joined = "".join(f"{shard['sha256']}\n" for shard in shards)
    return {"sha256": hashlib.sha256(joined.encode()).hexdigest(), "shards": len(shards), "samples": len(corpus)}


def describe_model(model: Any) -> dict[str, Any]:
    """The export's provenance as plain data."""
    return json.loads(json.dumps(model.provenance, default=str))

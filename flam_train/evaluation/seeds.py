"""Runs whose settings differ only in the seed: what they reach on average, and how far apart they are.

In: run folders, as `flam-train` leaves them. Out: groups of runs, and of each number that they logged or that an
evaluation found its mean and spread.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flam_train.evaluation.result import read_results
from flam_train.plotting.training import read_curves

CONFIG, METRICS, RESULTS, EXPORTED = "config.yaml", "metrics.csv", "results", "export/provenance.json"
"""In a run folder; results are what an evaluation with `--out RUN/results` wrote."""

LAST, BEST = "last step", "best step"
"""Where the numbers of a validation stand; those of an evaluation stand under its result's name."""

OF_NO_MODEL = (
    "seed", "name", "run_dir", "shards", "overwrite", "resume", "logger", "data.workers", "data.prefetch",
    "data.verify", "data.validation_batch", "data.cache_", "trainer.accelerator", "trainer.devices", "trainer.nodes",
    "trainer.checkpoint_every", "trainer.log_every", "trainer.hang_seconds", "trainer.requeue", "trainer.keep",
    "trainer.progress_seconds", "trainer.pictures", "trainer.profile", "extended",
)  # fmt: skip
"""What keys begin with that make no other model of the same data: runs are grouped without them."""

NOT_SET = "not set"


@dataclass(frozen=True)
class Trained:
    """A run that is done. settings: flat, without OF_NO_MODEL. numbers: where -> metric -> number, NaN where nothing
    defined it."""

    folder: Path
    seed: int
    settings: dict[str, Any]
    numbers: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Spread:
    """Of n runs: mean, sample standard deviation (n - 1; NaN of a single run), lowest and highest."""

    mean: float
    deviation: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed, by their seeds. settings: those that other groups have otherwise."""

    settings: dict[str, Any]
    runs: tuple[Trained, ...]

    @property
    def label(self) -> str:
        return ", ".join(f"{key}={written(value)}" for key, value in self.settings.items()) or "all runs"

    def values(self, where: str, metric: str) -> list[float]:
        """A number of each run that has one, in the runs' order."""
        found = [run.numbers.get(where, {}).get(metric, math.nan) for run in self.runs]
        return [value for value in found if math.isfinite(value)]


def read_runs(paths: Sequence[Path]) -> tuple[list[Trained], dict[Path, str]]:
    """The runs in the folders, each once; and of those that are left out the reason.

    paths: run folders, or folders of them (of a sweep, say). Raises ValueError for a folder without any, and for files
    of a run that cannot be read.
    """
    runs, left_out = [], {}
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path}: no such folder: give run folders, or folders of them")
        found = list(run_folders(path))
        if not found:
            raise ValueError(f"{path}: no run in this folder: give what flam-train has as run_dir, or what holds it")
        folders |= {folder.resolve(): folder for folder in found if folder.resolve() not in folders}
    for folder in folders.values():
        if why := unfinished(folder):
            left_out[folder] = why
            continue
        run = read_run(folder)
        if run.numbers:
            runs.append(run)
        else:
            left_out[folder] = f"has neither a validation nor {RESULTS}/"
    return runs, left_out


def run_folders(path: Path) -> Iterator[Path]:
    """Itself, or those below it. A folder with a point's name (`seed=0`) counts where its run has not begun, too."""
    if (path / CONFIG).is_file():
        yield path
        return
    below = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    found = [run for folder in below for run in run_folders(folder)]
    if found or "=" not in path.name:
        yield from found
    else:
        yield path


def unfinished(folder: Path) -> str:
    """Why a run is not done; empty if it is: its export was made with the settings that it has."""
    if not (folder / CONFIG).is_file():
        return "has not begun"
    exported = folder / EXPORTED
    if not exported.is_file():
        return "is not finished"
    was = json.loads(exported.read_text()).get("config")
    if was is not None and settings_of(was) != settings_of(_conf(folder)):
        return "goes on with other settings and is not finished"
    return ""


def read_run(folder: Path) -> Trained:
    conf = _conf(folder)
    numbers = validations(folder, conf["trainer"].get("monitor"))
    if (folder / RESULTS).is_dir():
        numbers |= {result.name: dict(result.metrics) for _, result in read_results([folder / RESULTS])}
    return Trained(folder, conf["seed"], settings_of(conf), numbers)


def _conf(folder: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load((folder / CONFIG).read_text())
        assert {"seed", "trainer"} <= found.keys()
    except (yaml.YAMLError, AttributeError, AssertionError) as error:
        raise ValueError(f"{folder / CONFIG}: not the settings of a run: leave {folder} out") from error
    return found


def validations(folder: Path, monitor: str | None) -> dict[str, dict[str, float]]:
    """Of metrics.csv, at the last step that was validated and at the one with the highest `monitor` (of equals the
    first, as best.ckpt); what there was not is left out."""
    if not (folder / METRICS).is_file():
        return {}
    curves = {
        name.removeprefix("val/"): dict(points)
        for name, points in read_curves(folder / METRICS).items()
        if name.startswith("val/")
    }
    if not curves:
        return {}
    steps = {LAST: max(step for points in curves.values() for step in points)}
    followed = curves.get((monitor or "").removeprefix("val/"), {})
    if any(math.isfinite(value) for value in followed.values()):
        steps[BEST] = max(followed, key=lambda step: (math.isfinite(followed[step]), followed[step], -step))
    return {
        where: {name: points[step] for name, points in curves.items() if step in points}
        for where, step in steps.items()
    }


def settings_of(conf: Mapping[str, Any]) -> dict[str, Any]:
    """{"optim.lr": 0.001}, without OF_NO_MODEL."""
    return {key: value for key, value in _flat(conf).items() if not key.startswith(OF_NO_MODEL)}


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping) or not node:
        return {prefix: node}
    out: dict[str, Any] = {}
    for key, value in node.items():
        out |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out


def grouped(runs: Sequence[Trained]) -> list[Group]:
    """In the order of the runs. Raises ValueError for two runs of one seed and the same settings: they are no two draws
    of anything."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    own = [{key: run.settings.get(key, NOT_SET) for key in keys} for run in runs]
    differing = [key for key in keys if any(settings[key] != own[0][key] for settings in own)]
    found: dict[str, list[Trained]] = {}
    for run, settings in zip(runs, own, strict=True):
        found.setdefault(json.dumps({key: settings[key] for key in differing}), []).append(run)
    out = []
    for members in found.values():
        members.sort(key=lambda run: run.seed)
        for one, other in itertools.pairwise(members):
            if one.seed == other.seed:
                raise ValueError(
                    f"{one.folder} and {other.folder} have the same seed and settings: give one of them, else a run "
                    "counts twice"
                )
        settings = {key: members[0].settings.get(key, NOT_SET) for key in differing}
        out.append(Group(settings, tuple(members)))
    return out


def spread(values: Sequence[float]) -> Spread | None:
    """None of no values."""
    if not values:
        return None
    found = np.asarray(values, dtype=np.float64)
    deviation = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Spread(float(found.mean()), deviation, float(found.min()), float(found.max()), len(found))


def places(groups: Sequence[Group]) -> dict[str, list[str]]:
    """where -> metrics, of all groups: validations first."""
    out: dict[str, dict[str, None]] = {LAST: {}, BEST: {}}
    for run in (run for group in groups for run in group.runs):
        for where, numbers in run.numbers.items():
            out.setdefault(where, {}).update(dict.fromkeys(numbers))
    return {where: list(metrics) for where, metrics in out.items() if metrics}


def written(value: Any) -> str:
    """As it is typed on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plain(groups: Sequence[Group], left_out: Mapping[Path, str]) -> dict[str, Any]:
    """For a JSON file: every number, and what nothing defines is null."""
    return {
        "runs": 1,
        "groups": [
            {
                "settings": group.settings,
                "runs": [{"folder": str(run.folder), "seed": run.seed} for run in group.runs],
                "numbers": {
                    where: {metric: _plain(group, where, metric) for metric in metrics}
                    for where, metrics in places([group]).items()
                },
            }
            for group in groups
        ],
        "left out": {str(folder): why for folder, why in left_out.items()},
    }


def _plain(group: Group, where: str, metric: str) -> dict[str, Any]:
    found = spread(group.values(where, metric))
    each = [run.numbers.get(where, {}).get(metric, math.nan) for run in group.runs]
    out: dict[str, Any] = {"values": [value if math.isfinite(value) else None for value in each]}
    if found is not None:
        deviation = found.deviation if math.isfinite(found.deviation) else None
        out |= {"mean": found.mean, "deviation": deviation, "low": found.low, "high": found.high, "n": found.n}
    return out

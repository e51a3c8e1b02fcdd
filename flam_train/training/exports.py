"""From a run's checkpoints to exports: `export=last`, `best` or `both`, and `flam-convert checkpoint`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from flam_train.checkpoints import initial
from flam_train.checkpoints.export import PROVENANCE, save_export
from flam_train.checkpoints.run_checkpoint import weights_of
from flam_train.models.flam import FLAM
from flam_train.training.configuration import Config
from flam_train.training.fault_tolerance.checkpoint import BEST, LAST, AtomicCheckpointIO
from flam_train.training.saved import Saved

EXPORTS = {"last": {"export": LAST}, "best": {"export": BEST}, "both": {"export": LAST, "export-best": BEST}}
"""What `export` asks for: folders of the run folder, and the checkpoints that they are made of."""


def export_checkpoint(path: Path, out: Path) -> Path:
    """Writes the export of a checkpoint that lies in its run folder: the weights that were validated at its step.

    Raises ValueError for a file that is altered or no checkpoint, and where the model cannot be built.
    """
    if not path.is_file():
        what = f"is a folder: give a checkpoint in it, {path / LAST}" if path.is_dir() else "is not there: give one"
        raise ValueError(f"{path}: {what}, as {LAST} or {BEST} of a run folder")
    found = AtomicCheckpointIO().load_checkpoint(path)
    saved = Saved.of(found, path.parent)
    model = saved.model() or _built(saved)
    model.load_state_dict(weights_of(found))
    return save_export(model, out, provenance(saved, found, path.name))


def provenance(saved: Saved, checkpoint: dict[str, Any], name: str) -> dict[str, Any]:
    """What an export says of the run and of the step."""
    conf, state = saved.facts.conf, checkpoint["callbacks"]["Checkpoints"]
    out = {"run": conf["name"], "steps": saved.step, "seed": conf["seed"], "checkpoint": name, "config": conf}
    if saved.facts.provenance:
        out["data"] = saved.facts.provenance
    if conf.get("init"):
        out["init"] = {"sha256": saved.facts.init} | ({"commit": saved.facts.commit} if saved.facts.commit else {})
    if saved.facts.extended:
        out["extended"] = saved.facts.extended
    if state.get("validation"):
        out["validation"] = state["validation"]
    return out


def _built(saved: Saved) -> FLAM:
    """Of a run that began before run folders held their tokenizer: as it was built then."""
    config = Config.read(saved.facts.conf | {"trainer": {}, "logger": {}, "export": "last"}, asked=False)
    return initial.build(config.model, config.text, config.init)


def write_exports(config: Config, folder: Path) -> Path:
    """Those of a run that is done; the folder of the first. Raises ValueError where there is no best checkpoint."""
    wanted = EXPORTS[config.export]
    if BEST in wanted.values() and not (folder / BEST).is_file():
        raise ValueError(
            f"export={config.export}: there is no {folder / BEST}: {config.trainer.monitor} was never a number, or was "
            "not monitored; export=last takes the last step"
        )
    for out, name in wanted.items():
        with torch.random.fork_rng():  # to build a model draws its first weights
            export_checkpoint(folder / name, folder / out)
        print(f"{out:7s} {folder / out}", file=sys.stderr)
    return folder / next(iter(wanted))


def are_written(config: Config, folder: Path) -> bool:
    """Whether the exports of a run are those of its checkpoints as they are now."""
    return all(_made_of(folder / out, folder / name) for out, name in EXPORTS[config.export].items())


def _made_of(export: Path, checkpoint: Path) -> bool:
    if not (export / PROVENANCE).is_file() or not checkpoint.is_file():
        return False
    said = json.loads((export / PROVENANCE).read_text())
    step = AtomicCheckpointIO().load_checkpoint(checkpoint, mmap=True)["global_step"]
    return (said.get("checkpoint", LAST), said.get("steps")) == (checkpoint.name, step)

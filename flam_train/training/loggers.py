"""What a run writes as it goes: metrics.csv and TensorBoard always, wandb when it is asked for."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

METRICS = "metrics.csv"
COLUMNS = ("step", "name", "value")


class CSVLogger(Logger):
    """`metrics.csv` with the columns step, name, value: one row a number, so that new names need no new header.

    Lightning's own logger deletes the file when a run goes on; this one cuts it back to the resumed step, so that
    curves have neither gap nor double point.
    """

    def __init__(self, folder: Path, resumed_step: int = 0):
        super().__init__()
        self.path = folder / METRICS
        self.resumed_step = resumed_step
        self._opened = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._opened:
            self._open()
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows((step, k, repr(float(v))) for k, v in metrics.items() if k != "epoch")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run folder holds config.yaml; nothing is written twice."""

    def _open(self) -> None:
        kept = []
        if self.resumed_step and self.path.is_file():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if _whole(row) and int(row["step"]) < self.resumed_step]
        draft = self.path.with_name(f".{self.path.name}")
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(draft, self.path)
        self._opened = True


def _whole(row: dict[str, str | None]) -> bool:
    """False for the last row of a run that was killed while writing it."""
    return all(row.get(name) for name in COLUMNS) and str(row["step"]).isdigit()


class SteppedWandbLogger(WandbLogger):
    """Names the step to wandb itself, which then leaves out what it has already: Lightning's own lets wandb count, and
    what is logged again after a run was killed stands in the curves twice."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.experiment.log(dict(metrics) | ({} if step is None else {"trainer/global_step": step}), step=step)


def build_loggers(config: dict[str, Any], folder: Path, name: str, resumed_step: int) -> list[Logger]:
    """config: `logger` of the configuration; `wandb: {...}` adds wandb (offline unless mode says otherwise)."""
    out: list[Logger] = [
        CSVLogger(folder, resumed_step),
        TensorBoardLogger(
            str(folder), name="tensorboard", version="", purge_step=resumed_step, default_hp_metric=False
        ),
    ]
    if config.get("wandb"):
        options = dict(config["wandb"])
        mode = options.pop("mode", "offline")
        run_id = options.pop("id", None) or wandb_id(folder)
        out.append(SteppedWandbLogger(save_dir=str(folder), name=name, id=run_id, resume="allow", mode=mode, **options))
    return out


@rank_zero_only
def wandb_id(folder: Path) -> str:
    """The run folder's own id: a run that goes on writes to the same curves, one that starts anew to others."""
    path = folder / "wandb_id"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12])
    return path.read_text()

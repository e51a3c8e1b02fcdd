"""What a run writes as it goes: metrics.csv and TensorBoard always, wandb when it is asked for."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from flam_train.settings import setting, settle

METRICS = "metrics.csv"
COLUMNS = ("step", "name", "value")


@dataclass(frozen=True)
class WandbConfig:
    """What wandb is told of a run beside its settings; `name` is the run's own."""

    mode: str = setting(
        "offline",
        "`offline` writes to the run folder (`wandb sync` sends it later), `online` sends",
        choices=("offline", "online"),
    )
    project: str = setting("flam", "where wandb files the run")
    entity: str | None = setting(None, "the user or team whose project it is; null: wandb's own default")
    group: str | None = setting(None, "runs that wandb shows together, as the seeds of one setting")
    job_type: str | None = setting(None, "what kind of run it is, within its group")
    tags: tuple[str, ...] = setting((), "to find the run by")
    notes: str | None = setting(None, "what is to be remembered of the run")
    id: str | None = setting(None, "of the run, whose curves are gone on with; null: the run folder's own")

    def __post_init__(self) -> None:
        settle(self, "logger.wandb")


@dataclass(frozen=True)
class LoggerConfig:
    """What is written beside metrics.csv and TensorBoard."""

    wandb: WandbConfig | None = setting(None, "Weights & Biases; null: nothing")

    def __post_init__(self) -> None:
        settle(self, "logger")


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
        kept = rows_before(self.path, self.resumed_step)
        draft = self.path.with_name(f".{self.path.name}")
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(draft, self.path)
        self._opened = True


def rows_before(path: Path, step: int) -> list[dict[str, str]]:
    """Of a `metrics.csv`; none where there is no file."""
    if not step or not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if _whole(row) and int(row["step"]) < step]


def _whole(row: dict[str, str | None]) -> bool:
    """False for the last row of a run that was killed while writing it."""
    return all(row.get(name) for name in COLUMNS) and str(row["step"]).isdigit()


class LogSteps(Callback):
    """Gives the module's `curves` of every `every`-th step, and its losses by corpus, to the loggers.

    Lightning's own way does so after the callbacks of the step, so after its checkpoint: a run that is killed between
    the two goes on behind a step that no logger has.
    """

    def __init__(self, every: int):
        self.every = every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every:
            return
        by_corpus: dict[str, float] = pl_module.by_corpus.means()  # type: ignore[union-attr, operator]
        if trainer.is_global_zero:
            curves: dict[str, Any] = pl_module.curves  # type: ignore[assignment]
            values = {name: float(value) for name, value in curves.items()} | by_corpus
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step - 1)
                logger.save()


class SteppedWandbLogger(WandbLogger):
    """Names the step to wandb itself, which then leaves out what it has already: Lightning's own lets wandb count, and
    what is logged again after a run was killed stands in the curves twice.

    A killed run had logged more than wandb has, which keeps a step back until the next one and writes its offline file
    now and then: `metrics.csv` has all of it, and wandb is told again what it lacks. Of an offline run nobody says
    what that is, so its newest folder has the whole of it and is all there is to be synchronised; those of earlier
    parts are moved to `wandb/earlier`.
    """

    def __init__(self, folder: Path, resumed_step: int, **options: Any):
        super().__init__(save_dir=str(folder), **options)
        self.folder, self.resumed_step = folder, resumed_step
        self._first: int | None = None  # that wandb does not have

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._first is None:
            self._first = int(self.experiment.starting_step)
            self._catch_up()
        if step is None or step >= self._first:
            self.experiment.log(dict(metrics) | ({} if step is None else {"trainer/global_step": step}), step=step)

    def _catch_up(self) -> None:
        if self.experiment.offline:
            own = Path(self.experiment.dir).parent
            for earlier in self.folder.glob(f"wandb/offline-run-*-{self.experiment.id}"):
                if earlier.name != own.name:
                    (self.folder / "wandb/earlier").mkdir(exist_ok=True)
                    earlier.rename(self.folder / "wandb/earlier" / earlier.name)
        steps: dict[int, dict[str, float]] = {}
        for row in rows_before(self.folder / METRICS, self.resumed_step):
            steps.setdefault(int(row["step"]), {})[row["name"]] = float(row["value"])
        for step, values in sorted(steps.items()):
            self.log_metrics(values, step)


def build_loggers(config: LoggerConfig, folder: Path, name: str, resumed_step: int) -> list[Logger]:
    """metrics.csv and TensorBoard always, wandb where it is configured."""
    out: list[Logger] = [
        CSVLogger(folder, resumed_step),
        TensorBoardLogger(
            str(folder), name="tensorboard", version="", purge_step=resumed_step, default_hp_metric=False
        ),
    ]
    if config.wandb is not None:
        options = asdict(config.wandb) | {"id": config.wandb.id or wandb_id(folder)}
        out.append(SteppedWandbLogger(folder, resumed_step, name=name, resume="allow", **options))
    return out


@rank_zero_only
def wandb_id(folder: Path) -> str:
    """The run folder's own id: a run that goes on writes to the same curves, one that starts anew to others."""
    path = folder / "wandb_id"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / ".wandb_id"
        draft.write_text(uuid.uuid4().hex[:12])
        os.replace(draft, path)
    return path.read_text()

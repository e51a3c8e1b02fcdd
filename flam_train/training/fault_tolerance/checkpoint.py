"""Checkpoints for resuming: plain data, written whole or not at all, read without running code.

They are never read by inference or evaluation: those take the export folder (`checkpoints.export`).
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from flam_train.checkpoints.run_checkpoint import DIGEST, digest
from flam_train.disk import FULL, said_by_disk
from flam_train.distributed import gather_rows, world_size

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, flushes to disk and renames: whoever looks finds the old file or the new one.

    Lightning's own saver keeps the whole file in memory and may copy it across file systems. Where the disk is full
    the file that was there stays, that is said, and the run goes on: `failed` is why, until a file was written again.
    """

    def __init__(self) -> None:
        self.failed = ""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")  # what a killed run left is written over
        try:
            with draft.open("wb") as file:
                torch.save(checkpoint | {DIGEST: digest(checkpoint)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            self.failed = ""
        except BaseException as error:
            draft.unlink(missing_ok=True)
            cause = _full_disk(error)
            if cause is None:
                raise
            free = shutil.disk_usage(path.parent).free
            there = "the older one stays" if path.is_file() else "there is none yet"
            self.failed = (
                f"{path}: not written ({cause.strerror}; {free / 2**30:.1f} GiB are free): {there}; make room, or "
                "what was trained since is lost when the run stops"
            )
            print(f"\n{self.failed}", file=sys.stderr, flush=True)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True, mmap: bool = False
    ) -> dict[str, Any]:
        """mmap: tensors are read only when they are used, and so not compared with the digest. Raises ValueError for a
        file that was altered, cut off, or is no checkpoint."""
        try:
            found = torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
        except (RuntimeError, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not a readable checkpoint, or altered: {error}") from error
        except Exception as error:  # torch raises pickle.UnpicklingError for anything but plain data
            raise ValueError(f"{path}: holds more than plain data and is not loaded: {error}") from error
        if not isinstance(found, dict) or DIGEST not in found:
            raise ValueError(f"{path}: not a checkpoint of flam-train, or of an older version: start anew")
        said = found.pop(DIGEST)
        if not mmap and said != digest(found):
            raise ValueError(
                f"{path}: altered since it was written: put another in its place (best.ckpt, or step-*.ckpt), or start "
                "anew with overwrite=true"
            )
        return found

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _full_disk(error: BaseException) -> OSError | None:
    """What the disk said where it had no room; None for other errors."""
    said = said_by_disk(error)
    return said if said is not None and said.errno in (*FULL, errno.EFBIG) else None


def not_written(trainer: Trainer) -> str:
    """Why the run's last checkpoint was not: the first rank writes, so all ask it. Called by all ranks."""
    found = trainer.strategy.checkpoint_io
    assert isinstance(found, AtomicCheckpointIO)
    return str(trainer.strategy.broadcast(found.failed))


def unended(loops: dict[str, Any]) -> None:
    """Turns the state of Lightning's loops after the end of a run into that after the same step in its midst."""
    run = loops["fit_loop"]
    if not run["epoch_loop.batch_progress"]["is_last_batch"] and not run["epoch_progress"]["current"]["processed"]:
        return
    run["epoch_loop.batch_progress"]["is_last_batch"] = False
    run["epoch_loop.state_dict"]["_batches_that_stepped"] = run["epoch_loop.batch_progress"]["total"]["ready"] - 1
    for kind in ("total", "current"):
        run["epoch_progress"][kind] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        batches = run["epoch_loop.batch_progress"][kind]
        batches["completed"] = batches["ready"] - 1  # as it is when the callbacks of a step save


class Checkpoints(Callback):
    """`last.ckpt` after every `every` steps, when the run stops on request and at its end; `best.ckpt` whenever
    `monitor` improves (if it is set); of every so many `hours` of training (if they are set) one as `step-*.ckpt`, of
    which the last `keep` stay (0: all).

    monitor: a logged validation metric; larger is better. patience: the run ends, on all ranks at the same step, after
    so many validations without a better one; the count is in the checkpoint, as are the last validation's values.

    A step that is validated is saved after that: a run that is killed in a validation does it when it goes on.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        monitor: str | None = None,
        hours: float | None = None,
        keep: int = 3,
        patience: int | None = None,
    ) -> None:
        self.folder, self.every, self.monitor = folder, every, monitor
        self.hours, self.keep, self.patience = hours, keep, patience
        self.best = float("-inf")
        self.stale = 0  # validations since the best one
        self.validation: dict[str, Any] = {}  # {"step", and what was logged then}
        self.saved_at = -1
        self.due = False  # after the validation that is coming
        self.trained = 0.0  # seconds since the last step-*.ckpt, over all parts of the run
        self._counted = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "trained": self.trained, "stale": self.stale, "validation": self.validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.trained = float(state_dict["best"]), float(state_dict["trained"])
        # Checkpoints of before have no more than these.
        self.stale, self.validation = state_dict.get("stale", 0), state_dict.get("validation", {})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        unended(checkpoint["loops"])  # it may go on behind the step at which it ended

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._counted = time.monotonic()
        self.saved_at = trainer.global_step
        step_R = gather_rows(torch.tensor([trainer.global_step], device=pl_module.device), [1] * world_size())
        if step_R.unique().numel() > 1:
            raise ValueError(
                f"{self.folder / LAST}: the ranks go on from different steps ({step_R.tolist()}): all nodes must see "
                "the same run folder"
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every == 0 or pl_module.health.stopping:  # type: ignore[union-attr]
            self.due = bool(pl_module.validation_metrics) and (
                trainer.global_step % int(trainer.val_check_batch or 1) == 0
                or trainer.global_step == pl_module.total_steps
            )
            if not self.due:
                self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if not_written(trainer):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / LAST))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = {k: float(v) for k, v in sorted(trainer.callback_metrics.items()) if k.startswith("val/")}
        self.validation = {"step": trainer.global_step, **logged}
        if self.monitor is not None:
            self._follow(trainer, self.monitor)
        if self.due:
            self.due = False
            self._save(trainer)

    def _follow(self, trainer: Trainer, monitor: str) -> None:
        if monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(k for k in trainer.callback_metrics if k.startswith("val/"))) or "none"
            raise ValueError(f"trainer.monitor: no metric {monitor!r} was logged; validation logs {known}")
        value = float(trainer.callback_metrics[monitor])
        if trainer.strategy.broadcast(value > self.best):
            before, self.best, self.stale = (self.best, self.stale), value, 0
            trainer.save_checkpoint(self.folder / BEST, weights_only=False)
            if not_written(trainer):
                self.best, self.stale = before
        else:
            self.stale += 1
            if self.patience is not None and self.stale >= self.patience:
                trainer.should_stop = True
                if trainer.is_global_zero:
                    why = f"{self.stale} validations without a better {monitor}"
                    print(f"the run ends at step {trainer.global_step}: {why}", file=sys.stderr)

    def _save(self, trainer: Trainer) -> None:
        if self.saved_at == trainer.global_step:
            return
        now = time.monotonic()
        self.trained, self._counted = self.trained + now - self._counted, now
        trained, due = self.trained, self.hours is not None and self.trained >= self.hours * 3600
        if due:
            self.trained = 0.0
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        self.saved_at = trainer.global_step
        if not_written(trainer):
            self.trained = trained
        elif due and trainer.is_global_zero:
            self._keep_one(trainer.global_step)

    def _keep_one(self, step: int) -> None:
        """The last checkpoint under a name of its own: no byte is written twice where the file system has links."""
        kept = self.folder / f"step-{step:08d}.ckpt"
        kept.unlink(missing_ok=True)
        try:
            os.link(self.folder / LAST, kept)
        except OSError:
            shutil.copyfile(self.folder / LAST, kept)
        older = sorted(self.folder.glob("step-*.ckpt"))
        for path in older[: -self.keep] if self.keep else ():
            path.unlink()

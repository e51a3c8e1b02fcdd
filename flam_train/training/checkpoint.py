"""Checkpoints for resuming: plain data, written whole or not at all, read without running code.

They are never read by inference or evaluation: those take the export folder (`checkpoints.export`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, flushes to disk and renames: whoever looks finds the old file or the new one.

    Lightning's own saver keeps the whole file in memory and may copy it across file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True, mmap: bool = False
    ) -> dict[str, Any]:
        """mmap: tensors are read only when they are used."""
        try:
            return torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
        except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not a readable checkpoint, or altered: {error}") from error
        except Exception as error:  # torch raises pickle.UnpicklingError for anything but plain data
            raise ValueError(f"{path}: holds more than plain data and is not loaded: {error}") from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpoints(Callback):
    """`last.ckpt` every `every` steps, when the run stops on request and at its end; `best.ckpt` whenever `monitor`
    improves (if it is set).

    monitor: a logged validation metric; larger is better.
    """

    def __init__(self, folder: Path, every: int, monitor: str | None = None):
        if every < 1:
            raise ValueError(f"trainer.checkpoint_every: {every} must be at least 1 step")
        self.folder, self.every, self.monitor = folder, every, monitor
        self.best = float("-inf")
        self.saved_at = -1

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = float(state_dict["best"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every == 0 or pl_module.stopping:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self.monitor is None:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(k for k in trainer.callback_metrics if k.startswith("val/"))) or "none"
            raise ValueError(f"trainer.monitor: no metric {self.monitor!r} was logged; validation logs {known}")
        value = float(trainer.callback_metrics[self.monitor])
        if trainer.strategy.broadcast(value > self.best):
            self.best = value
            trainer.save_checkpoint(self.folder / BEST, weights_only=False)
            if self.saved_at == trainer.global_step:
                # Lightning validates after the batch has ended: the last checkpoint of this step knows an older best,
                # and a run that goes on from it would put a worse one in its place.
                trainer.save_checkpoint(self.folder / LAST, weights_only=False)

    def _save(self, trainer: Trainer) -> None:
        if self.saved_at != trainer.global_step:
            trainer.save_checkpoint(self.folder / LAST, weights_only=False)
            self.saved_at = trainer.global_step

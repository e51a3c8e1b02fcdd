"""Checkpoints for resuming: plain data, written whole or not at all, read without running code.

They are never read by inference or evaluation: those take the export folder (`checkpoints.export`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

LAST, BEST = "last.ckpt", "best.ckpt"

DIGEST = "sha256"
"""The key of a checkpoint's digest in itself."""


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
            cause = _of_the_disk(error)
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
        except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
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


def digest(node: Any) -> str:
    """sha256 of plain data: of every number, text and tensor, and of how they lie in one another."""
    found = hashlib.sha256()

    def add(x: Any) -> None:
        if isinstance(x, Tensor):
            x = x.detach().cpu().contiguous()
            found.update(f"tensor {x.dtype} {tuple(x.shape)} ".encode())
            found.update(x.view(-1).view(torch.uint8).numpy().data)
        elif isinstance(x, dict):
            found.update(f"dict {len(x)} ".encode())
            for key, value in x.items():
                add(key)
                add(value)
        elif isinstance(x, (list, tuple)):
            found.update(f"{len(x)} in order ".encode())
            for value in x:
                add(value)
        else:
            text = repr(x).encode()
            found.update(f"{type(x).__name__} {len(text)} ".encode() + text)

    add(node)
    return found.hexdigest()


def _of_the_disk(error: BaseException | None) -> OSError | None:
    """What the disk said: torch's writer ends with an error of its own after that."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


class Checkpoints(Callback):
    """`last.ckpt` every `every` steps, when the run stops on request and at its end; `best.ckpt` whenever `monitor`
    improves (if it is set); of every so many `hours` of training (if they are set) one as `step-*.ckpt`, of which the
    last `keep` stay (0: all).

    monitor: a logged validation metric; larger is better.
    """

    def __init__(self, folder: Path, every: int, monitor: str | None = None, hours: float | None = None, keep: int = 3):
        self.folder, self.every, self.monitor = folder, every, monitor
        self.hours, self.keep = hours, keep
        self.best = float("-inf")
        self.saved_at = -1
        self.trained = 0.0  # seconds since the last step-*.ckpt, over all parts of the run
        self._counted = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "trained": self.trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.trained = float(state_dict["best"]), float(state_dict["trained"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._counted = time.monotonic()

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
        if self.saved_at == trainer.global_step:
            return
        now = time.monotonic()
        self.trained, self._counted = self.trained + now - self._counted, now
        due = self.hours is not None and self.trained >= self.hours * 3600
        if due:
            self.trained = 0.0
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        self.saved_at = trainer.global_step
        if due and trainer.is_global_zero and not getattr(trainer.strategy.checkpoint_io, "failed", ""):
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

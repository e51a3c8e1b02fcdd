"""A line that says how the run goes: step, losses, clips/s, share of time waiting for data, time left."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


def clock(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class Progress(Callback):
    """Rewrites one line on a terminal; elsewhere (a SLURM log) prints one every `seconds`.

    Also logs `speed/clips_per_s` and `speed/data_wait`, the share of the time since the last report in which the loop
    stood waiting for a batch.
    """

    def __init__(self, clips_per_step: int, total_steps: int, seconds: float = 10.0):
        self.clips_per_step, self.total_steps, self.seconds = clips_per_step, total_steps, seconds
        self._since = self._batch_ended = self._fit_started = self._validation_began = 0.0
        self._steps, self._waited = 0, 0.0
        self._first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = time.monotonic()
        self._since = self._batch_ended = self._fit_started = now
        self._steps, self._waited, self._first_step = 0, 0.0, trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch, batch_idx) -> None:
        self._waited += time.monotonic() - self._batch_ended

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = {k: float(v) for k, v in sorted(trainer.callback_metrics.items()) if k.startswith("val/")}
        if trainer.is_global_zero and found:
            start = "\r\x1b[K" if sys.stderr.isatty() else ""
            values = "  ".join(f"{k.removeprefix('val/')} {v:.4f}" for k, v in found.items())
            print(f"{start}validation at step {trainer.global_step}: {values}", file=sys.stderr, flush=True)
        # Validation runs between two batches: it is no waiting for data, and no time in which clips are trained on.
        self._batch_ended = time.monotonic()
        self._since += self._batch_ended - self._validation_began

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        self._steps += 1
        now = time.monotonic()
        self._batch_ended = now
        total = self.total_steps
        terminal = sys.stderr.isatty()
        last = trainer.global_step >= total
        if not last and now - self._since < (0.5 if terminal else self.seconds) and trainer.global_step > 1:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
            now = self._batch_ended = time.monotonic()
        elapsed = max(now - self._since, 1e-9)
        speed, wait = self._steps * self.clips_per_step / elapsed, self._waited / elapsed
        for logger in trainer.loggers:
            logger.log_metrics({"speed/clips_per_s": speed, "speed/data_wait": wait}, step=trainer.global_step - 1)
        if trainer.is_global_zero:
            done = trainer.global_step - self._first_step
            left = (now - self._fit_started) / max(done, 1) * (total - trainer.global_step)
            curves: dict[str, Any] = pl_module.curves  # type: ignore[assignment]
            losses = " ".join(
                f"{name.split('/')[1]} {float(value):.4f}"
                for name, value in sorted(curves.items())
                if name.startswith("loss/")
            )
            line = (
                f"step {trainer.global_step}/{total}  {losses}  {speed:.1f} clips/s  "
                f"data wait {wait:.0%}  left {clock(left)}"
            )
            sys.stderr.write(f"\r\x1b[K{line}" if terminal else f"{line}\n")
            if terminal and last:
                sys.stderr.write("\n")
            sys.stderr.flush()
        self._since, self._steps, self._waited = now, 0, 0.0

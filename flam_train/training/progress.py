"""A line that says how the run goes: step, losses, clips/s, share of time waiting for data, time left."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

WARM_UP = 5
"""Steps of a process that tell nothing of the next ones: workers start, kernels are chosen and compiled."""


def clock(seconds: float | None) -> str:
    """hours:minutes:seconds, "?" where it is not known."""
    if seconds is None:
        return "?"
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class TimeLeft:
    """How many seconds a run still takes, from the steps of this process after WARM_UP, and from its validations.

    Times are those of one clock, in seconds; steps are counted from the run's beginning, also where it goes on.
    """

    def __init__(self, total_steps: int, validate_every: int):
        self.total_steps, self.validate_every = total_steps, min(validate_every, total_steps)
        self.begin(0)

    def begin(self, step: int) -> None:
        """This process starts behind `step`."""
        self._warm = step + WARM_UP
        self._warm_at = 0.0
        self._validations, self._validating = 0, 0.0

    def stepped(self, step: int, now: float) -> None:
        """To be told of the end of every step."""
        if step == self._warm:
            self._warm_at = now

    def validated(self, seconds: float) -> None:
        """A validation took so long: no part of the time that steps take."""
        self._warm_at += seconds
        self._validations += 1
        self._validating += seconds

    def after(self, step: int, now: float) -> float | None:
        """At the end of a step, before the validation that may follow it; None while no step counts.

        How long a validation takes is not known before the first: until then those to come are left out.
        """
        to_come = self._validations_until(self.total_steps) - self._validations_until(step - 1)
        validating = to_come * self._validating / max(self._validations, 1)
        if step >= self.total_steps:
            return validating
        if step <= self._warm:
            return None
        return (now - self._warm_at) / (step - self._warm) * (self.total_steps - step) + validating

    def _validations_until(self, step: int) -> int:
        """The last step is always validated."""
        return step // self.validate_every + int(step == self.total_steps and step % self.validate_every > 0)


class Progress(Callback):
    """Rewrites one line on a terminal; elsewhere (a SLURM log) prints one every `seconds`.

    Also logs `speed/clips_per_s` and `speed/data_wait`, the share of the time since the last report in which the loop
    stood waiting for a batch.
    """

    def __init__(self, clips_per_step: int, total_steps: int, validate_every: int, seconds: float = 10.0):
        self.clips_per_step, self.total_steps, self.seconds = clips_per_step, total_steps, seconds
        self._time_left = TimeLeft(total_steps, validate_every)
        self._since = self._batch_ended = self._validation_began = 0.0
        self._steps, self._waited = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = self._batch_ended = time.monotonic()
        self._steps, self._waited = 0, 0.0
        self._time_left.begin(trainer.global_step)

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
        took = self._batch_ended - self._validation_began
        self._since += took
        self._time_left.validated(took)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        self._steps += 1
        now = self._batch_ended = time.monotonic()
        self._time_left.stepped(trainer.global_step, now)
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
            curves: dict[str, Any] = pl_module.curves  # type: ignore[assignment]
            losses = " ".join(
                f"{name.split('/')[1]} {float(value):.4f}"
                for name, value in sorted(curves.items())
                if name.startswith("loss/")
            )
            line = (
                f"step {trainer.global_step}/{total}  {losses}  {speed:.1f} clips/s  "
                f"data wait {wait:.0%}  left {clock(self._time_left.after(trainer.global_step, now))}"
            )
            sys.stderr.write(f"\r\x1b[K{line}" if terminal else f"{line}\n")
            if terminal and last:
                sys.stderr.write("\n")
            sys.stderr.flush()
        self._since, self._steps, self._waited = now, 0, 0.0

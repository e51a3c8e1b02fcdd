"""`trainer.profile`: what the first steps of a run take their time with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile, record_function

from flam_train.training.progress import WARM_UP

FOLDER = "profile"
"""Of the run folder."""

ROWS = 40
"""Operations in the table."""


class Profile(Callback):
    """Records `steps` steps of the first rank after the first WARM_UP of this part of the run; then the run goes on.

    Writes `profile/step-*.json.gz`, a Chrome trace, and `profile/step-*.txt`, the operations that take the most time.
    A step's forward pass, backward pass and optimiser, and what lies between two steps (waiting for data, logging,
    checkpoints, validation), are ranges of these names. A part of a run that ends before them leaves what it has.
    To stand before all other callbacks, so that what they do at a step's end lies between the steps.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder / FOLDER, steps
        self._profile: profile | None = None
        self._from = 0
        self._range: record_function | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._from = trainer.global_step + WARM_UP

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch, batch_idx) -> None:
        if trainer.global_step == self._from and trainer.is_global_zero:
            devices = {ProfilerActivity.CPU}
            devices |= {ProfilerActivity.CUDA} if pl_module.device.type == "cuda" else set()
            self._profile = profile(activities=devices)
            self._profile.start()
        self._enter("forward")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss) -> None:
        self._enter("backward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._enter("optimizer")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        if self._profile is not None and trainer.global_step == self._from + self.steps:
            self._write(trainer, pl_module)
        self._enter("between steps")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._profile is not None:
            self._write(trainer, pl_module)
        elif trainer.is_global_zero and trainer.global_step <= self._from:
            print(
                f"trainer.profile={self.steps}: nothing was recorded, {WARM_UP} steps go before it and the run ended",
                file=sys.stderr,
            )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._profile is not None:
            self._enter(None)
            self._profile.stop()
            self._profile = None

    def _enter(self, name: str | None) -> None:
        """The range before it ends; None: no other begins."""
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None
        if self._profile is not None and name is not None:
            self._range = record_function(name)
            self._range.__enter__()

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._profile is not None
        self._enter(None)
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self._profile.stop()
        found, self._profile = self._profile, None
        trace = self.folder / f"step-{self._from:08d}.json.gz"
        by = "self_cuda_time_total" if pl_module.device.type == "cuda" else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=by, row_limit=ROWS, max_name_column_width=60)
        head = f"steps {self._from + 1} to {trainer.global_step} of the run, on rank 0, by {by}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            found.export_chrome_trace(str(trace))
            trace.with_name(f"step-{self._from:08d}.txt").write_text(f"{head}\n{table}\n")
        except OSError as error:
            print(f"\nprofile {trace}: not written ({error.strerror}): the run goes on", file=sys.stderr)
            return
        print(f"\nprofile {trace}: open it in https://ui.perfetto.dev or chrome://tracing", file=sys.stderr)

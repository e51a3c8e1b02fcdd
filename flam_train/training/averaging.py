"""A running mean of the weights (`optim.ema`): what is validated and exported, while the weights learn on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from flam_train.checkpoints.run_checkpoint import AVERAGE


class WeightAverage:
    """Exponential moving averages of the parameters, also of those that do not learn yet; buffers have none.

    After step s (from 0) average += (1 - d) (weight - average), with d = min(decay, (1 + s) / (10 + s)): so that the
    first weights are soon forgotten. The same on all ranks, as the weights are; in the weights' own type.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        """parameters: by name, with the weights that the averages begin at."""
        self.decay, named = decay, list(parameters)
        self.names, self.weights = [name for name, _ in named], [p for _, p in named]
        self.averages = [p.detach().clone() for p in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.weights], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Puts the averages where the weights are, and the weights where the averages were; twice: as before."""
        for weight, average in zip(self.weights, self.averages, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.averages, strict=True))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Of the same parameters."""
        for name, average in zip(self.names, self.averages, strict=True):
            average.copy_(state[name])


class Averaging(Callback):
    """Keeps a `WeightAverage` in every checkpoint, and lets it be validated. To stand before what saves checkpoints."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: WeightAverage | None = None
        self._before: dict[str, Tensor] = {}  # of the checkpoint that is gone on from

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._before = checkpoint.get(AVERAGE, {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.average = WeightAverage(pl_module.named_parameters(), self.decay)
        if self._before:
            self.average.load_state_dict(self._before)
            self._before = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        if self.average is not None:
            self.average.update(trainer.global_step - 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.average is not None:
            self.average.swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_validation_start(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.average is not None:
            checkpoint[AVERAGE] = self.average.state_dict()

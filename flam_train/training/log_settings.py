"""What wandb and TensorBoard are told of a run's settings."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from flam_train.training.configuration import flat

SECRET = re.compile(r"(^|_)(api_?key|key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
"""Names of settings whose values nobody else is to see."""


def without_secrets(node: Any) -> Any:
    """Plain data, without what would let others in: the user, password and query of URLs, and values that are named
    like secrets."""
    if isinstance(node, dict):
        return {k: "***" if v is not None and SECRET.search(str(k)) else without_secrets(v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return [without_secrets(one) for one in node]
    if isinstance(node, str) and "://" in node:
        scheme, rest = node.split("://", 1)
        place, _, _ = rest.partition("?")
        host, slash, path = place.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return node


class LogSettings(Callback):
    """Tells wandb and TensorBoard all settings as they were resolved, whenever a part of the run begins: of what was
    changed on the way each part's stand at its first step.

    wandb's config is nested and keeps types; where the run goes on, what is new stands there. TensorBoard has a table
    of them under TEXT and, to compare runs by, under HPARAMS, which shows a run with what it had at its beginning.

    conf: plain data. curves: names of numbers that HPARAMS sets beside the settings.
    """

    def __init__(self, conf: dict[str, Any], curves: Sequence[str]) -> None:
        self.conf, self.curves = without_secrets(conf), list(curves)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(self.conf)
            if isinstance(logger, TensorBoardLogger):
                self._tell_tensorboard(logger.experiment, trainer.global_step)

    def _tell_tensorboard(self, writer: SummaryWriter, step: int) -> None:
        settings = flat(self.conf)
        rows = [f"| `{key}` | `{_said(value)}` |" for key, value in settings.items()]
        writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), step)
        plain = {key: value if type(value) in (int, float, bool) else _said(value) for key, value in settings.items()}
        for summary in hparams(plain, dict.fromkeys(self.curves, 0.0)):
            writer._get_file_writer().add_summary(summary)


def _said(value: Any) -> str:
    """On one line, between the backquotes of a table's cell."""
    return (value if isinstance(value, str) and value else json.dumps(value)).replace("`", "'").replace("\n", " ")

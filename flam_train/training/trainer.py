"""Where and how a run goes: the Trainer, the processes it belongs to, what it keeps quiet about."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from flam_train.settings import MOST_STEPS, setting, settle
from flam_train.training.fault_tolerance.checkpoint import AtomicCheckpointIO, Checkpoints
from flam_train.training.fault_tolerance.interrupt import StopOnRequest
from flam_train.training.fault_tolerance.watch import Watch
from flam_train.training.loggers import LogSteps
from flam_train.training.profiling import Profile
from flam_train.training.progress import Progress

YEAR = 365 * 24 * 3600
"""Seconds."""

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "64-true")


SRUN = ".*The `srun` command is available on your system but is not used.*"


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how it runs."""

    accelerator: str = setting("auto", "auto: a GPU if there is one", choices=("auto", "cpu", "gpu"))
    devices: int | str = setting(
        "auto", "of each node; auto: what torchrun or SLURM started, else one", least=1, most=1024, choices=("auto",)
    )
    nodes: int | str = setting("auto", "likewise", least=1, most=100_000, choices=("auto",))
    precision: str = setting("auto", "auto is bf16-mixed on a GPU and 32-true on a CPU", choices=PRECISIONS)
    validate_every: int = setting(1000, "steps between two validations", least=1, most=MOST_STEPS)
    checkpoint_every: int = setting(1000, "steps between two checkpoints", least=1, most=MOST_STEPS)
    log_every: int = setting(10, "steps between two points of a curve", least=1, most=MOST_STEPS)
    monitor: str | None = setting(None, "the validation metric that `best.ckpt` follows")
    patience: int | None = setting(
        None, "validations without a better `monitor` after which the run ends; null: never", least=1, most=MOST_STEPS
    )
    keep_hours: float | None = setting(
        None, "of every so many hours of training a checkpoint stays as `step-*.ckpt`", least=0, most=YEAR / 3600
    )
    keep: int = setting(3, "how many of these stay, the last ones; 0: all", least=0, most=MOST_STEPS)
    hang_seconds: float = setting(
        900.0,
        "several processes stop when on none of them anything has moved for so long; 0: never",
        least=0,
        most=YEAR,
    )
    requeue: bool = setting(True, "on SIGUSR1 a SLURM job is put back into the queue")
    compile: bool = setting(False, "torch.compile on the audio encoder")
    progress_seconds: float = setting(10.0, "between two lines where there is no terminal", least=0, most=YEAR)
    pictures: int = setting(
        3,
        "at each validation of each corpus: clips that show where labels are heard, and captions that show which clips "
        "they find; 0: none",
        least=0,
        most=12,
    )
    profile: int = setting(
        0,
        "steps of this part of the run whose trace is written into `profile/` of the run folder; 0: none",
        least=0,
        most=1000,
    )

    def __post_init__(self) -> None:
        settle(self, "trainer")
        if self.patience is not None and self.monitor is None:
            raise ValueError(
                f"trainer.patience={self.patience}: with what? Set trainer.monitor, as val/NAME/auroc_macro"
            )
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError(
                "trainer.accelerator=gpu, but torch sees no GPU here: check the driver and CUDA_VISIBLE_DEVICES, "
                "or set it to cpu"
            )


def build_trainer(
    config: TrainerConfig,
    folder: Path,
    steps: int,
    clips: int,
    loggers: list[Logger],
    callbacks: Sequence[pl.Callback] = (),
) -> pl.Trainer:
    """A Trainer whose single epoch is the run: positions never restart, so neither does anything else.

    clips: of a step, over all ranks.
    """
    gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    devices, nodes = launch_shape(config)
    if gpu:
        torch.set_float32_matmul_precision("high")
    distributed = devices * nodes > 1
    # Who hangs is to be named by `Watch` before all the others give up.
    patience = timedelta(seconds=max(1800.0, 2 * config.hang_seconds))
    # Lightning's own requeueing looks for its checkpoint in another folder.
    plugins: list[Any] = [AtomicCheckpointIO()]
    if under_slurm() and "TORCHELASTIC_RUN_ID" not in os.environ:
        plugins.append(SLURMEnvironment(auto_requeue=False))
    trainer = pl.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=devices,
        num_nodes=nodes,
        # Buffers are equal on all ranks by construction (bn0 sums over them): nothing to broadcast each step.
        strategy=DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True, timeout=patience)
        if distributed
        else "auto",
        precision=precision(config, gpu),  # type: ignore[arg-type]
        max_epochs=1,
        max_steps=steps,
        limit_train_batches=steps,
        val_check_interval=min(config.validate_every, steps),
        num_sanity_val_steps=0,
        logger=loggers,
        callbacks=[
            *([Profile(folder, config.profile)] if config.profile else []),
            *callbacks,
            Watch(folder, config.hang_seconds),
            LogSteps(config.log_every),
            Checkpoints(
                folder, config.checkpoint_every, config.monitor, config.keep_hours, config.keep, config.patience
            ),
            # After it: writing a checkpoint is no waiting for data.
            Progress(clips, steps, config.validate_every, config.progress_seconds),
            StopOnRequest(),
        ],
        plugins=plugins,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(folder),
    )
    # Its handler of SIGTERM begins a collective in the midst of whatever is going on: requests are interrupt.py's.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    validates_the_end(trainer, steps)
    # With it goes a broadcast in every step, which waits for the device.
    assert hasattr(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor")
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer


def validates_the_end(trainer: pl.Trainer, steps: int) -> None:
    """Lightning validates every so many steps; the last one is to be validated too."""
    loop = trainer.fit_loop.epoch_loop
    due = loop._should_check_val_fx

    def due_or_last(data_fetcher: Any) -> bool:
        return due(data_fetcher) or (trainer.enable_validation and loop.batch_progress.current.ready == steps)

    loop._should_check_val_fx = due_or_last  # type: ignore[method-assign]


def precision(config: TrainerConfig, gpu: bool) -> str:
    """For Lightning. 64-true it would make of the batch too, which is int16 and not its to change: `build` makes the
    module float64, and all else follows from that."""
    if config.precision == "auto":
        return "bf16-mixed" if gpu else "32-true"
    return "32-true" if config.precision == "64-true" else config.precision


def launch_shape(config: TrainerConfig) -> tuple[int, int]:
    """(devices of each node, nodes): as configured, else what torchrun or srun started, else one."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        local = int(env["LOCAL_WORLD_SIZE"])
        started = local, int(env["WORLD_SIZE"]) // local
    elif under_slurm():
        nodes = int(env.get("SLURM_NNODES", 1))
        started = int(env["SLURM_NTASKS"]) // nodes, nodes
    else:
        started = 1, 1
    devices = started[0] if config.devices == "auto" else int(config.devices)
    return devices, started[1] if config.nodes == "auto" else int(config.nodes)


def under_slurm() -> bool:
    """Whether srun has started this process. Lightning warns where it has not, and could have: it is no mistake."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=SRUN)
        return SLURMEnvironment.detect()


def quiet() -> None:
    """Keeps from the screen what Lightning says to those who did not mean it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*module\\(s\\) in eval mode at the start of training.*",  # frozen parts, on purpose
        ".*does not have many workers.*",  # validation runs in the main process, see datamodule.py
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's own
        ".*`broadcast_buffers` is deprecated.*",  # its successor is newer than the oldest torch we run on
        SRUN,
        ".*is smaller than the logging interval.*",
        ".*``compute`` method of metric.*before the ``update``.*",  # a validation corpus may have no captions
        ".*sync_dist=True.*",  # validation metrics are those of all ranks when they are logged
        ".*Total length of `list` across ranks is zero.*",  # no validation corpora were given
        ".*resuming from a checkpoint that ended before the epoch ended.*",  # exact here, see data/stream/order.py
    ):
        warnings.filterwarnings("ignore", message=message)


def is_first_process() -> bool:
    """Of the run, before a Trainer exists: by torchrun's rank, SLURM's, or what Lightning tells those it starts."""
    env = os.environ
    if "RANK" in env:
        return env["RANK"] == "0"
    if under_slurm():
        return env["SLURM_PROCID"] == "0"
    return env.get("NODE_RANK", "0") == env.get("LOCAL_RANK", "0") == "0"

"""One training run, from a configuration of plain data to an export."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from flam_train.checkpoints.export import save_export
from flam_train.checkpoints.initial import initialise
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.plotting import curves_figure, save_figure
from flam_train.settings import from_plain, nearest, number, one_of
from flam_train.training.checkpoint import LAST, AtomicCheckpointIO, Checkpoints
from flam_train.training.datamodule import DataConfig, DataModule
from flam_train.training.interrupt import StopOnRequest, ctrl_c_is_a_request
from flam_train.training.loggers import METRICS, build_loggers
from flam_train.training.module import FLAMModule, LossConfig
from flam_train.training.optim import PARTS, OptimConfig, freeze, part_of
from flam_train.training.progress import Progress
from flam_train.training.validation import CorpusValidation

CONFIG = "config.yaml"

SECTIONS = (
    "name", "run_dir", "shards", "seed", "steps", "init", "overwrite", "global_batch", "frame_batch",
    "model", "text", "data", "loss", "optim", "trainer", "logger",
)  # fmt: skip
"""The top level of the configuration."""

FREE = (
    "trainer.", "logger.", "overwrite", "data.workers", "data.prefetch", "data.verify", "data.validation_batch",
    "data.cache_",
)  # fmt: skip
"""Keys that may change when a run goes on: they change neither the samples nor the weights."""


PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how it runs.

    accelerator: auto, cpu or gpu. devices: of each node; auto: what torchrun or SLURM started, else one. precision:
    auto is bf16-mixed on a GPU and 32-true on a CPU. validate_every, checkpoint_every, log_every: steps. monitor: the
    validation metric that `best.ckpt` follows. compile: torch.compile on the audio encoder.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int | str = "auto"
    precision: str = "auto"
    validate_every: int = 1000
    checkpoint_every: int = 1000
    log_every: int = 10
    monitor: str | None = None
    compile: bool = False
    progress_seconds: float = 10.0

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        one_of("trainer.precision", self.precision, PRECISIONS)
        for key in ("validate_every", "checkpoint_every", "log_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"trainer.{key}: {getattr(self, key)} must be at least 1 step")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError(
                "trainer.accelerator=gpu, but torch sees no GPU here: check the driver and CUDA_VISIBLE_DEVICES, "
                "or set it to cpu"
            )


@dataclass(frozen=True)
class Run:
    """A configuration, built: everything that a trainer or a dry run needs."""

    conf: dict[str, Any]
    folder: Path
    module: FLAMModule
    data: DataModule
    trainer: TrainerConfig
    fresh: list[str]


def build(conf: dict[str, Any]) -> Run:
    """Builds model, losses and data. Raises ValueError with the key and the fix for anything that does not fit."""
    for key in conf:
        if key not in SECTIONS:
            raise ValueError(f"unknown key {key!r}: {nearest(key, SECTIONS)}")
    steps, seed = number("steps", conf["steps"], "int"), number("seed", conf["seed"], "int")
    if steps < 1:
        raise ValueError(f"steps={steps}: a run needs at least one step")
    loss, optim = from_plain(LossConfig, "loss", conf["loss"]), from_plain(OptimConfig, "optim", conf["optim"])
    trainer = from_plain(TrainerConfig, "trainer", conf["trainer"])
    pl.seed_everything(seed, verbose=False)
    model = FLAM(FLAMConfig.from_dict({**conf["model"], "text": conf["text"]}))
    fresh = initialise(model, conf["init"]) if conf.get("init") else []
    settings = dict(conf["data"])
    data_config = from_plain(
        DataConfig,
        "data",
        {
            **{k: v for k, v in settings.items() if k not in ("global", "frame")},
            "captions": settings.get("global") or {},
            "frames": settings.get("frame") or {},
            "global_batch": conf["global_batch"],
            "frame_batch": conf["frame_batch"],
        },
    )
    assert model.tokenizer is not None
    data = DataModule(data_config, model.tokenizer, model.grid, steps, seed)
    # Without the frame losses the phrase heads get no gradient, without the global loss its temperature none.
    unused = [] if data.events else ["scale_head", "bias_head"]
    unused += [] if data.captions else ["logit_scale"]
    freeze(model, optim, tuple(unused))
    module = FLAMModule(model, loss, optim, steps, seed, data.load_memory())
    for name, corpus in data.validation.items():
        module.validation_metrics[name] = CorpusValidation(corpus, model.grid, model.config.embedding)
    if trainer.monitor is not None:
        metrics = ("auroc_macro", "auroc_micro", "text_to_audio_R@1", "audio_to_text_R@1")
        one_of("trainer.monitor", trainer.monitor, [f"val/{name}/{m}" for name in data.validation for m in metrics])
    return Run(conf, Path(conf["run_dir"]), module, data, trainer, fresh)


def describe(run: Run) -> str:
    """What will be trained, in a few lines."""
    model, optim = run.module.model, run.module.optim
    lines = []
    for part in PARTS:
        mine = [(n, p) for n, p in model.named_parameters() if part_of(n) == part]
        total = sum(p.numel() for _, p in mine)
        learns = sum(p.numel() for _, p in mine if p.requires_grad)
        rate = f"lr {optim.lr * optim.lr_scale.get(part, 1.0):g}" if learns else "frozen"
        lines.append(f"  {part:6s} {learns:>12,} of {total:>12,} parameters learn, {rate}")
    for stream in (run.data.captions, run.data.events):
        if stream is not None:
            corpora = ", ".join(f"{s.name} ({int(s.shard_sizes.sum()):,} clips)" for s in stream.sources)
            lines.append(f"  {stream.name:6s} {stream.batch} clips a step from {corpora}")
    if run.fresh:
        lines.append(
            f"  fresh  {', '.join(sorted({n.split('.', 1)[0] for n in run.fresh}))} (not in {run.conf['init']})"
        )
    return "\n".join(lines)


def train(conf: dict[str, Any]) -> Path:
    """Trains, or goes on where the run folder's last.ckpt stopped; returns the export's folder.

    Raises ValueError where the folder holds a run of another configuration.
    """
    folder = Path(conf["run_dir"])
    last = folder / LAST
    if conf["overwrite"]:
        # Only a folder that a run wrote; the other ranks do not look at what is being removed.
        if _global_rank() == 0 and (folder / CONFIG).is_file():
            shutil.rmtree(folder)
        resumed = 0
    else:
        resumed = AtomicCheckpointIO().load_checkpoint(last, mmap=True)["global_step"] if last.is_file() else 0
    if resumed:
        check_same(folder / CONFIG, conf)
    if resumed >= int(conf["steps"]) and (folder / "export").is_dir():
        print(f"run folder {folder}: all {resumed} steps are done; overwrite=true starts anew", file=sys.stderr)
        return folder / "export"
    run = build(conf)
    _quiet()
    trainer = build_trainer(run, resumed)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{CONFIG}"
        draft.write_text(yaml.safe_dump(conf, sort_keys=False))
        os.replace(draft, folder / CONFIG)
        print(f"run folder {folder}" + (f", going on at step {resumed}" if resumed else ""), file=sys.stderr)
        print(describe(run), file=sys.stderr)
    with ctrl_c_is_a_request(run.module):
        trainer.fit(run.module, datamodule=run.data, ckpt_path=str(last) if resumed else None)
    export = folder / "export"
    if trainer.is_global_zero:
        save_export(
            run.module.model,
            export,
            {"run": conf["name"], "steps": int(trainer.global_step), "seed": int(conf["seed"]), "config": conf},
        )
        save_figure(curves_figure(folder / METRICS), folder / "curves.png")
        print(f"export  {export}\ncurves  {folder / 'curves.png'}", file=sys.stderr)
    trainer.strategy.barrier()
    return export


def check_same(path: Path, conf: dict[str, Any]) -> None:
    """A run goes on with the configuration it began with."""
    before = yaml.safe_load(path.read_text()) if path.is_file() else {}
    was, now = flat(before), flat(conf)
    changed = [
        f"{key} was {was.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(set(was) | set(now))
        if not key.startswith(FREE) and was.get(key) != now.get(key)
    ]
    if changed:
        raise ValueError(
            f"{path.parent} holds a run with other settings ({'; '.join(changed)}): give another run_dir or name, "
            "go on with the same settings, or start anew with overwrite=true"
        )


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    out: dict[str, Any] = {}
    for key, value in node.items():
        out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out


def build_trainer(run: Run, resumed: int = 0) -> pl.Trainer:
    """A Trainer whose single epoch is the run: positions never restart, so neither does anything else."""
    config, steps = run.trainer, run.module.total_steps
    gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    devices, nodes = launch_shape(config)
    if gpu:
        torch.set_float32_matmul_precision("high")
    if config.compile:
        run.module.model.audio.compile()
    distributed = devices * nodes > 1
    # SLURM's own requeueing looks for a checkpoint where there is none: see slurm/README.md.
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect() and "TORCHELASTIC_RUN_ID" not in os.environ:
        plugins.append(SLURMEnvironment(auto_requeue=False))
    clips = run.data.config.global_batch + run.data.config.frame_batch
    return pl.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=devices,
        num_nodes=nodes,
        # Buffers are equal on all ranks by construction (bn0 sums over them): nothing to broadcast each step.
        strategy=DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True) if distributed else "auto",
        precision=("bf16-mixed" if gpu else "32-true") if config.precision == "auto" else config.precision,  # type: ignore[arg-type]
        max_epochs=1,
        max_steps=steps,
        limit_train_batches=steps,
        val_check_interval=min(config.validate_every, steps),
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every,
        logger=build_loggers(run.conf["logger"], run.folder, run.conf["name"], resumed),
        callbacks=[
            Checkpoints(run.folder, config.checkpoint_every, config.monitor),
            Progress(clips, steps, config.progress_seconds),
            StopOnRequest(),
        ],
        plugins=plugins,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(run.folder),
    )


def launch_shape(config: TrainerConfig) -> tuple[int, int]:
    """(devices of each node, nodes): as configured, else what torchrun or srun started, else one."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        local = int(env["LOCAL_WORLD_SIZE"])
        started = local, int(env["WORLD_SIZE"]) // local
    elif SLURMEnvironment.detect():
        nodes = int(env.get("SLURM_NNODES", 1))
        started = int(env["SLURM_NTASKS"]) // nodes, nodes
    else:
        started = 1, 1
    devices = started[0] if config.devices == "auto" else int(config.devices)
    return devices, started[1] if config.nodes == "auto" else int(config.nodes)


def _quiet() -> None:
    """Keeps from the screen what Lightning says to those who did not mean it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*module\\(s\\) in eval mode at the start of training.*",  # frozen parts, on purpose
        ".*does not have many workers.*",  # validation runs in the main process, see datamodule.py
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's own
        ".*`broadcast_buffers` is deprecated.*",  # its successor is newer than the oldest torch we run on
        ".*The `srun` command is available on your system but is not used.*",
        ".*is smaller than the logging interval.*",
        ".*sync_dist=True.*",  # validation metrics are those of all ranks when they are logged
        ".*Total length of `list` across ranks is zero.*",  # no validation corpora were given
        ".*resuming from a checkpoint that ended before the epoch ended.*",  # exact here, see data/order.py
    ):
        warnings.filterwarnings("ignore", message=message)


def _global_rank() -> int:
    """Before a Trainer exists: torchrun's rank, SLURM's, or that of a process that Lightning itself started."""
    env = os.environ
    if "RANK" in env:
        return int(env["RANK"])
    if SLURMEnvironment.detect():
        return int(env["SLURM_PROCID"])
    return int(env.get("NODE_RANK", 0)) + int(env.get("LOCAL_RANK", 0))

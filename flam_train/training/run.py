"""One training run, from a configuration of plain data to an export."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from lightning.pytorch import Callback

from flam_train.checkpoints import initial
from flam_train.checkpoints.conversion import Table
from flam_train.checkpoints.export import save_export
from flam_train.data.stream.clips import ShardSource, Source
from flam_train.data.stream.server import start_server
from flam_train.disk import check_writable
from flam_train.models.flam import FLAM
from flam_train.plotting import curves_figure, save_figure
from flam_train.training.configuration import CONFIG, Config, check_same
from flam_train.training.datamodule import WORKERS_NEED, DataModule
from flam_train.training.fault_tolerance.checkpoint import LAST, AtomicCheckpointIO, not_written
from flam_train.training.fault_tolerance.interrupt import SCHEDULERS, StopRequested, signals_are_requests, start_deaf
from flam_train.training.fault_tolerance.lock import LOCK, OwnFolder, RunLock
from flam_train.training.fault_tolerance.requeue import requeue
from flam_train.training.layers import PARTS, depths, is_meant, part_of
from flam_train.training.loggers import METRICS, SteppedWandbLogger, build_loggers
from flam_train.training.module import FLAMModule, Requests, StepFailed
from flam_train.training.optim import freeze, rate
from flam_train.training.trainer import build_trainer, is_first_process, quiet
from flam_train.training.validation import CorpusValidation, check_monitor


@dataclass(frozen=True)
class Run:
    """A configuration, built: everything that a trainer or a dry run needs."""

    conf: dict[str, Any]
    config: Config
    folder: Path
    module: FLAMModule
    data: DataModule
    started: Table | None


def build(conf: dict[str, Any]) -> Run:
    """Builds model, losses and data. Raises ValueError with the key and the fix for anything that does not fit."""
    config = Config.read(conf)
    pl.seed_everything(config.seed, verbose=False)
    model = initial.build(config.model, config.text, config.init)
    started = initial.initialise(model, config.init) if config.init else None
    assert model.tokenizer is not None
    data = DataModule(config.data, model.tokenizer, model.grid, config.steps, config.seed)
    if data.events and not model.config.phrase_logits:
        raise ValueError(
            f"frame_batch={config.data.frame_batch}: a model without phrase_scale and phrase_bias is trained by the "
            "global loss alone and scored by cosine: set frame_batch=0"
        )
    # Without the frame losses the phrase heads get no gradient, without the global loss its temperature none.
    unused = [] if data.events else ["scale_head", "bias_head"]
    unused += [] if data.captions else ["logit_scale"]
    # A codebook takes the tokens: only phrase heads would want the pooled vector beside them.
    heads = "phrase" in (model.config.phrase_scale, model.config.phrase_bias) and data.events
    unused += ["text.model.pooler"] if model.codebook is not None and not heads else []
    freeze(model, config.optim, tuple(unused), untrained(model, started))
    memory_N, accumulate = data.load_memory(), config.data.accumulate
    module = FLAMModule(model, config.loss, config.optim, config.steps, config.seed, memory_N, accumulate)
    if config.trainer.precision == "64-true":
        module.double()
    metrics = {n: CorpusValidation(corpus, model.grid, model.config.embedding) for n, corpus in data.validation.items()}
    module.validation_metrics.update(metrics)
    if config.trainer.monitor is not None:
        check_monitor(config.trainer.monitor, metrics)
    return Run(conf, config, Path(config.run_dir), module, data, started)


def untrained(model: FLAM, started: Table | None) -> set[str]:
    """Parameters that nothing has trained: without `init` all but those of a pretrained text tower; with it what stayed
    fresh."""
    text = {f"text.model.{name}" for name in model.text.fresh}  # type: ignore[union-attr]
    names = [name for name, _ in model.named_parameters()]
    if started is None:
        return text | {name for name in names if part_of(name) != "text"}
    return text | (set(started.fresh) & set(names))


def describe(run: Run) -> str:
    """What will be trained, in a few lines."""
    model, optim = run.module.model, run.module.optim
    depth_of = depths([name for name, _ in model.named_parameters()]) if optim.layer_decay != 1 else {}
    lines = []
    for part in PARTS:
        mine = [(n, p) for n, p in model.named_parameters() if part_of(n) == part]
        total = sum(p.numel() for _, p in mine)
        learns = sum(p.numel() for _, p in mine if p.requires_grad)
        learning = [rate(optim, part, depth_of.get(n, 0)) for n, p in mine if p.requires_grad]
        said = "frozen" if not learns else "lr " + " to ".join(f"{x:g}" for x in sorted({min(learning), max(learning)}))
        later = [
            first for pattern, first in (optim.unfreeze or {}).items() if any(is_meant(pattern, n) for n, _ in mine)
        ]
        said += f", some or all from step {min(later):,} on" if later else ""
        lines.append(f"  {part:6s} {learns:>12,} of {total:>12,} parameters learn, {said}")
    lines += [
        f"  {stream.name:6s} {stream.batch} clips a step from {', '.join(map(_said, stream.sources))}"
        for stream in (run.data.captions, run.data.events)
        if stream is not None
    ]
    validated = ", ".join(f"{n} ({len(c):,} clips of {c.folder})" for n, c in run.data.validation.items())
    lines.append(f"  val    {validated or 'none: no corpus has a `validation`, the folder of shards to validate on'}")
    lines += [f"  {line}" for line in run.data.left_out.report()]
    if optim.warmup_steps >= run.config.steps:
        lines.append(
            f"  note   optim.warmup_steps={optim.warmup_steps} is as long as the run: lr is reached at its end"
        )
    if run.started is not None:
        lines += [f"  {line}" for line in (f"init   {run.config.init}", *run.started.lines())]
    return "\n".join(lines)


def _said(source: Source) -> str:
    folder = f" of {source.corpus.folder}" if isinstance(source, ShardSource) else ""
    return f"{source.name} ({int(source.shard_sizes.sum()):,} clips{folder})"


def train(conf: dict[str, Any]) -> Path:
    """Trains, or goes on where the run folder's last.ckpt stopped; returns the export's folder.

    Raises ValueError where the folder holds a run of another configuration or is in use, StepFailed for what all ranks
    meet at the same step, StopRequested where the run was asked to stop.
    """
    config = Config.read(conf)
    folder = Path(config.run_dir)
    export = folder / "export"
    anew = config.overwrite and not restarted()
    if not anew and (done := steps_done(folder)) >= config.steps and export.is_dir():
        check_same(folder / CONFIG, conf)
        print(f"run folder {folder}: all {done} steps are done; overwrite=true starts anew", file=sys.stderr)
        return export
    with ExitStack() as stack:
        requests = Requests()
        stack.enter_context(signals_are_requests(requests, *SCHEDULERS))
        callbacks: list[Callback] = []
        if is_first_process():
            check_writable(folder, "run_dir")
            callbacks = [OwnFolder(stack.enter_context(RunLock(folder)))]
            if anew:
                remove_run(folder)
        # The other ranks do not look at what is being removed.
        resumed = 0 if anew else steps_done(folder)
        if resumed:
            check_same(folder / CONFIG, conf)
        trainer, run = fit(conf, folder, resumed, requests, callbacks)
        if trainer.is_global_zero:
            facts = {"run": config.name, "steps": int(trainer.global_step), "seed": config.seed, "config": conf}
            save_export(run.module.model, export, facts | {"data": run.data.provenance()})
            save_figure(curves_figure(folder / METRICS), folder / "curves.png")
            print(f"export  {export}\ncurves  {folder / 'curves.png'}", file=sys.stderr)
        trainer.strategy.barrier()
    return export


def fit(
    conf: dict[str, Any], folder: Path, resumed: int, requests: Requests, callbacks: list[Callback]
) -> tuple[pl.Trainer, Run]:
    """From step `resumed` to the last one. callbacks: before those of every run."""
    if conf["data"].get("workers") != 0:
        # Imports what the workers need while the model is being built.
        start_deaf(partial(start_server, *WORKERS_NEED))
    run = build(conf)
    quiet()
    run.module.requests = requests
    if run.config.trainer.compile:
        run.module.model.audio.compile()
    clips = run.data.config.global_batch + run.data.config.frame_batch
    loggers = build_loggers(run.config.logger, folder, run.config.name, resumed)
    trainer = build_trainer(run.config.trainer, folder, run.module.total_steps, clips, loggers, callbacks)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{CONFIG}"
        draft.write_text(yaml.safe_dump(conf, sort_keys=False))
        os.replace(draft, folder / CONFIG)
        print(f"run folder {folder}" + (f", going on at step {resumed}" if resumed else ""), file=sys.stderr)
        print(describe(run), file=sys.stderr)
    start_deaf(*(partial(getattr, one, "experiment") for one in loggers if isinstance(one, SteppedWandbLogger)))
    try:
        with signals_are_requests(requests, signal.SIGINT):
            trainer.fit(run.module, datamodule=run.data, ckpt_path=str(folder / LAST) if resumed else None)
    except StepFailed as error:
        report = folder / "failed" / f"step-{error.step:08d}-rank-{trainer.global_rank:04d}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(error.found, indent=1))
        raise StepFailed(f"{error}; the clips of each rank: {report.parent}", error.step, error.found) from error
    except StopRequested as stop:
        stop.lost = not_written(trainer)
        if trainer.is_global_zero and stop.request is signal.SIGUSR1 and run.config.trainer.requeue and not stop.lost:
            said = requeue()
            print(f"\nflam-train: {said}" if said else "", file=sys.stderr, flush=True)
        trainer.strategy.barrier()  # srun ends all tasks as soon as one has left
        raise
    return trainer, run


def steps_done(folder: Path) -> int:
    """The step that a run folder's last checkpoint was written after; 0 without one."""
    last = folder / LAST
    return AtomicCheckpointIO().load_checkpoint(last, mmap=True)["global_step"] if last.is_file() else 0


def restarted() -> bool:
    """Whether a scheduler or launcher has started this command again: then it goes on, whatever `overwrite` says."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))


def remove_run(folder: Path) -> None:
    """Empties a folder that a run wrote, but for its lock."""
    if not (folder / CONFIG).is_file():
        return
    for path in folder.iterdir():
        if path.name.startswith(LOCK):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

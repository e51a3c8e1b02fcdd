"""One training run, from a configuration of plain data to an export."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import Callback

from flam_train.checkpoints import initial
from flam_train.checkpoints.conversion import Table
from flam_train.checkpoints.export import TOKENIZER
from flam_train.data.stream.server import start_server
from flam_train.disk import check_writable
from flam_train.models.flam import FLAM
from flam_train.plotting import curves_figure, save_figure
from flam_train.training.averaging import Averaging
from flam_train.training.by_corpus import ByCorpus
from flam_train.training.configuration import CONFIG, Config, changes, resolved, said, sections_of
from flam_train.training.content import check_same_init, init_commit, init_sha256
from flam_train.training.datamodule import WORKERS_NEED, DataModule
from flam_train.training.description import describe
from flam_train.training.exports import EXPORTS, are_written, write_exports
from flam_train.training.extension import extend, rewrite
from flam_train.training.fault_tolerance.checkpoint import LAST, not_written
from flam_train.training.fault_tolerance.interrupt import SCHEDULERS, StopRequested, signals_are_requests, start_deaf
from flam_train.training.fault_tolerance.lock import OwnFolder, RunLock
from flam_train.training.fault_tolerance.requeue import requeue
from flam_train.training.health import Requests, StepFailed
from flam_train.training.layers import part_of
from flam_train.training.log_settings import LogSettings
from flam_train.training.loggers import METRICS, SteppedWandbLogger, build_loggers
from flam_train.training.module import FLAMModule
from flam_train.training.optim import freeze
from flam_train.training.pictures import FOLDER as PICTURES
from flam_train.training.pictures import Pictures
from flam_train.training.profiling import FOLDER as PROFILE
from flam_train.training.saved import KeepFacts, RunFacts, Saved
from flam_train.training.trainer import build_trainer, is_first_process, launch_shape, quiet
from flam_train.training.validation import CorpusValidation, check_monitor


@dataclass(frozen=True)
class Run:
    """A configuration, built: everything that a trainer or a dry run needs. conf, config: with what was resolved."""

    conf: dict[str, Any]
    config: Config
    folder: Path
    module: FLAMModule
    data: DataModule
    started: Table | None


def build(conf: dict[str, Any], saved: Saved | None = None) -> Run:
    """Builds model, losses and data. Raises ValueError with the key and the fix for anything that does not fit.

    saved: of a run that goes on, whose weights come from its checkpoint: then nothing else of its model is needed.
    """
    conf = resolved(conf, saved.facts.conf) if saved else conf
    config = Config.read(conf)
    pl.seed_everything(config.seed, verbose=False)
    model, started = saved.model() if saved else None, None
    if model is None:
        model, started = initial.start(config.model, config.text, config.init)
    assert model.tokenizer is not None
    conf = resolved(conf, sections_of(model.config))
    config = Config.read(conf)
    since = saved.since if saved else None
    data = DataModule(config.data, model.tokenizer, model.grid, config.steps, config.seed, since, config.augment)
    if (data.events or data.tags) and not model.config.phrase_logits:
        which = "frame_batch" if data.events else "weak_batch"
        raise ValueError(
            f"{which}={getattr(config.data, which)}: a model without phrase_scale and phrase_bias is trained by the "
            f"global loss alone and scored by cosine: set {which}=0"
        )
    # Without the frame losses the phrase heads get no gradient, without the global loss its temperature none; tags say
    # nothing of the bias.
    unused = [] if data.events else ["bias_head"]
    unused += [] if data.events or data.tags else ["scale_head"]
    unused += [] if data.captions else ["logit_scale"]
    # A codebook takes the tokens: only phrase heads would want the pooled vector beside them.
    scales = model.config.phrase_scale == "phrase" and (data.events or data.tags)
    heads = scales or (model.config.phrase_bias == "phrase" and data.events)
    unused += ["text.model.pooler"] if model.codebook is not None and not heads else []
    freeze(model, config.optim, tuple(unused), set() if saved else untrained(model, started), config.steps)
    memory_N, accumulate = data.sources.memory(), config.data.accumulate
    by_corpus = ByCorpus({stream.name: [source.name for source in stream.sources] for stream in data.streams})
    module = FLAMModule(model, config.loss, config.optim, config.steps, config.seed, memory_N, accumulate, by_corpus)
    if config.trainer.precision == "64-true":
        module.double()
    metrics = {n: CorpusValidation(corpus, model.grid, model.config.embedding) for n, corpus in data.validation.items()}
    module.validation_metrics.update(metrics)
    if config.trainer.monitor is not None:
        check_monitor(config.trainer.monitor, {name: metric.asked for name, metric in metrics.items()})
    return Run(conf, config, Path(config.run_dir), module, data, started)


def untrained(model: FLAM, started: Table | None) -> set[str]:
    """Parameters that nothing has trained: what `init` does not have, but for a pretrained text tower."""
    text = {f"text.{name}" for name in model.text.fresh}  # type: ignore[union-attr]
    names = {name for name, _ in model.named_parameters()}
    fresh = names if started is None else names & set(started.fresh)
    return text | {name for name in fresh if part_of(name) != "text"}


def train(conf: dict[str, Any]) -> Path:
    """Trains, or goes on where the run folder's last.ckpt stopped; returns the export's folder.

    Raises ValueError where the folder holds a run of another configuration or is in use, StepFailed for what all ranks
    meet at the same step, StopRequested where the run was asked to stop.
    """
    config = Config.read(conf)
    folder = Path(config.run_dir)
    export = folder / next(iter(EXPORTS[config.export]))
    anew = begins_anew(config)
    ended = ended_already(config, conf)
    if ended and are_written(config, folder):
        print(f"run folder {folder}: {ended}; overwrite=true starts anew", file=sys.stderr)
        return export
    with ExitStack() as stack:
        requests = Requests()
        stack.enter_context(signals_are_requests(requests, *SCHEDULERS))
        callbacks: list[Callback] = []
        if is_first_process():
            check_writable(folder, "run_dir")
            callbacks = [OwnFolder(stack.enter_context(RunLock(folder)))]
        if ended:
            return finish(config, folder) if is_first_process() else export
        trainer, _ = fit(conf, folder, None if anew else Saved.read(folder), anew, requests, callbacks)
        if trainer.is_global_zero:
            finish(config, folder)
        trainer.strategy.barrier()
    return export


def nothing_left(conf: dict[str, Any]) -> str:
    """Why `train` would change nothing; empty where it would. Raises ValueError as `train` for the run folder."""
    config = Config.read(conf)
    ended = ended_already(config, conf)
    return ended if ended and are_written(config, Path(config.run_dir)) else ""


def ended_already(config: Config, conf: dict[str, Any]) -> str:
    """`has_ended` of the run that `train` would go on with."""
    found = None if begins_anew(config) else Saved.read(Path(config.run_dir))
    return "" if found is None or going_on(found, conf)[1] else has_ended(found, config)


def begins_anew(config: Config) -> bool:
    return config.overwrite and not restarted()


def finish(config: Config, folder: Path) -> Path:
    """What a run leaves at its end, made from its checkpoints and curves; the export's folder."""
    export = write_exports(config, folder)
    save_figure(curves_figure(folder / METRICS), folder / "curves.png")
    print(f"curves  {folder / 'curves.png'}", file=sys.stderr)
    return export


def has_ended(saved: Saved, config: Config) -> str:
    """Why a run takes no further step; empty where it does."""
    if saved.step >= config.steps:
        return f"all {saved.step} steps are done"
    patience = config.trainer.patience
    if patience is not None and saved.stale >= patience:
        return f"ended after {saved.step} steps, {saved.stale} validations without a better {config.trainer.monitor}"
    return ""


def going_on(saved: Saved, conf: dict[str, Any]) -> tuple[Saved, dict[str, tuple[Any, Any]]]:
    """What a run goes on from with this configuration, and what that changes: nothing, or what `resume=extend` allows.

    Raises ValueError that names what changed.
    """
    conf = resolved(conf, saved.facts.conf)
    changed = changes(saved.facts.conf, conf, saved.compared)
    if not changed:
        return saved, changed
    if conf.get("resume") == "extend":
        return extend(saved, changed, conf), changed
    raise ValueError(
        f"{saved.folder} holds a run with other settings ({said(changed)}): give another run_dir or name, go on with "
        "the same settings, or with these by resume=extend, or start anew with overwrite=true"
    )


def fit(
    conf: dict[str, Any], folder: Path, found: Saved | None, anew: bool, requests: Requests, callbacks: list[Callback]
) -> tuple[pl.Trainer, Run]:
    """From what is found of the run, or from the beginning, to the last step. anew: what is there is thrown away.
    callbacks: before those of every run."""
    if conf["data"].get("workers") != 0:
        # Imports what the workers need while the model is being built.
        start_deaf(partial(start_server, *WORKERS_NEED))
    run, saved, changed = begin(conf, found)
    if is_first_process():  # now that all can begin: what is wrong with the settings changes nothing
        if saved is not None:
            take_over(saved, changed, run)
        elif anew:
            remove_run(folder)  # the other ranks do not look at it
    quiet()
    run.module.health.requests = requests
    if run.config.trainer.compile:
        run.module.model.audio.compile()
    clips, resumed = sum(stream.batch for stream in run.data.streams), saved.step if saved else 0
    loggers = build_loggers(run.config.logger, folder, run.config.name, resumed)
    facts = facts_of(run, saved)
    curves = ["loss/total", *([run.config.trainer.monitor] if run.config.trainer.monitor else [])]
    callbacks = [*callbacks, KeepFacts(folder, facts, run.data.tokenizer, saved is None)]
    callbacks.append(LogSettings(facts.settings, curves))
    if run.config.trainer.pictures:
        callbacks.append(Pictures(folder, run.config.trainer.pictures))
    if run.config.optim.ema:
        callbacks.append(Averaging(run.config.optim.ema))
    trainer = build_trainer(run.config.trainer, folder, run.module.total_steps, clips, loggers, callbacks)
    if trainer.is_global_zero:
        print(f"run folder {folder}" + (f", going on at step {resumed}" if resumed else ""), file=sys.stderr)
        if changed:
            print(f"resume=extend: from step {resumed} on {said(changed)}", file=sys.stderr)
        print(describe(run), file=sys.stderr)
    start_deaf(*(partial(getattr, one, "experiment") for one in loggers if isinstance(one, SteppedWandbLogger)))
    try:
        with signals_are_requests(requests, signal.SIGINT):
            trainer.fit(run.module, datamodule=run.data, ckpt_path=str(folder / LAST) if saved else None)
    except StepFailed as error:
        report = folder / "failed" / f"step-{error.step:08d}-rank-{trainer.global_rank:04d}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(error.found, indent=1))
        raise StepFailed(f"{error}; the clips of each rank: {report.parent}", error.step, error.found) from error
    except StopRequested as stop:
        stop.lost = not_written(trainer)
        if trainer.is_global_zero and stop.request is signal.SIGUSR1 and run.config.trainer.requeue and not stop.lost:
            said_by_scheduler = requeue()
            print(f"\nflam-train: {said_by_scheduler}" if said_by_scheduler else "", file=sys.stderr, flush=True)
        trainer.strategy.barrier()  # srun ends all tasks as soon as one has left
        raise
    finally:
        run.data.close()
    return trainer, run


def begin(conf: dict[str, Any], found: Saved | None) -> tuple[Run, Saved | None, dict[str, tuple[Any, Any]]]:
    """What is run, from where it goes on, and what that changes (`going_on`). found: what is found of the run.

    Raises ValueError that names what differs from what the run began with, and for a batch that the ranks cannot share.
    """
    saved, changed = going_on(found, conf) if found else (None, {})
    run = build(conf, saved)
    devices, nodes = launch_shape(run.config.trainer)
    run.data.steps_of(0, devices * nodes)
    if saved is not None:
        run.data.check_same(saved.data)
        if saved.compared:
            check_same_init(run.config.init, saved.facts.conf.get("init"), saved.facts.init)
    return run, saved, changed


def facts_of(run: Run, saved: Saved | None) -> RunFacts:
    """What the checkpoints keep of a run."""
    init, commit = (saved.facts.init, saved.facts.commit) if saved else (None, None)
    if is_first_process() and not (saved and saved.compared):
        init, commit = init_sha256(run.config.init), init_commit(run.config.init)
    architecture, extended = run.module.model.config.to_dict(), saved.facts.extended if saved else []
    return RunFacts(run.conf, architecture, run.data.provenance(), init, extended, commit)


def take_over(saved: Saved, changed: dict[str, tuple[Any, Any]], run: Run) -> None:
    """Says what could not be compared; the run's checkpoint becomes one of the new settings, if there are any."""
    if not saved.compared:
        print(
            f"{saved.folder / LAST} is of an older version, which did not keep what the data was: it could not be "
            "compared",
            file=sys.stderr,
        )
    if changed:
        optim = run.config.optim
        decay = changed.get("optim.layer_decay", (optim.layer_decay, None))[0]
        rewrite(saved, run.module.model, replace(optim, layer_decay=decay), optim)


def restarted() -> bool:
    """Whether a scheduler or launcher has started this command again: then it goes on, whatever `overwrite` says."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))


WRITTEN = (
    rf"((last|best|step-\d+)\.ckpt|{re.escape(CONFIG)}|{re.escape(METRICS)}|curves\.png|wandb_id|wandb|tensorboard|"
    rf"{TOKENIZER}|export|export-best|{PICTURES}|{PROFILE}|failed)"
)
"""Names of what a run writes into its folder; `.NAME...` is a draft of it."""


def remove_run(folder: Path) -> None:
    """Removes what a run wrote into its folder, but for its lock. What is somebody else's stays, and so do runs whose
    folders lie in it."""
    config = folder / CONFIG
    if not config.is_file() or "\nrun_dir:" not in config.read_text(errors="replace"):
        return
    for path in folder.iterdir():
        mine = re.fullmatch(WRITTEN, path.name) or re.fullmatch(rf"\.{WRITTEN}([.-].*)?", path.name)
        if not mine or (path / CONFIG).is_file():  # a run of its own
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

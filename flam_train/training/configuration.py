"""The configuration of a run: plain data read into types, every value checked; and what may change as a run goes on."""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

from flam_train.checkpoints.hub import is_hub
from flam_train.checkpoints.initial import filled, is_as_init
from flam_train.data.augment.config import AugmentConfig
from flam_train.models.flam import FLAMConfig
from flam_train.settings import MOST_STEPS, SETTING, from_plain, nearest, setting, settle, typed
from flam_train.training.corpora import CorpusConfig, DataConfig
from flam_train.training.loggers import LoggerConfig
from flam_train.training.objective import LossConfig
from flam_train.training.optim import OptimConfig
from flam_train.training.trainer import TrainerConfig

CONFIG = "config.yaml"

BATCHES = ("global_batch", "frame_batch", "weak_batch", "accumulate")
"""Of `DataConfig`, but at the top of the configuration: everybody sets them."""

STREAMS = {"global": "captions", "frame": "frames", "weak": "tags"}
"""Sections of `data`, and the fields of `DataConfig` that they are."""

LOSSES = {"global": ("global",), "frame": ("sed", "prior"), "weak": ("weak",)}
"""Of each, by their names in `loss.weights`."""

FREE = (
    "trainer.", "logger.", "overwrite", "resume", "export", "run_dir", "shards", "accumulate", "data.workers",
    "data.prefetch", "data.verify", "data.bad_shards", "data.validation_batch", "data.cache_", "loss.exchange",
)  # fmt: skip
"""Keys that may change when a run goes on, as the number of GPUs may: they change neither the samples nor the weights,
but for rounding and the draws of dropout. So may `memory_gib`."""

PLACES = re.compile(r"data\.exclude|augment\.background|data\.\w+\.[^.]+\.(path|bank|recipe|validation)")
"""Keys that say where data lies: what lies there is compared instead (`content`)."""

RESUMES = ("exact", "extend")

CHOICES = ("last", "best", "both")
"""Of checkpoints, for `export`."""


@dataclass(frozen=True)
class Config:
    """What `flam-train` is told. model, text: sections that `checkpoints.initial.config_of` reads."""

    data: DataConfig
    augment: AugmentConfig
    loss: LossConfig
    optim: OptimConfig
    trainer: TrainerConfig
    model: dict[str, Any]
    text: dict[str, Any]
    logger: LoggerConfig
    name: str = setting(MISSING, "of the run, in its folder and in the loggers")
    run_dir: str = setting(MISSING, "one folder a run: the same command goes on where its last.ckpt stopped")
    shards: str = setting(MISSING, "where prepared corpora lie")
    steps: int = setting(MISSING, "optimiser steps", least=1, most=MOST_STEPS)
    seed: int = setting(0, "of everything that is random", least=0, below=2**32)
    init: str | None = setting(
        None,
        "what to start from: an export, a run's checkpoint or others' weights (`foreign.READ`), a file or a folder, or "
        "hf://OWNER/NAME; the architecture and text tower, too, where `model` and `text` are `as_init`",
    )
    overwrite: bool = setting(False, "throw away what the run folder holds and start anew")
    resume: str = setting(
        "exact",
        "how a run folder goes on: with the settings it has (`exact`), or from its last checkpoint with those that are "
        "given now (`extend`)",
        choices=RESUMES,
    )
    export: str = setting(
        "last",
        "the checkpoint that export/ is made of at the end: `last`, `best` by `trainer.monitor`, or `both` (the best "
        "in export-best/)",
        choices=CHOICES,
    )

    def __post_init__(self) -> None:
        settle(self, "")
        for key in ("name", "run_dir"):
            if not getattr(self, key).strip():
                raise ValueError(f"{key}: is empty: name one, as {key}={'flam' if key == 'name' else 'runs/flam'}")
        if (
            self.overwrite
            and self.init
            and not is_hub(self.init)
            and Path(self.init).resolve().is_relative_to(Path(self.run_dir).resolve())
        ):
            raise ValueError(
                f"init={self.init}: lies in the run folder {self.run_dir}, which overwrite=true empties: give another "
                "run_dir, or move it"
            )
        if self.export != "last" and self.trainer.monitor is None:
            raise ValueError(f"export={self.export}: best by what? Set trainer.monitor, as val/NAME/auroc_macro")

    @classmethod
    def read(cls, conf: dict[str, Any], asked: bool = True) -> Config:
        """From plain data, as `cli.train.compose_conf` gives it. Raises ValueError that names the key and the fix.

        asked: False for what a run of before had, where a setting that did nothing does no harm.
        """
        known = {*(cls.__dataclass_fields__), *BATCHES}
        for key in conf:
            if key not in known:
                raise ValueError(f"unknown key {key!r}: {nearest(key, known)}")
        rest = {key: value for key, value in conf.items() if key not in BATCHES}
        config = from_plain(cls, "", {"augment": {}} | rest | {"data": read_data(conf)})
        if asked:
            config._check_all_do_something()
        return config

    def _check_all_do_something(self) -> None:
        """Raises ValueError for a setting that would do nothing beside the others, which is a mistake."""
        if self.optim.schedule == "constant" and self.optim.final:
            raise ValueError(
                f"optim.final={self.optim.final:g}: schedule=constant keeps the whole learning rate to the end: set it "
                "to 0, or schedule to cosine or linear"
            )
        for kind, (_, corpora) in self.data.streams.items():
            for name, entry in corpora.items():
                for key in () if entry.bank else ("recipe", "size", "memory_gib"):
                    if getattr(entry, key) != getattr(CorpusConfig(), key):
                        raise ValueError(
                            f"data.{kind}.{name}.{key}: only mixtures have one, and this corpus has no bank to make "
                            "them from: leave it out, or give `bank` in the place of `path`"
                        )
        losses = [loss for kind, (batch, _) in self.data.streams.items() if batch for loss in LOSSES[kind]]
        if not any(self.loss.weights[loss] for loss in losses):
            raise ValueError(
                f"loss.weights: {' and '.join(losses)}, which the batches have, weigh 0, so nothing would be trained: "
                "give one a weight above 0"
            )


def read_data(conf: dict[str, Any]) -> DataConfig:
    """`data`, and the batches that stand beside it. Errors as in `Config.read`."""
    section = dict(typed("data", conf.get("data"), dict[str, Any]))
    streams = {}
    for kind, name in STREAMS.items():
        found = section.pop(kind, None)
        corpora = typed(f"data.{kind}", {} if found is None else found, dict[str, dict[str, Any]])
        streams[name] = {n: from_plain(CorpusConfig, f"data.{kind}.{n}", entry) for n, entry in corpora.items()}
    batches = {key: typed(key, conf[key], int) for key in BATCHES if key in conf}
    for key, f in DataConfig.__dataclass_fields__.items():
        if key in batches:
            f.metadata[SETTING].check(key, batches[key])  # by the name that it has at the top
    return from_plain(DataConfig, "data", section | streams | batches)


def changes(before: dict[str, Any], now: dict[str, Any], by_content: bool = True) -> dict[str, tuple[Any, Any]]:
    """{key: (was, is)} of two configurations that would train otherwise; a key that one of them lacks has its default.

    by_content: `content` compares what the places of data hold, so what they are called does not count.
    """
    was, new = flat(full(before)), flat(full(now))
    out = {}
    for key in sorted(was | new):
        if key.startswith(FREE) or key.endswith(".memory_gib") or (by_content and PLACES.fullmatch(key)):
            continue
        then, present = was.get(key), new.get(key)
        if key == "init" and by_content:  # what it holds is compared, not whether there is one
            then, present = then is not None, present is not None
        if then != present:
            out[key] = was.get(key, then), new.get(key, present)
    return out


def resolved(conf: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """`conf` with `model` and `text` of the sections in the place of `as_init`, below what is set beside it."""
    return conf | {name: filled(name, conf[name], sections[name]) for name in ("model", "text")}


def sections_of(model: FLAMConfig) -> dict[str, Any]:
    """The sections `model` and `text` that say how a model was built."""
    told = model.to_dict()
    text = {key: value for key, value in told.pop("text").items() if key != "architecture"}
    return {"model": told, "text": text}


def full(conf: dict[str, Any]) -> dict[str, Any]:
    """Plain data with every key of the settings' classes, in their types; `as_init` stays as it is."""
    # Where it runs is free to change, and what an older part of the run had may not be there any more.
    config = Config.read(conf | {"trainer": {}, "logger": {}, "export": "last"}, asked=False)
    out = asdict(config)
    data = out.pop("data")
    streams = {kind: data.pop(name) for kind, name in STREAMS.items()}
    batches = {key: data.pop(key) for key in BATCHES}
    sections = {"model": config.model, "text": config.text}
    if not any(is_as_init(name, section) for name, section in sections.items()):
        model = FLAMConfig.from_dict({**config.model, "text": config.text}).to_dict()
        sections = {"text": model.pop("text"), "model": model}
    return out | {"data": data | streams} | batches | sections


def said(changed: dict[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{key} was {was!r}, is {now!r}" for key, (was, now) in changed.items())


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    out: dict[str, Any] = {}
    for key, value in node.items():
        out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out

"""The configuration of a run: plain data read into types, every value checked; and what may change as a run goes on."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import yaml

from flam_train.settings import SETTING, from_plain, nearest, setting, settle, typed
from flam_train.training.corpora import CorpusConfig
from flam_train.training.datamodule import DataConfig
from flam_train.training.module import LossConfig
from flam_train.training.optim import OptimConfig
from flam_train.training.trainer import TrainerConfig

CONFIG = "config.yaml"

BATCHES = ("global_batch", "frame_batch", "accumulate")
"""Of `DataConfig`, but at the top of the configuration: everybody sets them."""

STREAMS = {"global": "captions", "frame": "frames"}
"""Sections of `data`, and the fields of `DataConfig` that they are."""

FREE = (
    "trainer.", "logger.", "overwrite", "accumulate", "data.workers", "data.prefetch", "data.verify", "data.bad_shards",
    "data.validation_batch", "data.cache_", "loss.exchange",
)  # fmt: skip
"""Keys that may change when a run goes on, as the number of GPUs may: they change neither the samples nor the weights,
but for rounding and the draws of dropout. So may `memory_gib`."""


@dataclass(frozen=True)
class Config:
    """What `flam-train` is told. model, text: sections that `checkpoints.initial.config_of` reads."""

    data: DataConfig
    loss: LossConfig
    optim: OptimConfig
    trainer: TrainerConfig
    model: dict[str, Any]
    text: dict[str, Any]
    logger: dict[str, dict[str, Any] | None]
    name: str = setting(MISSING, "of the run, in its folder and in the loggers")
    run_dir: str = setting(MISSING, "one folder a run: the same command goes on where its last.ckpt stopped")
    shards: str = setting(MISSING, "where prepared corpora lie")
    steps: int = setting(MISSING, "optimiser steps", least=1)
    seed: int = setting(0, "of everything that is random", least=0, below=2**32)
    init: str | None = setting(None, "what to start from: an export folder, or OpenFLAM's checkpoint file")
    overwrite: bool = setting(False, "throw away what the run folder holds and start anew")

    def __post_init__(self) -> None:
        settle(self, "")

    @classmethod
    def read(cls, conf: dict[str, Any]) -> Config:
        """From plain data, as `cli.train.compose_conf` gives it. Raises ValueError that names the key and the fix."""
        known = {*(cls.__dataclass_fields__), *BATCHES}
        for key in conf:
            if key not in known:
                raise ValueError(f"unknown key {key!r}: {nearest(key, known)}")
        sections = {
            "data": read_data(conf),
            "loss": from_plain(LossConfig, "loss", conf["loss"]),
            "optim": from_plain(OptimConfig, "optim", conf["optim"]),
            "trainer": from_plain(TrainerConfig, "trainer", conf["trainer"]),
        }
        rest = {key: value for key, value in conf.items() if key not in BATCHES}
        return from_plain(cls, "", rest | sections)


def read_data(conf: dict[str, Any]) -> DataConfig:
    """`data`, and the batches that stand beside it. Errors as in `Config.read`."""
    section = dict(typed("data", conf["data"], dict[str, Any]))
    streams = {}
    for kind, name in STREAMS.items():
        corpora = typed(f"data.{kind}", section.pop(kind, None) or {}, dict[str, dict[str, Any]])
        streams[name] = {n: from_plain(CorpusConfig, f"data.{kind}.{n}", entry) for n, entry in corpora.items()}
    batches = {key: typed(key, conf[key], int) for key in BATCHES}
    for key, f in DataConfig.__dataclass_fields__.items():
        if key in batches:
            f.metadata[SETTING].check(key, batches[key])  # by the name that it has at the top
    return from_plain(DataConfig, "data", section | streams | batches)


def check_same(path: Path, conf: dict[str, Any]) -> None:
    """A run goes on with the configuration it began with."""
    before = yaml.safe_load(path.read_text()) if path.is_file() else {}
    was, now = flat(before), flat(conf)
    changed = [
        f"{key} was {was.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(set(was) | set(now))
        if not key.startswith(FREE) and not key.endswith(".memory_gib") and was.get(key) != now.get(key)
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

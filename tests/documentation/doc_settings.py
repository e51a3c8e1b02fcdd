"""Overrides of the configuration, composed and checked as far as no data is needed."""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path
from typing import Any

from doc_stale import Stale

from flam_train.checkpoints.initial import config_of
from flam_train.cli.sweep import choices
from flam_train.cli.train import GROUPS, compose_conf
from flam_train.paths import conf_dir
from flam_train.training.configuration import BATCHES, Config, flat
from flam_train.training.launch.points import points

SETTING = re.compile(r"[a-z][\w/.]*=\S*")
SECTIONS = (*Config.__dataclass_fields__, *BATCHES)
KEY = re.compile(rf"(?:{'|'.join(s for s in SECTIONS if (conf_dir() / s).is_dir())})\.[a-z_]\w*(?:\.\w+)*")
CORPUS = re.compile(r"data\.(global|frame|weak)\.(\w+)\.")


def configuration(overrides: list[str], folder: Path | None = None, more: bool = False) -> dict[str, Any]:
    """The configuration, its sections built. folder: of the user's own files; what only they have is passed over.

    more: values that must be given and are not are made up. Raises Stale.
    """
    if folder is not None and not folder.is_dir():
        overrides = [o for o in overrides if not _theirs(*o.partition("=")[::2])]
        folder = None
    while True:
        try:
            conf = compose_conf(overrides, folder)
            sections(conf)
            return conf
        except ValueError as error:
            missing = re.match(r"(\S+) has no value yet", str(error))
            if not more or missing is None:
                raise Stale(f"flam-train: {error}") from error
            overrides = [*overrides, f"{missing[1]}=x"]


def of_points(values: argparse.Namespace) -> list[list[str]]:
    """The overrides of each run that a flam-train starts, as its parser has them. Raises Stale."""
    if not values.multirun:
        return [values.overrides]
    try:
        return [list(point.overrides) for point in points(values.overrides, lambda group: choices(group, values.conf))]
    except ValueError as error:
        raise Stale(f"flam-train -m: {error}") from error


def _theirs(key: str, value: str) -> bool:
    return key in GROUPS and not (conf_dir() / key / f"{value}.yaml").is_file()


def sections(conf: dict[str, Any]) -> None:
    """As `training.run.build` does it, without model and data. Raises ValueError."""
    Config.read(conf)
    config_of(conf["model"], conf["text"], None)
    for kind in ("global", "frame", "weak"):
        for name, entry in (conf["data"].get(kind) or {}).items():
            if not (entry.get("path") or entry.get("bank")):
                raise ValueError(f"data.{kind}.{name} has neither path nor bank")


def _choosing(group: str, name: str) -> list[str]:
    """The overrides that take a choice: one of data/weak is nothing without a batch."""
    return [f"{group}={name}", *(["weak_batch=2"] if group == "data/weak" else [])]


def settings(text: str) -> list[str]:
    """The overrides or keys that a span of running text is; none where it is something else."""
    words = text.replace('"', "").replace("'", "").split()
    if words and all(SETTING.fullmatch(word) for word in words):
        return words
    return words if len(words) == 1 and KEY.fullmatch(words[0]) else []


def check_settings(words: list[str]) -> None:
    """Raises Stale for a key that is not there, or a value that it does not take."""
    for word in words:
        key, equals, value = word.partition("=")
        section = re.split(r"[./]", key)[0]
        if (not equals or value.startswith("...")) and key not in {*GROUPS, *SECTIONS, *known_keys(section)}:
            raise Stale(f"{word}: no key of the configuration")
    given = [word for word in words if "=" in word and "=..." not in word]
    chosen = {(kind, name) for word in given for kind, name in CORPUS.findall(word)}
    if not given:
        return
    choosing = [word for kind, name in chosen for word in _choosing(f"data/{kind}", f"[{name}]")]
    try:  # of a sweep, its points
        lines = [list(point.overrides) for point in points(given, lambda group: choices(group, None))]
    except ValueError:
        lines = [given]
    for line in lines:
        configuration([*choosing, *line], more=True)


@cache
def known_keys(section: str) -> set[str]:
    """Of every choice of a section, and what holds them."""
    out: set[str] = set()
    for group in (g for g in GROUPS if g.split("/")[0] == section):
        for file in sorted((conf_dir() / group).glob("*.yaml")):
            name = f"[{file.stem}]" if group.startswith("data/") else file.stem
            for key in flat(configuration(_choosing(group, name), more=True)):
                parts = key.split(".")
                out.update(".".join(parts[:n]) for n in range(1, len(parts) + 1))
    return out

"""Overrides of the command line, before Hydra composes them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from flam_train.paths import conf_dir
from flam_train.settings import nearest
from flam_train.training.launch.points import parse

GROUPS = (
    "experiment", "model", "text", "data/global", "data/frame", "data/weak", "augment", "loss", "optim", "trainer",
    "logger",
)  # fmt: skip

TEXT = re.compile(
    r"(?P<key>\+{0,2}(?:name|run_dir|shards|init|(?:text|data\.(?:global|frame|weak)\.\w+)\.(?:name|path|validation)"
    r"|logger\.wandb\.(?:project|entity|group|job_type|notes|id)))="
    r"(?P<value>[\w.+-]+|[\w./:@~+,=-]+=[\w./:@~+,=-]*)"
)
"""Settings that are text, also where it looks like a number, or has the `=` and `,` of a sweep's folders."""

CORPUS = re.compile(r"data\.(global|frame|weak)\.\w+")


def as_text(override: str) -> str:
    """`name=1e-4` is a name, `init=runs/lr/seed=0,optim.lr=1e-4/export` a folder: in quotes, Hydra leaves it as it was
    typed."""
    found = TEXT.fullmatch(override)
    if found is None:
        return override
    plain = "=" not in found["value"] and not _is_number(found["value"])
    if plain and isinstance(yaml.safe_load(found["value"]), str | None):
        return override
    return f"{found['key']}='{found['value']}'"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def choices(group: str, folder: Path | None) -> list[str]:
    """Of a group: the files of its folder in conf/, and in the user's."""
    places = [conf_dir(), folder] if folder else [conf_dir()]
    return sorted({path.stem for place in places for path in (place / group).glob("*.yaml")})


def check_override(override: str, folder: Path | None) -> None:
    """Refuses what would leave a setting, or a whole section, to silent defaults, and what is no choice of a group.

    folder: as of `choices`. Raises ValueError that names the key.
    """
    one = parse(override)
    key = one.key_or_group
    if one.is_delete():
        if not CORPUS.fullmatch(key):
            instead = f"{key}=[] chooses none" if key.startswith("data/") else "give it another value"
            raise ValueError(f"{override}: a setting is not left out: {instead}")
    elif key in (*GROUPS, "data") and not one.is_sweep_override():
        value = one.value()
        names = value if isinstance(value, list) else [value]
        none_is_one = (value is None and key == "experiment") or (value == [] and key.startswith("data/"))
        if not none_is_one and not (names and all(isinstance(name, str | dict) for name in names)):
            given = override.partition("=")[2]
            raise ValueError(f"{key}={given}: no such choice: {nearest(given, choices(key, folder))}")

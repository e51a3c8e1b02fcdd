"""Work over a corpus in parts: kept as they are done, shared among ranks, joined in order.

What a part holds depends on its number alone, not on the ranks or on what was done before: so a set scored by any
number of processes, stopped and gone on, gives the same numbers as one pass.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from flam_train import __version__
from flam_train.disk import naming
from flam_train.distributed import is_distributed, rank, world_size

PART_CLIPS = 64


@dataclass(frozen=True)
class Kept:
    """Arrays and plain data (`facts`) in one file: safetensors, the facts as JSON in its header."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def write(self, path: Path) -> Path:
        """Whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with naming(path, draft):
                save_file(arrays, draft, {"facts": json.dumps(self.facts, ensure_ascii=False)})
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)  # there is no other way to ask
            os.umask(umask)
            draft.chmod(0o666 & ~umask)  # the library writes for its owner alone
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        return path

    def named(self, path: str | Path, *names: str) -> dict[str, Any]:
        """Some of the facts. Raises ValueError that names the file and what it lacks."""
        lacks = [name for name in names if name not in self.facts]
        if lacks:
            raise ValueError(f"{path}: has no {lacks[0]!r}, as of another version: remove it and run again")
        return {name: self.facts[name] for name in names}

    @classmethod
    def read(cls, path: Path) -> Kept:
        """Raises ValueError that names the file."""
        try:
            with safe_open(path, "np") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                return cls({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not readable ({error}): remove it and run again") from error


def facts_of(path: Path) -> dict[str, Any]:
    """The facts of a kept file, without its arrays; {} where there is no such file."""
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            return json.loads((file.metadata() or {})["facts"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not readable ({error}): remove it and run again") from error


def is_kept(path: Path, digest: str, model: dict[str, Any]) -> bool:
    """Whether the file holds this very work, of every clip: one that could not be read is tried again. The first rank
    looks, all hear of it. Raises ValueError for another model's scores, which would be lost."""
    found: list[Any] = [None]
    if rank() == 0:
        try:
            facts = facts_of(path)
            if facts and facts.get("model") != model["sha256"]:
                raise ValueError(f"{path}: holds the scores of another model: give another --out, or remove it")
            found = [facts.get("digest") == digest and facts.get("complete") is True]
        except ValueError as error:
            found = [str(error)]
    if is_distributed():
        dist.broadcast_object_list(found)
    if isinstance(found[0], str):
        raise ValueError(found[0])
    return bool(found[0])


def identity(model: Any, about: dict[str, Any], **what: Any) -> str:
    """A digest: equal work has an equal one. about: of `result.describe`. Raises ValueError without the model's
    sha256."""
    if not about["model"].get("sha256"):
        raise ValueError("this model has no sha256 to know it by: evaluate an export")
    config = model.config.to_dict() if hasattr(model, "config") else {}
    what |= {
        "model": about["model"]["sha256"], "data": about["data"]["sha256"], "config": config, "version": __version__,
    }  # fmt: skip
    text = json.dumps(what, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


Make = Callable[[range, Callable[[], None]], Kept]
"""Of some clips; the second argument is to be called after each."""


def in_parts(
    clips: int, make: Make, folder: Path | None, digest: str, progress: Callable[[int, int], None] | None
) -> list[Kept]:
    """What `make` gives for each part of the clips 0 to `clips`, in order; on ranks other than the first an empty list.

    folder    parts are kept below it, in a folder named after `digest` (of `identity`), until they are joined: a run
              that was stopped goes on, and ranks share the work. None: in memory, in one process
    progress  called with (clips done, clips in all) of the first rank
    """
    ranges = [range(first, min(first + PART_CLIPS, clips)) for first in range(0, clips, PART_CLIPS)]
    if folder is None and is_distributed():
        raise ValueError("several processes share their work through a folder: say where scores are kept")
    mine = [number for number in range(len(ranges)) if number % world_size() == rank()]
    total, count = sum(len(ranges[number]) for number in mine), 0

    def done(more: int = 1) -> None:
        nonlocal count
        count += more
        if progress is not None and rank() == 0:
            progress(count, total)

    if folder is None:
        return [make(part, done) for part in ranges]
    paths = [folder / digest[:16] / f"part-{number:05d}.safetensors" for number in range(len(ranges))]
    for number in mine:
        # A clip that could not be read may be readable now.
        if paths[number].is_file() and not facts_of(paths[number])["missing"]:
            done(len(ranges[number]))
        else:
            make(ranges[number], done).write(paths[number])
    if is_distributed():
        dist.barrier()
    return [Kept.read(path) for path in paths] if rank() == 0 else []


def of_clips(parts: list[Kept], names: tuple[str, ...], where: object) -> tuple[dict[str, Any], dict[str, str]]:
    """(the facts of these names, each a list over the clips of all parts; key -> why of clips that could not be read).
    Raises ValueError if not one clip could. where: the corpus' folder, for the message."""
    lists = {name: [x for one in parts for x in one.facts[name]] for name in names}
    missing = {key: why for one in parts for key, why in one.facts["missing"].items()}
    if not lists["keys"]:
        why = next(iter(missing.values()), "the manifest lists no clip")
        raise ValueError(f"{where}: not one clip could be read: {why}")
    return lists, missing


def forget_parts(folder: Path, digest: str) -> None:
    """After what they made is kept; those of other work stay."""
    shutil.rmtree(folder / digest[:16], ignore_errors=True)
    with contextlib.suppress(OSError):  # others' parts are there
        folder.rmdir()

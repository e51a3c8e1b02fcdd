"""Work over a corpus in parts: kept as they are done, shared among ranks, joined in order.

What a part holds depends on its number alone, not on the ranks or on what was done before: so a set scored by any
number of processes, stopped and gone on, gives the same numbers as one pass.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from flam_train.data.tars import replace_with
from flam_train.distributed import is_distributed, rank, world_size

PART_CLIPS = 256


@dataclass(frozen=True)
class Kept:
    """Arrays and plain data (`facts`) in one file: safetensors, the facts as JSON in its header."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def write(self, path: Path) -> Path:
        """Whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        data = save(arrays, {"facts": json.dumps(self.facts, ensure_ascii=False)})
        replace_with(path, lambda file: file.write(data))
        return path

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


def is_kept(path: Path, digest: str, model: str | None) -> bool:
    """Whether the file holds this very work. Raises ValueError for another model's, which would be lost."""
    facts = facts_of(path)
    if facts and facts.get("model") != model:
        raise ValueError(f"{path}: holds the scores of another model: give another --out, or remove it")
    return bool(facts) and facts.get("digest") == digest


def identity(**what: Any) -> str:
    """A digest of plain data: equal work has an equal one."""
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
        if paths[number].is_file():
            done(len(ranges[number]))
        else:
            make(ranges[number], done).write(paths[number])
    if is_distributed():
        dist.barrier()
    return [Kept.read(path) for path in paths] if rank() == 0 else []


def forget_parts(folder: Path) -> None:
    """After what they made is kept."""
    shutil.rmtree(folder, ignore_errors=True)

"""Modules under the names they had before the rooms, for scripts that were written then.

`from flam_train.data.schema import Record` gives the class of `flam_train.data.shards.schema`. Names are looked up here
only when Python has found no module of that name; nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ROOMS = {
    "data.shards": ("schema", "tars", "corpus", "places", "cache", "audio", "exclusion"),
    "data.stream": ("order", "ahead", "clips", "dataset", "collate", "workers", "shared"),
    "data.mixing": ("recipe", "bank", "item_cache", "draw", "levels", "captions", "render"),
    "data.preparation": (
        "planned", "corpus_writer", "merging", "recordings", "audio_folders", "caption_files", "download", "published",
        "overlap",
    ),
    "data.labels": ("strong_files",),
    "evaluation.report": (
        "published", "table", "html", "formats", "figures", "corpus_figures", "examples", "requirements",
    ),
    "training.launch": ("check", "meeting", "node", "dry_run"),
    "training.fault_tolerance": ("interrupt", "lock", "watch", "requeue", "checkpoint"),
}  # fmt: skip
"""Modules that stood beside their room and are in it now."""

RENAMED = {f"{room.split('.')[0]}.{name}": f"{room}.{name}" for room, names in ROOMS.items() for name in names} | {
    "data.shard_checks": "data.shards.checks",
    "data.checks": "data.preparation.verification",
}
"""Below `flam_train`: the name before -> the name now."""


class Renamed(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        known = package == "flam_train" and name in RENAMED
        return ModuleSpec(fullname, self, origin=f"flam_train.{RENAMED[name]}") if known else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(str(spec.origin))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed under its own name; Python has just given it the spec of the other one."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(Renamed())

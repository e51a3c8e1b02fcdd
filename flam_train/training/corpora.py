"""Which shards are meant by the settings of a corpus: a folder of shards, or the train/ and validation/ below it."""

from __future__ import annotations

from typing import Any

from flam_train.data.shards.places import place_of


def with_splits(entry: dict[str, Any]) -> dict[str, Any]:
    """The settings of a corpus of `data.global` or `data.frame`, with the folders (or URLs) of shards themselves.

    Where `path` is no corpus and PATH/train is, that is trained on, and PATH/validation, if it is there, validates
    unless another `validation` is given. Everything else is left as it is, also what will turn out to be a mistake.
    """
    path = entry.get("path")
    if entry.get("bank") or not path or place_of(path).is_corpus():
        return entry
    train, validation = (f"{str(path).rstrip('/')}/{split}" for split in ("train", "validation"))
    if not place_of(train).is_corpus():
        return entry
    chosen = entry.get("validation") or (validation if place_of(validation).is_corpus() else None)
    return {**entry, "path": train, "validation": chosen}

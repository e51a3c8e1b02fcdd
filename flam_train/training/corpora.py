"""What is said of one corpus of a run, and which shards are meant by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flam_train.data.shards.places import place_of
from flam_train.data.stream.classes import ByClass
from flam_train.data.stream.clips import ShardSource, Source
from flam_train.settings import setting


@dataclass(frozen=True)
class CorpusConfig:
    """An entry of `data.global` or `data.frame`: shards at `path`, or mixtures made while training from `bank`."""

    path: str | None = setting(None, "a folder of shards or its URL, or the one above its train/ and validation/")
    bank: tuple[str, ...] | None = setting(None, "folders of shards that mixtures are made from")
    recipe: str = setting("paper", "how: a name in conf/mixing, or a .yaml file")
    size: int = setting(100_000, "mixtures in one pass", least=1)
    memory_gib: float | None = setting(
        None,
        "null: the bank is in memory; else its sounds are read as they are needed, and so much of them is kept by the "
        "workers of each rank together",
        above=0,
    )
    weight: float = setting(1.0, "share in the stream, beside the other corpora's", least=0)
    balance: float = setting(
        0.0,
        "share of its clips that is drawn evenly over its classes (of shards; mixtures have their recipe's `choose`)",
        least=0,
        most=1,
    )
    validation: str | None = setting(None, "a folder of shards to validate on; null: validation/ beside train/")

    def with_splits(self) -> CorpusConfig:
        """With the folders (or URLs) of shards themselves.

        Where `path` is no corpus and PATH/train is, that is trained on, and PATH/validation, if it is there, validates
        unless another `validation` is given. Everything else is left as it is, also what will turn out to be a mistake.
        """
        if self.bank or not self.path or place_of(self.path).is_corpus():
            return self
        train, validation = (f"{self.path.rstrip('/')}/{split}" for split in ("train", "validation"))
        if not place_of(train).is_corpus():
            return self
        chosen = self.validation or (validation if place_of(validation).is_corpus() else None)
        return replace(self, path=train, validation=chosen)


def drawn_by_class(where: str, entry: CorpusConfig, source: Source, folder: Path) -> ByClass | None:
    """What of a source is drawn by class; None: nothing. `where` it stands in the settings; folder: as in `ByClass.of`.

    Raises ValueError for what has no classes, or might have others on another node.
    """
    if not entry.balance:
        return None
    if not isinstance(source, ShardSource):
        raise ValueError(
            f"{where}.balance: mixtures are drawn by their recipe: set its `choose` to class, and this to 0"
        )
    if source.corpus.damaged:
        raise ValueError(
            f"{where}.balance: all ranks must find the same classes, and shards are damaged "
            f"({source.corpus.damaged[0]}): mend them, or set this to 0"
        )
    return ByClass.of(entry.balance, source.corpus, folder, source.kept)

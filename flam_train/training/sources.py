"""What a run reads, opened: corpora of shards, banks and streams over them, as the settings say."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import torch
from torch import Tensor

from flam_train.batch import SAMPLE_RATE
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.augment.draw import Augmentation
from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.item_cache import ItemCache
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.mixing.source import MixtureSource
from flam_train.data.shards.cache import GIB, ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import LeftOut
from flam_train.data.stream.classes import ByClass
from flam_train.data.stream.clips import ShardSource, Source
from flam_train.data.stream.dataset import Stream
from flam_train.data.stream.order import stable_seed
from flam_train.data.stream.workers import workers_of_rank
from flam_train.settings import named
from flam_train.training.corpora import CorpusConfig, DataConfig

BACKGROUNDS = 1 << 28
"""Bytes of backgrounds for augmentation that each loader worker keeps: 280 of 10 s."""


class Sources:
    """Opens the streams of a run, and keeps what they share.

    seconds: of a clip. seed: the run's. Raises ValueError that names the corpus, the file and the fix.
    """

    def __init__(self, config: DataConfig, augment: AugmentConfig, seconds: float, seed: int) -> None:
        self.config, self.augment, self.seconds, self.seed = config, augment, seconds, seed
        self.cache = ShardCache(config.cache_folder, config.cache_gib)
        self.banks: dict[tuple[str, ...], tuple[Bank, int]] = {}
        with named("data.exclude"):
            self.left_out = LeftOut(config.exclude or ())
        background = augment.background
        with named("augment.background"):
            self.backgrounds = ItemCache(self._open_bank(background), BACKGROUNDS) if background else None

    def stream(self, kind: str, corpora: dict[str, CorpusConfig], batch: int, since: tuple[int, int]) -> Stream | None:
        """One of the three kinds; None where it is switched off. since: as in `Stream`."""
        if batch == 0:
            return None
        if not corpora:
            raise ValueError(f"data/{kind} selects no corpus, but {kind}_batch={batch}: choose one, or set it to 0")
        sources = [self._source(kind, name, entry) for name, entry in corpora.items()]
        mixed = [source for source in sources if isinstance(source, MixtureSource)]
        if len({source.items is None for source in mixed}) > 1:
            raise ValueError(f"data.{kind}: one bank is in memory and another is not: give all of them a memory_gib")
        if len({source.recipe.fade_samples for source in mixed}) > 1:
            raise ValueError(f"data.{kind}: recipes with different fade_seconds cannot share a batch: make them equal")
        weights = [entry.weight for entry in corpora.values()]
        by_class = [
            drawn_by_class(f"data.{kind}.{name}", entry, source, self.cache.folder, weak=kind == "weak")
            for (name, entry), source in zip(corpora.items(), sources, strict=True)
        ]
        augmenter = None
        if self.augment.on:
            augmenter = Augmentation(self.augment, self.seconds, self.backgrounds, mix=kind != "global")
        return Stream(kind, sources, weights, batch, self.seed, self.config.block_shards, since, by_class, augmenter)

    def _source(self, kind: str, name: str, entry: CorpusConfig) -> Source:
        where = f"data.{kind}.{name}"
        if entry.bank:
            with named(f"{where}.bank"):
                bank, base = self._bank(entry.bank, in_memory=entry.memory_gib is None)
            with named(f"{where}.recipe"):
                recipe = MixRecipe.load(entry.recipe)
            if recipe.clip_seconds != self.seconds:
                raise ValueError(
                    f"{where}.recipe: its mixtures last {recipe.clip_seconds} s, the model takes clips of "
                    f"{self.seconds} s: set clip_seconds in the recipe"
                )
            # Mixture number n is a function of the seed: each corpus of each stream must have its own.
            seed = stable_seed(self.seed, kind, name)
            cache = None
            if entry.memory_gib is not None:
                cache = int(entry.memory_gib * GIB / max(1, workers_of_rank(self.config.workers)))
            phrasings = "trained" if kind == "global" else None
            return MixtureSource(name, bank, recipe, entry.size, seed, phrasings, base, cache)
        if not entry.path:
            raise ValueError(f"{where} has neither `path` (a folder of shards) nor `bank` (folders to mix from)")
        with named(f"{where}.path"):
            corpus = self.corpus(entry.path, let_in=self.config.bad_shards == "skip")
        for error in corpus.damaged:
            print(f"skipped on {socket.gethostname()}: {error}", file=sys.stderr)
        return ShardSource(corpus, self.seconds, self.left_out.kept(where, corpus), name)

    def _bank(self, folders: tuple[str, ...], in_memory: bool) -> tuple[Bank, int]:
        """A bank and its first sample in the memory of all banks; streams over the same folders share it."""
        if not in_memory:
            return self._open_bank(folders), 0
        if folders not in self.banks:
            base = sum(int(bank.samples.sum()) for bank, _ in self.banks.values())
            self.banks[folders] = (self._open_bank(folders), base)
        return self.banks[folders]

    def _open_bank(self, folders: tuple[str, ...]) -> Bank:
        bank = Bank(folders, self.config.verify, self.cache, self.left_out.keys)
        for corpus, rows in zip(bank.corpora, bank.left_out, strict=True):
            self.left_out.kept(f"bank {corpus.folder}", corpus)
            self.left_out.from_bank(f"bank {corpus.folder}", corpus, rows)
        return bank

    def memory(self) -> Tensor | None:
        """All banks' audio, int16 [N]; None when nothing is mixed online."""
        if not self.banks:
            return None
        return torch.cat([bank.load() for bank, _ in self.banks.values()])

    def corpus(self, place: str, let_in: bool = False) -> Corpus:
        """Of shards."""
        return Corpus(place, self.config.verify, self.cache, let_in)

    def check_cache(self, streams: list[Stream]) -> None:
        """Two blocks of shards of each stream are in use at a time: a smaller cache would fetch them over and over. Of
        a balanced corpus all are."""
        need = 0
        for stream in streams:
            for source, by_class in zip(stream.sources, stream.by_class, strict=True):
                if isinstance(source, ShardSource) and source.corpus.remote:
                    sizes = [e.bytes for e in source.corpus.entries]
                    need += 2 * self.config.block_shards * max(sizes) if by_class is None else sum(sizes)
        if need > self.cache.limit:
            raise ValueError(
                f"data.cache_gib={self.config.cache_gib:g}: two blocks of {self.config.block_shards} shards of each "
                f"corpus behind a URL (all of one with a balance) take {need / GIB:.3g} GiB: raise it, or lower "
                "data.block_shards"
            )


def drawn_by_class(where: str, entry: CorpusConfig, source: Source, folder: Path, weak: bool) -> ByClass | None:
    """What of a source is drawn by class; None: nothing. `where` it stands in the settings; folder: as in
    `ByClass.of`; weak: tags count, too.

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
    tags_in = source.samples / SAMPLE_RATE if weak else None
    return ByClass.of(entry.balance, source.corpus, folder, source.kept, tags_in)

"""From the `data` part of the configuration to loaders."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from flam_train.batch import Movable, StepBatch
from flam_train.data.augment import draw as augmentation
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.augment.draw import Augmentation
from flam_train.data.mixing import source as mixtures
from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.item_cache import ItemCache
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.mixing.source import MixtureSource
from flam_train.data.shards.cache import GIB, ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import LeftOut
from flam_train.data.stream import collate, dataset
from flam_train.data.stream.clips import ShardSource, Source
from flam_train.data.stream.collate import Concepts, collate_captions, collate_events
from flam_train.data.stream.dataset import ClipsDataset, Steps, StepSampler, Stream
from flam_train.data.stream.order import stable_seed
from flam_train.data.stream.workers import loader_options, workers_of_rank
from flam_train.frames import FrameGrid
from flam_train.models.text import Tokenizer
from flam_train.settings import setting, settle
from flam_train.training.content import Content, check_same_content, facts_of
from flam_train.training.corpora import CorpusConfig, drawn_by_class
from flam_train.training.micro_batches import MicroBatches

WORKERS_NEED = (dataset, collate, mixtures, augmentation)
"""Modules that loader workers import: for `server.start_server`."""

BACKGROUNDS = 1 << 28
"""Bytes of backgrounds for augmentation that each loader worker keeps: 280 of 10 s."""


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how.

    captions, frames are `data.global` and `data.frame`; global_batch to accumulate stand at the top of the
    configuration.
    """

    captions: dict[str, CorpusConfig]
    frames: dict[str, CorpusConfig]
    global_batch: int = setting(0, "clips with captions a step, over all ranks; 0 switches them off", least=0)
    frame_batch: int = setting(0, "clips with events a step, over all ranks; 0 switches them off", least=0)
    accumulate: int = setting(1, "micro-batches of each rank's share of both; 1: the whole batch at once", least=1)
    phrases_per_clip: int = setting(5, "of each clip up to so many of its concepts enter the batch", least=1)
    block_shards: int = setting(4, "shards whose samples are shuffled together", least=1)
    workers: int | None = setting(
        None, "loader processes of each rank; null: one for each core the rank has to itself, at most 8", least=0
    )
    prefetch: int = setting(2, "steps that each worker holds ready", least=1)
    verify: bool = setting(False, "compare every shard's sha256 at the start")
    validation_batch: int = setting(16, "clips", least=1)
    cache_folder: str | None = setting(
        None, "where shards that lie behind a URL are kept on this machine; null: TMPDIR/flam-shards-UID"
    )
    cache_gib: float = setting(50.0, "how much of them, by all processes of the machine", above=0)
    cache_ahead: int = setting(100, "of how many coming steps they are fetched meanwhile", least=0)
    bad_shards: str = setting(
        "stop",
        "a shard is missing, cut off or altered on a node: `stop` at the start, or `skip` its samples, which count as "
        "bad (`loss.max_bad_share`)",
        choices=("stop", "skip"),
    )
    exclude: tuple[str, ...] | None = setting(
        None, "files of the samples that are not trained on (`data.shards.exclusion`); validation keeps them"
    )

    def __post_init__(self) -> None:
        settle(self, "data")
        for kind, corpora in (("global", self.captions), ("frame", self.frames)):
            for name, entry in corpora.items():
                settle(entry, f"data.{kind}.{name}")
        if self.global_batch + self.frame_batch == 0:
            raise ValueError("global_batch=0 and frame_batch=0: one must be over 0")
        if self.global_batch == 1:
            raise ValueError(
                "global_batch=1: the global loss compares the clips of a batch, of one it is 0: set it to at least 2, "
                "or to 0"
            )


class DataModule(LightningDataModule):
    """The training stream and the validation corpora.

    captions, events: the streams, None where switched off. validation: name -> corpus, as in `val/NAME/...`.
    steps: length of the run. since: of each stream, as in `Stream`, where its batch was changed on the way. augment:
    what is done to the clips of both streams; None: nothing. Raises ValueError that names the corpus, the file and the
    fix.
    """

    def __init__(
        self,
        config: DataConfig,
        tokenizer: Tokenizer,
        grid: FrameGrid,
        steps: int,
        seed: int,
        since: Mapping[str, tuple[int, int]] | None = None,
        augment: AugmentConfig | None = None,
    ):
        super().__init__()
        config = replace(
            config,
            captions={name: entry.with_splits() for name, entry in config.captions.items()},
            frames={name: entry.with_splits() for name, entry in config.frames.items()},
        )
        self.config, self.tokenizer, self.grid, self.steps, self.seed = config, tokenizer, grid, steps, seed
        self.since = dict(since or {})
        self.cache = ShardCache(config.cache_folder, config.cache_gib)
        self.banks: dict[tuple[str, ...], tuple[Bank, int]] = {}
        self.left_out = LeftOut(config.exclude or ())
        self.augment = augment or AugmentConfig()
        background = self.augment.background
        self.backgrounds = ItemCache(self._open_bank(background), BACKGROUNDS) if background else None
        self.captions = self._stream("global", config.captions, config.global_batch)
        self.events = self._stream("frame", config.frames, config.frame_batch)
        self.validation = self._validation()
        self._check_cache()

    def provenance(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """{"global" or "frame": {corpus: [what it is made of, each as `Corpus.provenance` and `Corpus.credits`]}}, and
        "augment": {"background": ...} likewise."""
        made_of = {stream.name: {source.name: source.corpora for source in stream.sources} for stream in self.streams}
        if self.backgrounds is not None:
            made_of["augment"] = {"background": self.backgrounds.bank.corpora}
        return {
            kind: {name: [c.provenance() | c.credits() for c in corpora] for name, corpora in of.items()}
            for kind, of in made_of.items()
        }

    def _stream(self, kind: str, corpora: dict[str, CorpusConfig], batch: int) -> Stream | None:
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
            drawn_by_class(f"data.{kind}.{name}", entry, source, self.cache.folder)
            for (name, entry), source in zip(corpora.items(), sources, strict=True)
        ]
        augmenter = None
        if self.augment.on:
            augmenter = Augmentation(self.augment, self.grid.seconds, self.backgrounds, mix=kind == "frame")
        since, blocks = self.since.get(kind, (0, 0)), self.config.block_shards
        return Stream(kind, sources, weights, batch, self.seed, blocks, since, by_class, augmenter)

    def _source(self, kind: str, name: str, entry: CorpusConfig) -> Source:
        if entry.bank:
            bank, base = self._bank(entry.bank, in_memory=entry.memory_gib is None)
            recipe = MixRecipe.load(entry.recipe)
            if recipe.clip_seconds != self.grid.seconds:
                raise ValueError(
                    f"data.{kind}.{name}.recipe: its mixtures last {recipe.clip_seconds} s, the model takes clips of "
                    f"{self.grid.seconds} s: set clip_seconds in the recipe"
                )
            # Mixture number n is a function of the seed: each corpus of each stream must have its own.
            seed = stable_seed(self.seed, kind, name)
            cache = None
            if entry.memory_gib is not None:
                cache = int(entry.memory_gib * GIB / max(1, workers_of_rank(self.config.workers)))
            phrasings = "trained" if kind == "global" else None
            return MixtureSource(name, bank, recipe, entry.size, seed, phrasings, base, cache)
        if not entry.path:
            raise ValueError(
                f"data.{kind}.{name} has neither `path` (a folder of shards) nor `bank` (folders to mix from)"
            )
        corpus = self._corpus(entry.path, let_in=self.config.bad_shards == "skip")
        for error in corpus.damaged:
            print(f"skipped on {socket.gethostname()}: {error}", file=sys.stderr)
        return ShardSource(corpus, self.grid.seconds, self.left_out.kept(f"data.{kind}.{name}", corpus), name)

    @property
    def streams(self) -> list[Stream]:
        """Those that are switched on."""
        return [stream for stream in (self.captions, self.events) if stream is not None]

    @cached_property
    def content(self) -> Content:
        """What lies at each place of the settings."""
        gone = self.left_out.fingerprints()
        out: Content = {}
        for stream in self.streams:
            for source in stream.sources:
                where, mixed = f"data.{stream.name}.{source.name}", isinstance(source, MixtureSource)
                out[where] = [
                    facts_of(
                        corpus,
                        gone.get(f"bank {corpus.folder}" if mixed else where, ""),
                        source.recipe if isinstance(source, MixtureSource) else None,
                    )
                    for corpus in source.corpora
                ]
        if self.backgrounds is not None:
            corpora = self.backgrounds.bank.corpora
            out["augment.background"] = [facts_of(corpus, gone.get(f"bank {corpus.folder}", "")) for corpus in corpora]
        return out | {f"val/{name}": [facts_of(corpus)] for name, corpus in self.validation.items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain data; `check_same` reads it, before anything of the run folder is written over."""
        return {"content": self.content, "since": {stream.name: list(stream.since) for stream in self.streams}}

    def check_same(self, state: dict[str, Any]) -> None:
        """Holds the data to what the run began with. Raises ValueError that names the corpus."""
        if "content" in state:
            check_same_content(state["content"], self.content)
        else:
            self.left_out.check_same(state.get("left_out", {}))

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

    def load_memory(self) -> Tensor | None:
        """All banks' audio, int16 [N]; None when nothing is mixed online."""
        if not self.banks:
            return None
        return torch.cat([bank.load() for bank, _ in self.banks.values()])

    def _validation(self) -> dict[str, Corpus]:
        out: dict[str, Corpus] = {}
        for kind, corpora in (("frame", self.config.frames), ("global", self.config.captions)):
            for name, entry in corpora.items():
                folder = entry.validation
                if not folder or (name in out and str(out[name].folder) == str(folder)):
                    continue
                # One corpus may be validated on different shards for its events and for its captions.
                out[f"{name}-{kind}" if name in out else name] = self._corpus(folder)
        return out

    def _corpus(self, place: str, let_in: bool = False) -> Corpus:
        return Corpus(place, self.config.verify, self.cache, let_in)

    def _check_cache(self) -> None:
        """Two blocks of shards of each stream are in use at a time: a smaller cache would fetch them over and over. Of
        a balanced corpus all are."""
        need = 0
        for stream in self.streams:
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

    def steps_of(self, rank: int, world: int) -> Steps:
        """What one rank takes, micro-batch by micro-batch. Raises ValueError where a batch does not divide."""
        captions, events = self.captions, self.events
        return Steps(
            self.steps,
            captions,
            events,
            partial(collate_captions, tokenizer=self.tokenizer, seed=captions.seed) if captions else None,
            partial(
                collate_events,
                tokenizer=self.tokenizer,
                grid=self.grid,
                concepts=Concepts.of(events.sources),
                seed=events.seed,
                phrases_per_clip=self.config.phrases_per_clip,
            )
            if events
            else None,
            rank,
            world,
            self.config.accumulate,
            ahead=self.config.cache_ahead * self.config.accumulate,
        )

    def train_dataloader(self) -> MicroBatches:
        trainer = self.trainer
        assert trainer is not None
        steps, count = self.steps_of(trainer.global_rank, trainer.world_size), self.config.accumulate
        sampler = StepSampler(lambda: trainer.global_step * count, len(steps))
        return MicroBatches(self._loader(steps, sampler), count, self.steps)

    def val_dataloader(self) -> list[DataLoader]:
        trainer = self.trainer
        assert trainer is not None
        out = []
        for corpus in self.validation.values():
            clips = ClipsDataset(
                corpus, self.grid.seconds, self.config.validation_batch, trainer.global_rank, trainer.world_size
            )
            # In this process: validation is rare and short, and idle workers would hold memory all the while.
            out.append(DataLoader(clips, batch_size=None))
        return out

    def transfer_batch_to_device(
        self, batch: Movable | list[StepBatch], device: torch.device, dataloader_idx: int
    ) -> Movable | list[StepBatch]:
        if isinstance(batch, list):
            return [part.to(device, non_blocking=True) for part in batch]
        return batch.to(device, non_blocking=True)

    def _loader(self, dataset, sampler) -> DataLoader:
        workers = workers_of_rank(self.config.workers)
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            **loader_options(workers, self.config.prefetch, self.config.accumulate),
        )

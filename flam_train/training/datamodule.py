"""From the `data` part of the configuration to loaders."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from flam_train.batch import Movable, StepBatch
from flam_train.data.mixing import source as mixtures
from flam_train.data.mixing.bank import Bank
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
from flam_train.settings import number, one_of
from flam_train.training.corpora import with_splits
from flam_train.training.micro_batches import MicroBatches

WORKERS_NEED = (dataset, collate, mixtures)
"""Modules that loader workers import: for `server.start_server`."""

CORPUS_KEYS = ("path", "bank", "recipe", "size", "memory_gib", "weight", "validation")


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how.

    captions, frames    corpus name -> its settings (`data.global`, `data.frame`): `path` (a folder of shards, or the
                        one above its train/ and validation/), or `bank` (folders), `recipe` and `size` for mixtures
                        made while training, and `memory_gib` where the bank shall not be in memory: then its sounds are
                        read as they are needed, and so much of them is kept by the workers of each rank together;
                        `weight`; `validation` (a folder of shards)
    global_batch, frame_batch  clips a step over all ranks; 0 switches a stream off
    accumulate          micro-batches of each rank's share of them
    workers             loader processes of each rank; None: one for each core the rank has to itself, at most 8
    verify              compare every shard's sha256 at the start
    cache_folder, cache_gib    where shards that lie behind a URL are kept on this machine, and how much of them
    cache_ahead         of how many coming steps they are fetched meanwhile
    bad_shards          a shard is missing, cut off or altered on a node: `stop` at the start, or `skip` its samples,
                        which count as bad (`loss.max_bad_share`)
    exclude             files of the samples that are not trained on (`data.shards.exclusion`); validation keeps them
    """

    captions: dict[str, dict[str, Any]]
    frames: dict[str, dict[str, Any]]
    global_batch: int
    frame_batch: int
    accumulate: int = 1
    phrases_per_clip: int = 5
    block_shards: int = 4
    workers: int | None = None
    prefetch: int = 2
    verify: bool = False
    validation_batch: int = 16
    cache_folder: str | None = None
    cache_gib: float = 50.0
    cache_ahead: int = 100
    bad_shards: str = "stop"
    exclude: tuple[str, ...] | str | None = None

    def __post_init__(self) -> None:
        for kind, corpora in (("global", self.captions), ("frame", self.frames)):
            for name, entry in corpora.items():
                for key in entry:
                    one_of(f"data.{kind}.{name}", key, CORPUS_KEYS)
        one_of("data.bad_shards", self.bad_shards, ("stop", "skip"))
        if self.global_batch < 0 or self.frame_batch < 0 or self.global_batch + self.frame_batch == 0:
            raise ValueError(f"global_batch={self.global_batch} and frame_batch={self.frame_batch}: one must be over 0")
        if self.accumulate < 1:
            raise ValueError(f"accumulate={self.accumulate}: at least 1, which is the whole batch at once")


class DataModule(LightningDataModule):
    """The training stream and the validation corpora.

    captions, events: the streams, None where switched off. validation: name -> corpus, as in `val/NAME/...`.
    steps: length of the run. Raises ValueError that names the corpus, the file and the fix.
    """

    def __init__(self, config: DataConfig, tokenizer: Tokenizer, grid: FrameGrid, steps: int, seed: int):
        super().__init__()
        config = replace(
            config,
            captions={name: with_splits(entry) for name, entry in config.captions.items()},
            frames={name: with_splits(entry) for name, entry in config.frames.items()},
        )
        self.config, self.tokenizer, self.grid, self.steps, self.seed = config, tokenizer, grid, steps, seed
        self.cache = ShardCache(config.cache_folder, config.cache_gib)
        self.banks: dict[tuple[str, ...], tuple[Bank, int]] = {}
        self.left_out = LeftOut([config.exclude] if isinstance(config.exclude, str) else config.exclude or [])
        self.captions = self._stream("global", config.captions, config.global_batch)
        self.events = self._stream("frame", config.frames, config.frame_batch)
        self.validation = self._validation()
        self._check_cache()

    def provenance(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """{"global" or "frame": {corpus: [what it is made of, each as `Corpus.provenance` and `Corpus.credits`]}}."""
        return {
            stream.name: {
                source.name: [c.provenance() | c.credits() for c in source.corpora] for source in stream.sources
            }
            for stream in (self.captions, self.events)
            if stream is not None
        }

    def _stream(self, kind: str, corpora: dict[str, dict[str, Any]], batch: int) -> Stream | None:
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
        weights = [number(f"data.{kind}.{n}.weight", e.get("weight", 1.0), "float") for n, e in corpora.items()]
        return Stream(kind, sources, weights, batch, self.seed, self.config.block_shards)

    def _source(self, kind: str, name: str, entry: dict[str, Any]) -> Source:
        if entry.get("bank"):
            folders = entry["bank"] if isinstance(entry["bank"], list) else [entry["bank"]]
            memory = entry.get("memory_gib")
            bank, base = self._bank(tuple(map(str, folders)), in_memory=memory is None)
            recipe = MixRecipe.load(entry.get("recipe", "paper"))
            if recipe.clip_seconds != self.grid.seconds:
                raise ValueError(
                    f"data.{kind}.{name}.recipe: its mixtures last {recipe.clip_seconds} s, the model takes clips of "
                    f"{self.grid.seconds} s: set clip_seconds in the recipe"
                )
            # Mixture number n is a function of the seed: each corpus of each stream must have its own.
            seed = stable_seed(self.seed, kind, name)
            size = number(f"data.{kind}.{name}.size", entry.get("size", 100_000), "int")
            cache = None
            if memory is not None:
                gib = number(f"data.{kind}.{name}.memory_gib", memory, "float")
                if gib <= 0:
                    raise ValueError(
                        f"data.{kind}.{name}.memory_gib={gib:g}: give a size above 0, or null for all of it"
                    )
                cache = int(gib * GIB / max(1, workers_of_rank(self.config.workers)))
            phrasings = "trained" if kind == "global" else None
            return MixtureSource(name, bank, recipe, size, seed, phrasings, base, cache)
        if not entry.get("path"):
            raise ValueError(
                f"data.{kind}.{name} has neither `path` (a folder of shards) nor `bank` (folders to mix from)"
            )
        corpus = self._corpus(entry["path"], let_in=self.config.bad_shards == "skip")
        for error in corpus.damaged:
            print(f"skipped on {socket.gethostname()}: {error}", file=sys.stderr)
        return ShardSource(corpus, self.grid.seconds, self.left_out.kept(f"data.{kind}.{name}", corpus), name)

    def state_dict(self) -> dict[str, Any]:
        return {"left_out": self.left_out.fingerprints()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The settings name the files of data.exclude; this holds their content to what the run began with."""
        self.left_out.check_same(state_dict["left_out"])

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
                folder = entry.get("validation")
                if not folder or (name in out and str(out[name].folder) == str(folder)):
                    continue
                # One corpus may be validated on different shards for its events and for its captions.
                out[f"{name}-{kind}" if name in out else name] = self._corpus(folder)
        return out

    def _corpus(self, place: str, let_in: bool = False) -> Corpus:
        return Corpus(place, self.config.verify, self.cache, let_in)

    def _check_cache(self) -> None:
        """Two blocks of shards of each stream are in use at a time: a smaller cache would fetch them over and over."""
        need = 0
        for stream in (self.captions, self.events):
            for source in stream.sources if stream else []:
                if isinstance(source, ShardSource) and source.corpus.remote:
                    need += 2 * self.config.block_shards * max(e.bytes for e in source.corpus.entries)
        if need > self.cache.limit:
            raise ValueError(
                f"data.cache_gib={self.config.cache_gib:g}: two blocks of {self.config.block_shards} shards of each "
                f"corpus behind a URL take {need / GIB:.3g} GiB: raise it, or lower data.block_shards"
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

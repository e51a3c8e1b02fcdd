"""From the `data` part of the configuration to loaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from flam_train.batch import FrameBatch, Movable, StepBatch
from flam_train.data.augment import draw as augmentation
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.mixing import source as mixtures
from flam_train.data.mixing.source import MixtureSource
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream import collate, dataset
from flam_train.data.stream.collate import Concepts, collate_captions, collate_events
from flam_train.data.stream.dataset import ClipsDataset, Steps, StepSampler, Stream
from flam_train.data.stream.workers import loader_options, workers_of_rank
from flam_train.frames import FrameGrid
from flam_train.models.same_tokens import told
from flam_train.models.text import Tokenizer
from flam_train.settings import named
from flam_train.training.content import Content, check_same_content, facts_of
from flam_train.training.corpora import DataConfig
from flam_train.training.micro_batches import MicroBatches
from flam_train.training.sources import Sources

WORKERS_NEED = (dataset, collate, mixtures, augmentation)
"""Modules that loader workers import: for `server.start_server`."""

MOST_READ = 10_000
"""Samples of a corpus without a vocabulary that are read for its labels before a run: half a second."""


class DataModule(LightningDataModule):
    """The training stream and the validation corpora.

    captions, events, tags: the streams, None where switched off. validation: name -> corpus, as in `val/NAME/...`.
    steps: length of the run. since: of each stream, as in `Stream`, where its batch was changed on the way. augment:
    what is done to the clips of all streams; None: nothing. Raises ValueError that names the corpus, the file and the
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
        config = config.with_splits()
        self.config, self.tokenizer, self.grid, self.steps, self.seed = config, tokenizer, grid, steps, seed
        self.sources = Sources(config, augment or AugmentConfig(), grid.seconds, seed)
        self.captions, self.events, self.tags = (
            self.sources.stream(kind, corpora, batch, (since or {}).get(kind, (0, 0)))
            for kind, (batch, corpora) in config.streams.items()
        )
        self.validation: dict[str, Corpus] = {}
        for name, (where, place) in config.validations.items():
            with named(where):
                self.validation[name] = self.sources.corpus(place)
        self._reading: MicroBatches | None = None
        self.sources.check_cache(self.streams)

    def provenance(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """{"global", "frame" or "weak": {corpus: [what it is made of, as `Corpus.provenance` and `Corpus.credits`]}},
        and "augment": {"background": ...} likewise."""
        made_of = {stream.name: {source.name: source.corpora for source in stream.sources} for stream in self.streams}
        if self.sources.backgrounds is not None:
            made_of["augment"] = {"background": self.sources.backgrounds.bank.corpora}
        return {
            kind: {name: [c.provenance() | c.credits() for c in corpora] for name, corpora in of.items()}
            for kind, of in made_of.items()
        }

    @property
    def streams(self) -> list[Stream]:
        """Those that are switched on."""
        return [stream for stream in (self.captions, self.events, self.tags) if stream is not None]

    def confused(self) -> list[str]:
        """Lines about labels that the text model cannot tell apart, of the streams with phrases."""
        said: dict[str, set[str]] = {}
        for stream in (self.events, self.tags):
            for source in stream.sources if stream else ():
                concepts = Concepts.of([source]).said(source.open_labels(MOST_READ))
                for concept, phrasings in concepts.items():
                    said.setdefault(concept, set()).update(phrasings)
        return told(said, self.tokenizer)

    @cached_property
    def content(self) -> Content:
        """What lies at each place of the settings."""
        gone = self.sources.left_out.fingerprints()
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
        if self.sources.backgrounds is not None:
            corpora = self.sources.backgrounds.bank.corpora
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
            self.sources.left_out.check_same(state.get("left_out", {}))

    def steps_of(self, rank: int, world: int) -> Steps:
        """What one rank takes, micro-batch by micro-batch. Raises ValueError where a batch does not divide."""
        captions, events, tags = self.captions, self.events, self.tags
        return Steps(
            self.steps,
            captions,
            events,
            partial(collate_captions, tokenizer=self.tokenizer, seed=captions.seed) if captions else None,
            self._collate_events(events) if events else None,
            rank,
            world,
            self.config.accumulate,
            ahead=self.config.cache_ahead * self.config.accumulate,
            tags=tags,
            collate_tags=self._collate_events(tags, weak=True) if tags else None,
        )

    def _collate_events(self, stream: Stream, weak: bool = False) -> Callable[..., FrameBatch]:
        return partial(
            collate_events,
            tokenizer=self.tokenizer,
            grid=self.grid,
            concepts=Concepts.of(stream.sources),
            seed=stream.seed,
            phrases_per_clip=self.config.phrases_per_clip,
            weak=weak,
        )

    def train_dataloader(self) -> MicroBatches:
        trainer = self.trainer
        assert trainer is not None
        steps, count = self.steps_of(trainer.global_rank, trainer.world_size), self.config.accumulate
        sampler = StepSampler(lambda: trainer.global_step * count, len(steps))
        self._reading = MicroBatches(self._loader(steps, sampler), count, self.steps)
        return self._reading

    def close(self) -> None:
        """Ends the loader workers, whether training has come to its end or not."""
        if self._reading is not None:
            self._reading.close()

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

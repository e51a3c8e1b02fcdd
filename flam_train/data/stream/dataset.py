"""From places in the plan to clips, and from steps to batches.

One item of `Steps` is what one rank takes in one step, so ranks and workers need no bookkeeping: which samples these
are follows from the step alone, and resuming is beginning at another step.

Shape suffixes: B clips, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flam_train.batch import SAMPLE_RATE, FrameBatch, GlobalBatch, Movable, StepBatch
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.data.stream.ahead import Ahead
from flam_train.data.stream.classes import ByClass
from flam_train.data.stream.clips import Augmenter, Clip, ShardSource, Source, cut, padded
from flam_train.data.stream.order import Order, Place, stable_seed
from flam_train.data.stream.tags import moved


class Stream:
    """A plan with its sources: one of the three kinds of batches that a step takes.

    name     "global", "frame" or "weak": enters every draw, so that two streams over one corpus differ
    weights  of the sources
    batch    clips a step, over all ranks (`global_batch`, `frame_batch`, `weak_batch` in conf)
    seed     of the run
    since    (step, position): from which step on the batch is this one, and where the stream stood then
    by_class    of each source, what of it is drawn by class (`Order`)
    augmenter   draws what is done to the clips; None: nothing
    """

    def __init__(
        self,
        name: str,
        sources: Sequence[Source],
        weights: Sequence[float],
        batch: int,
        seed: int,
        block_shards: int = 4,
        since: tuple[int, int] = (0, 0),
        by_class: Sequence[ByClass | None] | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        self.name, self.sources, self.batch, self.since = name, list(sources), batch, since
        self.seed, self.augmenter = stable_seed(seed, name), augmenter
        self.by_class = by_class or [None] * len(self.sources)
        sizes, names = [source.shard_sizes for source in self.sources], [source.name for source in self.sources]
        self.order = Order(sizes, weights, self.seed, block_shards, names, self.by_class)

    def position(self, step: int) -> int:
        """Where the stream stands before a step that is not before `since`."""
        return self.since[1] + (step - self.since[0]) * self.batch

    def clips(self, start: int, stop: int) -> tuple[list[Clip], list[Place]]:
        """The clips at the positions from `start` to before `stop`."""
        places = self.order.range(start, stop)
        partners = self._partners(start, places)
        clips = self._read([*places, *partners.values()])
        if self.augmenter is not None:
            others = dict(zip(partners, clips[len(places) :], strict=True))
            clips = [self.augmenter.clip(clip, others.get(n)) for n, clip in enumerate(clips[: len(places)])]
        return clips, places

    def reads(self, start: int, stop: int) -> list[Place]:
        """All places that the clips at these positions are made of."""
        places = self.order.range(start, stop)
        return [*places, *self._partners(start, places).values()]

    def _partners(self, start: int, places: list[Place]) -> dict[int, Place]:
        """Number of a place -> that of the clip it is mixed with. Of the same corpus, so that what is annotated in one
        is annotated in both; online mixtures are mixtures already."""
        if self.augmenter is None:
            return {}
        further = [self.augmenter.partner(self.seed, start + n) for n in range(len(places))]
        return {
            n: self.order.beside(place, further[n])
            for n, place in enumerate(places)
            if further[n] and isinstance(self.sources[place.corpus], ShardSource)
        }

    def _read(self, places: list[Place]) -> list[Clip]:
        found: dict[int, Clip] = {}
        for k in sorted({place.corpus for place in places}):
            mine = [n for n, place in enumerate(places) if place.corpus == k]
            found |= zip(mine, self.sources[k].clips([places[n] for n in mine], self.seed), strict=True)
        # Whatever the source is, what is drawn for a clip depends on nothing but (seed, stream, pass, key).
        return [
            replace(found[n], corpus=place.corpus, seed=stable_seed(self.seed, place.pass_, found[n].key))
            for n, place in enumerate(places)
        ]


class Steps(Dataset):
    """Item i is what this rank takes in step i: a `StepBatch`.

    steps              length of the run
    captions, events, tags   the streams; None switches one off
    collate_captions   called as (clips, places, step) -> GlobalBatch, `collate` with its other arguments bound
    collate_events, collate_tags   the same -> FrameBatch
    accumulate         micro-batches a step; then item i is micro-batch i % accumulate of step i // accumulate
    ahead              of shards that lie elsewhere those of so many further items are fetched meanwhile

    With G clips a step over R ranks, rank r takes positions [p + r G/R, p + (r + 1) G/R) with p = `Stream.position`:
    every rank has as many batches of the same size, whatever the corpora are.
    Use with `DataLoader(batch_size=None, sampler=StepSampler(...))`.
    """

    def __init__(
        self,
        steps: int,
        captions: Stream | None,
        events: Stream | None,
        collate_captions: Callable[[list[Clip], list[Place], int], GlobalBatch] | None = None,
        collate_events: Callable[[list[Clip], list[Place], int], FrameBatch] | None = None,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        ahead: int = 0,
        tags: Stream | None = None,
        collate_tags: Callable[[list[Clip], list[Place], int], FrameBatch] | None = None,
    ) -> None:
        streams = [stream for stream in (captions, events, tags) if stream is not None]
        if not streams:
            raise ValueError("all batches are switched off: select data/global, data/frame or data/weak")
        assert 0 <= rank < world
        for stream, collate in ((captions, collate_captions), (events, collate_events), (tags, collate_tags)):
            assert stream is None or collate is not None
            if stream is not None and (stream.batch < 1 or stream.batch % (world * accumulate)):
                parts = f"{world} ranks x {accumulate} micro-batches (accumulate)"
                raise ValueError(
                    f"{stream.name}_batch={stream.batch} does not divide by {parts}: it is the total over all of them; "
                    f"set {stream.name}_batch to a multiple of {world * accumulate}"
                )
        self.steps, self.streams = steps, streams
        self.captions, self.events, self.tags = captions, events, tags
        self.collate_captions, self.collate_events, self.collate_tags = collate_captions, collate_events, collate_tags
        self.rank, self.world, self.accumulate = rank, world, accumulate
        remote = any(isinstance(s, ShardSource) and s.corpus.remote for stream in streams for s in stream.sources)
        self._ahead = Ahead(self._places, len(self), ahead, remote)

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __getitem__(self, item: int) -> StepBatch:
        if not 0 <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        self._ahead.move_to(item)
        step, micro = divmod(item, self.accumulate)
        captions, events, tags = None, None, None
        if self.captions is not None and self.collate_captions is not None:
            captions = self.collate_captions(*self.captions.clips(*self._slice(self.captions, step, micro)), step)
        if self.events is not None and self.collate_events is not None:
            events = self.collate_events(*self.events.clips(*self._slice(self.events, step, micro)), step)
        if self.tags is not None and self.collate_tags is not None:
            tags = self.collate_tags(*self.tags.clips(*self._slice(self.tags, step, micro)), step)
        return StepBatch(step, captions, events, tags)

    def _places(self, item: int) -> Iterator[tuple[Source, Place]]:
        step, micro = divmod(item, self.accumulate)
        for stream in self.streams:
            for place in stream.reads(*self._slice(stream, step, micro)):
                yield stream.sources[place.corpus], place

    def _slice(self, stream: Stream, step: int, micro: int) -> tuple[int, int]:
        share = stream.batch // (self.world * self.accumulate)
        start = stream.position(step) + (micro * self.world + self.rank) * share
        return start, start + share


class StepSampler(Sampler):
    """The items from `first` to `total`. `first` may be a function, asked when an iteration begins: resuming."""

    def __init__(self, first: int | Callable[[], int], total: int) -> None:
        self.first, self.total = first, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first() if callable(self.first) else self.first, self.total))

    def __len__(self) -> int:
        return self.total


@dataclass(frozen=True)
class ClipsBatch(Movable):
    """Whole clips for validation: waveform_BS int16, padded with zeros; durations in seconds, before the padding."""

    waveform_BS: Tensor
    records: list[Record]
    keys: list[str]
    durations: list[float]


class ClipsDataset(Dataset):
    """A corpus for validation: item i is this rank's batch i, in the corpus' own order.

    Over the ranks each clip comes exactly once: their shares may differ by a clip and there is no padding with
    copies. All ranks have as many batches: the last may be without clips. Clips longer than `seconds` are cut to their
    beginning, and so are their events and tags. A bad sample raises.
    """

    def __init__(self, corpus: Corpus, seconds: float, batch: int, rank: int = 0, world: int = 1) -> None:
        assert 0 <= rank < world
        assert batch > 0
        self.corpus, self.samples, self.batch = corpus, round(seconds * SAMPLE_RATE), batch
        self.indices = range(rank, len(corpus), world)
        self.batches = -(-len(range(0, len(corpus), world)) // batch)  # of the first rank, which has the most

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, item: int) -> ClipsBatch:
        if not 0 <= item < len(self):
            raise IndexError(f"batch {item} of {len(self)}")
        waveforms, records = [], []
        for index in self.indices[item * self.batch : (item + 1) * self.batch]:
            record = self.corpus.record(index)
            audio = self.corpus.waveform(index, 0.0, self.samples / SAMPLE_RATE, record)
            waveforms.append(padded(audio, self.samples))
            if round(record.duration * SAMPLE_RATE) > self.samples:
                seconds = self.samples / SAMPLE_RATE
                tags, events = moved(record.tags, record.duration, 0.0, seconds), cut(record.events, 0.0, seconds)
                record = replace(record, duration=seconds, events=events, tags=tags)
            records.append(record)
        waveform_BS = np.stack(waveforms) if waveforms else np.zeros((0, self.samples), dtype=np.int16)
        keys, durations = [record.key for record in records], [record.duration for record in records]
        return ClipsBatch(torch.from_numpy(waveform_BS), records, keys, durations)

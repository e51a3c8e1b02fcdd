"""From places in the plan to clips, and from steps to batches.

One item of `Steps` is what one rank takes in one step, so ranks and workers need no bookkeeping: which samples these
are follows from the step alone, and resuming is beginning at another step.

Shape suffixes: B clips, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flam_train.batch import SAMPLE_RATE, FrameBatch, GlobalBatch, Movable, StepBatch
from flam_train.data.order import Order, Place, stable_seed
from flam_train.data.schema import Event, Record
from flam_train.data.shards import Corpus
from flam_train.vocabulary import Vocabulary


@dataclass(frozen=True)
class Clip:
    """A sample as training takes it.

    waveform_S  int16, exactly the model's samples, padded with zeros; all zeros if there is an error
    duration    seconds of audio before the padding
    events      seconds from the start of `waveform_S`
    corpus      its number in the stream
    seed        in [0, 2^63): the clip's augmentation is drawn from it
    error       what is wrong with a bad sample
    pieces      of a mixture that is still to be mixed: (start in the bank's memory, length, onset in the clip, linear
                gain), the first three in samples
    fade        samples of fade at both ends of each piece
    """

    key: str
    waveform_S: np.ndarray
    duration: float
    captions: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    corpus: int = 0
    seed: int = 0
    error: str | None = None
    pieces: list[tuple[int, int, int, float]] | None = None
    fade: int = 0

    def failed(self, error: str) -> Clip:
        """The same row as a bad sample: zeros, nothing in it, and what is wrong."""
        silence = np.zeros_like(self.waveform_S)
        return Clip(self.key, silence, 0.0, corpus=self.corpus, seed=self.seed, error=error)


class Source(Protocol):
    """Where the clips of one corpus of a stream come from. Must pickle."""

    name: str
    shard_sizes: np.ndarray

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def annotates(self) -> list[str]:
        """Concept ids."""
        ...

    def clip(self, place: Place, seed: int) -> Clip:
        """The clip at a place. All that is random about it is drawn from (seed, pass, key or cursor)."""
        ...


class ShardSource:
    """A corpus of shards as a source. Clips longer than `seconds` are cropped, each pass elsewhere."""

    def __init__(self, corpus: Corpus, seconds: float) -> None:
        self.corpus, self.samples = corpus, round(seconds * SAMPLE_RATE)
        self.name, self.vocabulary, self.annotates = corpus.name, corpus.vocabulary, corpus.annotates
        self.shard_sizes = corpus.shard_sizes

    def clip(self, place: Place, seed: int) -> Clip:
        """A sample that cannot be read keeps its row: zeros and `error`. It raises for faults of the program only."""
        silence = np.zeros(self.samples, dtype=np.int16)
        key = f"{self.name}[{place.index}]"
        try:
            key = self.corpus.key(place.index)
            record = self.corpus.record(place.index)
            room = round(record.duration * SAMPLE_RATE) - self.samples
            first = stable_seed(seed, place.pass_, key, "crop") % (room + 1) if room > 0 else 0
            audio = self.corpus.waveform(place.index, first / SAMPLE_RATE, self.samples / SAMPLE_RATE, record)
        except (ValueError, OSError) as error:
            clip_seed = stable_seed(seed, place.pass_, key)
            return Clip(key, silence, 0.0, corpus=place.corpus, seed=clip_seed, error=f"{self.name}: {error}")
        duration = len(audio) / SAMPLE_RATE
        return Clip(
            key=key,
            waveform_S=padded(audio, self.samples),
            duration=duration,
            captions=record.captions,
            events=cut(record.events, first / SAMPLE_RATE, duration),
            corpus=place.corpus,
            seed=stable_seed(seed, place.pass_, key),
        )


def padded(waveform_S: np.ndarray, samples: int) -> np.ndarray:
    """int16 [samples]: zeros after the end, never a repetition."""
    if len(waveform_S) >= samples:
        return waveform_S[:samples]
    return np.concatenate([waveform_S, np.zeros(samples - len(waveform_S), dtype=np.int16)])


def cut(events: Sequence[Event], start: float, seconds: float) -> tuple[Event, ...]:
    """What of the events lies in [start, start + seconds), in seconds from `start`; less than a sample is nothing."""
    inside = (Event(max(e.onset - start, 0.0), min(e.offset - start, seconds), e.label) for e in events)
    return tuple(e for e in inside if e.offset - e.onset >= 1 / SAMPLE_RATE)


class Stream:
    """A plan with its sources: one of the two kinds of batches that a step takes.

    name     "global" or "frame": enters every draw, so that two streams over one corpus differ
    weights  of the sources
    batch    clips a step, over all ranks (`global_batch`, `frame_batch` in conf)
    seed     of the run
    """

    def __init__(
        self,
        name: str,
        sources: Sequence[Source],
        weights: Sequence[float],
        batch: int,
        seed: int,
        block_shards: int = 4,
    ) -> None:
        self.name, self.sources, self.batch = name, list(sources), batch
        self.seed = stable_seed(seed, name)
        names = [source.name for source in self.sources]
        self.order = Order([source.shard_sizes for source in self.sources], weights, self.seed, block_shards, names)

    def clips(self, start: int, stop: int) -> tuple[list[Clip], list[Place]]:
        """The clips at the positions from `start` to before `stop`."""
        places = self.order.range(start, stop)
        clips = []
        for place in places:
            clip = self.sources[place.corpus].clip(place, self.seed)
            # Whatever the source is, a clip's augmentation depends on nothing but (seed, stream, pass, key).
            clips.append(replace(clip, corpus=place.corpus, seed=stable_seed(self.seed, place.pass_, clip.key)))
        return clips, places


class Steps(Dataset):
    """Item i is what this rank takes in step i: a `StepBatch`.

    steps              length of the run
    captions, events   the streams; None switches one off
    collate_captions   called as (clips, places, step) -> GlobalBatch, `data.collate` with its other arguments bound
    collate_events     the same -> FrameBatch
    accumulation       micro-batches a step; then item i is micro-batch i % accumulation of step i // accumulation

    With G clips a step over R ranks, rank r takes positions [sG + r G/R, sG + (r + 1) G/R): every rank has as many
    batches of the same size, whatever the corpora are.
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
        accumulation: int = 1,
    ) -> None:
        if captions is None and events is None:
            raise ValueError("both batches are switched off: select data/global or data/frame")
        assert 0 <= rank < world
        for stream, collate in ((captions, collate_captions), (events, collate_events)):
            assert stream is None or collate is not None
            if stream is not None and (stream.batch < 1 or stream.batch % (world * accumulation)):
                parts = f"{world} ranks x {accumulation} micro-batches"
                raise ValueError(
                    f"{stream.name}_batch={stream.batch} does not divide by {parts}: it is the total over all of them; "
                    f"set {stream.name}_batch to a multiple of {world * accumulation}"
                )
        self.steps, self.captions, self.events = steps, captions, events
        self.collate_captions, self.collate_events = collate_captions, collate_events
        self.rank, self.world, self.accumulation = rank, world, accumulation

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def __getitem__(self, item: int) -> StepBatch:
        if not 0 <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        step, micro = divmod(item, self.accumulation)
        captions, events = None, None
        if self.captions is not None and self.collate_captions is not None:
            captions = self.collate_captions(*self.captions.clips(*self._slice(self.captions, step, micro)), step)
        if self.events is not None and self.collate_events is not None:
            events = self.collate_events(*self.events.clips(*self._slice(self.events, step, micro)), step)
        return StepBatch(step, captions, events)

    def _slice(self, stream: Stream, step: int, micro: int) -> tuple[int, int]:
        share = stream.batch // (self.world * self.accumulation)
        start = step * stream.batch + (micro * self.world + self.rank) * share
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
    copies. Clips longer than `seconds` are cut to their beginning, and so are their events. A bad sample raises.
    """

    def __init__(self, corpus: Corpus, seconds: float, batch: int, rank: int = 0, world: int = 1) -> None:
        assert 0 <= rank < world
        assert batch > 0
        self.corpus, self.samples, self.batch = corpus, round(seconds * SAMPLE_RATE), batch
        self.indices = range(rank, len(corpus), world)

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch)

    def __getitem__(self, item: int) -> ClipsBatch:
        if not 0 <= item < len(self):
            raise IndexError(f"batch {item} of {len(self)}")
        waveforms, records = [], []
        for index in self.indices[item * self.batch : (item + 1) * self.batch]:
            record = self.corpus.record(index)
            audio = self.corpus.waveform(index, 0.0, self.samples / SAMPLE_RATE, record)
            duration = len(audio) / SAMPLE_RATE
            waveforms.append(padded(audio, self.samples))
            records.append(replace(record, duration=duration, events=cut(record.events, 0.0, duration)))
        durations = [record.duration for record in records]
        return ClipsBatch(torch.from_numpy(np.stack(waveforms)), records, [record.key for record in records], durations)

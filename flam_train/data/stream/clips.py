"""What training takes of a sample, and where the samples of a corpus come from.

Shape suffixes: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import Kept
from flam_train.data.shards.places import RemoteShards
from flam_train.data.shards.schema import Event, Tag
from flam_train.data.shards.tars import ShardEntry
from flam_train.data.stream.order import Place, stable_seed
from flam_train.data.stream.tags import moved
from flam_train.vocabulary import Vocabulary

if TYPE_CHECKING:  # tensors stand beside it; clips need none
    from flam_train.batch import Draws


@dataclass(frozen=True)
class Clip:
    """A sample as training takes it.

    waveform_S  int16, exactly the model's samples, padded with zeros; all zeros if there is an error
    duration    seconds of audio before the padding
    events      seconds from the start of `waveform_S`
    tags        weak labels, in the same seconds, their offsets told; they may reach outside
    corpus      its number in the stream
    seed        in [0, 2^63): the clip's augmentation is drawn from it
    error       what is wrong with a bad sample
    pieces      of a mixture that is still to be mixed: (start in the bank's memory, length, onset in the clip, linear
                gain), the first three in samples
    fade        samples of fade at both ends of each piece
    sounds      int16: the samples of each piece, where the bank is not in memory; then `start` counts for nothing
    draws       what is still to be done to its waveform; `events` are already where they will be
    added       int16, each as long as `waveform_S`: the sounds of `draws.added`
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
    sounds: list[np.ndarray] | None = None
    tags: tuple[Tag, ...] = ()
    draws: Draws | None = None
    added: Sequence[np.ndarray] = ()

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

    @property
    def corpora(self) -> Sequence[Corpus]:
        """What it is made of."""
        ...

    def open_labels(self, most: int) -> set[str]:
        """What is annotated where there is no vocabulary, as far as `most` samples show it without being fetched."""
        ...

    def clips(self, places: Sequence[Place], seed: int) -> list[Clip]:
        """The clip at each place. All that is random about one is drawn from (seed, pass, key or cursor)."""
        ...

    def remote_shard(self, place: Place) -> tuple[RemoteShards, ShardEntry] | None:
        """The shard that is read there, if it lies behind a URL."""
        ...


class Augmenter(Protocol):
    """What is done to the clips of a stream, drawn for each of them. Must pickle."""

    def partner(self, seed: int, position: int) -> int:
        """How many samples further on in its corpus the clip stands that the one at `position` is mixed with; 0: with
        none. seed: the stream's."""
        ...

    def clip(self, clip: Clip, other: Clip | None) -> Clip:
        """The clip with its draws, a function of its own seed and of `other`, what it is mixed with."""
        ...


class ShardSource:
    """A corpus of shards as a source. Clips longer than `seconds` are cropped, each pass elsewhere.

    kept  what of the corpus is taken, None for all of it; a place's index then counts the kept samples only
    name  in messages; None: the manifest's, which may be that of other corpora too
    """

    def __init__(self, corpus: Corpus, seconds: float, kept: Kept | None = None, name: str | None = None) -> None:
        self.corpus, self.samples, self.kept = corpus, round(seconds * SAMPLE_RATE), kept
        self.name, self.vocabulary, self.annotates = name or corpus.name, corpus.vocabulary, corpus.annotates
        self.shard_sizes = kept.shard_sizes if kept else corpus.shard_sizes

    @property
    def corpora(self) -> list[Corpus]:
        return [self.corpus]

    def _row(self, place: Place) -> int:
        return self.kept.row(place.index) if self.kept else place.index

    def remote_shard(self, place: Place) -> tuple[RemoteShards, ShardEntry] | None:
        found = self.corpus.place
        return (found, self.corpus.entry(self._row(place))) if isinstance(found, RemoteShards) else None

    def open_labels(self, most: int) -> set[str]:
        found: set[str] = set()
        if self.vocabulary.classes or self.corpus.remote:
            return found
        size = int(self.shard_sizes.sum())
        for n in range(0, size, max(1, -(-size // most))):
            try:
                record = self.corpus.record(self.kept.row(n) if self.kept else n)
            except (ValueError, OSError):
                continue  # a bad sample: it is told of when it is drawn
            found |= {event.label for event in record.events} | {tag.label for tag in record.tags}
        return found

    def clips(self, places: Sequence[Place], seed: int) -> list[Clip]:
        return [self.clip(place, seed) for place in places]

    def clip(self, place: Place, seed: int) -> Clip:
        """A sample that cannot be read keeps its row: zeros and `error`. It raises for faults of the program only."""
        silence = np.zeros(self.samples, dtype=np.int16)
        row = self._row(place)
        key = f"{self.name}[{row}]"
        try:
            key = self.corpus.key(row)
            record = self.corpus.record(row)
            room = round(record.duration * SAMPLE_RATE) - self.samples
            first = stable_seed(seed, place.pass_, key, "crop") % (room + 1) if room > 0 else 0
            audio = self.corpus.waveform(row, first / SAMPLE_RATE, self.samples / SAMPLE_RATE, record)
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
            tags=moved(record.tags, record.duration, first / SAMPLE_RATE, duration),
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

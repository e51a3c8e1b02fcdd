"""A bank: single sounds, as shards, from which mixtures are made; and the level curve each sound carries.

A bank's item is a `Record` with one event over the extent in which it sounds (none for a background) and
details {"role", "level_db", "level_hop", "peak_db"}, written by `describe`. Knowing the levels without the
audio, `mixing.draw` sets gains and labels from these numbers alone.

Shape suffixes: S samples, H hops of the level curve, N samples of all items one behind the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.data.cache import ShardCache
from flam_train.data.schema import Record
from flam_train.data.shards import Corpus
from flam_train.vocabulary import Vocabulary

LEVEL_HOP = 0.02
"""Seconds of one value of a level curve."""

HOP = round(LEVEL_HOP * SAMPLE_RATE)
"""Samples of one value of a level curve."""

FLOOR_DB = -120
"""dBFS. Digital silence and all below it."""

SOUNDING_DB = 35.0
"""A hop counts into a sound's level if it is less than this below its loudest hop."""

ROLES = ("event", "background")

EXTENT_WINDOW = SAMPLE_RATE // 100
"""Samples of one energy value of `sounding_extent`: 10 ms."""

EXTENT_DB = -35.0
"""There an energy value counts as the event if it is above this, relative to the loudest one."""


def a_weighting_db(frequency) -> np.ndarray:
    """The A-weighting at `frequency` (Hz, any shape) in dB, 0 at 1 kHz: IEC 61672-1:2013, annex E."""
    f2 = np.square(np.asarray(frequency, dtype=np.float64))
    low, first, second, high = (f * f for f in (20.598997, 107.65265, 737.86223, 12194.217))
    gain = high * f2**2 / ((f2 + low) * np.sqrt((f2 + first) * (f2 + second)) * (f2 + high))
    return 20.0 * np.log10(np.maximum(gain, 1e-12)) + 2.0


def a_weighted(waveform_S) -> np.ndarray:
    """The A-weighted waveform, float64 [S], by multiplication of the spectrum (exact at all frequencies, no delay)."""
    waveform = np.asarray(waveform_S, dtype=np.float64)
    # Zeros behind the sound, so that its end does not leak into its beginning.
    size = scipy.fft.next_fast_len(len(waveform) + SAMPLE_RATE // 10, real=True)
    gain = 10.0 ** (a_weighting_db(scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE)) / 20.0)
    return scipy.fft.irfft(scipy.fft.rfft(waveform, size) * gain, size)[: len(waveform)]


def to_db(power) -> np.ndarray:
    """Power (1 = that of a full-scale square wave) in dBFS, not below FLOOR_DB."""
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR_DB / 10)))


def level_curve(waveform_S: np.ndarray) -> np.ndarray:
    """A-weighted RMS of each 20 ms of an int16 or float waveform (48 kHz): int64 [H], whole dBFS, floor -120.

    The last hop may be shorter and is the RMS of what there is. A full-scale 1 kHz sine has -3.
    """
    waveform = np.asarray(waveform_S)
    weighted = a_weighted(waveform / INT16_SCALE if waveform.dtype == np.int16 else waveform)
    starts = np.arange(0, len(weighted), HOP)
    count = np.minimum(starts + HOP, len(weighted)) - starts
    return np.rint(to_db(np.add.reduceat(weighted**2, starts) / count)).astype(np.int64)


def level_of(level_H: np.ndarray) -> float:
    """The level of a sound in dBFS: A-weighted RMS over its sounding hops (within 35 dB of the loudest)."""
    level = np.asarray(level_H, dtype=np.float64)
    sounding = level > level.max() - SOUNDING_DB
    return float(to_db(np.mean(10.0 ** (level[sounding] / 10.0))))


def describe(waveform_S: np.ndarray, role: str) -> dict[str, Any]:
    """The details of a bank's item, for its `Record`: int16 samples at 48 kHz; role "event" or "background"."""
    if role not in ROLES:
        raise ValueError(f"a bank's item is an event or a background, not {role!r}")
    peak = np.abs(np.asarray(waveform_S, dtype=np.int64)).max() / INT16_SCALE
    return {
        "role": role,
        "level_db": level_curve(waveform_S).tolist(),
        "level_hop": LEVEL_HOP,
        "peak_db": round(float(to_db(peak**2)), 2),
    }


def sounding_extent(waveform_S: np.ndarray) -> tuple[int, int] | None:
    """First and last + 1 sample of the event: from the first to the last 10 ms whose RMS is within 35 dB of the
    loudest (pauses between are bridged). None if all is digital silence."""
    energy = np.add.reduceat((waveform_S / INT16_SCALE) ** 2, np.arange(0, len(waveform_S), EXTENT_WINDOW))
    if not energy.max():
        return None
    active = np.flatnonzero(energy > energy.max() * 10.0 ** (EXTENT_DB / 10))
    return int(active[0]) * EXTENT_WINDOW, min((int(active[-1]) + 1) * EXTENT_WINDOW, len(waveform_S))


class Bank:
    """The items of several bank corpora: numbers only (about 0.6 kB an item); the audio comes with `load`.

    Arrays over items, in the order of the folders and of their shards: `label` (of the corpus' vocabulary, "" for a
    background), `samples` int64, `address` int64 (first sample in the memory that `load` fills), `peak_db` float32,
    `first_hop`, `last_hop` int64 (the hops in which the event lies), `corpus_of`, `row_of` int64.
    `events` and `backgrounds` are item numbers; `by_label` the events' numbers of each of `labels`. `vocabulary` and
    `annotates` are those of the corpora that have events.

    Raises ValueError that names the folder, the sample and the fix.
    """

    def __init__(
        self,
        folders: Sequence[Path | str] | Path | str,
        verify: bool = False,
        cache: ShardCache | None = None,
        excluded: Mapping[str, Set[str]] | None = None,
    ) -> None:
        """folders: each a folder or a URL, as for `Corpus`. excluded: corpus name -> keys of sounds that are not taken
        (`data.exclusion.read_excluded`)."""
        places = [folders] if isinstance(folders, (str, Path)) else list(folders)
        if not places:
            raise ValueError("a bank needs at least one folder of bank shards")
        self.corpora = [Corpus(place, verify, cache) for place in places]
        rows = [
            (_Item.read(corpus.record(row), f"{corpus.folder}: {corpus.key(row)}"), c, row)
            for c, corpus in enumerate(self.corpora)
            for row in range(len(corpus))
            if corpus.key(row) not in (excluded or {}).get(corpus.name, ())
        ]
        items = [item for item, _, _ in rows]
        self.key = [item.key for item in items]
        self.label = [item.label for item in items]
        self.samples = np.array([item.samples for item in items], dtype=np.int64)
        self.address = np.concatenate([[0], np.cumsum(self.samples)[:-1]]).astype(np.int64)
        self.peak_db = np.array([item.peak_db for item in items], dtype=np.float32)
        self.first_hop = np.array([item.extent[0] for item in items], dtype=np.int64)
        self.last_hop = np.array([item.extent[1] for item in items], dtype=np.int64)
        self.corpus_of = np.array([c for _, c, _ in rows], dtype=np.int64)
        self.row_of = np.array([row for _, _, row in rows], dtype=np.int64)
        self._level = np.concatenate([item.level for item in items])
        self._level_start = np.concatenate([[0], np.cumsum([len(item.level) for item in items])]).astype(np.int64)
        role = np.array([item.role for item in items])
        self.events = np.flatnonzero(role == "event")
        self.backgrounds = np.flatnonzero(role == "background")
        by_label: dict[str, list[int]] = {}
        for i in self.events.tolist():
            by_label.setdefault(self.label[i], []).append(i)
        self.labels = sorted(by_label)
        self.by_label = {label: np.array(by_label[label]) for label in self.labels}
        self._long: dict[int, np.ndarray] = {}
        # A corpus of backgrounds alone says nothing about classes.
        self.event_corpora = [self.corpora[c] for c in sorted(set(self.corpus_of[self.events].tolist()))]
        self.vocabulary = merge_vocabularies(self.event_corpora)
        for label in self.by_label:
            self.vocabulary.concept(label)
        self.annotates = sorted(
            {
                concept
                for c in self.event_corpora
                for concept in (c.annotates or [known.id for known in c.vocabulary.classes.values()])
            }
        )

    def __len__(self) -> int:
        return len(self.key)

    def backgrounds_of(self, samples: int) -> np.ndarray:
        """The item numbers of the backgrounds that last at least so long."""
        if samples not in self._long:
            self._long[samples] = self.backgrounds[self.samples[self.backgrounds] >= samples]
        return self._long[samples]

    def level(self, item: int) -> np.ndarray:
        """The item's level curve: int8 [H], dBFS of each 20 ms."""
        return self._level[self._level_start[item] : self._level_start[item + 1]]

    def waveform(self, item: int) -> np.ndarray:
        """The item's audio, read from its shard: int16 [S]."""
        corpus = self.corpora[self.corpus_of[item]]
        waveform = corpus.waveform(int(self.row_of[item]))
        if len(waveform) != self.samples[item]:
            raise ValueError(
                f"{corpus.folder}: {self.key[item]}: {len(waveform)} samples of audio, but the record says "
                f"{self.samples[item]}: make the bank again"
            )
        return waveform

    def part(self, item: int, start: int, length: int) -> np.ndarray:
        """`length` samples of the item from `start` on, decoding no more than that: int16 [length]."""
        corpus = self.corpora[self.corpus_of[item]]
        found = corpus.waveform(int(self.row_of[item]), start / SAMPLE_RATE, length / SAMPLE_RATE)
        if len(found) != length:
            raise ValueError(
                f"{corpus.folder}: {self.key[item]}: {len(found)} samples from {start} on, not {length}: make the bank "
                "again"
            )
        return found

    def load(self, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """All audio, one item behind the other at its `address`: int16 [N] on the CPU (0.1 MB a second of sound).

        `progress(done, total)` is called with item numbers.
        """
        memory = np.empty(int(self.samples.sum()), dtype=np.int16)
        for item in range(len(self)):
            start = self.address[item]
            memory[start : start + self.samples[item]] = self.waveform(item)
            if progress is not None:
                progress(item + 1, len(self))
        return torch.from_numpy(memory)

    def provenance(self) -> list[dict[str, Any]]:
        """Which corpora these are: as `Corpus.provenance`, with "items", the number of those taken."""
        return [
            corpus.provenance() | {"items": int((self.corpus_of == c).sum())} for c, corpus in enumerate(self.corpora)
        ]


class _Item:
    """One record of a bank, checked."""

    def __init__(self, record: Record, level: np.ndarray, extent: tuple[int, int]) -> None:
        self.key = record.key
        self.role: str = record.details["role"]
        self.label = record.events[0].label if record.events else ""
        self.samples = round(record.duration * SAMPLE_RATE)
        self.peak_db = float(record.details["peak_db"])
        self.level = level
        self.extent = extent

    @classmethod
    def read(cls, record: Record, where: str) -> _Item:
        details = record.details
        missing = [name for name in ("role", "level_db", "level_hop", "peak_db") if name not in details]
        if missing:
            raise ValueError(
                f"{where}: not an item of a bank: its details lack {missing[0]!r}; banks are made by "
                "data_prep/synthetic.py or esc.py, or with `flam_train.data.bank.describe`"
            )
        hops = -(-round(record.duration * SAMPLE_RATE) // HOP)
        level = np.asarray(details["level_db"])
        if details["level_hop"] != LEVEL_HOP or level.shape != (hops,):
            raise ValueError(
                f"{where}: a level curve of {level.size} values every {details['level_hop']} s does not fit "
                f"{record.duration} s ({hops} values every {LEVEL_HOP} s): make the bank again"
            )
        if details["role"] not in ROLES or (details["role"] == "event") != bool(record.events):
            raise ValueError(
                f"{where}: role {details['role']!r} with {len(record.events)} events: an item is "
                "an event (with one) or a background (with none)"
            )
        if len({e.label for e in record.events}) > 1:
            raise ValueError(f"{where}: an item has one sound, this has several labels: cut it in several items")
        first, last = 0, hops
        if record.events:
            first = int(min(e.onset for e in record.events) / LEVEL_HOP + 1e-6)
            last = min(hops, int(np.ceil(max(e.offset for e in record.events) / LEVEL_HOP - 1e-6)))
        return cls(record, np.clip(level, FLOOR_DB, 0).astype(np.int8), (first, last))


def merge_vocabularies(corpora: list[Corpus]) -> Vocabulary:
    """One vocabulary for the events of several corpora.

    Raises ValueError if a class means different things in two of them, or if an open vocabulary (any phrase
    is a class) meets a closed one.
    """
    if not corpora:
        return Vocabulary.open("none", [])
    merged = corpora[0].vocabulary
    for corpus in corpora[1:]:
        other = corpus.vocabulary
        if bool(other.classes) != bool(merged.classes):
            raise ValueError(
                f"{corpus.folder}: banks with and without a vocabulary cannot be mixed: give each one a vocabulary"
            )
        for label in other.classes.keys() & merged.classes.keys():
            if other.classes[label] != merged.classes[label]:
                raise ValueError(
                    f"{corpus.folder}: class {label!r} is another concept or is phrased otherwise in the vocabularies "
                    f"{merged.corpus!r} and {other.corpus!r}: rename it in one of them"
                )
        if other != merged:
            merged = Vocabulary(f"{merged.corpus}+{other.corpus}", merged.classes | other.classes)
    return merged

"""A bank: single sounds, as shards, from which mixtures are made.

A bank's item is a `Record` with one event over the extent in which it sounds (none for a background) and
details {"role", "level_db", "level_hop", "peak_db"}, written by `levels.describe`. Knowing the levels without the
audio, `draw` sets gains and labels from these numbers alone.

Shape suffixes: S samples, H hops of the level curve, N samples of all items one behind the other.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.levels import FLOOR_DB, HOP, LEVEL_HOP, MADE_OF, ROLES
from flam_train.data.shards.cache import ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.vocabulary import Vocabulary


class Bank:
    """The items of several bank corpora: numbers only (about 0.6 kB an item); the audio comes with `load`.

    Over items, in the order of the folders and of their shards: `ids` and `licence` of the recording, `label` (of the
    corpus' vocabulary, "" for a background), `samples` int64, `address` int64 (first sample in the memory that `load`
    fills), `peak_db` float32, `first_hop`, `last_hop` int64 (the hops in which the event lies), `corpus_of`, `row_of`
    int64. `events` and `backgrounds` are item numbers; `by_label` the events' numbers of each of `labels`. `left_out`
    are the rows of each corpus that were excluded. `vocabulary` and `annotates` are those of the corpora that have
    events.

    Raises ValueError that names the folder, the sample and the fix.
    """

    def __init__(
        self,
        folders: Sequence[Path | str] | Path | str,
        verify: bool = False,
        cache: ShardCache | None = None,
        excluded: Mapping[str, Set[str]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """folders: each a folder or a URL, as for `Corpus`. excluded: corpus name -> keys of sounds that are not taken
        (`data.shards.read_excluded`). `progress(done, total)` is called now and then with numbers of records: a
        bank of a million sounds takes minutes to read."""
        places = [folders] if isinstance(folders, (str, Path)) else list(folders)
        if not places:
            raise ValueError("a bank needs at least one folder of bank shards")
        self.corpora = [Corpus(place, verify, cache) for place in places]
        rows: list[tuple[_Item, int, int]] = []
        self.left_out: list[list[int]] = [[] for _ in self.corpora]
        done, total = 0, sum(map(len, self.corpora))
        for c, corpus in enumerate(self.corpora):
            for row in range(len(corpus)):
                record = corpus.record(row)
                # A sound may have been made of a clip of another corpus (data_prep/caption_bank.py).
                names = [(corpus.name, record.key), tuple(record.details.get(MADE_OF, ("", "")))]
                if any(key in (excluded or {}).get(name, ()) for name, key in names):
                    self.left_out[c].append(row)
                else:
                    rows.append((_Item.read(record, f"{corpus.folder}: {record.key}"), c, row))
                done += 1
                if progress is not None and (done % 1000 == 0 or done == total):
                    progress(done, total)
        if not rows:
            raise ValueError(f"{', '.join(map(str, places))}: no sounds are there, or all of them are to be left out")
        items = [item for item, _, _ in rows]
        self.key = [item.key for item in items]
        self.label = [item.label for item in items]
        self.ids = [item.ids for item in items]
        self.licence = [item.licence for item in items]
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
        self._long: dict[int, np.ndarray] = {}
        # A corpus of backgrounds alone says nothing about classes.
        self.event_corpora = [self.corpora[c] for c in sorted(set(self.corpus_of[self.events].tolist()))]
        self.vocabulary = merge_vocabularies(self.event_corpora)
        for label in {self.label[i] for i in self.events}:
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

    def __getstate__(self) -> dict[str, Any]:
        """Without what is found again when it is asked for: a bank of captions has almost as many labels as sounds."""
        return {k: v for k, v in self.__dict__.items() if k not in ("by_label", "labels")}

    @functools.cached_property
    def by_label(self) -> dict[str, np.ndarray]:
        found: dict[str, list[int]] = {}
        for i in self.events.tolist():
            found.setdefault(self.label[i], []).append(i)
        return {label: np.array(found[label]) for label in sorted(found)}

    @functools.cached_property
    def labels(self) -> list[str]:
        return list(self.by_label)

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
        self.ids = tuple(record.details.get("ids", ()))
        self.licence = sys.intern(record.licence)  # a handful of them in a million sounds
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
                "data_prep/synthetic.py or esc.py, or with `flam_train.data.mixing.levels.describe`"
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

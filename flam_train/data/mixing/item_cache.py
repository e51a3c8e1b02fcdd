"""A bank's sounds, read from its shards as they are needed: for banks that do not fit into memory.

Shape suffixes: S samples.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.bank import Bank

WHOLE = 10.0
"""Seconds. A sound up to this length is decoded and kept whole; of a longer one only the part that is used is read."""


class ItemCache:
    """The last used sounds of a bank, no more than `limit` bytes of them. Pickles empty: each process has its own."""

    def __init__(self, bank: Bank, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a cache of {limit} bytes holds nothing: give it a share of the memory")
        self.bank, self.limit = bank, limit
        self.held = 0
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict:
        return {"bank": self.bank, "limit": self.limit, "held": 0, "_kept": OrderedDict()}

    def read(self, item: int, start: int, length: int) -> np.ndarray:
        """`length` samples from `start` on: int16 [length]. ValueError as in `Corpus.waveform`."""
        if item in self._kept:
            self._kept.move_to_end(item)
            return self._kept[item][start : start + length]
        if self.bank.samples[item] > WHOLE * SAMPLE_RATE:
            return self.bank.part(item, start, length)
        sound_S = self.bank.waveform(item)
        if sound_S.nbytes <= self.limit:
            self._kept[item] = sound_S
            self.held += sound_S.nbytes
            while self.held > self.limit:
                _, dropped = self._kept.popitem(last=False)
                self.held -= dropped.nbytes
        return sound_S[start : start + length]

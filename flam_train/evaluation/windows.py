"""Clips of a corpus, read in order, in batches of windows of the model's length.

Shape suffixes: B windows, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.frames import FrameGrid

CUTS = ("all", "first", "centre")
"""Of a clip longer than the model's: consecutive windows, the last filled up with zeros; its beginning; its middle."""

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""

Read = tuple[int, str, Record | None, list[np.ndarray], str]
"""A clip's number, key, description and windows; or None, none, and why it could not be read."""


@dataclass
class Reading:
    """`batches(numbers)` gives (owners, waveform_BS int16) pairs: B windows, and the clip that each belongs to.

    A clip that cannot be read goes to `missing` (key -> why) and is not given out; `records` holds the description of
    every clip that was. workers: processes that read and decode; 0: this one.
    """

    corpus: Corpus
    grid: FrameGrid
    batch_size: int
    windows: str = "all"
    workers: int = 0
    records: dict[int, Record] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size {self.batch_size}: give at least 1")
        if self.windows not in CUTS:
            raise ValueError(f"windows {self.windows!r}: choose of {', '.join(CUTS)}")

    def batches(
        self, numbers: Iterable[int], done: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[list[int], Tensor]]:
        owners: list[int] = []
        windows: list[np.ndarray] = []
        clips = _Clips(self, list(numbers))
        for number, key, record, found, why in DataLoader(clips, batch_size=None, num_workers=self.workers):
            if record is None:
                # Reported with the result: a set of 10,000 clips is not lost for one, and never quietly smaller.
                self.missing[key] = why
            else:
                self.records[number] = record
            for window_S in found:
                owners.append(number)
                windows.append(window_S)
                if len(windows) == self.batch_size:
                    yield owners, torch.from_numpy(np.stack(windows))
                    owners, windows = [], []
            done()
        if windows:
            yield owners, torch.from_numpy(np.stack(windows))

    def read(self, number: int) -> Read:
        key = f"{self.corpus.name}[{number}]"
        try:
            key = self.corpus.key(number)
            record = self.corpus.record(number)
            start, seconds = 0.0, min(self.grid.seconds, record.duration)
            if self.windows == "all":
                waveform_S = self.corpus.waveform(number)
            else:
                start = max(0.0, (record.duration - self.grid.seconds) / 2) if self.windows == "centre" else 0.0
                waveform_S = self.corpus.waveform(number, start, seconds)
        except (ValueError, OSError) as error:
            return number, key, None, [], str(error)
        samples = round(self.grid.seconds * SAMPLE_RATE)
        count = self.count(record.duration) if self.windows == "all" else 1
        padded = np.zeros(count * samples, dtype=np.int16)
        padded[: min(len(waveform_S), len(padded))] = waveform_S[: len(padded)]
        return number, key, record, list(padded.reshape(count, samples)), ""

    def count(self, duration: float) -> int:
        """Windows of a recording: what is over by less than a hundredth of a second is not worth one."""
        return max(1, math.ceil((duration - 0.01) / self.grid.seconds))


class _Clips(Dataset):
    def __init__(self, reading: Reading, numbers: list[int]) -> None:
        # A worker gets the description of the task, not what has been read so far.
        self.reading = Reading(reading.corpus, reading.grid, reading.batch_size, reading.windows)
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Read:
        return self.reading.read(self.numbers[place])

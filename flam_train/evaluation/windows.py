"""A corpus read once, front to back, in batches of windows of the model's length.

Shape suffixes: B windows, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from flam_train.batch import SAMPLE_RATE
from flam_train.data.corpus import Corpus
from flam_train.data.schema import Record
from flam_train.frames import FrameGrid

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


@dataclass
class Reading:
    """Iterate to get (owners, waveform_BS int16) pairs: B windows of clips, and the clip number of each row.

    A clip longer than the grid is cut into consecutive windows if `whole`, else only its first window is read; the last
    window is filled up with zeros. A clip that cannot be read goes to `missing` with the reason, and is not given out.
    `records` holds the description of every clip that was given out, by clip number.
    """

    corpus: Corpus
    grid: FrameGrid
    batch_size: int
    whole: bool
    progress: Progress | None = None
    records: dict[int, Record] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[list[int], Tensor]]:
        if self.batch_size < 1:
            raise ValueError(f"batch size {self.batch_size}: give at least 1")
        owners: list[int] = []
        windows: list[np.ndarray] = []
        for index in range(len(self.corpus)):
            for window_S in self._windows(index):
                owners.append(index)
                windows.append(window_S)
                if len(windows) == self.batch_size:
                    yield owners, torch.from_numpy(np.stack(windows))
                    owners, windows = [], []
            if self.progress is not None:
                self.progress(index + 1, len(self.corpus))
        if windows:
            yield owners, torch.from_numpy(np.stack(windows))
        if not self.records:
            first = next(iter(self.missing.values()), "the manifest lists no clip")
            raise ValueError(f"{self.corpus.folder}: not one clip could be read: {first}")

    def _windows(self, index: int) -> list[np.ndarray]:
        key = f"{self.corpus.name}[{index}]"
        try:
            key = self.corpus.key(index)
            record = self.corpus.record(index)
            seconds = None if self.whole else min(self.grid.seconds, record.duration)
            waveform_S = self.corpus.waveform(index, 0.0, seconds)
        except (ValueError, OSError) as error:
            # Reported with the result: a set of 10,000 clips is not lost for one, and never quietly smaller.
            self.missing[key] = str(error)
            return []
        self.records[index] = record
        samples = round(self.grid.seconds * SAMPLE_RATE)
        count = self.count(record.duration) if self.whole else 1
        padded = np.zeros(count * samples, dtype=np.int16)
        padded[: min(len(waveform_S), len(padded))] = waveform_S[: len(padded)]
        return list(padded.reshape(count, samples))

    def count(self, duration: float) -> int:
        """Windows of a recording: what is over by less than a hundredth of a second is not worth one."""
        return max(1, math.ceil((duration - 0.01) / self.grid.seconds))

"""Recordings of any length as 48 kHz mono, piece by piece, and where nothing sounds in them.

Shape suffixes: S samples.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.data.sound.channels import Channel, check_channel, loudest, loudest_of, mixed
from flam_train.data.sound.faults import Fault, named
from flam_train.data.sound.opening import Native, measure, opened
from flam_train.data.sound.reading import MARGIN, as_int16

DEAD_SECONDS = 0.05
"""Equal samples for so long are no sound: a recorder that was off, a block that was lost, padding."""

SHORT = 0.1
"""Seconds that decoded sound may be shorter than counted: encoders pad what they write."""


class Blocks(Protocol):
    """Whatever has samples: `opening.Sound`, or what is in memory (`waveforms.Waveform`, `waveforms.Chunks`)."""

    rate: int
    channels: int

    def blocks(self, first: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        """float64 [S, C] in [-1, 1]: `count` samples from `first` on (None: to the end), or what is there of them."""


class DeadTime:
    """Where a recording stands still: runs of equal samples that last for DEAD_SECONDS.

    Told of 16 bit, as the model hears them: a constant offset is as dead as silence, noise below the last bit too.
    """

    def __init__(self, rate: int, at: int = 0) -> None:
        """at: number of the first sample that is fed."""
        self._rate, self._least = rate, math.ceil(DEAD_SECONDS * rate)
        self._at, self._since, self._last = at, at, np.zeros(0, np.int16)
        self._runs: list[tuple[int, int]] = []

    def feed(self, wave_S: np.ndarray) -> None:
        """The next samples, int16."""
        if not len(wave_S):
            return
        joined_S = np.concatenate([self._last, wave_S])
        changes = _outermost(joined_S[1:] != joined_S[:-1], self._least) + 1 + self._at - len(self._last)
        starts = np.concatenate([[self._since], changes])
        long = np.flatnonzero(np.diff(starts) >= self._least)
        self._runs += [(int(starts[n]), int(starts[n + 1])) for n in long]
        self._since, self._at, self._last = int(starts[-1]), self._at + len(wave_S), wave_S[-1:]

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Seconds (from, to) of the recording, in their order."""
        return self.since(0.0)

    def since(self, seconds: float) -> list[tuple[float, float]]:
        """Those that end behind `seconds`. What is told of a time is final once DEAD_SECONDS more are fed."""
        unfinished = [(self._since, self._at)] if self._at - self._since >= self._least else []
        runs = self._runs[bisect.bisect_right(self._runs, seconds * self._rate, key=lambda run: run[1]) :]
        return [(first / self._rate, stop / self._rate) for first, stop in runs + unfinished]


def _outermost(change_S: np.ndarray, cell: int) -> np.ndarray:
    """Places where change_S is set, ascending, without those that are at neither end of `cell` or more unset ones: of
    each `cell` places the first and the last, behind the last whole cell all. Where sound changes all the time they
    are few."""
    whole = len(change_S) // cell * cell
    cells_NS = change_S[:whole].reshape(-1, cell)
    number_N = np.arange(len(cells_NS))
    first_N, last_N = cells_NS.argmax(axis=1), cell - 1 - cells_NS[:, ::-1].argmax(axis=1)
    set_N = cells_NS[number_N, first_N]
    places_N2 = np.stack([first_N, last_N], axis=1) + cell * number_N[:, None]
    return np.concatenate([places_N2[set_N].ravel(), whole + np.flatnonzero(change_S[whole:])])


class Stream:
    """`seconds` of a recording from `start` on, read when iterated, once: int16 [S] at 48 kHz, pieces of any size.

    source   a file, or what is in memory
    channel  see `channels.Channel`
    samples  how many have been read, at 48 kHz
    ended    whether those are all
    Holds a few pieces in memory, however long the recording is. What is read is what `reading.read` reads. Raises
    Unusable as `measure` does, in the middle too, for a file that ends before its time, and if there is nothing from
    `start` on, or no such channel.
    """

    def __init__(
        self, source: Path | str | Blocks, start: float = 0.0, seconds: float | None = None, channel: Channel = "mean"
    ) -> None:
        self.source = Path(source) if isinstance(source, str) else source
        self.start, self.seconds, self.channel = start, seconds, channel
        self.samples, self.ended = 0, False
        self._dead: DeadTime | None = None

    @property
    def dead(self) -> list[tuple[float, float]]:
        """(from, to) in seconds of the recording where nothing sounds, of what has been read (`DeadTime`)."""
        return self.dead_since(0.0)

    def dead_since(self, seconds: float) -> list[tuple[float, float]]:
        """Those that end behind `seconds` of the recording."""
        return self._dead.since(seconds) if self._dead else []

    def __iter__(self) -> Generator[np.ndarray, None, None]:
        self.ended = False
        yield from self._file(self.source) if isinstance(self.source, Path) else self._memory(self.source)
        self.ended = True

    def _file(self, path: Path) -> Iterator[np.ndarray]:
        length = measure(path)
        channel = loudest(path) if self.channel == "loudest" else self.channel
        with opened(path, length.lead) as sound:
            check_channel(channel, sound.channels)
            yield from self._read(sound, channel)
            there = length.seconds - self.start
            wanted = there if self.seconds is None else min(there, self.seconds)
            if self.samples / SAMPLE_RATE < wanted - SHORT:
                raise Fault(f"truncated audio, {self.samples / SAMPLE_RATE:.2f} of {wanted:.2f} s could be decoded")

    def _memory(self, sound: Blocks) -> Iterator[np.ndarray]:
        with named(sound, Fault):
            check_channel(self.channel, sound.channels)
            yield from self._read(sound, loudest_of(sound.blocks()) if self.channel == "loudest" else self.channel)

    def _read(self, sound: Blocks, channel: Channel) -> Iterator[np.ndarray]:
        rate, self.samples = sound.rate, 0
        step = rate // math.gcd(rate, SAMPLE_RATE)  # both rates have samples there: a part has the whole's
        first = int(max(self.start - MARGIN, 0.0) * rate / step) * step
        count = None if self.seconds is None else round((self.start + self.seconds + MARGIN) * rate) - first
        skip = round(self.start * SAMPLE_RATE) - first * SAMPLE_RATE // rate
        left = None if self.seconds is None else round(self.seconds * SAMPLE_RATE)
        self._dead = DeadTime(rate, first)
        for piece_S in _at_48k(_mono(sound, first, count, channel), rate, self._dead):
            here_S = piece_S[skip : None if left is None else skip + left]
            skip = max(skip - len(piece_S), 0)
            left = None if left is None else left - len(here_S)
            self.samples += len(here_S)
            if len(here_S):
                yield here_S
        if not self.samples:
            raise Fault(f"has no samples from {self.start:g} s on")


def _mono(sound: Blocks, first: int, count: int | None, channel: Channel) -> Iterator[np.ndarray]:
    """[S] at the recording's own rate: int16 where that is what one channel of it holds, else float64."""
    channel = "first" if sound.channels == 1 else channel
    exact = isinstance(sound, Native) and sound.exact and channel != "mean"
    blocks = sound.blocks(first, count, "int16") if exact and isinstance(sound, Native) else sound.blocks(first, count)
    for block_SC in blocks:
        yield mixed(block_SC, channel)


def _at_48k(mono: Iterator[np.ndarray], rate: int, dead: DeadTime) -> Iterator[np.ndarray]:
    """int16 [S]. dead: is fed with the samples as they were."""
    resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float64", "VHQ")
    for block_S in mono:
        exact_S = block_S if block_S.dtype == np.int16 else as_int16(block_S)
        dead.feed(exact_S)
        if resampler is None:
            yield exact_S
        else:
            float_S = block_S / INT16_SCALE if block_S.dtype == np.int16 else block_S
            yield as_int16(resampler.resample_chunk(np.ascontiguousarray(float_S)))
    if resampler is not None:
        yield as_int16(resampler.resample_chunk(np.zeros(0), last=True))

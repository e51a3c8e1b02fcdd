"""Sound that is in memory already: an array, or arrays that come one after the other.

Shape suffixes: S samples, C channels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from flam_train.data.sound.faults import Fault
from flam_train.data.sound.length import BLOCK

MOST_CHANNELS = 64
"""An axis of so many or fewer is one of channels, a longer one of time."""

LOWEST_RATE = 100
"""Hz. 48 is meant in kHz: taken for Hz, a minute would become 16 hours at 48 kHz."""


class Waveform:
    """An array as a recording: [S], [S, C] or [C, S], of float in [-1, 1] or of integers, which full scale divides.

    Of two axes that of at most MOST_CHANNELS is the channels'. Signed integers are centred on 0, unsigned ones on half
    their range; 64 bit are refused: no recording has them. Float beyond 1 is warned of, and clipped later. Raises
    ValueError, in one line, for another shape, dtype or rate.
    """

    def __init__(self, samples: np.ndarray, rate: int | float | None, name: str = "the waveform") -> None:
        self.name, self.rate = name, checked_rate(rate, name)
        self.samples_SC = by_channel(samples, name)
        self.channels = self.samples_SC.shape[1]
        warn_beyond_full_scale(self.samples_SC, name)

    def __str__(self) -> str:
        return self.name

    def blocks(self, first: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        stop = len(self.samples_SC) if count is None else min(first + count, len(self.samples_SC))
        step = max(1, BLOCK // self.channels)
        for at in range(first, stop, step):
            yield scaled(self.samples_SC[at : min(at + step, stop)])


class Chunks:
    """Arrays as `Waveform` takes them, that together are one recording: read once, as they come.

    All have the same number of channels. An empty one is passed over.
    """

    def __init__(self, chunks: Iterable[np.ndarray], rate: int | float | None, name: str = "the stream") -> None:
        """Takes the first chunk, to know its channels. Raises ValueError as `Waveform`, and where there is none."""
        self.name, self.rate = name, checked_rate(rate, name)
        self._chunks = (chunk for chunk in chunks if np.size(chunk))
        first = next(self._chunks, None)
        if first is None:
            raise ValueError(f"{name}: holds no samples")
        self._first_SC = by_channel(first, name)
        self.channels = self._first_SC.shape[1]
        self._warned = warn_beyond_full_scale(self._first_SC, name)

    def __str__(self) -> str:
        return self.name

    def blocks(self, first: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        if first or count is not None:
            raise ValueError(f"{self.name}: is read from its beginning to its end")
        yield scaled(self._first_SC)
        for chunk in self._chunks:
            chunk_SC = by_channel(chunk, self.name, self.channels)
            self._warned = self._warned or warn_beyond_full_scale(chunk_SC, self.name)
            yield scaled(chunk_SC)


def checked_rate(rate: int | float | None, name: str) -> int:
    """Raises ValueError for a rate that is not known, no whole number of Hz, or so low that it is meant in kHz."""
    if rate is None:
        raise ValueError(f"{name}: at which rate? an array does not say: give rate= in Hz")
    if isinstance(rate, bool) or not math.isfinite(rate) or rate < LOWEST_RATE or int(rate) != rate:
        raise ValueError(f"{name}: rate={rate!r} is no sample rate: give a whole number of Hz, at least {LOWEST_RATE}")
    return int(rate)


def by_channel(samples: np.ndarray, name: str, channels: int | None = None) -> np.ndarray:
    """[S, C], a view. channels: how many there must be, where that is known. Raises ValueError as `Waveform`."""
    samples = np.asarray(samples)
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind not in "iuf" or (kind in "iu" and size > 4):
        raise ValueError(f"{name}: {samples.dtype} is no kind of samples: give int16, int32 or uint8, or float")
    shape = samples.shape
    if samples.size == 0 or samples.ndim not in (1, 2):
        what = "holds no samples" if samples.size == 0 and samples.ndim in (1, 2) else f"has shape {shape}"
        raise ValueError(f"{name}: {what}: give [samples], [channels, samples] or [samples, channels]")
    if samples.ndim == 1:
        samples = samples[:, None]
    elif channels is not None and channels in shape and shape[0] != shape[1]:
        samples = samples if shape[1] == channels else samples.T
    elif shape[0] == 1:
        samples = samples.T
    elif shape[1] != 1:
        if (shape[0] <= MOST_CHANNELS) == (shape[1] <= MOST_CHANNELS):
            raise ValueError(
                f"{name}: of shape {shape}, which axis is time? one of at most {MOST_CHANNELS} is channels: give one "
                "channel as [samples], or a path"
            )
        samples = samples.T if shape[0] <= MOST_CHANNELS else samples
    if channels is not None and samples.shape[1] != channels:
        raise ValueError(f"{name}: has {samples.shape[1]} channels now, and had {channels} before: {shape}")
    return samples


def scaled(samples_SC: np.ndarray) -> np.ndarray:
    """float64 of any kind of samples: integers between -1 and 1, float as it is. Raises Fault for NaN and infinity."""
    if samples_SC.dtype.kind == "f":
        out_SC = samples_SC.astype(np.float64)
        if not np.isfinite(out_SC).all():
            raise Fault("the audio has NaN or infinite samples")
        return out_SC
    half = float(1 << (8 * samples_SC.dtype.itemsize - 1))
    return samples_SC / half - (samples_SC.dtype.kind == "u")


def warn_beyond_full_scale(samples_SC: np.ndarray, name: str) -> bool:
    """Whether float samples go beyond 1, after a warning."""
    if samples_SC.dtype.kind != "f":
        return False
    peak = max(float(samples_SC.max()), -float(samples_SC.min()))
    if peak > 1:
        said = f"{name}: float samples reach {peak:.6g}, and are clipped at 1: divide them by their full scale"
        warnings.warn(said, UserWarning, stacklevel=4)
    return peak > 1

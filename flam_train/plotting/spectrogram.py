"""Log-mel spectrograms for the eye, not for the model: of a clip, and of a recording of any length as it passes.

Shape suffixes: S samples, N windows, W samples of a window, F mel bins, H columns.
"""

from __future__ import annotations

import copy
import math
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft
from scipy.signal.windows import hann

from flam_train.batch import INT16_SCALE, SAMPLE_RATE

BINS, WINDOW = 96, 2048
FLOOR, RANGE = -120.0, 70.0
"""dB: the lowest level there is, and how far below the loudest the darkest colour is."""

MOST = 2000
"""Columns of an overview: about as many as a picture has pixels."""

SHORTEST, LONGEST = 240, 1920
"""Samples between the windows of an overview: at first, and at last, where every sample still lies in a window."""

PORTION = 1 << 18
"""Samples that are looked at in one go."""


def log_mel(waveform_S: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dB [F, H], column edges in seconds [H + 1], bin centres in Hz [F]) of int16, or float in [-1, 1], at 48 kHz."""
    hop, waveform_S = 480, np.asarray(waveform_S)
    wave_S = waveform_S if waveform_S.dtype == np.int16 else waveform_S * INT16_SCALE
    if wave_S.ndim != 1 or len(wave_S) == 0:
        raise ValueError(f"a recording is one row of samples, got shape {wave_S.shape}")
    columns = max(len(wave_S), WINDOW) // hop
    padded_S = np.pad(wave_S, (WINDOW // 2, 2 * WINDOW))
    level_FH = _level(sliding_window_view(padded_S, WINDOW)[: columns * hop : hop]).T
    return level_FH, np.arange(columns + 1) * hop / SAMPLE_RATE, _mel()[1]


class Overview:
    """A spectrogram of a recording of any length, made of its samples as they pass, in 1 MB.

    Never more than MOST columns: when they are full, the time of a column doubles. Up to a minute or so by looking at
    fewer windows, from there on a column is the highest level in its windows: what is short is seen in hours too.
    """

    def __init__(self, start: float = 0.0) -> None:
        """start: s into the recording, of the first sample that is fed."""
        self._start, self._samples = start, 0
        self._hop, self._windows, self._pool = SHORTEST, 0, 1  # `_pool` windows are a column
        self._tail_S = np.zeros(WINDOW // 2, np.int16)  # from the next window's beginning on
        self._level_HF = np.full((MOST, BINS), -np.inf, np.float32)

    def feed(self, wave_S: np.ndarray) -> None:
        """The next samples: int16 [S], 48 kHz mono."""
        self._samples += len(wave_S)
        for at in range(0, len(wave_S), PORTION):
            self._tail_S = np.concatenate([self._tail_S, wave_S[at : at + PORTION]])
            self._look()

    def log_mel(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of what was fed so far, as `log_mel`: (dB [F, H], column edges in seconds of the recording [H + 1], bin
        centres in Hz [F]). ValueError if that is nothing."""
        if not self._samples:
            raise ValueError("there is no spectrogram of no samples: feed some")
        whole = copy.deepcopy(self)
        whole._tail_S = np.concatenate([whole._tail_S, np.zeros(WINDOW // 2, np.int16)])
        whole._look()
        step = whole._hop * whole._pool
        edges = np.arange(math.ceil(self._samples / step) + 1) * step
        edges[-1] = self._samples
        return whole._level_HF[: len(edges) - 1].T.copy(), self._start + edges / SAMPLE_RATE, _mel()[1]

    def _look(self) -> None:
        """At all windows that are there."""
        while len(self._tail_S) >= WINDOW:
            room = MOST * self._pool - self._windows
            level_NF = _level(sliding_window_view(self._tail_S, WINDOW)[:: self._hop][:room])
            column_N = (self._windows + np.arange(len(level_NF))) // self._pool
            first = np.flatnonzero(np.diff(column_N, prepend=-1))
            column_H = column_N[first]
            highest_HF = np.maximum.reduceat(level_NF, first, axis=0)
            self._level_HF[column_H] = np.maximum(self._level_HF[column_H], highest_HF)
            self._windows += len(level_NF)
            self._tail_S = self._tail_S[len(level_NF) * self._hop :]
            if len(level_NF) == room:
                self._double()

    def _double(self) -> None:
        even_HF, odd_HF = self._level_HF[::2].copy(), self._level_HF[1::2].copy()
        if self._hop < LONGEST:
            self._hop, self._windows = 2 * self._hop, self._windows // 2
        else:
            self._pool *= 2
            even_HF = np.maximum(even_HF, odd_HF)
        self._level_HF[: MOST // 2], self._level_HF[MOST // 2 :] = even_HF, -np.inf


def show_spectrogram(
    axes: Axes,
    level_FH: np.ndarray,
    edges_H1: np.ndarray,
    centres_F: np.ndarray,
    colour: str = "black",
    fontsize: float = 9,
) -> None:
    """What `log_mel` gives, on axes of time. colour: of what is written."""
    # A single click shall not darken hours, and silence shall not be as bright as its loudest moment.
    top = max(min(float(level_FH.max()), float(np.percentile(level_FH, 95)) + RANGE / 2), FLOOR + RANGE)
    axes.set_facecolor("#f3f4f6")  # what lies after a short recording's end
    axes.pcolormesh(
        edges_H1, np.arange(len(centres_F) + 1), level_FH, cmap="magma", vmin=top - RANGE, vmax=top, rasterized=True
    )
    ticks = [100, 300, 1000, 3000, 10000]
    axes.set_yticks(np.interp(ticks, centres_F, np.arange(len(centres_F)) + 0.5), ["100", "300", "1k", "3k", "10k"])
    axes.set_ylabel("Hz (mel scale)", color=colour, fontsize=fontsize)
    axes.tick_params(axis="both", colors=colour, labelsize=fontsize)


def _level(wave_NW: np.ndarray) -> np.ndarray:
    """dB, float32 [N, F], of samples as 16 bit have them."""
    filters, _, bins = _mel()
    spectrum = rfft(wave_NW * _window())[:, :bins]
    return 10 * np.log10(np.maximum((spectrum.real**2 + spectrum.imag**2) @ filters, np.float32(10 ** (FLOOR / 10))))


@cache
def _window() -> np.ndarray:
    return (hann(WINDOW, sym=False) / INT16_SCALE).astype(np.float32)


@cache
def _mel() -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles on the mel scale, each with a sum of 1: float32 [frequencies, F]; centres in Hz [F]; how many
    frequencies of a window's they reach over."""
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (50.0, 16000.0))
    corner = 700 * (10 ** (np.linspace(low, high, BINS + 2) / 2595) - 1)
    frequency = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    rise = (frequency - corner[:-2, None]) / (corner[1:-1] - corner[:-2])[:, None]
    fall = (corner[2:, None] - frequency) / (corner[2:] - corner[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    # Low triangles can lie between two FFT bins; then the nearest bin stands for them.
    for f in np.flatnonzero(filters.sum(axis=1) == 0):
        filters[f, np.abs(frequency - corner[f + 1]).argmin()] = 1.0
    bins = int(np.flatnonzero(filters.any(axis=0))[-1]) + 1
    filters /= filters.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(filters[:, :bins].T, dtype=np.float32), corner[1:-1], bins

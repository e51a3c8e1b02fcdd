"""How loud a sound is, from moment to moment and as a whole, and where in its recording it sounds.

Shape suffixes: S samples, H hops of the level curve.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # its rooms are imported as they are used

from flam_train.batch import INT16_SCALE, SAMPLE_RATE

LEVEL_HOP = 0.02
"""Seconds of one value of a level curve."""

HOP = round(LEVEL_HOP * SAMPLE_RATE)
"""Samples of one value of a level curve."""

FLOOR_DB = -120
"""dBFS. Digital silence and all below it."""

SOUNDING_DB = 35.0
"""A hop counts into a sound's level if it is less than this below its loudest hop."""

ROLES = ("event", "background")

MADE_OF = "made_of_clip"
"""In an item's details, where it has it: [corpus, key] of the clip that it was cut from."""

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

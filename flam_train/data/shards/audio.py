"""One audio file's bytes to int16 samples and back. Only `read_recording` resamples: shards are stored at 48 kHz.

Shape suffixes: S samples.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
import soxr

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.data.shards.schema import END_TOLERANCE

AUDIO = ("flac", "wav")
"""What shards are written in."""

READABLE = (*AUDIO, "ogg", "opus", "mp3")
"""What may stand in a tar that others wrote."""

_FIX = "fetch or prepare this recording again and write its shard anew, or drop it"
_STREAMED = (0, 0xFFFFFFFF)  # sizes in the header of a WAV that was written as a stream


def encode(waveform_S: np.ndarray, audio: str, where: str) -> bytes:
    """An int16 mono waveform at 48 kHz as the bytes of a FLAC or WAV file (16 bit: nothing is lost).

    Raises ValueError, beginning with `where`, for another format, dtype or shape, or no samples.
    """
    if audio not in AUDIO:
        raise ValueError(f"{where}: audio format {audio!r} is not written here: use one of {', '.join(AUDIO)}")
    if not isinstance(waveform_S, np.ndarray) or waveform_S.dtype != np.int16 or waveform_S.ndim != 1:
        got = (
            f"{waveform_S.dtype} {waveform_S.shape}"
            if isinstance(waveform_S, np.ndarray)
            else type(waveform_S).__name__
        )
        raise ValueError(f"{where}: the waveform is {got}, not int16 [samples]: `data.shards.audio.to_int16` converts")
    if len(waveform_S) == 0:
        raise ValueError(f"{where}: the waveform is empty: drop the sample")
    file = io.BytesIO()
    soundfile.write(file, waveform_S, SAMPLE_RATE, format=audio.upper(), subtype="PCM_16")
    return file.getvalue()


def to_int16(waveform_S: np.ndarray, where: str) -> np.ndarray:
    """A float waveform in [-1, 1] as int16, clipped at full scale. NaN or infinity is a ValueError."""
    if not np.isfinite(waveform_S).all():
        raise ValueError(f"{where}: the audio has NaN or infinite samples: {_FIX}")
    return np.clip(np.rint(waveform_S * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)


def read_recording(path: Path | str, where: str = "") -> np.ndarray:
    """Any sound file that soundfile reads, of any rate and channels, as int16 [S] at 48 kHz, mono (the channels' mean).

    Raises ValueError, beginning with `where` if it is given, that names the file and the fix.
    """
    where = f"{where}: {path}" if where else str(path)
    try:
        x, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ValueError(f"{where}: cannot be read ({error}): fetch it again, or remove it") from error
    if not len(x):
        raise ValueError(f"{where}: has no samples: fetch it again, or remove it")
    mono = x.mean(axis=1)
    return to_int16(mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE, "VHQ"), where)


def decode(
    file: IO[bytes] | io.RawIOBase,
    size: int,
    where: str,
    start: float = 0.0,
    seconds: float | None = None,
    duration: float | None = None,
) -> np.ndarray:
    """int16 [S] of one audio file of `size` bytes, decoding only `seconds` from `start` on (None: to the end).

    Several channels are averaged. `duration` is what the file should last, if that is known. A window that
    passes the end is cut to it. ValueError, beginning with `where`: unreadable, truncated, not 48 kHz, NaN.
    """
    whole(file, size, where)
    try:
        with soundfile.SoundFile(file) as f:
            _check(f, where, duration)
            first = min(max(round(start * SAMPLE_RATE), 0), f.frames)
            count = f.frames - first if seconds is None else min(round(seconds * SAMPLE_RATE), f.frames - first)
            if first:  # even to the beginning, a seek in a FLAC decodes a block for nothing
                f.seek(first)
            # Only 16 bit goes straight to int16: libsndfile would scale floats otherwise, and hide NaN.
            exact = f.subtype == "PCM_16"
            waveform = f.read(count, dtype="int16" if exact else "float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{where}: unreadable or truncated audio ({error}): {_FIX}") from error
    if len(waveform) < count:
        raise ValueError(f"{where}: truncated audio, {len(waveform)} of {count} samples could be decoded: {_FIX}")
    if not exact:
        return to_int16(waveform.mean(axis=1), where)
    return waveform[:, 0] if waveform.shape[1] == 1 else np.rint(waveform.mean(axis=1)).astype(np.int16)


def seconds_of(file: IO[bytes] | io.RawIOBase, size: int, where: str) -> float:
    """Length in seconds from the header alone; the errors of `decode` that a header can show."""
    whole(file, size, where)
    try:
        with soundfile.SoundFile(file) as f:
            _check(f, where, None)
            return f.frames / SAMPLE_RATE
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{where}: unreadable or truncated audio ({error}): {_FIX}") from error


def whole(file: IO[bytes] | io.RawIOBase, size: int, where: str) -> None:
    # libsndfile shortens a truncated WAV without a word.
    head = file.read(8)
    file.seek(0)
    declared = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and declared not in _STREAMED and declared + 8 > size + 1:
        raise ValueError(f"{where}: truncated audio, {size} of {declared + 8} bytes: {_FIX}")


def _check(f: soundfile.SoundFile, where: str, duration: float | None) -> None:
    if f.samplerate != SAMPLE_RATE:
        raise ValueError(
            f"{where}: sample rate {f.samplerate} Hz, not {SAMPLE_RATE}: resample it when preparing the shard "
            "(nothing is resampled while training)"
        )
    if f.frames <= 0:
        raise ValueError(f"{where}: truncated audio, it holds no samples: {_FIX}")
    if duration is not None and abs(f.frames / SAMPLE_RATE - duration) > END_TOLERANCE:
        raise ValueError(
            f"{where}: the audio lasts {f.frames / SAMPLE_RATE:.3f} s, its record says {duration:.3f} s: truncated, or "
            f"the JSON is of another recording: {_FIX}"
        )

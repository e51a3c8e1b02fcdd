"""One audio file's bytes to int16 samples and back. Only `read_recording` resamples: shards are stored at 48 kHz.

Shape suffixes: S samples.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.schema import END_TOLERANCE
from flam_train.data.sound.channels import Channel
from flam_train.data.sound.faults import FAULTY, Fault, Unusable, reason
from flam_train.data.sound.look import look
from flam_train.data.sound.opening import Native, by_libsndfile
from flam_train.data.sound.reading import read, to_int16
from flam_train.data.sound.splice import File

AUDIO = ("flac", "wav")
"""What shards are written in."""

READABLE = (*AUDIO, "ogg", "opus", "mp3")
"""What may stand in a tar that others wrote."""

_FIX = "fetch or prepare this recording again and write its shard anew, or drop it"


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


def read_recording(path: Path | str, where: str = "", channel: Channel = "mean") -> np.ndarray:
    """Any sound file that libsndfile or ffmpeg reads, of any rate and channels, as int16 [S] at 48 kHz, mono.

    channel  "mean" of all channels, "first", "loudest", or a number from 1
    Raises ValueError, beginning with `where` if it is given, that names the file and the fix.
    """
    try:
        return read(path, channel=channel)
    except Unusable as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def decode(
    file: File,
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
    try:
        with _opened(file, size) as sound:
            frames = _frames(sound, where, duration)
            first = min(max(round(start * SAMPLE_RATE), 0), frames)
            count = frames - first if seconds is None else min(round(seconds * SAMPLE_RATE), frames - first)
            # Only 16 bit goes straight to int16: libsndfile would scale floats otherwise, and hide NaN.
            exact = sound.exact
            waveform = sound.read(first, count, "int16" if exact else "float32")
    except FAULTY as error:
        raise ValueError(f"{where}: {reason(error)}: {_FIX}") from error
    if len(waveform) < count:
        raise ValueError(f"{where}: truncated audio, {len(waveform)} of {count} samples could be decoded: {_FIX}")
    if not exact:
        return to_int16(waveform.mean(axis=1), where, _FIX)
    return waveform[:, 0] if waveform.shape[1] == 1 else np.rint(waveform.mean(axis=1)).astype(np.int16)


def seconds_of(file: File, size: int, where: str) -> float:
    """Length in seconds, from the header where it can be trusted; the errors of `decode` that show without decoding."""
    try:
        with _opened(file, size, check=True) as sound:
            return _frames(sound, where, None) / SAMPLE_RATE
    except FAULTY as error:
        raise ValueError(f"{where}: {reason(error)}: {_FIX}") from error


def _opened(file: File, size: int, check: bool = False) -> Native:
    sound = by_libsndfile(file, look(file, size, check))
    if isinstance(sound, str):
        raise Fault(f"unreadable or truncated audio ({sound})")
    return sound


def _frames(sound: Native, where: str, duration: float | None) -> int:
    """Samples of each channel. ValueError for another rate or, if one is known, another duration."""
    if sound.rate != SAMPLE_RATE:
        raise ValueError(
            f"{where}: sample rate {sound.rate} Hz, not {SAMPLE_RATE}: resample it when preparing the shard "
            "(nothing is resampled while training)"
        )
    frames = sound.frames if sound.frames is not None else sum(map(len, sound.blocks()))
    if frames <= 0:
        raise ValueError(f"{where}: truncated audio, it holds no samples: {_FIX}")
    if duration is not None and abs(frames / SAMPLE_RATE - duration) > END_TOLERANCE:
        raise ValueError(
            f"{where}: the audio lasts {frames / SAMPLE_RATE:.3f} s, its record says {duration:.3f} s: truncated, or "
            f"the JSON is of another recording: {_FIX}"
        )
    return frames

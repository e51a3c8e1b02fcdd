"""Any recording as the 48 kHz mono that shards hold.

Shape suffixes: S samples.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile
import soxr

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.data.sound.channels import Channel, check_channel, loudest, mixed
from flam_train.data.sound.faults import FIX, Fault, Unwritten, named
from flam_train.data.sound.opening import Native, Sound, opened
from flam_train.disk import PROBE, locked

MARGIN = 0.1
"""Seconds read beyond both ends of a part before resampling: a filter that starts in the middle of a sound rings."""

FLAC_CHANNELS = 8
"""As many as it can hold."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Error numbers of file systems without locks: there each process decodes for itself."""


def to_int16(waveform_S: np.ndarray, where: str, fix: str = FIX) -> np.ndarray:
    """A float waveform in [-1, 1] as int16, clipped at full scale. NaN or infinity is a ValueError."""
    try:
        return as_int16(waveform_S)
    except Fault as error:
        raise ValueError(f"{where}: {error}: {fix}") from error


def as_int16(waveform_S: np.ndarray) -> np.ndarray:
    """As `to_int16`; raises Fault."""
    if not np.isfinite(waveform_S).all():
        raise Fault("the audio has NaN or infinite samples")
    return np.clip(np.rint(waveform_S * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)


def read(
    path: Path | str,
    start: float = 0.0,
    seconds: float | None = None,
    channel: Channel = "mean",
    lead: float | None = None,
    copies: Path | None = None,
) -> np.ndarray:
    """int16 [S] at 48 kHz, mono: `seconds` from `start` on (None: to the end), or what is there of them.

    channel  see `channels.Channel`
    lead     `Length.lead` of the file, if it is known already
    copies   a folder for what is decoded of files in which one cannot seek: where many parts of such a file are read,
             the first process that asks decodes it once
    Resampled by soxr at its highest quality. Raises Unusable as `measure` does, and if there is nothing from `start`
    on, or no such channel; and Unwritten if a copy finds no room.
    """
    path = Path(path)
    if channel == "loudest":
        channel = loudest(path)
    copy = _copy_of(path, copies) if copies else None
    if copy is None or not copy.is_file():
        with opened(path, lead) as sound:
            if copy is None or (isinstance(sound, Native) and sound.fast):
                return _part(sound, start, seconds, channel)
            _write_once(copy, sound)
    with opened(copy, lead, path) as sound:
        return _part(sound, start, seconds, channel)


def _part(sound: Sound, start: float, seconds: float | None, channel: Channel) -> np.ndarray:
    check_channel(channel, sound.channels)
    rate = sound.rate
    step = rate // math.gcd(rate, SAMPLE_RATE)  # where samples of both rates coincide: a part has those of the whole
    first = int(max(start - MARGIN, 0.0) * rate / step) * step
    count = None if seconds is None else round((start + seconds + MARGIN) * rate) - first
    parts = [mixed(block, channel) for block in sound.blocks(first, count)]
    mono = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0), *parts])
    if rate != SAMPLE_RATE and len(mono):
        mono = soxr.resample(mono, rate, SAMPLE_RATE, "VHQ")
    skip = round(start * SAMPLE_RATE) - first * SAMPLE_RATE // rate
    wanted = mono[skip : None if seconds is None else skip + round(seconds * SAMPLE_RATE)]
    if not len(wanted):
        raise Fault(f"has no samples from {start:g} s on")
    return as_int16(wanted)


def _copy_of(path: Path, folder: Path) -> Path:
    """Where it is, or would be. Of a file that is replaced there is another."""
    with named(path):
        about = path.stat()
    name = os.fsencode(f"{path}/{about.st_size}/{about.st_mtime_ns}")
    return folder / f"{hashlib.blake2b(name, digest_size=16).hexdigest()}.copy"


def _write_once(copy: Path, sound: Sound) -> None:
    """By the first process that asks; the others wait for it. Raises Unwritten."""
    with ExitStack() as alone:
        with _written(copy, copy):
            copy.parent.mkdir(exist_ok=True)
            try:
                alone.enter_context(locked(copy.with_suffix(".lock")))
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
        if not copy.is_file():
            _write(copy, sound)


def _write(copy: Path, sound: Sound) -> None:
    """All of it, in a format in which one can seek. Raises Unwritten if it cannot be written.

    What may go beyond full scale is clipped where the whole is, behind the mix of channels: not here.
    """
    draft = copy.with_name(f".{copy.name}.{os.getpid()}.{threading.get_ident()}")
    format = "FLAC" if sound.channels <= FLAC_CHANNELS and not sound.floats else "W64"
    subtype = "FLOAT" if sound.floats else "PCM_24"
    try:
        with _written(copy, draft):
            out = soundfile.SoundFile(draft, "w", sound.rate, sound.channels, subtype, format=format)
        with out:
            for block in sound.blocks():
                with _written(copy, draft):
                    out.write(block)
            with _written(copy, draft):  # what is written last finds no room, too
                out.close()
        with _written(copy, draft):
            os.replace(draft, copy)
    finally:
        with suppress(OSError):
            draft.unlink()


@contextmanager
def _written(copy: Path, draft: Path) -> Iterator[None]:
    """What the disk says becomes Unwritten that names the copy."""
    try:
        yield
    except (OSError, soundfile.LibsndfileError) as error:
        said = error if isinstance(error, OSError) else _refused(draft)
        raise Unwritten(said.errno or errno.EIO, said.strerror or str(said), str(copy)) from error


def _refused(draft: Path) -> OSError:
    """Why no more can be written, which libsndfile does not tell: found by trying."""
    try:
        with draft.open("ab", buffering=0) as file:
            if file.write(bytes(PROBE)) < PROBE:
                file.write(bytes(PROBE))  # the rest found no room: now the disk says why
    except OSError as error:
        return error
    return OSError(errno.EIO, os.strerror(errno.EIO))

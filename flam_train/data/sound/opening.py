"""Opening a recording, whatever decodes it: its rate, channels, length, and its samples from any place on.

Shape suffixes: S samples, C channels.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from flam_train.data.sound import ffmpeg
from flam_train.data.sound.faults import Fault, in_words, named
from flam_train.data.sound.length import BLOCK, Length
from flam_train.data.sound.look import SEVERAL, Found, look
from flam_train.data.sound.splice import File, Spliced
from flam_train.data.sound.suffixes import NATIVE

NO_LENGTH = 1 << 46
"""Samples that no file holds: libsndfile says so many, or more, where it does not know."""

FLOATS = ("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
"""Kinds of samples that may go beyond full scale."""

LEAD_IN = {False: 16 * 1152, True: 256 * 576}
"""Samples decoded before those that are wanted of MPEG audio; True: up to 24 kHz. A frame takes up to 511 bytes (255 up
to 24 kHz) of the sound's from the frames before it, of which a quiet one has 58 (1) to spare."""

REMEMBERED = 1 << 17
"""Recordings whose length a process remembers."""

RECENT = 256
"""Of which it remembers how they are opened."""


class Native:
    """A recording that libsndfile decodes: a context manager.

    frames    samples of each channel; None: reading shows it
    how       as in `Length`
    seekable  whether it can be read from the middle on, `fast`: without looking through all that is before
    """

    def __init__(self, source: Any, found: Found) -> None:
        """Raises LibsndfileError."""
        self._file = soundfile.SoundFile(source, closefd=False)
        self.rate, self.channels = self._file.samplerate, self._file.channels
        self.frames: int | None = self._file.frames if found.samples is None else found.samples
        self.how = found.how
        mpeg = self._file.format == "MP3"
        if self.how == "unsure":
            self.frames, self.how = (None, "decoded") if mpeg else (self.frames, "header")
        self.seekable = self._file.seekable()
        self.fast = self.seekable and found.samples is None
        self._lead_in = LEAD_IN[self.rate <= 24_000] if mpeg else 0
        self._at = 0

    def __enter__(self) -> Native:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    @property
    def exact(self) -> bool:
        """Whether int16 is what it holds."""
        return self._file.subtype == "PCM_16"

    @property
    def floats(self) -> bool:
        """Whether its samples may go beyond full scale."""
        return self._file.subtype in FLOATS

    def ends(self) -> bool:
        """Whether its last sample can be decoded: of an Ogg file that was cut without decoding it, the page that says
        how long it is may have none."""
        if self._file.format != "OGG" or not self.frames:
            return True
        try:
            self._file.seek(self.frames - 1)
            found = len(self._file.read(1))
            self._file.seek(0)
        except soundfile.LibsndfileError:
            return False
        return found == 1

    def read(self, first: int, count: int, dtype: str = "float64") -> np.ndarray:
        """[S, C]: `count` samples from `first` on, or what is there of them and can be decoded. Where libsndfile cannot
        seek, it goes forward only."""
        f, lead = self._file, 0
        if self.frames is not None:
            count = max(min(count, self.frames - first), 0)
        if self.seekable:
            lead = min(first, self._lead_in)
            if first - lead != self._at:  # even to where it stands a seek in a FLAC decodes a block for nothing
                f.seek(first - lead)
        else:
            while self._at < first and (skipped := len(f.read(min(first - self._at, BLOCK)))):
                self._at += skipped
        found = f.read(lead + count, dtype=dtype, always_2d=True)[lead:]
        self._at = first + len(found)
        return found

    def blocks(self, first: int = 0, count: int | None = None, dtype: str = "float64") -> Iterator[np.ndarray]:
        """`dtype` [S, C], BLOCK numbers each: `count` samples from `first` on (None: to the end), or what is there.

        Raises Fault if fewer can be decoded than there are, and LibsndfileError.
        """
        stop = NO_LENGTH if self.frames is None else self.frames
        stop = stop if count is None else min(first + count, stop)
        begin = first
        while first < stop:
            block = self.read(first, min(stop - first, BLOCK // self.channels), dtype)
            if len(block):
                yield block
            elif self.frames is None:
                break
            else:
                wanted = stop - begin
                raise Fault(f"truncated audio, {first - begin} of {wanted} samples could be decoded")
            first += len(block)


Sound = Native | ffmpeg.Piped


def native(file: File, found: Found, direct: bool = False) -> Native:
    """A file as `look` found it. direct: it lies on a disk as it is, and nobody else reads it, which is faster. Raises
    LibsndfileError."""
    if found.pieces is not None:
        return Native(Spliced(file, found.pieces, found.zeros), found)
    file.seek(0)
    if not direct:
        return Native(file, found)
    # Not its name: by that alone libsndfile takes anything that is called .raw, .au, .gsm or .vox for samples.
    descriptor = file.fileno()
    os.lseek(descriptor, 0, os.SEEK_SET)  # `seek` may stay within Python's buffer
    return Native(descriptor, found)


def by_libsndfile(file: File, found: Found, direct: bool = False) -> Native | str:
    """The open recording, or why libsndfile does not read it."""
    if found.ffmpeg is not None:
        return found.ffmpeg
    try:
        sound = native(file, found, direct)
    except soundfile.LibsndfileError as error:
        return in_words(error)
    if sound.frames is not None and sound.frames >= NO_LENGTH:
        sound.__exit__()
        return "its length is not known"
    if direct and not sound.ends():
        sound.__exit__()
        return "its end cannot be decoded"
    return sound


@dataclass(frozen=True)
class _OnDisk:
    """A file that is open, equal to itself opened again as long as it stays the same file."""

    path: Path
    size: int
    changed: int
    file: File = field(compare=False)


@contextmanager
def _open(path: Path) -> Iterator[_OnDisk]:
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        yield _OnDisk(path, about.st_size, about.st_mtime_ns, file)


@functools.lru_cache(RECENT)
def _looked(source: _OnDisk) -> Found:
    """Parts of a long recording are read one after the other: its frames are counted for the first of them."""
    return look(source.file, source.size)


@contextmanager
def opened(path: Path, lead: float | None = None, name: Path | None = None) -> Iterator[Sound]:
    """A recording of any format, open for reading. Within, too, Fault becomes Unusable that names the file.

    lead  `Length.lead`, if it is known already
    name  by which to name it, if it is a copy
    """
    with named(name or path), _open(path) as source:
        sound = by_libsndfile(source.file, _looked(source), direct=True)
        if isinstance(sound, Native):
            with sound:
                yield sound
        else:
            _needs("ffmpeg", path, sound)
            lead = measure(path).lead if lead is None else lead
            # Where one recording ends in another, there may be packets that belong to neither.
            with ffmpeg.decoding(path, lead, strict=sound != SEVERAL) as piped:
                yield piped


def measure(path: Path | str) -> Length:
    """How long a recording is. It is looked at once, as long as it stays the same file.

    Raises Unusable that names the file, what is wrong and the fix: unreadable, without samples, or with fewer of them
    than it declares. ValueError: ffmpeg is needed, and not installed.
    """
    path = Path(path)
    with named(path):
        about = path.stat()
    return _measured(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(REMEMBERED)
def _measured(path: Path, size: int, changed: int) -> Length:
    with named(path), _open(path) as source:
        sound = by_libsndfile(source.file, _looked(source), direct=True)
        if isinstance(sound, Native):
            with sound:
                frames = sum(map(len, sound.blocks())) if sound.frames is None else sound.frames
                out = Length(frames, sound.rate, sound.channels, sound.how)
        else:
            _needs("ffprobe", path, sound)
            out = ffmpeg.probe(path)
        if out.frames <= 0:
            raise Fault("holds no samples")
        return out


def _needs(program: str, path: Path, why: str) -> None:
    """Fault for a file that libsndfile should read and does not, where there is no ffmpeg to try."""
    if path.suffix.lower() in NATIVE and shutil.which(program) is None:
        raise Fault(f"unreadable audio ({why}; ffmpeg, which may read it, is not installed)")

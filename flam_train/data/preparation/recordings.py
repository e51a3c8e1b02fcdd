"""What a corpus' labels say about its recordings, and reading any recording as the 48 kHz mono that shards hold.

Shape suffixes: S samples.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.audio import to_int16, whole
from flam_train.data.shards.schema import Event

THROUGH_FFMPEG = (".m4a", ".mp4", ".webm", ".aac", ".mkv", ".wma", ".mka", ".3gp")
"""Containers that libsndfile does not read."""

MARGIN = 0.1
"""Seconds read beyond both ends of a part before resampling: a filter that starts in the middle of a sound rings."""


@dataclass(frozen=True)
class Recording:
    """One audio file, or a part of it, with what the labels say about it: what a script of data_prep/ yields.

    key        unique in the corpus; made fit for a tar with `as_key`
    path       the audio file; it may be missing
    where      file and row of the labels, for messages
    captions   sentences about the part
    events     seconds from `start`; they may pass the end and are cut to it
    start      seconds into the file where the part begins
    seconds    length of the part; None: to the file's end
    source     what it is called where it came from (a file name, an address)
    licence    of this recording
    split      the corpus' own split or fold
    ids        what it is called across corpora, for finding overlap: "youtube:r1nicOVtvkQ", "freesound:117790"
    unknown    stretches, (onset, offset) in seconds from `start`, in which nobody knows what is heard: no sample is
               made that reaches into one
    details    plain data that is stored with the sample
    timed      more of it: rows that begin with an onset and an offset, in seconds from `start`; a sample's details have
               those that reach into it, cut to it, in seconds from its own start
    """

    key: str
    path: Path
    where: str
    captions: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    start: float = 0.0
    seconds: float | None = None
    source: str = ""
    licence: str = ""
    split: str = ""
    ids: tuple[str, ...] = ()
    unknown: tuple[tuple[float, float], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    timed: dict[str, list[list[Any]]] = field(default_factory=dict)


def as_key(name: str) -> str:
    """A name as a key: dots, slashes and white space become '_', nothing else changes."""
    return "".join("_" if c in "./\\" or c.isspace() else c for c in name)


class Unusable(ValueError):
    """An audio file that cannot be read: it is listed as missing, and the corpus goes on without it."""


def check_whole(path: Path) -> None:
    """Unusable for a truncated WAV, which libsndfile would shorten without a word; OSError if it cannot be opened."""
    with path.open("rb") as file:
        try:
            whole(file, path.stat().st_size, str(path))
        except ValueError as error:
            raise Unusable(str(error)) from error


def seconds_of(path: Path) -> float:
    """Length of an audio file from its header. Raises Unusable that names the file and the fix."""
    try:
        if path.suffix.lower() in THROUGH_FFMPEG:
            return _probe(path)
        check_whole(path)
        info = soundfile.info(str(path))
        seconds = info.frames / info.samplerate
    except (soundfile.LibsndfileError, OSError, ZeroDivisionError) as error:
        raise Unusable(f"{path}: unreadable audio ({error}): fetch it again") from error
    if seconds <= 0:
        raise Unusable(f"{path}: holds no samples: fetch it again")
    return seconds


def read_part(path: Path, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """int16 [S] at 48 kHz, mono (the channels' mean): `seconds` from `start` on (None: to the end), or what is there
    of them. Resampled by soxr at its highest quality. Raises Unusable that names the file and the fix."""
    if path.suffix.lower() in THROUGH_FFMPEG:
        file: Path | io.BytesIO = io.BytesIO(_decode(path))
    else:
        file = path
        check_whole(path)
    try:
        with soundfile.SoundFile(file) as f:
            rate = f.samplerate
            lead = min(start, MARGIN)
            first = round((start - lead) * rate)
            if first >= f.frames:
                raise Unusable(f"{path}: lasts {f.frames / rate:.3f} s, but {start} s of it are wanted: fetch it again")
            count = f.frames - first if seconds is None else round((lead + seconds + MARGIN) * rate)
            f.seek(first)
            mono = f.read(count, dtype="float64", always_2d=True).mean(axis=1)
            wanted = min(count, f.frames - first)
            if len(mono) < wanted:
                raise Unusable(f"{path}: truncated, {len(mono)} of {wanted} samples could be decoded: fetch it again")
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unusable(f"{path}: unreadable audio ({error}): fetch it again") from error
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, "VHQ")
    skip = round(start * SAMPLE_RATE) - round(first / rate * SAMPLE_RATE)
    end = None if seconds is None else skip + round(seconds * SAMPLE_RATE)
    if not len(mono[skip:end]):
        raise Unusable(f"{path}: no samples from {start} s on: fetch it again")
    try:
        return to_int16(mono[skip:end], str(path))
    except ValueError as error:
        raise Unusable(str(error)) from error


def _tool(name: str, path: Path) -> str:
    found = shutil.which(name)
    if found is None:
        raise ValueError(
            f"{path}: {path.suffix} files are read through ffmpeg, and {name} is not installed: install ffmpeg, or "
            "convert them to FLAC or WAV"
        )
    return found


def _probe(path: Path) -> float:
    command = [_tool("ffprobe", path), "-v", "error", "-select_streams", "a:0", "-of", "json"]
    command += ["-show_entries", "format=duration:stream=duration", "--", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = json.loads(done.stdout) if done.returncode == 0 else {}
    streams = found.get("streams", [])
    for holder in (*streams, found.get("format", {})):
        try:
            if streams and float(holder["duration"]) > 0:
                return float(holder["duration"])
        except (KeyError, ValueError):
            continue
    why = done.stderr.strip().splitlines() or ["no audio stream with a duration"]
    raise Unusable(f"{path}: unreadable audio ({why[-1]}): fetch it again")


def _decode(path: Path) -> bytes:
    """The first audio stream as WAV: the original rate and channels, 32 bit float."""
    command = [_tool("ffmpeg", path), "-v", "error", "-nostdin", "-i", str(path), "-map", "a:0"]
    return _decoded(path, [*command, "-c:a", "pcm_f32le", "-f", "wav", "-"])


def decoded_once(path: Path, folder: Path) -> Path:
    """For a recording of which many parts are read: itself, or, where ffmpeg would decode all of it for each of them
    (seeking in such files is not exact), a FLAC of 24 bit in `folder`, made by the first process that asks.

    Raises Unusable that names the file and the fix.
    """
    if path.suffix.lower() not in THROUGH_FFMPEG:
        return path
    about = path.stat()  # a file that is fetched again is decoded again
    name = hashlib.blake2b(f"{path}/{about.st_size}/{about.st_mtime_ns}".encode(), digest_size=16).hexdigest()
    found = folder / f"{name}.flac"
    if not found.is_file():
        folder.mkdir(exist_ok=True)
        draft = found.with_name(f".{found.name}.{os.getpid()}")
        command = [_tool("ffmpeg", path), "-v", "error", "-nostdin", "-y", "-i", str(path), "-map", "a:0"]
        command += ["-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24", "-f", "flac", str(draft)]
        try:
            _decoded(path, command, draft)
            os.replace(draft, found)
        finally:
            draft.unlink(missing_ok=True)
    return found


def _decoded(path: Path, command: list[str], file: Path | None = None) -> bytes:
    """What ffmpeg wrote to its output, or to `file`."""
    done = subprocess.run(command, capture_output=True)
    if done.returncode or not (done.stdout if file is None else file.stat().st_size):
        why = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unusable(f"{path}: unreadable audio ({why[-1] if why else 'nothing was decoded'}): fetch it again")
    return done.stdout

"""What libsndfile does not read, through the programs ffmpeg and ffprobe.

Shape suffixes: S samples, C channels.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from flam_train.data.sound.faults import Fault, NoFfmpeg
from flam_train.data.sound.length import BLOCK, Length

JUMP = 1.0
"""Seconds. A packet whose time lies farther back than that begins another recording, behind the one before; one that
lies farther ahead comes after silence, or the clock of a broadcast was set anew: ffmpeg knows which, decoding."""

_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
"""Of an object in the program, in its messages."""

_PACKET = re.compile(r"packet\|pts_time=(N/A|[-.\d]+)\|duration_time=(N/A|[-.\d]+)")


def program(name: str, path: Path) -> str:
    """Where it is. Raises NoFfmpeg that names the file and the fix."""
    found = shutil.which(name)
    if found is None:
        raise NoFfmpeg(
            f"{path}: {path.suffix or 'such'} files are read through ffmpeg, and {name} is not installed: install "
            "ffmpeg, or convert them to FLAC or WAV"
        )
    return found


def probe(path: Path) -> Length:
    """How long the first sound track is, by the times of all its packets and not by what the header promises.

    Raises Fault for a file without one, and NoFfmpeg.
    """
    shown = "packet=pts_time,duration_time:stream=sample_rate,channels,start_time:format=start_time"
    command = [program("ffprobe", path), "-v", "error", "-select_streams", "a:0", "-of", "compact"]
    with _started([*command, "-show_entries", shown, _input(path)]) as (process, errors):
        assert process.stdout is not None
        end, ahead, about = _extent(line.decode(errors="replace") for line in process.stdout)
        failed, why = process.wait(), _last(errors, path)
    track = about.get("stream", {})
    if failed or end is None or not track.get("channels"):
        raise Fault(f"unreadable audio ({why or 'it has no sound track'})")
    rate = int(track["sample_rate"])
    first = _number(about.get("format", {}).get("start_time")) or 0.0
    lead = max((_number(track.get("start_time")) or 0.0) - first, 0.0)
    if ahead:
        with decoding(path, lead) as piped:
            return Length(sum(map(len, piped.blocks())), piped.rate, piped.channels, "decoded", round(lead, 6))
    return Length(round((end - first) * rate), rate, int(track["channels"]), "counted", round(lead, 6))


def _extent(lines: Iterable[str]) -> tuple[float | None, bool, dict[str, dict[str, str]]]:
    """(where the last packet ends, whether times jump ahead, {"stream" and "format": their fields}) of what ffprobe
    says."""
    about: dict[str, dict[str, str]] = {}
    end: float | None = None
    before, lasts, shift, ahead = 0.0, 0.0, 0.0, False
    for line in lines:
        packet = _PACKET.match(line)
        if packet is None:
            section, *fields = line.strip().split("|")
            about.setdefault(section, {}).update((name, text) for name, _, text in (f.partition("=") for f in fields))
            continue
        time, length = _number(packet[1]), _number(packet[2])
        at = end or 0.0 if time is None else time + shift
        if end is not None and at < end - JUMP:
            shift += end - at
            at = end
        ahead |= end is not None and at > end + JUMP
        lasts = length if length is not None else max(at - before, 0.0) if end is not None else 0.0
        before, end = at, at + lasts if end is None else max(end, at + lasts)
    return end, ahead, about


class Piped:
    """What ffmpeg decodes, from the beginning on. rate: Hz; frames: not known before the end."""

    frames = None
    floats = True

    def __init__(self, out: IO[bytes], head: bytes) -> None:
        behind, self.rate, self.channels = struct.unpack(">4xI8xII", head)
        self._out = out
        self._out.read(behind - len(head))

    def blocks(self, first: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        """float64 [S, C], BLOCK numbers each: `count` samples from `first` on (None: to the end), or what is there."""
        while first and (skipped := len(self._next(first))):
            first -= skipped
        while count != 0 and len(block := self._next(BLOCK if count is None else count)):
            yield block
            count = None if count is None else count - len(block)

    def _next(self, count: int) -> np.ndarray:
        data = self._out.read(4 * self.channels * min(count, BLOCK // self.channels))
        whole = len(data) // (4 * self.channels) * 4 * self.channels
        return np.frombuffer(data[:whole], ">f4").reshape(-1, self.channels).astype(np.float64)


@contextmanager
def decoding(path: Path, lead: float = 0.0, at: float = 0.0, strict: bool = False) -> Iterator[Piped]:
    """The first sound track, decoded.

    Where its packets leave a gap there is silence, and `lead` seconds of it before a track that starts late, so that
    times are those of the file, as players and label editors show them.
    at  seconds into the file from where on, about: seeking in such files is not exact
    strict  raise Fault for what cannot be decoded in the middle, too: ffmpeg puts silence or noise in its place
    Raises Fault if nothing can be decoded, and NoFfmpeg.
    """
    filters = "aresample=async=1" + (f",adelay={1000 * lead:.3f}:all=1" if lead else "")
    command = [program("ffmpeg", path), "-v", "error", "-nostdin", *(["-ss", f"{at:.3f}"] if at else [])]
    command += ["-i", _input(path), "-map", "0:a:0", "-af", filters, "-c:a", "pcm_f32be", "-f", "au", "-"]
    with _started(command) as (process, errors):
        assert process.stdout is not None
        head = process.stdout.read(24)
        if len(head) < 24:
            process.wait()
            raise Fault(f"unreadable audio ({_last(errors, path) or 'nothing was decoded'})")
        yield Piped(process.stdout, head)
        if process.stdout.read(1) == b"" and process.wait():
            raise Fault(f"unreadable audio ({_last(errors, path)})")
        if strict and (said := _last(errors, path)):
            raise Fault(f"damaged audio ({said})")


@contextmanager
def _started(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A program that writes, and the file of what it says of errors. It is ended where nobody reads on."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        try:
            yield process, errors
        finally:
            process.kill()
            process.communicate()


def _input(path: Path) -> str:
    """Absolute: ffmpeg takes what stands before a colon for a protocol, and a dash for an option."""
    return f"file:{os.path.abspath(path)}"


def _last(errors: IO[bytes], path: Path) -> str:
    """The last line of what a program said, without the file's name; "" if it said nothing."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    said = _ADDRESS.sub("", lines[-1]).removeprefix(f"{_input(path)}: ") if lines else ""
    return f"ffmpeg: {said}" if said else ""


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None

"""What recorders write into a file of the time at which it begins."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from flam_train.data.sound import ffmpeg
from flam_train.data.sound.headers import MOST_CHUNKS, peek, samples_of
from flam_train.data.sound.suffixes import THROUGH_FFMPEG

MOST_BYTES = 1 << 16
"""Of a chunk that are read."""

_AUDIOMOTH = re.compile(
    r"Recorded at (?P<time>\d\d:\d\d:\d\d(?:\.\d+)?) (?P<d>\d\d)/(?P<m>\d\d)/(?P<Y>\d{4})(?: \((?P<zone>UTC[^)]*)\))?"
)
_GUANO = re.compile(r"^Timestamp:\s*(\S+(?: \S+)?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Tag:
    """name: of the tag, in words. time: ISO 8601. zone: an offset, where it stands apart from the time."""

    name: str
    time: str
    zone: str = ""


def tags_of(path: Path) -> list[Tag]:
    """Those of the time at which a recording begins, the best first. Raises OSError."""
    if path.suffix.lower() in THROUGH_FFMPEG:
        return _creation_time(path)
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        for name, data in _chunks(file, path.stat().st_size):
            found.setdefault(name, data)
    return [tag for read, name in _READERS if name in found and (tag := read(found[name])) is not None]


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Chunks of a WAV file besides its samples, and those in its LIST of INFO; nothing of other files."""
    get = peek(file, file.read(12))
    head = get(0, 12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    at = 12
    for _ in range(MOST_CHUNKS):
        if at + 8 > size:
            return
        name, length = struct.unpack("<4sI", get(at, 8))
        if name == b"data":
            samples = samples_of(get, size)
            if samples is None:
                return
            length = samples.there if samples.declared is None else samples.declared
        else:
            data = get(at + 8, min(length, MOST_BYTES))
            yield name, data
            if name == b"LIST" and data[:4] == b"INFO":
                yield from _entries(data)
        at += 8 + length + length % 2


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 4
    while at + 8 <= len(data):
        name, length = struct.unpack("<4sI", data[at : at + 8])
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _audiomoth(data: bytes) -> Tag | None:
    """As of "Recorded at 23:59:59 31/01/2024 (UTC+2) by AudioMoth 24E144036070AE94 at ..."; without a zone by the first
    firmware, whose clock was UTC."""
    match = _AUDIOMOTH.search(data.decode("latin-1"))
    if match is None:
        return None
    return Tag("comment", f"{match['Y']}-{match['m']}-{match['d']}T{match['time']}", match["zone"] or "UTC")


def _guano(data: bytes) -> Tag | None:
    match = _GUANO.search(data.decode("utf-8", "replace"))
    return match and Tag("GUANO Timestamp", match[1])


def _broadcast(data: bytes) -> Tag | None:
    """OriginationDate and OriginationTime of EBU Tech 3285, whose separators may be any."""
    date, time = data[320:330].decode("latin-1"), data[330:338].decode("latin-1")
    numbers = [
        re.fullmatch(form, text) for form, text in ((r"(\d{4}).(\d\d).(\d\d)", date), (r"(\d\d).(\d\d).(\d\d)", time))
    ]
    if numbers[0] is None or numbers[1] is None or not int(numbers[0][1]):
        return None
    return Tag("Broadcast Wave chunk", f"{'-'.join(numbers[0].groups())}T{':'.join(numbers[1].groups())}")


_READERS = ((_audiomoth, b"ICMT"), (_guano, b"guan"), (_broadcast, b"bext"))


def _creation_time(path: Path) -> list[Tag]:
    """What ffprobe finds of it; a clock that was never set is left out. Raises NoFfmpeg."""
    shown = "format_tags=creation_time:stream_tags=creation_time"
    command = [ffmpeg.program("ffprobe", path), "-v", "quiet", "-of", "json", "-show_entries", shown]
    done = subprocess.run([*command, f"file:{path.absolute()}"], stdin=subprocess.DEVNULL, capture_output=True)
    said = json.loads(done.stdout or b"{}")
    tags = [about.get("tags", {}) for about in (said.get("format", {}), *said.get("streams", []))]
    times = [str(tag["creation_time"]) for tag in tags if "creation_time" in tag]
    return [Tag("creation_time", time) for time in times[:1] if not time.startswith(("1904-01-01", "1970-01-01"))]

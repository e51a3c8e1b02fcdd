"""MPEG audio (layers I to III of MPEG 1, 2 and 2.5): its frames, counted without decoding them.

libsndfile takes the length from a Xing header; where there is none, or a wrong one, from the size of the file and of
its first frame, which is right for no file of a variable bit rate and for none with tags.
"""

from __future__ import annotations

import functools
import mmap
from dataclasses import dataclass

from flam_train.data.sound.faults import Fault
from flam_train.data.sound.tags import behind_id3, without_tags

JUNK = 1 << 16
"""Bytes before the first frame that may be something else."""

LARGEST_FRAME, LEAST_SAMPLES = 2881, 384
"""Bytes of a frame, and samples."""

SURE = 3
"""Frames in a row: what looks like a frame comes by chance, too."""

# kbit/s by the four bits of the header: layers I, II and III of MPEG 1, layer I and the others of 2 and 2.5
_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class Counted:
    """The frames of a file.

    samples   of each channel, in all frames; None: its Xing header is right
    spans     where they stand, without what is between them
    uniform   whether all have one sample rate and as many channels: libsndfile decodes no others
    """

    samples: int | None
    spans: list[range]
    uniform: bool = True


Kind = tuple[int, int, int, bool]
"""(version, layer, sample rate, mono) of a frame; version 25 is 2.5."""


@functools.cache
def _header(second: int, third: int, mono: bool) -> tuple[int, int, Kind] | None:
    """(bytes, samples, kind) of a frame, from its header's second and third byte."""
    version, layer = {3: 1, 2: 2, 0: 25}.get(second >> 3 & 3), 4 - (second >> 1 & 3)
    bits, at = third >> 4, third >> 2 & 3
    if second < 0xE0 or version is None or layer == 4 or bits in (0, 15) or at == 3:
        return None
    rate = (44_100, 48_000, 32_000)[at] // {1: 1, 2: 2, 25: 4}[version]
    kbps, padding = _RATES[min(version, 2), layer][bits], third >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 1 else 1152
    size = (12_000 * kbps // rate + padding) * 4 if layer == 1 else samples // 8 * 1000 * kbps // rate + padding
    return size, samples, (version, layer, rate, mono)


def count(data: bytes | mmap.mmap) -> Counted | None:
    """The frames of a file; None if it is no MPEG audio.

    They are not counted where the Xing header knows their number and how many bytes they fill, and so many are there.
    Raises Fault if its number is greater than that of the frames.
    """
    end = without_tags(data)
    start = behind_id3(data)
    at = _sync(data, start, min(start + JUNK, end), end)
    if at is None:
        return None
    size, samples, _ = _frame(data, at)  # type: ignore[misc]
    declared = _declared(data, at)
    if declared is None:
        return _walk(data, at, end)
    frames = declared[0] * samples
    if frames and declared[1] == end - at and at == start:
        return Counted(None, [])
    out = _walk(data, at + size, end)
    assert out.samples is not None
    if out.uniform and out.samples < frames - samples:  # some count the header's own frame
        raise Fault(f"truncated audio, {out.samples} of {frames} samples are there")
    return Counted(None, []) if out.samples == frames and out.spans == [range(start + size, end)] else out


def _walk(data: bytes | mmap.mmap, at: int, end: int) -> Counted:
    spans, total, first, uniform = [], 0, at, True
    kind: Kind | None = None
    while True:
        found = _frame(data, at)
        if found is not None and at + found[0] <= end and kind in (found[2], None):
            kind = found[2]
            at += found[0]
            total += found[1]
            continue
        if at > first:
            spans.append(range(first, at))
        following = _sync(data, behind_id3(data, at), end, end)
        if following is None:
            return Counted(total, spans, uniform)
        at = first = following
        found = _frame(data, at)
        if found is not None and kind not in (found[2], None):
            kind, uniform = found[2], False


def _frame(data: bytes | mmap.mmap, at: int) -> tuple[int, int, Kind] | None:
    if at + 4 > len(data) or data[at] != 0xFF:
        return None
    return _header(data[at + 1], data[at + 2], data[at + 3] >= 0xC0)


def _sync(data: bytes | mmap.mmap, at: int, before: int, end: int) -> int | None:
    """Where the next frames stand in a row, of one kind and whole, or up to the end of the data."""
    while (at := data.find(b"\xff", at, before)) >= 0:
        place, kinds = at, set()
        for _ in range(SURE):
            found = _frame(data, place)
            if found is None or place + found[0] > end:
                break
            kinds.add(found[2])
            place += found[0]
            if place == end:
                return at if len(kinds) == 1 else None
        else:
            if len(kinds) == 1:
                return at
        at += 1
    return None


def _declared(data: bytes | mmap.mmap, at: int) -> tuple[int, int] | None:
    """(frames, bytes with its own) as a first frame without sound says, 0 for what it does not; None: it has sound."""
    version, layer, _, mono = _frame(data, at)[2]  # type: ignore[index]
    if layer != 3:
        return None
    if data[at + 36 : at + 40] == b"VBRI":
        return 0, 0
    place = at + 4 + ((17 if mono else 32) if version == 1 else (9 if mono else 17))
    if data[place : place + 4] not in (b"Xing", b"Info"):
        return None
    flags = data[place + 7]
    numbers = [int.from_bytes(data[place + 8 + 4 * n : place + 12 + 4 * n], "big") for n in range(2)]
    frames = numbers.pop(0) if flags & 1 else 0
    return frames, numbers.pop(0) if flags & 2 else 0

"""How many samples a FLAC file holds, told by its last frame rather than by its header."""

from __future__ import annotations

import functools
import mmap
import struct

from flam_train.data.sound.faults import Fault
from flam_train.data.sound.splice import Piece
from flam_train.data.sound.tags import without_tags

MOST_FRAME, MOST_TRIED = 1 << 20, 64
"""Bytes of a frame, and frames from the last on that are tried: what ends otherwise is damaged, or no FLAC."""


def mended(data: bytes | mmap.mmap, start: int, check: bool) -> tuple[list[Piece] | None, bool]:
    """(pieces, known) of a file: what to read instead of it, None for the file itself, and whether its own header knows
    how many samples there are; if not, as that of a stream, it is replaced by one that does.

    start  where its "fLaC" stands
    check  whether the header's word is compared with the last frame: Fault if fewer samples are there
    """
    at = start + 18  # within STREAMINFO: rate, channels and bits in 28 bits, samples in 36
    packed = int.from_bytes(data[at : at + 8], "big")
    declared = packed & (1 << 36) - 1
    bare: list[Piece] | None = [range(start, len(data))] if start else None  # libsndfile knows few tags before it
    if declared and not check:
        return bare, True
    there = samples_there(data, start, declared)
    if declared:
        if there is not None and there < declared:
            raise Fault(f"truncated audio, {there} of {declared} samples are there")
        return bare, True
    if not there:
        raise Fault("it does not say how long it is, and holds no whole frame of samples")
    return [range(start, at), (packed | there).to_bytes(8, "big"), range(at + 8, len(data))], False


def is_part(data: bytes | mmap.mmap, start: int) -> bool:
    """Whether its first frame is not the first of the sound, as where a longer file was cut without decoding it: its
    header is that of the whole, and libsndfile does not find its way."""
    at = _first_frame(data, start)
    block = struct.unpack(">H", data[start + 8 : start + 10])[0] if at is not None else 0
    first = None if at is None else _frame(data, at, block)
    return first is not None and first[0] > 0


def _first_frame(data: bytes | mmap.mmap, start: int) -> int | None:
    """Where what stands behind the blocks of the head begins; None: the file ends before."""
    at, last = start + 4, 0
    while not last:
        if at + 4 > len(data):
            return None
        last, length = data[at] & 0x80, int.from_bytes(data[at + 1 : at + 4], "big")
        at += 4 + length
    return at


def samples_there(data: bytes | mmap.mmap, start: int, declared: int = 0) -> int | None:
    """Samples up to the end of the last whole frame; None if there are no frames, or too many that are none.

    declared  a last frame that ends there is taken for whole by its header alone
    """
    at = _first_frame(data, start)
    if at is None:
        return None
    block = struct.unpack(">H", data[start + 8 : start + 10])[0]
    first = _frame(data, at, block)
    if first is None:
        return None
    end = without_tags(data)
    stops = [end]
    while (end := data.rfind(data[at : at + 2], at, end + 1)) >= 0 and len(stops) <= MOST_TRIED:
        found = _frame(data, end, block)
        if found is None:
            continue
        samples = found[1] - first[0]
        if samples == declared:
            return samples
        # It ends where the file does, or where the next one begins, which is cut off or was none.
        for stop in {stops[0], *stops[-2:]}:
            if stop - end <= MOST_FRAME and _crc(data[end:stop], 16, 0x8005) == 0:
                return samples
        stops.append(end)
    return 0 if end < 0 else None


def _frame(data: bytes | mmap.mmap, at: int, block: int) -> tuple[int, int] | None:
    """(first sample, the one behind the last) of the frame whose header stands here; None if none does.

    block  samples of each frame, where frames are numbered
    """
    head = data[at : at + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    size, rate = head[2] >> 4, head[2] & 15
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    if size == 0 or rate == 15 or ones in (1, 8):
        return None
    more = max(ones - 1, 0)
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at = 5 + more
    if size < 6:
        samples = 192 if size == 1 else 576 << size - 2
    elif size < 8:
        samples = int.from_bytes(head[at : at + size - 5], "big") + 1
        at += size - 5
    else:
        samples = 256 << size - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at >= len(head) or _crc(head[: at + 1], 8, 0x07):
        return None
    first = number if head[1] & 1 else number * block
    return first, first + samples


@functools.cache
def _table(bits: int, polynomial: int) -> list[int]:
    out = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        out.append(value)
    return out


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    """0 over what ends in its own checksum."""
    table, value, mask = _table(bits, polynomial), 0, (1 << bits) - 1
    for byte in data:
        value = value << 8 & mask ^ table[value >> bits - 8 ^ byte]
    return value

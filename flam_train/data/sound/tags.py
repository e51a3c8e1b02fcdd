"""The tags that players write before and behind MPEG audio and FLAC."""

from __future__ import annotations

import mmap

MOST_LYRICS = 5120
"""Bytes of a Lyrics3 tag of version 1."""


def behind_id3(data: bytes | mmap.mmap, at: int = 0) -> int:
    """Where the ID3v2 tags that stand here end."""
    while data[at : at + 3] == b"ID3":
        head = data[at : at + 10]
        if len(head) < 10 or max(head[6:]) > 127:
            break
        at += 10 + _synchsafe(head[6:]) + 10 * (head[5] >> 4 & 1)
    return at


def without_tags(data: bytes | mmap.mmap) -> int:
    """Where the tags at the end begin: ID3v1, APE, Lyrics3 and ID3v2 with a footer, as many as there are."""
    end = len(data)
    while (tag := _last_tag(data, end)) and tag <= end:
        end -= tag
    return end


def _last_tag(data: bytes | mmap.mmap, end: int) -> int:
    """Bytes of the tag that ends here, 0 if none does."""
    foot = data[max(end - 128, 0) : end]
    if len(foot) == 128 and foot[:3] == b"TAG":
        return 128
    if foot[-32:-24] == b"APETAGEX":
        return int.from_bytes(foot[-20:-16], "little") + 32 * (foot[-9] >> 7)
    if foot[-10:-7] == b"3DI" and max(foot[-4:]) < 128:
        return 20 + _synchsafe(foot[-4:])
    if foot[-9:] == b"LYRICS200" and foot[-15:-9].isdigit():
        return 15 + int(foot[-15:-9])
    if foot[-9:] == b"LYRICSEND":  # its beginning stands nowhere
        return end - data.rfind(b"LYRICSBEGIN", max(end - MOST_LYRICS, 0), end)
    return 0


def _synchsafe(digits: bytes) -> int:
    """A number of seven bits a byte, so that no byte is one that a frame begins with."""
    return sum(byte << 7 * n for n, byte in enumerate(reversed(digits)))

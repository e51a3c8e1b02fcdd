"""The tags that players write before and behind MPEG audio and FLAC."""

from __future__ import annotations

import mmap


def behind_id3(data: bytes | mmap.mmap, at: int = 0) -> int:
    """Where the ID3v2 tags that stand here end."""
    while data[at : at + 3] == b"ID3":
        head = data[at : at + 10]
        if len(head) < 10 or max(head[6:]) > 127:
            break
        at += 10 + sum(byte << 7 * n for n, byte in enumerate(reversed(head[6:]))) + 10 * (head[5] >> 4 & 1)
    return at


def without_tags(data: bytes | mmap.mmap) -> int:
    """Where the ID3v1 and APE tags at the end begin."""
    end = len(data)
    if data[max(end - 128, 0) :][:3] == b"TAG":
        end -= 128
    foot = data[max(end - 32, 0) : end]
    if foot[:8] == b"APETAGEX":
        end -= int.from_bytes(foot[12:16], "little") + 32 * (foot[23] >> 7)
    return max(end, 0)

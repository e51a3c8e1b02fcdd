"""A file as it should have been written: bytes of another file, some of them replaced or left out."""

from __future__ import annotations

import io
import itertools
import mmap
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import IO, Any

File = IO[bytes] | io.RawIOBase

Piece = bytes | range
"""New bytes, or where bytes of the file stand."""


def view(file: File, size: int) -> bytes | mmap.mmap:
    """All bytes of a file, to look through; of one on a disk only what is looked at is read."""
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # it is in memory, or a part of another, or empty
        file.seek(0)
        return file.read() or b""


def replaced(new: Mapping[int, bytes], end: int) -> list[Piece]:
    """The bytes [0, end) with those from some places on replaced by as many new ones."""
    out: list[Piece] = []
    done = 0
    for at in sorted(new):
        out += [range(done, at), new[at]]
        done = at + len(new[at])
    return [*out, range(done, end)]


class Spliced(io.RawIOBase):
    """Pieces in a row, then `zeros` zero bytes. The file stays the caller's."""

    def __init__(self, file: File, pieces: Sequence[Piece], zeros: int = 0) -> None:
        self.file, self.position = file, 0
        self.pieces = [*pieces, b""]
        self.starts = list(itertools.accumulate((len(piece) for piece in pieces), initial=0))
        self.size = self.starts[-1] + zeros

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence] + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        """As many bytes as there are: libsndfile takes fewer than it asked for to be the end."""
        wanted = max(min(len(buffer), self.size - self.position), 0)
        done = 0
        while done < wanted:
            n = bisect_right(self.starts, self.position) - 1
            piece = self.pieces[n][self.position - self.starts[n] :][: wanted - done]
            if isinstance(piece, range):
                self.file.seek(piece.start)
                some = self.file.read(len(piece)) or b""
                if not some:  # it was cut off since it was measured
                    break
            else:
                some = piece or bytes(wanted - done)
            buffer[done : done + len(some)] = some
            done += len(some)
            self.position += len(some)
        return done

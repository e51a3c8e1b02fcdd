"""How a sound file is to be opened, told by its content alone: its name says nothing here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flam_train.data.sound import flac, mpeg
from flam_train.data.sound.headers import check_boxes, mended, peek
from flam_train.data.sound.splice import File, Piece, view
from flam_train.data.sound.tags import behind_id3

BEGINNING, HEAD = 44, 4096
"""Bytes that are read at once: all that says how long our own shards' WAV and FLAC are, and of other kinds'
beginnings."""

FIRST_PAGE = b"OggS\0\2"
"""How the page begins with which a stream of an Ogg file begins."""

SEVERAL = "several recordings in one"

WRAPPED = 1 << 32
"""Bytes that a RIFF file's sizes cannot tell from none."""

MOST_SURE = 1 << 30
"""Bytes of samples that no placeholder comes near."""


@dataclass(frozen=True)
class Found:
    """What is to be opened, and how long it is.

    pieces   what libsndfile is shown instead of the file, with `zeros` behind it; None: the file itself
    samples  of each channel; None: as many as libsndfile then says
    how      "header": the file says so, and it fits; "counted": without decoding; "unsure": reading shows it
    ffmpeg   why only ffmpeg reads all of it; None: libsndfile does
    """

    pieces: Sequence[Piece] | None = None
    zeros: int = 0
    samples: int | None = None
    how: str = "header"
    ffmpeg: str | None = None


AS_IT_IS = Found()


def look(file: File, size: int, check: bool = True) -> Found:
    """Reads headers, and more where these do not say how long the sound is.

    check  compare what a FLAC file's header says with its frames, too
    Raises Fault for a file that has fewer samples than it declares.
    """
    file.seek(0)
    head = file.read(BEGINNING) or b""
    declared = int.from_bytes(head[40:44], "little")
    if head[:4] == b"RIFF" and head[36:40] == b"data" and 0 < declared <= min(size - 44, MOST_SURE) and size < WRAPPED:
        return AS_IT_IS
    if head[:4] == b"fLaC" and any(head[22:26]) and not check:
        return AS_IT_IS
    head += file.read(HEAD) or b""
    start = 0
    if head[:3] == b"ID3":
        data = view(file, size)
        start = behind_id3(data)
        head = data[start : start + HEAD]
    sound = head.lstrip(b"\0")  # as some players and cut streams put before the frames
    if sound[:4] == b"fLaC":
        start += len(head) - len(sound)
        data = view(file, size)
        if check and flac.is_part(data, start):
            return Found(ffmpeg="a part of a longer FLAC")
        pieces, known = flac.mended(data, start, check)
        return Found(pieces, how="header" if known else "counted")
    if start or not sound or (sound[:1] == b"\xff" and sound[1:2] >= b"\xe0"):
        return _mpeg(file, size)
    if head[:4] == b"OggS":
        return Found(ffmpeg=SEVERAL if _chained(file, head, size) else None)
    if head[:19] == b"Creative Voice File":
        return Found(ffmpeg="a VOC file")  # libsndfile takes the heads of its blocks for samples
    get = peek(file, head)
    check_boxes(get, size)
    pieces = mended(get, size)
    if head[:4] == b"RIFF" and head[(fmt := head.find(b"fmt ")) + 8 : fmt + 10] in (b"P\0", b"U\0"):
        return Found(ffmpeg="MPEG audio in a WAV file")  # libsndfile guesses its length, and stops there
    return Found(pieces)


def _mpeg(file: File, size: int) -> Found:
    counted = mpeg.count(view(file, size))
    if counted is None:  # something else, or frames of a free format
        return Found(how="unsure")
    if counted.samples is None:
        return AS_IT_IS
    # libsndfile guesses the length from the size of the file: it must not guess too little.
    zeros = (counted.samples // mpeg.LEAST_SAMPLES + 2) * mpeg.LARGEST_FRAME
    return Found(counted.spans, zeros, counted.samples, "counted", None if counted.uniform else SEVERAL)


def _chained(file: File, head: bytes, size: int) -> bool:
    """Whether several recordings stand one behind the other in an Ogg file: libsndfile reads the first one only."""
    at = 0
    while at + 27 <= len(head) and head[at : at + 6] == FIRST_PAGE:  # of each stream that begins with the file
        segments = head[at + 26]
        at += 27 + segments + sum(head[at + 27 : at + 27 + segments])
    return view(file, size).find(FIRST_PAGE, at) >= 0

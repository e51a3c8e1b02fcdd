"""What the headers of containers declare, beside what is there.

Files that were written as a stream, or by a recorder that lost its power, do not know their size: their headers hold
0, or a number that no file reaches. That means "to the end of the file".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from flam_train.data.sound.faults import Fault
from flam_train.data.sound.splice import File, Piece, replaced

MOST_CHUNKS = 4096
"""Looked at in one file: what follows is no list of chunks."""

NEAR = 0x1100
"""What headers of files, added or taken away, put between a number and 0xFFFFFFFF, 0x7FFFFFFF or 0x7FFFF000."""

BEHIND = 1 << 16
"""Bytes at the end of a file in which other chunks are looked for if the samples' own does not know its size."""

_OTHERS = (
    b"LIST", b"list", b"bext", b"iXML", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"_PMX", b"axml", b"JUNK", b"PAD ",
    b"guan", b"wamd",
)  # fmt: skip
"""Chunks that recorders and editors write behind the samples."""

_W64 = b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"
_NIST = b"NIST_1A\n   1024\n"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")

Peek = Callable[[int, int], bytes]
"""(offset, count) -> bytes of the file."""


def peek(file: File, head: bytes) -> Peek:
    """Reads, and takes from the head of the file what is in it."""

    def get(at: int, count: int) -> bytes:
        if at + count <= len(head):
            return head[at : at + count]
        file.seek(at)
        return file.read(count) or b""

    return get


@dataclass(frozen=True)
class _Chunks:
    """How a container writes its chunks: where the first begins, bytes of a name, a size as `struct` reads it, what
    their places are multiples of, the name of the samples' chunk, bytes of it before the samples, and whether a size
    counts the chunk's name and size, too."""

    first: int
    name: int
    form: str
    align: int
    data: bytes
    skip: int = 0
    inclusive: bool = False

    @property
    def head(self) -> int:
        return self.name + struct.calcsize(self.form)

    @property
    def extra(self) -> int:
        """What the size of the samples' chunk counts besides them."""
        return self.skip + (self.head if self.inclusive else 0)


_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""Bytes of a sample by an AU file's encoding, of those that are not packed."""

_RIFF, _RIFX = (_Chunks(12, 4, form, 2, b"data") for form in ("<I", ">I"))
_AIFF = _Chunks(12, 4, ">I", 2, b"SSND", 8)
_SVX = _Chunks(12, 4, ">I", 2, b"BODY")
_SONY = _Chunks(40, 16, "<Q", 8, _W64_DATA, 0, True)
_CAF = _Chunks(8, 4, ">Q", 1, b"data", 4)


def _chunks_of(head: bytes) -> _Chunks | None:
    kind, form = head[:4], head[8:12]
    if kind in (b"RIFF", b"RF64", b"BW64") and form == b"WAVE":
        return _RIFF
    if kind == b"RIFX" and form == b"WAVE":
        return _RIFX
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _AIFF
    if kind == b"FORM" and form in (b"8SVX", b"16SV"):
        return _SVX
    return _SONY if head == _W64 else _CAF if kind == b"caff" else None


@dataclass(frozen=True)
class Samples:
    """The bytes of samples in a container.

    start     where they begin
    declared  how many the header says; None: it does not know
    there     how many stand in the file, or in it and before other chunks
    field     where the header says it, `form` how, and `extra` what it counts besides
    block     bytes of one sample of all channels; 1 where they are packed, or it is not known
    """

    start: int
    declared: int | None
    there: int
    field: int
    form: str
    extra: int
    block: int = 1

    @staticmethod
    def of(start: int, number: int, size: int, field: int, form: str, extra: int, block: int) -> Samples:
        top = 1 << 8 * struct.calcsize(form)
        unknown = number <= extra or number >= top - NEAR or abs(number - top // 2) <= NEAR
        unknown |= form in ("<I", ">I") and size - start - number >= top - NEAR  # it began again at 0
        return Samples(start, None if unknown else number - extra, max(size - start, 0), field, form, extra, block)


def samples_of(get: Peek, size: int) -> Samples | None:
    """Where the samples are in a file of `size` bytes. None for a container that is not known here, or if they are not
    found: libsndfile may know better."""
    head = get(0, 16)
    if len(head) < 16:
        return None
    if head[:4] in (b".snd", b"dns."):
        form = ">I" if head[:1] == b"." else "<I"
        start, number, encoding = struct.unpack(form[0] + "4xIII", head)
        channels = int.from_bytes(get(20, 4), "big" if form == ">I" else "little")
        return Samples.of(start, number, size, 8, form, 0, max(_AU_BYTES.get(encoding, 0) * channels, 1))
    if head == _NIST:
        return _nist(get, size)
    chunks, ds64, block = _chunks_of(head), 0, 1
    at = chunks.first if chunks else size
    for _ in range(MOST_CHUNKS):
        if chunks is None or at + chunks.head > size:
            return None
        field, body = at + chunks.name, at + chunks.head
        name, number = get(at, chunks.name), struct.unpack(chunks.form, get(field, body - field))[0]
        length = max(number - chunks.head, 0) if chunks.inclusive else number
        if name == b"ds64":
            ds64 = body + 8  # behind the size of the whole, that of the data chunk
        elif name[:4] in (b"fmt ", b"COMM"):
            block = _block(get(body, 22), chunks)
        elif name == chunks.data:
            start = body + chunks.skip
            if in_ds64 := ds64 and number == 0xFFFFFFFF:
                number, field = struct.unpack("<Q", get(ds64, 8))[0], ds64
            found = Samples.of(start, number, size, field, "<Q" if in_ds64 else chunks.form, chunks.extra, block)
            if found.declared is None:
                end = _others(get, size, chunks, start)
                found = replace(found, there=end - start)
            if not in_ds64 and length <= chunks.skip and _ends_well(get, size, chunks, body + length):
                return Samples(start, 0, 0, field, chunks.form, found.extra)  # it holds none, and knows it
            return found
        at = body + length
        at += -at % chunks.align
    return None


def _block(about: bytes, chunks: _Chunks) -> int:
    """`Samples.block` as a chunk says that describes the samples."""
    if len(about) < 16:
        return 1
    if chunks is _AIFF:
        channels, bits = struct.unpack(">H4xH", about[:8])
        packed = about[18:22] in (b"ima4", b"GSM ", b"MAC3", b"MAC6", b"G722", b"QDM2")
        return 1 if packed else max(channels * (-(-bits // 8)), 1)
    channels, block, bits = struct.unpack(chunks.form[0] + "2xH8xHH", about[:16])
    return block if block == channels * (-(-bits // 8)) > 0 else 1


def _others(get: Peek, size: int, chunks: _Chunks, start: int) -> int:
    """Where the chunks begin that stand behind the samples, whose own does not know its size."""
    before = max(size - BEHIND, start)
    tail = get(before, size - before)
    places = sorted(before + at for name in _OTHERS if (at := tail.find(name)) >= 0)
    return next((at for at in places if _ends_well(get, size, chunks, at)), size)


def _nist(get: Peek, size: int) -> Samples | None:
    """Of a NIST SPHERE file, whose header is lines of text."""
    lines = [line.split(None, 2) for line in get(0, 1024).decode("ascii", "replace").splitlines()]
    about = {line[0]: line[2] for line in lines if len(line) == 3}
    try:
        count, channels, width = (int(about[name]) for name in ("sample_count", "channel_count", "sample_n_bytes"))
    except (KeyError, ValueError):
        return None
    if "shorten" in about.get("sample_coding", ""):
        return None
    return Samples(1024, count * channels * width, max(size - 1024, 0), 0, "<Q", 0, channels * width)


def _ends_well(get: Peek, size: int, chunks: _Chunks, at: int) -> bool:
    """Whether whole chunks, or nothing, stand from here to the end of the file."""
    for _ in range(MOST_CHUNKS):
        if at + chunks.head > size:
            break
        number = struct.unpack(chunks.form, get(at + chunks.name, chunks.head - chunks.name))[0]
        at += max(number, chunks.head) if chunks.inclusive else chunks.head + number
        at += -at % chunks.align
    return size <= at < size + chunks.align


def mended(get: Peek, size: int) -> list[Piece] | None:
    """The pieces of a file with a header that says what is there, if its own does not know it or libsndfile does not
    know the header; None: read it as it is. Raises Fault if fewer samples are there than are declared."""
    found = samples_of(get, size)
    if found is None:
        return None
    # Bytes over the last whole block are no sample: some writers count them, and leave them out.
    if found.declared is not None and found.there // found.block < found.declared // found.block:
        raise Fault(f"truncated audio, {found.there} of {found.declared} bytes of samples are there")
    end, count = found.start + found.there, found.there + found.extra
    new = {0: b"RF64"} if get(0, 4) == b"BW64" else {}
    if found.declared is None and count < 1 << 8 * struct.calcsize(found.form):
        new[found.field] = struct.pack(found.form, count)
    elif found.declared is None and get(0, 4) == b"RIFF":  # more than RIFF can say
        rf64 = struct.pack("<4sI4s4sIQQQI", b"RF64", 0xFFFFFFFF, b"WAVE", b"ds64", 28, end + 28, count, 0, 0)
        return [rf64, range(12, found.field), b"\xff" * 4, range(found.field + 4, end)]
    elif found.declared is not None and found.there - found.declared >= found.block and _taken_to_the_end(get):
        return [range(found.start + found.declared)]
    return replaced(new, end if found.declared is None else size) if new else None


def _taken_to_the_end(get: Peek) -> bool:
    """Whether libsndfile takes for samples what stands behind them in such a file."""
    return get(0, 16) in (_W64, _NIST) or get(8, 4) in (b"8SVX", b"16SV")


def check_boxes(get: Peek, size: int) -> None:
    """Fault for an MP4, Matroska, WebM or WMA file that ends before its header says; others pass."""
    head = get(0, 24)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        end = _boxes_end(get, size)
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        end = _segment_end(get)
    elif head[:16] == _ASF:
        at = struct.unpack("<Q", head[16:24])[0]
        data = get(at, 24)
        end = at + struct.unpack("<Q", data[16:])[0] if data[:16] == _ASF_DATA and len(data) == 24 else 0
    else:
        return
    if size < end < 1 << 62:
        raise Fault(f"truncated audio, {size} of {end} bytes are there")


def _boxes_end(get: Peek, size: int) -> int:
    at = 0
    for _ in range(MOST_CHUNKS):
        if at + 16 > size:
            break
        length, _name, long = struct.unpack(">I4sQ", get(at, 16))
        if length == 0:  # to the end of the file
            return size
        length = long if length == 1 else length
        if length < 8:
            break
        at += length
    return at


def _segment_end(get: Peek) -> int:
    """0 if it is not said: then it was written as a stream."""
    length, width = _vint(get, 4)
    at = 4 + width + length  # behind the header
    if get(at, 4) != b"\x18\x53\x80\x67":
        return 0
    length, width = _vint(get, at + 4)
    return at + 4 + width + length if length != (1 << 7 * width) - 1 else 0


def _vint(get: Peek, at: int) -> tuple[int, int]:
    """(number, its bytes) of one of variable length."""
    first = get(at, 1) or b"\x00"
    width = 9 - first[0].bit_length()
    number = int.from_bytes(get(at, width), "big")
    return number & ~(1 << 7 * width), width

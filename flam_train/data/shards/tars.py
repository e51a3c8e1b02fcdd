"""Tars in WebDataset's layout as files with an index: where each sample's bytes stand.

A sample is the members whose names agree up to the first dot: `{key}.flac`, `{key}.json`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flam_train.data.shards.audio import READABLE
from flam_train.disk import naming

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ShardEntry:
    """A shard in the manifest: file name, number of samples, size in bytes, seconds of audio, sha256."""

    name: str
    samples: int
    bytes: int
    seconds: float
    sha256: str


def index_path(tar: Path) -> Path:
    return tar.with_suffix(".index.npy")


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_with(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file whole or not at all: to a temporary name beside it, to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path, temporary):
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def index_tar(path: Path) -> np.ndarray:
    """Where each sample of a WebDataset tar stands: one row a sample, in the tar's order.

    Members belong together when their names agree up to the first dot of the base name. Fields: key;
    audio, audio_size, meta, meta_size (offset and size in bytes; the description is the JSON, or the .txt where the
    JSON is missing or has no caption); audio_crc, meta_crc (crc32); audio_format, meta_format (extension, b"" without).
    Raises ValueError for a truncated or compressed tar, a sample without audio, a key that comes twice.
    """
    rows: list[tuple] = []
    seen: set[str] = set()
    group: dict[str, tuple[int, bytes]] = {}
    current = ""

    def close() -> None:
        if not group:
            return
        where = f"{path}: sample {len(rows)} ({current!r})"
        kind = next((ext for ext in READABLE if ext in group), None)
        if kind is None:
            raise ValueError(f"{where}: has no audio ({', '.join(sorted(group))}): needs one of {', '.join(READABLE)}")
        if current in seen:
            raise ValueError(f"{where}: this key comes twice in the tar: keep the members of a sample together")
        seen.add(current)
        meta = "txt" if "txt" in group and not _captioned(group.get("json", (0, b""))[1]) else "json"
        meta = meta if meta in group else ""
        (a, audio), (m, text) = group[kind], group.get(meta, (0, b""))
        key = clean(current).encode()
        crcs = zlib.crc32(audio), zlib.crc32(text)
        rows.append((key, a, len(audio), m, len(text), *crcs, kind.encode(), meta.encode()))
        group.clear()

    try:
        with open(path, "rb") as data, tarfile.open(path, mode="r:") as tar:
            for member in tar:
                setattr(tar, "members", [])  # noqa: B010  (tarfile keeps every member otherwise)
                folder, _, name = member.name.rpartition("/")
                stem, dot, ext = name.partition(".")
                if not member.isreg() or not dot or not stem or (name.startswith("__") and name.endswith("__")):
                    continue
                key = f"{folder}/{stem}" if folder else stem
                if key != current:
                    close()
                    current = key
                if ext.lower() in group:
                    raise ValueError(f"{path}: sample {len(rows)} ({key!r}): has two .{ext} members: remove one")
                if ext.lower() in (*READABLE, "json", "txt"):
                    data.seek(member.offset_data)
                    group[ext.lower()] = member.offset_data, data.read(member.size)
                else:
                    group[ext.lower()] = 0, b""
            close()
            data.seek(-min(512, os.path.getsize(path)), os.SEEK_END)
            if any(data.read()):
                raise tarfile.ReadError("the end mark is missing")
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"{path}: sample {len(rows)}: not a whole, uncompressed tar ({error}): copy or write it again; "
            "unpack a .tar.gz with gunzip first"
        ) from error
    return np.array(rows, dtype=_row_type(max((len(row[0]) for row in rows), default=1)))


def _row_type(longest_key: int) -> list[tuple[str, str]]:
    places = [(name, "<i8") for name in ("audio", "audio_size", "meta", "meta_size")]
    crcs = [("audio_crc", "<u4"), ("meta_crc", "<u4")]
    return [("key", f"S{longest_key}"), *places, *crcs, ("audio_format", "S4"), ("meta_format", "S4")]


def clean(name: str) -> str:
    """A member's name without its extension as a key: `./a/b c` is `a_b_c`."""
    return "".join("_" if c in "./\\" or c.isspace() else c for c in name.removeprefix("./"))


def with_prefix(rows: np.ndarray, prefix: str) -> np.ndarray:
    """The same rows, with `prefix` before every key."""
    keys = [prefix.encode() + key for key in rows["key"].tolist()]
    longer = np.empty(len(rows), dtype=_row_type(max((len(key) for key in keys), default=1)))
    for name in rows.dtype.names or ():
        longer[name] = keys if name == "key" else rows[name]
    return longer


def _captioned(text: bytes) -> bool:
    try:
        raw = json.loads(text) if text else None
    except ValueError:
        return True  # a broken JSON is not passed over for the .txt: reading it says what is wrong
    return isinstance(raw, dict) and any(raw.get(name) for name in ("captions", "caption", "text", "events"))


class Part(io.RawIOBase):
    """A part of an open file as a file of its own."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self.descriptor, self.offset, self.size, self.position = descriptor, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        count = max(min(len(buffer), self.size - self.position), 0)
        data = os.pread(self.descriptor, count, self.offset + self.position)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

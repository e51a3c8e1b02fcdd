"""Reading a corpus: a folder of shards with a manifest.

A sample's *index* is its row counted over the shards in the manifest's order.

Shape suffixes: S samples.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data import audio as audio_files
from flam_train.data.schema import SCHEMA_VERSION, Record
from flam_train.data.tars import MANIFEST, Part, ShardEntry, index_path, sha256_of
from flam_train.settings import nearest
from flam_train.vocabulary import Vocabulary

OPEN_SHARDS = 16
"""Tars, and as many indices, held open at a time: a corpus may have more shards than a process may have files."""

WINDOWED = 1 << 24
"""Bytes. Of a larger file only the parts in use are read; a smaller one is read whole and its CRC checked."""


class Corpus:
    """A folder of shards, opened for reading. Pickles small: each process opens its own files.

    name, folder, manifest   `corpus` of the manifest, where it lies, its content
    vocabulary, annotates    as in `write_manifest`; an open corpus' vocabulary has no classes
    shard_sizes              int64, samples of each shard
    """

    def __init__(self, folder: Path | str, verify: bool = False) -> None:
        """Checks manifest, sizes and counts; `verify` reads every shard and compares its sha256.

        Raises ValueError that names the file and the fix.
        """
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder / MANIFEST)
        self.name = str(self.manifest["corpus"])
        self.annotates: list[str] = list(self.manifest["annotates"])
        self.tars = self.folder / self.manifest.get("tars", ".")
        self.foreign = bool(self.manifest.get("foreign", False))
        entries = self.manifest["shards"]
        self._names = [e["name"] for e in entries]
        self.shard_sizes = np.array([e["samples"] for e in entries], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.shard_sizes)])
        vocabulary = self.manifest["vocabulary"]
        if vocabulary is None:
            self.vocabulary = Vocabulary(self.name, {})
        else:
            local = self.folder / vocabulary
            self.vocabulary = Vocabulary.load(local if local.is_file() else vocabulary)
            known = [concept.id for concept in self.vocabulary.classes.values()]
            for concept_id in set(self.annotates) - set(known):
                raise ValueError(
                    f"{self.folder / MANIFEST}: annotates {concept_id!r}, no concept of vocabulary {vocabulary!r} "
                    f"({nearest(concept_id, known)}): name concepts, not classes, and write the manifest again"
                )
        self._reset()
        for entry in entries:
            self._check_shard(ShardEntry(**entry), verify)

    def _check_shard(self, entry: ShardEntry, verify: bool) -> None:
        path = self.tars / entry.name
        fix = "write or copy this shard again (and then the manifest)"
        if not path.is_file():
            raise ValueError(f"{path}: in {self.folder / MANIFEST} but missing: {fix}")
        size = path.stat().st_size
        if size != entry.bytes:
            raise ValueError(
                f"{path}: {size} bytes, the manifest says {entry.bytes}: truncated or of another run: {fix}"
            )
        rows = len(self._rows_of(entry.name))
        if rows != entry.samples:
            raise ValueError(f"{self._index_of(entry.name)}: {rows} samples, the manifest says {entry.samples}: {fix}")
        if verify and sha256_of(path) != entry.sha256:
            raise ValueError(f"{path}: its sha256 is not the manifest's: damaged or changed: {fix}")

    def _index_of(self, name: str) -> Path:
        return index_path(self.folder / name)

    def _rows_of(self, name: str) -> np.ndarray:
        path = self._index_of(name)
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: no readable index ({error}): write or copy this shard again") from error

    def _reset(self) -> None:
        self._rows: OrderedDict[int, np.ndarray] = OrderedDict()
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_rows", "_files")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _row(self, index: int) -> tuple[int, int, np.void]:
        """(shard, row in the shard, the index' row)."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: sample {index} of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        rows = _recent(self._rows, shard, lambda: self._rows_of(self._names[shard]))
        row = int(index - self._starts[shard])
        return shard, row, rows[row]

    def _file(self, shard: int) -> BinaryIO:
        return _recent(self._files, shard, lambda: open(self.tars / self._names[shard], "rb", buffering=0))

    def where(self, index: int) -> str:
        """File, row and key of a sample, for messages."""
        shard, row, found = self._row(index)
        return f"{self.tars / self._names[shard]}: sample {row} ({found['key'].decode()!r})"

    def key(self, index: int) -> str:
        return self._row(index)[2]["key"].decode()

    def _read(self, index: int, part: str) -> bytes:
        shard, _, row = self._row(index)
        size = int(row[f"{part}_size"])
        data = os.pread(self._file(shard).fileno(), size, int(row[part]))
        if len(data) != size or zlib.crc32(data) != row[f"{part}_crc"]:
            raise ValueError(
                f"{self.where(index)}: its {part} bytes are damaged (the CRC differs): write or copy this shard again"
            )
        return data

    def record(self, index: int) -> Record:
        """The sample's description. ValueError as in `Record.from_json`, or if its bytes are damaged."""
        where, key = self.where(index), self.key(index)
        text = self._read(index, "meta")
        if self.foreign:
            text = self._filled(index, text)
        elif not text:
            raise ValueError(f"{where}: has no .json: write the shard again, or index the folder as a foreign one")
        record = Record.from_json(text, where)
        if record.key != key:
            raise ValueError(f"{where}: its JSON is of {record.key!r}: write the shard again")
        return record

    def _filled(self, index: int, text: bytes) -> bytes:
        """The JSON or text of a foreign sample with the key of the tar, and a duration from the audio."""
        _, _, row = self._row(index)
        try:
            if row["meta_format"] == b"txt":
                raw = {"captions": [line for line in text.decode().splitlines() if line.strip()]}
            else:
                raw = json.loads(text) if text else {}
        except ValueError as error:
            raise ValueError(
                f"{self.where(index)}: unreadable text ({error}): mend the tar or drop the sample"
            ) from error
        if not isinstance(raw, dict):
            raw = {"captions": raw}
        known: dict[str, Any] = {
            name: raw[name] for name in ("captions", "caption", "text", "events", "duration") if raw.get(name)
        }
        if not isinstance(known.get("duration"), (int, float)):
            file, size = self._audio(index, whole=False)
            known["duration"] = audio_files.seconds_of(file, size, self.where(index))
        return json.dumps({**known, "key": self.key(index)}).encode()

    def _audio(self, index: int, whole: bool) -> tuple[IO[bytes] | io.RawIOBase, int]:
        shard, _, row = self._row(index)
        size = int(row["audio_size"])
        if whole or size < WINDOWED:
            return io.BytesIO(self._read(index, "audio")), size
        return Part(self._file(shard).fileno(), int(row["audio"]), size), size

    def waveform(
        self, index: int, start: float = 0.0, seconds: float | None = None, record: Record | None = None
    ) -> np.ndarray:
        """int16 [S] at 48 kHz: `seconds` from `start` on (None: to the end), no more than that decoded.

        `record` is the sample's, if it has been read already.
        A window that passes the end is cut to it. Raises ValueError that names shard, row, key and fix: unreadable,
        truncated or damaged audio, another sample rate, NaN, another length than the record's.
        """
        duration = None if self.foreign else (record or self.record(index)).duration
        file, size = self._audio(index, whole=start == 0 and seconds is None)
        return audio_files.decode(file, size, self.where(index), start, seconds, duration)


def _recent(cache: OrderedDict[int, Any], key: int, make: Callable[[], Any]) -> Any:
    """Of the last used, no more than OPEN_SHARDS; what falls out is closed as nobody holds it any more."""
    if key not in cache:
        cache[key] = make()
        if len(cache) > OPEN_SHARDS:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key]


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: missing: not a corpus, or its preparation was interrupted: run it again")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}): write the manifest again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA_VERSION:
        version = manifest.get("schema") if isinstance(manifest, dict) else None
        raise ValueError(
            f"{path}: manifest version {version!r} is unknown (known here: {SCHEMA_VERSION}): update flam_train"
        )
    if manifest.get("sample_rate") != SAMPLE_RATE:
        raise ValueError(
            f"{path}: sample rate {manifest.get('sample_rate')!r}, not {SAMPLE_RATE}: prepare the corpus at 48 kHz"
        )
    missing = {"corpus", "samples", "vocabulary", "annotates", "shards"} - set(manifest)
    if missing:
        raise ValueError(f"{path}: {sorted(missing)[0]!r} is missing: write the manifest again")
    if manifest["samples"] != sum(e["samples"] for e in manifest["shards"]):
        raise ValueError(
            f"{path}: {manifest['samples']} samples are not the sum over its shards: write the manifest again"
        )
    return manifest

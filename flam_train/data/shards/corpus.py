"""Reading a corpus: a folder of shards with a manifest.

A sample's *index* is its row counted over the shards in the manifest's order.

Shape suffixes: S samples.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from flam_train.data.shards import audio as audio_files
from flam_train.data.shards.cache import ShardCache, is_url
from flam_train.data.shards.places import place_of
from flam_train.data.shards.schema import Record
from flam_train.data.shards.tars import MANIFEST, Part, ShardEntry
from flam_train.settings import nearest
from flam_train.vocabulary import Vocabulary

OPEN_SHARDS = 16
"""Tars, and as many indices, held open at a time: a corpus may have more shards than a process may have files."""

OPEN_REMOTE = 4
"""The same of a corpus behind a URL: what is open keeps its room on the disk."""

WINDOWED = 1 << 24
"""Bytes. Of a larger file only the parts in use are read; a smaller one is read whole and its CRC checked."""


class Corpus:
    """A folder of shards, opened for reading. Pickles small: each process opens its own files.

    name, folder, manifest   `corpus` of the manifest, where it lies, its content
    vocabulary, annotates    as in `write_manifest`; an open corpus' vocabulary has no classes
    shard_sizes              int64, samples of each shard
    remote                   whether its shards are fetched from elsewhere
    damaged                  what is wrong with shards that were let in nevertheless
    """

    def __init__(
        self, folder: Path | str, verify: bool = False, cache: ShardCache | None = None, let_in: bool = False
    ) -> None:
        """Checks manifest, sizes and counts; `verify` reads every shard and compares its sha256.

        folder  a folder, or the URL of one (http://, s3://, whatever fsspec reads; file:// for a slow disk): then its
                shards are fetched into `cache` (None: the default one) as they are read
        let_in  shards that are missing, cut off or altered raise nothing yet: their samples do, each when it is read
        Raises ValueError that names the file and the fix.
        """
        self.place = place_of(folder, cache)
        self.remote = is_url(folder)
        self.folder = str(folder) if self.remote else Path(folder)
        self.manifest = self.place.manifest()
        self.name = str(self.manifest["corpus"])
        self.annotates: list[str] = list(self.manifest["annotates"])
        self.foreign = bool(self.manifest.get("foreign", False))
        self.entries = [ShardEntry(**entry) for entry in self.manifest["shards"]]
        self.shard_sizes = np.array([e.samples for e in self.entries], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.shard_sizes)])
        vocabulary = self.manifest["vocabulary"]
        if vocabulary is None:
            self.vocabulary = Vocabulary(self.name, {})
        else:
            self.vocabulary = self.place.vocabulary(vocabulary)
            known = [concept.id for concept in self.vocabulary.classes.values()]
            for concept_id in set(self.annotates) - set(known):
                raise ValueError(
                    f"{self.folder}/{MANIFEST}: annotates {concept_id!r}, no concept of vocabulary {vocabulary!r} "
                    f"({nearest(concept_id, known)}): name concepts, not classes, and write the manifest again"
                )
        self._reset()
        self.damaged: list[str] = []
        for entry in self.entries:
            try:
                self.place.check(entry, verify)
            except ValueError as error:
                if not let_in:
                    raise
                self.damaged.append(str(error))

    def _reset(self) -> None:
        self._rows: OrderedDict[int, np.ndarray] = OrderedDict()
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        self._renewed: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_rows", "_files", "_renewed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def provenance(self) -> dict[str, Any]:
        """Which corpus this is: {"name", "sha256" (of the shards' sha256, in order)}."""
        hashes = "".join(entry.sha256 for entry in self.entries)
        return {"name": self.name, "sha256": hashlib.sha256(hashes.encode()).hexdigest()}

    def credits(self) -> dict[str, Any]:
        """What the manifest says of how much there is, whose recordings they are and under which licences: "samples",
        "seconds", and {"licences": {licence: recordings}, "authors": {author: recordings}} where its records say so."""
        details = self.manifest["details"]
        named = ("licences", "authors", "more_licences", "more_authors")
        sizes = {"samples": len(self), "seconds": float(self.manifest["seconds"])}
        return sizes | {name: details[name] for name in named if name in details}

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def entry(self, index: int) -> ShardEntry:
        """The shard that holds a sample."""
        return self.entries[self._shard(index)]

    def _row(self, index: int) -> tuple[int, int, np.void]:
        """(shard, row in the shard, the index' row)."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: sample {index} of {len(self)}")
        shard = self._shard(index)
        rows = self._recent(self._rows, shard, lambda: self.place.rows(self.entries[shard]))
        row = int(index - self._starts[shard])
        return shard, row, rows[row]

    def _file(self, shard: int) -> BinaryIO:
        return self._recent(self._files, shard, lambda: self.place.tar(self.entries[shard]))

    def where(self, index: int) -> str:
        """File, row and key of a sample, for messages."""
        shard, row, found = self._row(index)
        return f"{self.place}/{self.entries[shard].name}: sample {row} ({found['key'].decode()!r})"

    def key(self, index: int) -> str:
        return self._row(index)[2]["key"].decode()

    def _read(self, index: int, part: str) -> bytes:
        while True:
            shard, _, row = self._row(index)
            size = int(row[f"{part}_size"])
            data = os.pread(self._file(shard).fileno(), size, int(row[part]))
            if len(data) == size and zlib.crc32(data) == row[f"{part}_crc"]:
                return data
            if shard not in self._renewed and self.place.renew(self.entries[shard]):
                self._renewed.add(shard)
                self._rows.pop(shard)
                self._files.pop(shard)
                continue
            raise ValueError(
                f"{self.where(index)}: its {part} bytes are damaged (the CRC differs): write or copy this shard again"
            )

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
                wide = text[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                lines = text.decode("utf-16" if wide else "utf-8-sig").splitlines()
                raw = {"captions": [line.strip() for line in lines if line.strip()]}
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
        for name in ("captions", "caption", "text"):  # marks of files that were pasted into others
            if isinstance(said := known.get(name), (str, list)):
                several = [said] if isinstance(said, str) else said
                known[name] = [one.replace("\ufeff", "").strip() if isinstance(one, str) else one for one in several]
        tags = raw.get("tags")  # others may mean something else by it
        if isinstance(tags, list) and all(isinstance(t, str) or (isinstance(t, dict) and "label" in t) for t in tags):
            known["tags"] = [t for t in tags if not isinstance(t, str) or t.strip()]
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

    def _recent(self, cache: OrderedDict[int, Any], key: int, make: Callable[[], Any]) -> Any:
        """Of the last used, no more than may be open; what falls out is closed as nobody holds it any more."""
        if key not in cache:
            cache[key] = make()
            if len(cache) > (OPEN_REMOTE if self.remote else OPEN_SHARDS):
                cache.popitem(last=False)
        cache.move_to_end(key)
        return cache[key]

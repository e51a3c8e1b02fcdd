"""Shards: writing them, making foreign tars readable, and (from `data.corpus`) reading them.

A shard is a plain tar in WebDataset's layout, `{key}.flac` (or `.wav`) and `{key}.json` for each sample. Beside it
lies an index, one row a sample, memory-mapped when read. `manifest.json`, written last, lists a corpus' shards.

Shape suffixes: S samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import webdataset

from flam_train.batch import SAMPLE_RATE
from flam_train.data import audio as audio_files
from flam_train.data.audio import AUDIO
from flam_train.data.corpus import Corpus
from flam_train.data.schema import END_TOLERANCE, SCHEMA_VERSION, Record
from flam_train.data.tars import MANIFEST, ShardEntry, index_path, index_tar, replace_with, sha256_of

__all__ = ["AUDIO", "Corpus", "ShardEntry", "index_tar", "write_manifest", "write_shard"]


def write_shard(path: Path, samples: Iterable[tuple[Record, np.ndarray]], audio: str = "flac") -> ShardEntry:
    """Writes `path` (FOLDER/shard-000000.tar) and its index; the same samples give the same bytes.

    samples  records with their waveforms, int16 [S] at 48 kHz
    Raises ValueError that names the shard, the row and the key; then nothing is left behind.
    """
    path = Path(path)
    if path.suffix != ".tar":
        raise ValueError(f"{path}: a shard's name ends in .tar")
    path.parent.mkdir(parents=True, exist_ok=True)
    count, seconds, keys = 0, 0.0, set()

    def write(file: BinaryIO) -> None:
        nonlocal count, seconds
        tar = webdataset.TarWriter(file, user="flam", group="flam", encoder=False, mtime=0)
        for row, (record, waveform_S) in enumerate(samples):
            where = f"{path}: sample {row} ({record.key!r})"
            record.check(where)
            data = audio_files.encode(waveform_S, audio, where)
            length = len(waveform_S) / SAMPLE_RATE
            if abs(length - record.duration) > END_TOLERANCE:
                raise ValueError(
                    f"{where}: the waveform lasts {length} s and the record says {record.duration} s: "
                    "set duration to samples / 48000"
                )
            if record.key in keys:
                raise ValueError(f"{where}: this key is in the shard already: keys must be unique")
            keys.add(record.key)
            tar.write({"__key__": record.key, audio: data, "json": record.to_json().encode()})
            count, seconds = count + 1, seconds + length
        tar.close()

    replace_with(path, write)
    rows = index_tar(path)
    assert len(rows) == count
    replace_with(index_path(path), lambda file: np.save(file, rows))
    return ShardEntry(path.name, count, path.stat().st_size, seconds, sha256_of(path))


def write_manifest(
    folder: Path,
    corpus: str,
    entries: list[ShardEntry],
    *,
    vocabulary: str | None,
    annotates: list[str],
    details: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    """Writes `manifest.json`, which makes a folder of shards a corpus: the last file to be written.

    vocabulary  name or file of the corpus' vocabulary; None: an open corpus, its labels are phrases
    annotates   ids of the concepts that were annotated throughout; []: those of the vocabulary
    Raises ValueError if a key is in two shards.
    """
    folder = Path(folder)
    keys = [np.load(index_path(folder / e.name), mmap_mode="r")["key"] for e in entries]
    joined = np.sort(np.concatenate(keys)) if keys else np.zeros(0, "S1")
    twice = joined[1:][joined[1:] == joined[:-1]]
    if len(twice):
        holders = [e.name for e, k in zip(entries, keys, strict=True) if (k == twice[0]).any()]
        raise ValueError(
            f"{folder}: key {twice[0].decode()!r} is in {' and '.join(holders)}: keys must be unique in a corpus"
        )
    manifest = {
        "schema": SCHEMA_VERSION,
        "corpus": corpus,
        "sample_rate": SAMPLE_RATE,
        "samples": sum(e.samples for e in entries),
        "seconds": sum(e.seconds for e in entries),
        "vocabulary": vocabulary,
        "annotates": list(annotates),
        "shards": [asdict(e) for e in entries],
        "details": details or {},
        **more,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    replace_with(folder / MANIFEST, lambda file: file.write(text.encode()))

"""Shards: writing them, making foreign tars readable, and (from `corpus`) reading them.

A shard is a plain tar in WebDataset's layout, `{key}.flac` (or `.wav`) and `{key}.json` for each sample. Beside it
lies an index, one row a sample, memory-mapped when read. `manifest.json`, written last, lists a corpus' shards.

Shape suffixes: S samples.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards import audio as audio_files
from flam_train.data.shards.audio import AUDIO
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import END_TOLERANCE, SCHEMA_VERSION, Record
from flam_train.data.shards.tars import (
    MANIFEST,
    Part,
    ShardEntry,
    clean,
    index_path,
    index_tar,
    replace_with,
    sha256_of,
    with_prefix,
)

ROUNDED = 0.5
"""Seconds by which a duration that others wrote may differ from the audio's."""

__all__ = ["AUDIO", "Corpus", "ShardEntry", "index_folder", "index_tar", "write_manifest", "write_shard"]


def write_shard(path: Path, samples: Iterable[tuple[Record, np.ndarray]], audio: str = "flac") -> ShardEntry:
    """Writes `path` (FOLDER/shard-000000.tar) and its index; the same samples give the same bytes.

    samples  records with their waveforms, int16 [S] at 48 kHz
    Raises ValueError that names the shard, the row and the key; then nothing is left behind.
    """
    import webdataset  # here, because it imports torch: who asks for --help waits for neither

    path = Path(path)
    if path.suffix != ".tar":
        raise ValueError(f"{path}: a shard's name ends in .tar")
    path.parent.mkdir(parents=True, exist_ok=True)
    count, seconds, keys = 0, 0.0, set()

    def write(file: BinaryIO) -> None:
        nonlocal count, seconds
        with webdataset.TarWriter(file, user="flam", group="flam", encoder=False, mtime=0) as tar:
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

    replace_with(path, write)
    rows = index_tar(path)
    assert len(rows) == count
    replace_with(index_path(path), functools.partial(_save, rows))
    return ShardEntry(path.name, count, path.stat().st_size, seconds, sha256_of(path))


def write_manifest(
    folder: Path,
    corpus: str,
    entries: list[ShardEntry],
    *,
    vocabulary: str | None,
    annotates: list[str],
    details: dict[str, Any] | None = None,
    foreign: Path | None = None,
) -> None:
    """Writes `manifest.json`, which makes a folder of shards a corpus: the last file to be written.

    vocabulary  name or file of the corpus' vocabulary; None: an open corpus, its labels are phrases
    annotates   ids of the concepts that were annotated throughout; []: those of the vocabulary
    foreign     the folder of the tars, if others wrote them
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
    }
    if foreign is not None:
        manifest["foreign"] = True
        manifest["tars"] = "." if foreign.resolve() == folder.resolve() else str(foreign.resolve())
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    replace_with(folder / MANIFEST, lambda file: file.write(text.encode()))


def index_folder(
    folder: Path,
    corpus: str,
    *,
    vocabulary: str | None = None,
    annotates: Sequence[str] = (),
    out: Path | None = None,
    check: bool = True,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Path:
    """Makes the WebDataset tars of a folder a corpus that `Corpus` reads; returns the folder to open.

    Captions are the JSON's `captions`, `caption` or `text`, or the lines of a .txt; events are the JSON's `events` in
    this schema; keys come from the members' names (with the tar's name before them where two tars share one); a
    missing duration comes from the audio's header.
    out       where indices and manifest go; None: beside the tars
    check     read every audio header: the sample rate must be 48 kHz. False: errors show when a sample is read, and
              the manifest's seconds are 0
    progress  called with (tar, tars done, tars in all)
    Raises ValueError that names tar, row, key and fix.
    """
    folder, out = Path(folder), Path(out or folder)
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise ValueError(f"{folder}: holds no .tar: give the folder of a WebDataset")
    out.mkdir(parents=True, exist_ok=True)
    entries, indices = [], []
    for done, tar in enumerate(tars):
        progress(tar.name, done, len(tars))
        rows = index_tar(tar)
        seconds = _header_seconds(tar, rows) if check else 0.0
        entries.append(ShardEntry(tar.name, len(rows), tar.stat().st_size, seconds, sha256_of(tar)))
        indices.append(rows)
    keys = np.concatenate([rows["key"] for rows in indices])
    if len(np.unique(keys)) < len(keys):
        indices = [with_prefix(rows, clean(tar.stem) + "_") for tar, rows in zip(tars, indices, strict=True)]
    for tar, rows in zip(tars, indices, strict=True):
        replace_with(index_path(out / tar.name), functools.partial(_save, rows))
    write_manifest(out, corpus, entries, vocabulary=vocabulary, annotates=list(annotates), foreign=folder)
    return out


def _save(rows: np.ndarray, file: BinaryIO) -> None:
    np.save(file, rows)


def _header_seconds(tar: Path, rows: np.ndarray) -> float:
    total = 0.0
    with open(tar, "rb", buffering=0) as file:
        for number, row in enumerate(rows):
            part = Part(file.fileno(), int(row["audio"]), int(row["audio_size"]))
            where = f"{tar}: sample {number} ({row['key'].decode()!r})"
            seconds = audio_files.seconds_of(part, part.size, where)
            if row["meta_format"] == b"json":
                _check_duration(os.pread(file.fileno(), int(row["meta_size"]), int(row["meta"])), seconds, where)
            total += seconds
    return total


def _check_duration(text: bytes, seconds: float, where: str) -> None:
    """ValueError if a JSON says another duration than the audio's; rounded ones are one, and what cannot be read is
    told where it is read."""
    try:
        raw = json.loads(text)
    except ValueError:
        return
    said = raw.get("duration") if isinstance(raw, dict) else None
    if isinstance(said, (int, float)) and abs(said - seconds) > ROUNDED:
        raise ValueError(
            f"{where}: its JSON says that it lasts {said:g} s, and the audio {seconds:.3f} s: mend `duration` and what "
            "was measured by it, or leave it out"
        )

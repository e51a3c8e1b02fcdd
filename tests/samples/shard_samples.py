"""Small corpora for the tests of `data`."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard


def sample(key: str, seconds: float = 0.1, captions=("a dog barks", "barking"), events=(), seed: int = 0):
    """A record and noise that differs by key."""
    rng = np.random.default_rng([seed, *key.encode()])
    waveform = (rng.normal(size=round(seconds * SAMPLE_RATE)) * 3000).astype(np.int16)
    return Record(key, len(waveform) / SAMPLE_RATE, tuple(captions), tuple(Event(*e) for e in events)), waveform


def corpus(folder: Path, sizes=(3, 2), audio="flac", name="toy", vocabulary=None, annotates=(), make=sample) -> Corpus:
    """A corpus whose keys are `NAME-SHARD-ROW`."""
    entries = []
    for n, size in enumerate(sizes):
        samples = [make(f"{name}-{n}-{row}") for row in range(size)]
        entries.append(write_shard(folder / f"shard-{n:06d}.tar", samples, audio))
    write_manifest(folder, name, entries, vocabulary=vocabulary, annotates=list(annotates))
    return Corpus(folder)


def audio_bytes(waveform, rate=SAMPLE_RATE, format="WAV", subtype=None, **how) -> bytes:
    """A file of them, as soundfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=format, subtype=subtype, **how)
    return file.getvalue()


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    """A tar that this project did not write."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path

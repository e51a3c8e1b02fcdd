"""Clips with a hum, a whistle or both in noise, labelled by tags or by events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.schema import Event, Record, Tag
from flam_train.data.shards.writing import write_manifest, write_shard

PITCH = {"hum": 150.0, "whistle": 4000.0}
SOUNDS = (["hum"], ["whistle"], ["hum", "whistle"])


def tones(folder: Path, count: int, seed: int, tagged: bool) -> Path:
    """An open corpus. Each sound of a clip lasts about 2 s, in a place of its own; with `tagged` nobody says where."""
    rng = np.random.default_rng(seed)
    samples = []
    for n in range(count):
        wave, events = 300 * rng.normal(size=10 * SAMPLE_RATE), []
        labels = rng.permutation(SOUNDS[n % 3]).tolist()
        for k, label in enumerate(labels):
            onset = rng.uniform(5 * k, 5 * k + (2 if len(labels) > 1 else 7))
            event = Event(onset, onset + rng.uniform(1.5, 2.5), label)
            t = np.arange(len(wave)) / SAMPLE_RATE
            sounds = (t >= event.onset) & (t < event.offset)
            wave += 6000 * np.sin(2 * np.pi * PITCH[label] * rng.uniform(0.9, 1.1) * t) * sounds
            events.append(event)
        said = {"tags": tuple(Tag(e.label) for e in events)} if tagged else {"events": tuple(events)}
        record = Record(f"{folder.name}-{n}", 10.0, (f"a {' and a '.join(labels)}",), **said)
        samples.append((record, wave.astype(np.int16)))
    entry = write_shard(folder / "shard-000000.tar", samples)
    write_manifest(folder, folder.name, [entry], vocabulary=None, annotates=[])
    return folder

"""What tests of augmentation are made of: all of it switched on, for short clips, and a bank of backgrounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.mixing.levels import describe
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.frames import FrameGrid
from flam_train.vocabulary import Vocabulary

SECONDS = 0.1
SAMPLES = 4800
OPEN = Vocabulary.open("toy", [])
GRID = FrameGrid(8, SECONDS)
ALL = AugmentConfig(
    shift_seconds=0.1, mix_share=0.5, mix_db=(-6, 6), background=("bank",), background_share=0.5, band_share=0.5,
    gain_db=(-10, 10),
)  # fmt: skip


def bank_of(folder: Path, lengths=(0.3, 0.1, 0.05)) -> Path:
    """Backgrounds of noise, and an event."""
    rng = np.random.default_rng(0)
    samples = []
    for n, seconds in enumerate([*lengths, 0.2]):
        waveform = (200 * (n + 1) * rng.normal(size=round(seconds * SAMPLE_RATE))).astype(np.int16)
        events = (Event(0.0, seconds, "bell"),) if n == len(lengths) else ()
        details = describe(waveform, "event" if events else "background")
        samples.append((Record(f"noise-{n}", seconds, events=events, details=details), waveform))
    write_manifest(folder, "bank", [write_shard(folder / "shard-000000.tar", samples)], vocabulary=None, annotates=[])
    return folder

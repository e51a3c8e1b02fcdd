"""Audio files that tests prepare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def tone(path: Path, seconds: float, rate: int = 16_000, channels: int = 1, hz: float = 440.0, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * hz * t)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate, **how)
    return path

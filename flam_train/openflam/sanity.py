"""Whether a model does what it should, told without a network.

Shape suffixes: B clips, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from flam_train.batch import SAMPLE_RATE

FILE = "sanity.npz"
"""Features that were kept when the model was known to be right, beside its checkpoint."""

TEXTS = ["a dog is barking", "rain falls on a roof", "a man is speaking"]

AGREE = 0.999
"""Least mean cosine of features that are to be the same; other machines and precisions stay above it."""

APART = 1e-6
"""Least difference, in some number, of features of different sounds or texts."""

Features = Callable[[slice], dict[str, np.ndarray]]
"""Kind -> unit vectors [B, ...] of some of `clips` and TEXTS."""


def check(state: Mapping[str, Tensor], features: Features, file: Path) -> str:
    """What was compared, in lines. file: of kept features, which need not be there. Raises ValueError that says what
    is wrong."""
    weights = [name for name, w in state.items() if w.is_floating_point() and not w.isfinite().all()]
    said: list[str] = []
    if weights:
        wrong = [f"{name} has numbers that are not finite" for name in weights[:3]]
    else:
        found = features(slice(None))
        wrong = [*_in_themselves(found), *_alone(found, features(slice(1, 2)))]
        if not wrong and file.is_file():
            said, wrong = _beside(found, file)
    if wrong:
        raise ValueError("\n  ".join(["sanity check failed:", *said, *wrong]))
    with_what = f"agree with {file}" if said else f"were NOT compared with known ones, there is no {file}"
    return "\n".join(
        [
            *said,
            "sanity check passed: weights are finite, features unit vectors that tell sounds and texts apart; they "
            + with_what,
        ]
    )


def clips(samples: int) -> np.ndarray:
    """float32 [3, S] in [-1, 1], by formula: a tone that ends, bursts of noise, a rising tone."""
    t, noise_S = np.arange(samples) / SAMPLE_RATE, np.random.default_rng(7).uniform(-1, 1, samples)
    rows = [
        0.3 * np.sin(2 * np.pi * 440 * t) * (t < 4) + 0.02 * noise_S,
        0.5 * noise_S * ((t % 2) < 0.5),
        0.2 * np.sin(2 * np.pi * (200 + 300 * t) * t),
    ]
    return np.stack(rows).astype(np.float32)


def _in_themselves(found: dict[str, np.ndarray]) -> list[str]:
    wrong = []
    for kind, feature in found.items():
        if not np.isfinite(feature).all() or np.abs(np.linalg.norm(feature, axis=-1) - 1).max() > 1e-3:
            wrong.append(f"{kind}: not unit vectors")
        elif np.ptp(feature, axis=0).max() < APART:
            wrong.append(f"{kind}: the same whatever is heard or read")
    return wrong


def _alone(found: dict[str, np.ndarray], alone: dict[str, np.ndarray]) -> list[str]:
    agreed = {kind: _agreement(feature[1:2], alone[kind]) for kind, feature in found.items()}
    return [f"{kind}: other alone than among others (cosine {a:.4f})" for kind, a in agreed.items() if not a >= AGREE]


def _beside(found: dict[str, np.ndarray], file: Path) -> tuple[list[str], list[str]]:
    """What to say, and what is wrong."""
    said, wrong = [], []
    with np.load(file) as kept:
        for kind, feature in found.items():
            if kind not in kept.files or kept[kind].shape != feature.shape:
                wrong.append(f"{file}: has no {kind} of shape {feature.shape}: is it of this model?")
                continue
            agreed = _agreement(feature, kept[kind])
            said.append(f"{kind}: mean cosine {agreed:.6f} with {file.name}")
            if not agreed >= AGREE:
                wrong.append(f"{kind}: not those of {file}, their mean cosine is below {AGREE}")
    return said, wrong


def _agreement(feature: np.ndarray, other: np.ndarray) -> float:
    """Mean cosine of unit vectors."""
    return float((feature.astype(np.float64) * other).sum(-1).mean())

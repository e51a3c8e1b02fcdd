"""Cosines of every frame and phrase of a set beside its labels, kept in one file: every metric comes from it again.

Scores are made from cosines, a phrase's scale and its bias, so one file serves every method of scoring.

Shape suffixes: R rounds (one phrasing of each class a round), K classes, N recordings, F frames of all recordings,
T of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_train.evaluation.parts import Kept
from flam_train.metrics.detection import Detection
from flam_train.models.flam import frame_score


@dataclass(frozen=True)
class Scores:
    """cosine_RKF               float32 in [-1, 1]
    scale_RK, bias_RK        float32: of each phrase
    label_KF                 bool
    frame_start_N1           int64: where each recording's frames begin; the last entry is F
    classes, phrases         K names; R lists of K phrases
    keys, durations, events  of N recordings; durations in seconds, events (onset, offset, class)
    method                   of scoring, the model's own
    asked                    phrasings, vocabulary, classes and soft_threshold, as they were given
    facts                    the fields of the `Result` that the scores belong to, without its numbers
    digest                   `parts.identity` of how they were made
    """

    cosine_RKF: np.ndarray
    scale_RK: np.ndarray
    bias_RK: np.ndarray
    label_KF: np.ndarray
    frame_start_N1: np.ndarray
    frame_seconds: float
    classes: list[str]
    phrases: list[list[str]]
    keys: list[str]
    durations: list[float]
    events: list[list[Detection]]
    method: str
    asked: dict[str, Any]
    facts: dict[str, Any]
    digest: str = ""

    def __post_init__(self) -> None:
        if not np.isfinite(self.cosine_RKF).all():
            at = int(np.argwhere(~np.isfinite(self.cosine_RKF).all(axis=(0, 1)))[0, 0])
            n = int(np.searchsorted(self.frame_start_N1, at, side="right")) - 1
            raise ValueError(f"recording {self.keys[n]!r}: a score is not a number: look at the clip, or at the model")

    def score_KF(self, method: str, round: int = 0) -> Tensor:
        """float32 in [0, 1], by a method of `FLAM.localize`."""
        cosine_KF, scale_K, bias_K = (
            torch.from_numpy(np.array(x[round])) for x in (self.cosine_RKF, self.scale_RK, self.bias_RK)
        )
        return frame_score(cosine_KF, scale_K, bias_K, method)

    def recordings(self, score_KF: Any) -> list[Any]:
        """The frames of each recording: N arrays or tensors [K, T]."""
        return [score_KF[:, a:b] for a, b in zip(self.frame_start_N1[:-1], self.frame_start_N1[1:], strict=True)]

    def save(self, path: str | Path) -> Path:
        """One file, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        kind = {"kind": "sed", "model": self.facts["model"].get("sha256"), "complete": not self.facts["missing"]}
        return Kept(arrays, kind | {name: getattr(self, name) for name in _PLAIN}).write(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """What `save` wrote; ValueError names the file."""
        kept = Kept.read(Path(path))
        if kept.facts.get("kind") != "sed" or set(kept.arrays) != set(_ARRAYS):
            raise ValueError(f"{path}: not the scores of a detection: score the set again")
        values = kept.arrays | {name: kept.facts[name] for name in _PLAIN}
        values["events"] = [[(a, b, c) for a, b, c in found] for found in values["events"]]
        return cls(**values)


_ARRAYS = ("cosine_RKF", "scale_RK", "bias_RK", "label_KF", "frame_start_N1")
_PLAIN = ("frame_seconds", "classes", "phrases", "keys", "durations", "events", "method", "asked", "facts", "digest")

"""Frame scores of a whole set beside their labels, kept in one file: every metric can be computed again from it.

Shape suffixes: R rounds (one phrasing of each class a round), K classes, N recordings, F frames of all recordings,
T of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.data.tars import replace_with
from flam_train.metrics.detection import (
    PSDS,
    THRESHOLDS,
    Detection,
    F1Curve,
    auroc,
    event_f1,
    frame_f1,
    median_filter,
    psds,
    segment_f1,
)

MEDIAN_FRAMES = 3
"""The published protocol's filter; before PSDS, segment and event F1, not before frame metrics."""

SEGMENT_SECONDS = 1.0


@dataclass(frozen=True)
class Scores:
    """score_RKF, biased_RKF   float32 in [0, 1]: by the protocol's method, and sigmoid(alpha cos + beta)
    label_KF                   bool
    frame_start_N1             int64: where each recording's frames begin; the last entry is F
    classes, phrases           K names; R lists of K phrases
    keys, durations, events    of N recordings; durations in seconds, events (onset, offset, class)
    facts                      the fields of the `Result` that the scores belong to, without its numbers
    """

    score_RKF: np.ndarray
    biased_RKF: np.ndarray
    label_KF: np.ndarray
    frame_start_N1: np.ndarray
    frame_seconds: float
    classes: list[str]
    phrases: list[list[str]]
    keys: list[str]
    durations: list[float]
    events: list[list[Detection]]
    facts: dict[str, Any]

    def recordings(self, score_KF: np.ndarray) -> list[np.ndarray]:
        """The frames of each recording: N arrays [K, T]."""
        return [score_KF[:, a:b] for a, b in zip(self.frame_start_N1[:-1], self.frame_start_N1[1:], strict=True)]

    def save(self, path: str | Path) -> Path:
        """One .npz, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        plain: dict[str, Any] = {name: json.dumps(getattr(self, name), ensure_ascii=False) for name in _PLAIN}
        replace_with(path, lambda file: np.savez_compressed(file, **arrays, **plain))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """What `save` wrote; ValueError names the file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in _ARRAYS} | {n: json.loads(str(file[n])) for n in _PLAIN}
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: not readable as scores ({error}): run eval/sed.py again with --scores"
            ) from error
        values["frame_seconds"] = float(values["frame_seconds"])
        values["events"] = [[(a, b, c) for a, b, c in found] for found in values["events"]]
        return cls(**values)


_ARRAYS = ("score_RKF", "biased_RKF", "label_KF", "frame_start_N1", "frame_seconds")
_PLAIN = ("classes", "phrases", "keys", "durations", "events", "facts")


def sed_metrics(
    scores: Scores, skip: frozenset[str] = frozenset(), note: Callable[[str], None] | None = None
) -> tuple[dict[str, float], dict[str, float], dict[str, Any]]:
    """(metrics, spread, parameters) of a `Result`: each metric is the mean over the rounds, spread its deviation.

    skip: names of PSDS settings, or "psds", "f1": the libraries behind them are slow on large sets.
    note: told what is being computed.
    """
    unknown = skip - {"psds", "f1", *PSDS}
    if unknown:
        raise ValueError(f"cannot skip {sorted(unknown)[0]!r}: there are psds, f1, {', '.join(PSDS)}")
    rounds = []
    for r in range(len(scores.score_RKF)):
        if note is not None:
            note(f"metrics of phrasing {r + 1} of {len(scores.score_RKF)}")
        rounds.append(_round(scores, r, skip))
    names = list(rounds[0])
    table = np.array([[one[name] for name in names] for one in rounds], dtype=np.float64)
    several = len(rounds) > 1
    defined = {name for name, column in zip(names, table.T, strict=True) if not np.isnan(column).any()}
    metrics = {
        n: float(column.mean()) if n in defined else float("nan") for n, column in zip(names, table.T, strict=True)
    }
    spread = {n: float(column.std()) for n, column in zip(names, table.T, strict=True) if several and n in defined}
    absent = [n for n, label_F in zip(scores.classes, scores.label_KF, strict=True) if not label_F.any()]
    everywhere = [n for n, label_F in zip(scores.classes, scores.label_KF, strict=True) if label_F.all()]
    parameters = {
        "phrasings scored": len(rounds),
        "phrases": [dict(zip(scores.classes, phrases, strict=True)) for phrases in scores.phrases],
        "classes": len(scores.classes),
        "classes without ground truth (left out)": absent,
        "classes without a negative frame (left out of AUROC)": everywhere,
        "macro": "mean over the classes with ground truth; a class never detected counts 0",
        "frames": int(scores.label_KF.shape[1]),
        "frame seconds": scores.frame_seconds,
        "median filter (PSDS, segment and event F1), frames": MEDIAN_FRAMES,
        "threshold": 0.5,
        "best threshold": "of each F1 one for all classes, by its macro value on this very set: an upper bound",
        "segment seconds": SEGMENT_SECONDS,
        "event collar": "onset 0.2 s, offset the larger of 0.2 s and 20 %",
        "psds": {name: asdict(p) for name, p in PSDS.items() if not skip & {name, "psds"}},
    }
    return metrics, spread, parameters


def _round(scores: Scores, r: int, skip: frozenset[str]) -> dict[str, float]:
    score_KF, label_FK = scores.score_RKF[r], torch.from_numpy(np.ascontiguousarray(scores.label_KF.T))
    score_FK, biased_FK = (
        torch.from_numpy(np.ascontiguousarray(x[r].T)) for x in (scores.score_RKF, scores.biased_RKF)
    )
    area = auroc(score_FK, label_FK)
    values = {"auroc/macro": area.macro, "auroc/micro": area.micro}
    values |= _named("frame_f1", frame_f1(score_FK, label_FK, THRESHOLDS))
    if scores.facts["parameters"]["method"] != "biased":
        values |= _named("frame_f1 biased", frame_f1(biased_FK, label_FK, THRESHOLDS))
    smooth = [torch.from_numpy(median_filter(score_KT, MEDIAN_FRAMES)) for score_KT in scores.recordings(score_KF)]
    timed = smooth, scores.events, scores.classes, scores.durations, scores.frame_seconds
    if "f1" not in skip:
        values |= _named("segment_f1", segment_f1(*timed, THRESHOLDS, SEGMENT_SECONDS))
        values |= _named("event_f1", event_f1(*timed, THRESHOLDS))
    for name, parameters in PSDS.items():
        if not skip & {name, "psds"}:
            values[f"{name}[{parameters}]"] = psds(*timed, **asdict(parameters), missing="skip").value
    return values


def _named(name: str, curve: F1Curve) -> dict[str, float]:
    half, best = curve.at(0.5), curve.best
    return {
        f"{name}/macro": half.macro,
        f"{name}/micro": half.micro,
        f"{name} best/macro": best.macro,
        f"{name} best/micro": best.micro,
        f"{name} best/threshold": best.threshold,
    }

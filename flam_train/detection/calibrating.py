"""Finds what makes scores mean something, and thresholds, on labelled recordings; tells what it changes on others.

Shape suffixes: C phrases, T frames, N bins of logits.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit

from flam_train.detection.calibration import Calibration
from flam_train.detection.events import SECONDS, Rules
from flam_train.detection.labelled import Data
from flam_train.detection.smoothing import logit
from flam_train.detection.thresholds import LOWS, Chosen, chosen, curve
from flam_train.metrics.calibration import Calibration as Reliability
from flam_train.metrics.calibration import calibration

FOUND_ON = 2 / 3
"""The share of sources it is found on, where there are no other data to report on."""

DECIMALS = 6
"""Of numbers that are reported."""

BINS, LOWEST, HIGHEST = 1024, -104, 18
"""Bins of a logit, and the range that logits of float32 scores above 0 lie in."""


def calibrate(data: Data, rules: Rules, other: Data | None = None, low: float | None = None) -> Calibration:
    """Found on `data`, reported on `other`; without one, on a third of the sources of `data`, chosen by a hash of
    their names, on which it is not found. The same data give the same.

    temperature, bias  the likeliest (`fitted`) of all frames of known labels that sound, of all phrases together, with
                       phrases as frequent as they are there
    thresholds         of each phrase with an event: the one of GRID with the highest event F1 under `rules`,
                       PRIOR_EVENTS events of all phrases counting with its own
    unseen             the one of GRID with the highest mean F1 of phrases with an event
    low                the one of LOWS with which the phrases' own thresholds have the highest mean F1; `low`, if given.
                       Of probabilities half of a threshold is another level than of scores as they are
    report             before (scores as they are, the rules' threshold) and after: expected calibration error of
                       frames, event F1, mean IoU. In it "unseen" is F1 of each phrase at the threshold that the phrases
                       of other concepts have in common; the temperature is that of all

    Of judged events scores stay as they are, temperature 1 and bias 0: a model has chosen those frames, and of others
    the share is another one. F1 is that of keeping those that are some, with all that are judged to be one taken for
    all there are; nobody has said when they begin and end, so there is no mean IoU, and `low` is the rules'. Nobody has
    judged what had lower scores, so no threshold is below theirs. Raises ValueError where nothing can be found, or
    reported.
    """
    if other is None:
        data, other = parted(data)
    elif other.about["sha256"] == data.about["sha256"]:
        raise ValueError(f"{other.about['name']}: thresholds are found on the same data: report on others")
    for one, what in ((data, "to find thresholds with"), (other, "to report on")):
        if not any(recording.events for recording in one.recordings):
            raise ValueError(f"{one.about['name']}: no event {what}: give more recordings, or others to report on")
    temperature, bias = (1.0, 0.0) if data.judged else fitted(*counted(data))
    found = Calibration(data.weights, data.method, temperature, bias, 1.0)
    calibrated = _calibrated(data, found)
    lows = LOWS if low is None else (low,)
    if data.judged and low is None:
        lows = (rules.low,)
    tried = [chosen(calibrated, replace(rules, low=one)) for one in lows]
    best = max(tried, key=lambda one: one.f1)  # the first of equals
    found = replace(
        found,
        unseen=best.unseen,
        thresholds=best.own,
        low=best.rules.low,
        rules={name: getattr(rules, name) for name in SECONDS},
    )
    return replace(
        found,
        data={"found": _about(data), "reported": _about(other)},
        report=_report(other, found, rules, best),
    )


def parted(data: Data) -> tuple[Data, Data]:
    """(to find it with, to report on): no source is in both. Raises ValueError for a single source."""
    sources = sorted({r.source for r in data.recordings}, key=lambda s: hashlib.blake2b(s.encode()).digest())
    if len(sources) < 2:
        raise ValueError(f"{data.about['name']}: all is of one source, {sources[0]!r}: give others to report on")
    first = set(sources[: min(math.ceil(FOUND_ON * len(sources)), len(sources) - 1)])
    return (
        data.of([r for r in data.recordings if r.source in first]),
        data.of([r for r in data.recordings if r.source not in first]),
    )


def counted(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(logit_N: the middles of bins; count_N, positive_N: int64, (frame, phrase) pairs in each, and those in which the
    phrase is heard), of pairs that are known and sound: however many there are, and in whatever order."""
    bins = (HIGHEST - LOWEST) * BINS
    count_N, positive_N = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
    for recording in data.recordings:
        counts_CT = recording.known_CT & (recording.scores.score_CT > 0)
        place_F = ((logit(recording.scores.score_CT[counts_CT]) - LOWEST) * BINS).astype(np.int64)
        count_N += np.bincount(place_F, minlength=bins)
        positive_N += np.bincount(place_F[recording.label_CT[counts_CT]], minlength=bins)
    there_N = count_N > 0
    logit_N = LOWEST + (np.arange(bins) + 0.5) / BINS
    return logit_N[there_N], count_N[there_N], positive_N[there_N]


def fitted(logit_N: np.ndarray, count_N: np.ndarray, positive_N: np.ndarray) -> tuple[float, float]:
    """(temperature, bias) with the least binary cross entropy, which has one minimum in 1 / temperature and bias /
    temperature. Labels are 1 - 1 / (n1 + 2) and 1 / (n0 + 2) of n1 positives and n0 negatives (Platt 1999), so that
    scores that part them without a mistake have a finite one. Arguments as `counted` returns them.

    Raises ValueError where all labels are equal, or scores no higher where phrases are heard.
    """
    n, n1 = int(count_N.sum()), int(positive_N.sum())
    if not 0 < n1 < n:
        what = "not one frame in which a phrase is heard" if not n1 else "no frame in which a phrase is not heard"
        raise ValueError(f"of {n:,} frames of phrases there is {what}: give more recordings")
    label_N = positive_N * (n1 + 1) / (n1 + 2) + (count_N - positive_N) / (n - n1 + 2)
    basis_2N = np.stack([logit_N, np.ones_like(logit_N)])

    def loss(x_2: np.ndarray) -> tuple[float, np.ndarray]:
        z_N = x_2 @ basis_2N
        return (
            float(np.sum(count_N * np.logaddexp(0, z_N) - label_N * z_N)) / n,
            basis_2N @ (count_N * expit(z_N) - label_N) / n,
        )

    def curvature(x_2: np.ndarray) -> np.ndarray:
        p_N = expit(x_2 @ basis_2N)
        return basis_2N * (count_N * p_N * (1 - p_N)) @ basis_2N.T / n

    slope, shift = minimize(loss, [1.0, 0.0], jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-9}).x
    if slope <= 0:
        raise ValueError(
            "scores are no higher where phrases are heard: look whether labels are of these recordings, and whether "
            "the model knows the phrases"
        )
    return 1 / float(slope), float(shift / slope)


def _calibrated(data: Data, found: Calibration) -> Data:
    return data.of([replace(recording, scores=found.apply(recording.scores)) for recording in data.recordings])


def _report(data: Data, found: Calibration, rules: Rules, best: Chosen) -> dict[str, Any]:
    """Plain data; None for what nothing defines."""
    after = _calibrated(data, found)
    own, folds, known = found.thresholds_for(data.phrases), best.folds, best.own.keys() <= best.folds.keys()
    f1_C = {}
    out: dict[str, Any] = {"before": {"ece": _ece(data)}, "after": {"ece": _ece(after)}}
    for name, scored, under, thresholds in (
        ("before", data, rules, dict.fromkeys(data.phrases, rules.threshold)),
        ("after", after, best.rules, own),
        ("unseen", after, best.rules, {phrase: folds.get(phrase, found.unseen) for phrase in data.phrases}),
    ):
        grid_C1 = np.array([[thresholds[phrase]] for phrase in data.phrases])
        at, iou = curve(scored, under, grid_C1)
        f1 = at.at(0)
        f1_C[name] = f1.per_class_K.tolist()
        if name == "unseen":
            out["after"]["event_f1_unseen"] = f1.macro if known else math.nan
            continue
        out[name] |= {"event_f1": f1.macro, "event_f1_micro": f1.micro, "mean_iou": iou}
    events = Counter(phrase for recording in data.recordings for _, _, phrase in recording.events)
    out["phrases"] = {
        phrase: {"events": events[phrase], "threshold": own[phrase]} | {name: f1_C[name][c] for name in f1_C}
        for c, phrase in enumerate(data.phrases)
        if events[phrase]
    }
    return _plain(out)


def _ece(data: Data) -> float:
    """Of all pairs of a frame and a phrase, whichever phrase it is."""
    parts = []
    for recording in data.recordings:
        arrays = recording.scores.score_CT, recording.label_CT, recording.known_CT
        score_F1, label_F1, mask_F1 = (torch.from_numpy(np.ascontiguousarray(x).reshape(-1, 1)) for x in arrays)
        parts.append(calibration(score_F1, label_F1, mask_F1))
    return Reliability.joined(parts).ece


def _about(data: Data) -> dict[str, Any]:
    """What the data are, and how much of it there is."""
    known = sum(int(recording.known_CT.sum()) for recording in data.recordings)
    positive = sum(int(recording.label_CT.sum()) for recording in data.recordings)
    return dict(data.about) | {
        "recordings": len(data.recordings),
        "seconds": round(sum(recording.scores.time.stop for recording in data.recordings), 3),
        "events": dict(sorted(Counter(e[2] for recording in data.recordings for e in recording.events).items())),
        "positive_share": round(positive / known, DECIMALS),
    }


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _plain(value) for name, value in data.items()}
    if isinstance(data, float):  # rounded: sums over recordings in another order differ in their last bits
        return round(data, DECIMALS) if math.isfinite(data) else None
    return data

"""The published protocols through the field's own libraries: PSDS by sed_scores_eval, F1 by sed_eval.

Slow but authoritative. Recordings are lists of equal length: scores [K, T_n], events (onset, offset, class), durations.

Shape suffixes: K classes, T frames of one recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from flam_train.metrics.detection import F1, Detection, f1_of_counts, merge_overlapping


@dataclass(frozen=True)
class PsdsParameters:
    """Bilen et al. 2020. cttc None: cross triggers are not looked at. max_efpr: false positives per hour."""

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float
    alpha_st: float
    max_efpr: float = 100.0

    def __str__(self) -> str:
        return ",".join(f"{k}={'none' if v is None else format(v, 'g')}" for k, v in asdict(self).items())


PSDS = {
    "PSDS1": PsdsParameters(0.7, 0.7, None, 0.0, 1.0),
    "PSDS1A": PsdsParameters(0.7, 0.7, None, 0.0, 0.0),
    "PSDS2": PsdsParameters(0.1, 0.1, 0.3, 0.5, 1.0),
}
"""The settings that are reported. PSDS1A is PSDS1 without the penalty for unevenness across classes."""


@dataclass(frozen=True)
class Psds:
    """value in [0, 1]; `per_class` of the classes with ground truth; `left_out`: the classes without."""

    value: float
    per_class: dict[str, float]
    left_out: tuple[str, ...]
    parameters: PsdsParameters


def psds_reference(
    scores: Sequence[np.ndarray],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    *,
    durations: Sequence[float],
    frame_seconds: float,
    parameters: PsdsParameters,
) -> Psds:
    """Polyphonic Sound Detection Score (Bilen et al. 2020), exact over all thresholds (Ebbers et al. 2022).

    scores     one [K, T_n] array a recording; frame t spans [t, t + 1) * frame_seconds
    events     the ground truth; overlapping or touching events of one class are merged first
    durations  seconds; their sum is what false positives per hour are counted over

    Classes without ground truth are left out, and their scores with them. NaN if there is no ground truth at all.
    Raises ValueError for lists of unequal length, shapes that do not fit, or a class that is not in `classes`.
    """
    from sed_scores_eval import intersection_based
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    _check(scores, events, classes, durations)
    present = {name for found in events for _, _, name in found}
    kept = [k for k, name in enumerate(classes) if name in present]
    names = [classes[k] for k in kept]
    left_out = tuple(name for name in classes if name not in present)
    if not kept:
        return Psds(float("nan"), {}, left_out, parameters)
    # A class alone has no other to be confused with; the library would divide by their number, 0.
    alone = len(kept) == 1
    frames = {
        str(n): create_score_dataframe(
            np.ascontiguousarray(np.asarray(score_KT, dtype=np.float64)[kept].T),
            timestamps=np.arange(np.shape(score_KT)[1] + 1) * frame_seconds,
            event_classes=names,
        )
        for n, score_KT in enumerate(scores)
    }
    value, per_class, _, _ = intersection_based.psds(
        frames,
        {str(n): merge_overlapping(list(found)) for n, found in enumerate(events)},
        {str(n): float(seconds) for n, seconds in enumerate(durations)},
        dtc_threshold=parameters.dtc,
        gtc_threshold=parameters.gtc,
        cttc_threshold=None if alone else parameters.cttc,
        alpha_ct=0.0 if alone else parameters.alpha_ct,
        alpha_st=parameters.alpha_st,
        unit_of_time="hour",
        max_efpr=parameters.max_efpr,
    )
    return Psds(float(value), {name: float(per_class[name]) for name in names}, left_out, parameters)


def segment_f1(
    detected: Sequence[Sequence[Detection]],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    *,
    durations: Sequence[float],
    segment_seconds: float = 1.0,
    threshold: float = float("nan"),
) -> F1:
    """Segment-based F1 (Mesaros et al. 2016): a class is active in a segment if any of it lies there.

    `threshold` only travels with the value: the one that made the detections.
    """
    from sed_eval.sound_event import SegmentBasedMetrics

    _check(None, events, classes, durations, detected)
    return _f1(
        SegmentBasedMetrics(list(classes), time_resolution=segment_seconds), detected, events, durations, threshold
    )


def event_f1(
    detected: Sequence[Sequence[Detection]],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    *,
    durations: Sequence[float],
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
    threshold: float = float("nan"),
) -> F1:
    """Event-based F1 (Mesaros et al. 2016): the onset within the collar, the offset within the larger of the collar
    and `offset_share` of the event's length. Overlapping events of one class are merged first."""
    from sed_eval.sound_event import EventBasedMetrics

    _check(None, events, classes, durations, detected)
    metric = EventBasedMetrics(list(classes), t_collar=collar_seconds, percentage_of_length=offset_share)
    return _f1(metric, detected, [merge_overlapping(list(found)) for found in events], durations, threshold)


def _f1(metric, detected, events, durations, threshold: float) -> F1:
    """Counts by sed_eval, averages by us: sed_eval drops a class that is never detected (NaN) from its macro mean."""
    from dcase_util.containers import MetaDataContainer

    def container(found: Sequence[Detection], name: str) -> MetaDataContainer:
        return MetaDataContainer(
            [{"filename": name, "onset": float(a), "offset": float(b), "event_label": label} for a, b, label in found]
        )

    for n, (estimate, truth, seconds) in enumerate(zip(detected, events, durations, strict=True)):
        extra = {"evaluated_length_seconds": float(seconds)} if hasattr(metric, "time_resolution") else {}
        metric.evaluate(container(truth, str(n)), container(estimate, str(n)), **extra)
    counts = [metric.class_wise[name] for name in metric.event_label_list]
    hit_K, raised_K, positive_K = (
        torch.tensor([int(c[key]) for c in counts], dtype=torch.int64) for key in ("Ntp", "Nsys", "Nref")
    )
    return f1_of_counts(hit_K, raised_K, positive_K, threshold)


def _check(scores, events, classes, durations, detected=None) -> None:
    for name, given in (("scores", scores), ("durations", durations), ("detected", detected)):
        if given is not None and len(given) != len(events):
            raise ValueError(f"{len(given)} {name} but {len(events)} lists of events: give one of each a recording")
    if len(set(classes)) != len(classes):
        raise ValueError("a class stands twice in `classes`: name each once")
    for n, score_KT in enumerate(scores or ()):
        if np.ndim(score_KT) != 2 or len(score_KT) != len(classes) or not np.shape(score_KT)[1]:
            raise ValueError(
                f"recording {n}: scores {np.shape(score_KT)} must be [{len(classes)} classes, frames >= 1]"
            )
    known = set(classes)
    for n, found in enumerate(events):
        for onset, offset, label in found:
            if label not in known:
                raise ValueError(f"recording {n}: class {label!r} ({onset} to {offset} s) is not in `classes`: add it")

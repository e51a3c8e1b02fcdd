"""The same metrics through the field's own libraries: PSDS by sed_scores_eval, F1 by sed_eval.

What ours are compared with, in the tests and by `eval/sed.py --check`; slow on large sets. Recordings are lists of
equal length: scores [K, T_n], events (onset, offset, class), durations.

Shape suffixes: K classes, T frames of one recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from flam_train.metrics.detection import merge_overlapping
from flam_train.metrics.f1 import F1, F1Curve
from flam_train.metrics.psd import PsdsParameters
from flam_train.metrics.timed import Detection


def psds_reference(
    scores: Sequence[np.ndarray],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    *,
    durations: Sequence[float] | None = None,
    frame_seconds: float,
    parameters: PsdsParameters,
) -> tuple[float, dict[str, float]]:
    """(value, per class) of `metrics.detection.psds` with missing="skip", by sed_scores_eval.

    It asserts that every class has an event and that those of one class do not touch, and divides by the number of
    other classes: classes without events are left out, events merged, and a class alone has no cross triggers here.
    """
    from sed_scores_eval import intersection_based

    frames_N = [np.shape(score_KT)[1] for score_KT in scores]
    durations = [t * frame_seconds for t in frames_N] if durations is None else list(durations)
    _check(scores, events, classes, durations)
    present = {name for found in events for _, _, name in found}
    kept = [k for k, name in enumerate(classes) if name in present]
    names = [classes[k] for k in kept]
    if not kept:
        return float("nan"), {}
    alone = len(kept) == 1
    frames, truth = reference_inputs(scores, events, classes, kept, durations, frame_seconds)
    value, per_class, _, _ = intersection_based.psds(
        frames,
        truth,
        {str(n): float(seconds) for n, seconds in enumerate(durations)},
        dtc_threshold=parameters.dtc,
        gtc_threshold=parameters.gtc,
        cttc_threshold=None if alone or not parameters.alpha_ct else parameters.cttc,
        alpha_ct=0.0 if alone else parameters.alpha_ct,
        alpha_st=parameters.alpha_st,
        unit_of_time="hour",
        max_efpr=parameters.max_efpr,
    )
    return float(value), {name: float(per_class[name]) for name in names}


def reference_inputs(
    scores: Sequence[np.ndarray],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    kept: Sequence[int],
    durations: Sequence[float],
    frame_seconds: float,
) -> tuple[dict[str, Any], dict[str, list[Detection]]]:
    """Scores of the classes that are kept, as sed_scores_eval takes them, and merged events, by number of recording."""
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    frames = {}
    for n, (score_KT, seconds) in enumerate(zip(scores, durations, strict=True)):
        edges = np.arange(np.shape(score_KT)[1] + 1) * frame_seconds
        inside = int(np.searchsorted(edges[:-1], seconds))
        frames[str(n)] = create_score_dataframe(
            np.ascontiguousarray(np.asarray(score_KT, dtype=np.float64)[kept, :inside].T),
            timestamps=np.minimum(edges[: inside + 1], seconds),
            event_classes=[classes[k] for k in kept],
        )
    return frames, {str(n): merge_overlapping(list(found)) for n, found in enumerate(events)}


def segment_f1_reference(
    detected: Sequence[Sequence[Detection]],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    *,
    durations: Sequence[float],
    segment_seconds: float = 1.0,
    threshold: float = 0.5,
) -> F1:
    """Segment-based F1 (Mesaros et al. 2016): a class is active in a segment if any of it lies there.

    `threshold` only travels with the value: the one that made the detections.
    """
    from sed_eval.sound_event import SegmentBasedMetrics

    _check(None, events, classes, durations, detected)
    return _f1(
        SegmentBasedMetrics(list(classes), time_resolution=segment_seconds), detected, events, durations, threshold
    )


def event_f1_reference(
    detected: Sequence[Sequence[Detection]],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    *,
    durations: Sequence[float],
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
    threshold: float = 0.5,
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
    return F1Curve((threshold,), hit_K[None], raised_K[None], positive_K).at(threshold)


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

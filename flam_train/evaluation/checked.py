"""The metrics of kept scores by the field's reference implementations, beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, timed_arguments
from flam_train.metrics.detection import detections, event_f1, psds, segment_f1
from flam_train.metrics.reference import event_f1_reference, psds_reference, segment_f1_reference

SAME = 1e-9
"""How far apart values may be by rounding alone."""


def compare(scores: Scores, chosen: SedMetrics) -> Iterator[str]:
    """A line for each PSDS and each F1 at its threshold that is chosen, of the first phrasings: ours, theirs, how far
    apart."""
    method = chosen.method or scores.kept.method
    timed = timed_arguments(scores, method, chosen)
    smooth, events, classes, durations, hop = timed
    if "psds" in chosen.metrics:
        for name, parameters in chosen.psds.items():
            ours = psds(*timed, missing="skip", **asdict(parameters)).value
            theirs, _ = psds_reference(
                [score_KT.numpy() for score_KT in smooth],
                events,
                classes,
                durations=durations,
                frame_seconds=hop,
                parameters=parameters,
            )
            yield _line(name, ours, theirs, "sed_scores_eval")
    timed = timed_arguments(scores.decided, method, chosen)
    smooth = timed[0]
    found = [
        [(a, min(b, seconds), c) for a, b, c in detections(score_KT.numpy(), classes, 0.5, hop) if a < seconds]
        for score_KT, seconds in zip(smooth, durations, strict=True)
    ]
    if "segment_f1" in chosen.metrics:
        length = chosen.segment_seconds
        ours = segment_f1(*timed, segment_seconds=length).at(0.5).macro
        other = segment_f1_reference(found, events, classes, durations=durations, segment_seconds=length)
        yield _line("segment F1", ours, other.macro, "sed_eval")
    if "event_f1" in chosen.metrics:
        collar, share = chosen.collar_seconds, chosen.offset_share
        ours = event_f1(*timed, collar_seconds=collar, offset_share=share).at(0.5).macro
        other = event_f1_reference(
            found, events, classes, durations=durations, collar_seconds=collar, offset_share=share
        )
        yield _line("event F1", ours, other.macro, "sed_eval")


def _line(name: str, ours: float, theirs: float, library: str) -> str:
    apart = abs(ours - theirs)
    raw = library == "sed_eval" and apart > SAME
    why = " (it compares times in raw floats, where edges or collars meet exactly)" if raw else ""
    return f"checked  {name}: {ours:.12f}, {library} {theirs:.12f}, apart {apart:.1e}{why}"

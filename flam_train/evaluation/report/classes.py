"""Class by class, as CSV files: each one's numbers and best thresholds, and which is taken for which."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flam_train.data.shards.tars import replace_with
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import (
    HALF,
    OfFrames,
    SedMetrics,
    all_scores,
    crossed,
    filtered,
    of_frames,
    timed_arguments,
)
from flam_train.metrics.detection import THRESHOLDS, F1Curve, event_f1, segment_f1
from flam_train.metrics.intersection import CrossTriggers

CLASS_TABLES = {"class_thresholds", "cross_triggers"}
"""The metrics that have a table of their own."""

CHOSEN_HERE = "chosen on this set"


def save_tables(scores: Scores, chosen: SedMetrics, folder: Path, name: str) -> list[Path]:
    """NAME-classes.csv where `class_thresholds` is among the metrics, NAME-cross-triggers.csv where `cross_triggers`
    is. Of several phrasings of each class the first."""
    paths = []
    if "class_thresholds" in chosen.metrics:
        paths.append(_written(folder / f"{name}-classes.csv", class_csv(scores, chosen)))
    if "cross_triggers" in chosen.metrics:
        timed = timed_arguments(scores.decided, chosen.method or scores.kept.method, chosen)
        text = cross_trigger_csv(crossed(timed, chosen), scores.classes)
        paths.append(_written(folder / f"{name}-cross-triggers.csv", text))
    return paths


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_with(path, lambda file: file.write(text.encode()))
    return path


def class_csv(scores: Scores, chosen: SedMetrics) -> str:
    """A row a class: its events (overlapping ones merged) and positive frames, AUROC and average precision of frames,
    and of frames, segments and events F1, precision and recall at 0.5 (with a calibration at the phrase's threshold,
    which is a column too), the best F1 and the threshold that reaches it, of equals the lowest. An empty cell: nothing
    defines it.

    The best thresholds are chosen on the set that is scored, and the columns say so: an upper bound.
    """
    of_class, curves = _curves(scores, chosen)
    assert of_class.auroc
    assert of_class.average_precision
    calibrated = scores.calibration is not None
    read, at = (_curves(scores.decided, chosen)[1], "its threshold") if calibrated else (curves, f"{HALF:g}")
    columns: dict[str, Sequence[float | str]] = {
        "class": scores.classes,
        "events": curves["event"].positive_K.tolist(),
        "positive frames": scores.positives_K.tolist(),
        "frame AUROC": of_class.auroc.per_class_K.tolist(),
        "frame AP": of_class.average_precision.per_class_K.tolist(),
    }
    if calibrated:
        columns["threshold"] = scores.thresholds()
    for kind, curve in curves.items():
        rates, best = read[kind].rates_at(HALF), curve.best_of_each
        columns |= {
            f"{kind} F1 at {at}": read[kind].at(HALF).per_class_K.tolist(),
            f"{kind} precision at {at}": rates.precision_K.tolist(),
            f"{kind} recall at {at}": rates.recall_K.tolist(),
            f"best {kind} F1 ({CHOSEN_HERE})": best.f1_K.tolist(),
            f"best {kind} threshold ({CHOSEN_HERE})": best.threshold_K.tolist(),
        }
    return _csv([list(columns), *zip(*columns.values(), strict=True)])


def _curves(scores: Scores, chosen: SedMetrics) -> tuple[OfFrames, dict[str, F1Curve]]:
    method = chosen.method or scores.kept.method
    whole_KF = all_scores(scores, method)
    of_class = of_frames(partial(scores.blocks, method, 0, whole_KF), {"auroc", "ap", "frame_f1"})
    assert of_class.f1
    timed = filtered(scores, whole_KF, chosen)
    return of_class, {
        "frame": of_class.f1,
        "segment": segment_f1(*timed, THRESHOLDS, chosen.segment_seconds),
        "event": event_f1(*timed, THRESHOLDS, chosen.collar_seconds, chosen.offset_share),
    }


def cross_trigger_csv(found: CrossTriggers, classes: Sequence[str]) -> str:
    """A row for each class that is detected: its detections that are right and wrong, the wrong ones that lie on events
    of another class, and on those of each other class. One may lie on those of several."""
    head = ["detected", "right", "wrong", "on another class", *(f"on {name}" for name in classes)]
    rows = zip(classes, found.right_K, found.false_K, found.crossed_K, found.count_KK, strict=True)
    return _csv([head, *([name, int(a), int(b), int(c), *on.tolist()] for name, a, b, c, on in rows)])


def _csv(rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([["" if isinstance(x, float) and math.isnan(x) else x for x in row] for row in rows])
    return out.getvalue()

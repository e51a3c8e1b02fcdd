"""What may be chosen of an evaluation: apart from what evaluates, so that a script's --help needs no torch."""

from __future__ import annotations

from flam_train.paths import conf_dir

KINDS = ("sed", "retrieval", "zero_shot")
"""Of protocols."""

METRICS = (
    "auroc", "frame_f1", "segment_f1", "event_f1", "psds", "mpauc", "calibration", "ap", "dprime", "precision_recall",
    "segment_er", "intersection_f1", "miou", "tagging", "class_thresholds", "cross_triggers",
)  # fmt: skip
"""Of detection."""

PHRASINGS = ("trained", "held_out")
"""Of a class: those it was trained on, or those that its vocabulary holds out."""

WINDOWS = ("first", "centre", "mean")
"""Of clips longer than the model's: the beginning; the middle; the mean of consecutive windows, each counting by its
seconds inside the clip, made unit length."""

CAPTIONS = ("all", "sets", "shared")
"""All captions at once (AudioCaps); the first caption of every clip, then the second of every clip, ... (Clotho); or
those that are equal as one, for which each clip that has it is right (names of classes, captions by rule)."""

UNANNOTATED = ("negative", "mask")
"""What a clip that does not list a class says of it, where the corpus does not annotate the class throughout: that it
is not heard (the paper's rule), or nothing, then the pair counts in nothing."""

PHRASES = ("first", "all")
"""Of a class: its first phrasing, or the mean over all of them."""

SCORES = "scores"
"""The folder beside the results that holds what they are computed from."""


def protocols() -> list[str]:
    """The names in conf/eval."""
    return sorted(path.stem for path in (conf_dir() / "eval").glob("*.yaml"))


RESAMPLED = ("auroc", "dprime", "frame_f1", "segment_f1", "event_f1", "precision_recall", "psds")
"""Of METRICS those that a bootstrap computes again, PSDS where it is asked for."""

MEDIAN_EDGES = ("repeat", "reflect")
"""`metrics.detection.EDGES`: how a median filter continues a recording."""

"""JAMS (jams.readthedocs.io), schema 0.3: an annotation a recording, in the namespace `tag_open`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flam_train.data.labels.detected import FORMAT
from flam_train.detection.events import DECIMALS
from flam_train.detection.tables import text
from flam_train.detection.tables.json_text import strict
from flam_train.detection.tables.recorded import VERSION, Recorded, by_channel, end_to_end

JAMS_VERSION = "0.3.4"
MICRO = 6
"""Decimals of lengths of recordings."""


def to_jams(recorded: Sequence[Recorded]) -> str:
    """A file of JAMS is of one recording: several lie end to end in it, each annotation with its file's name."""
    found = {
        "annotations": [_annotation(begin, one) for begin, one in end_to_end(recorded)],
        "file_metadata": {
            "title": text.name(recorded[0].file) if len(recorded) == 1 else "",
            "artist": "",
            "release": "",
            "duration": round(sum(one.seconds for one in recorded), MICRO),
            "identifiers": {},
            "jams_version": JAMS_VERSION,
        },
        "sandbox": {"format": FORMAT, "version": VERSION},
    }
    return strict(found, indent=1) + "\n"


def _annotation(begin: float, one: Recorded) -> dict[str, Any]:
    sandbox: dict[str, Any] = {"filename": text.name(one.file), "peak": [text.rounded(d.peak) for d in one.detections]}
    if by_channel([one]):
        sandbox["channel"] = [d.channel for d in one.detections]
    return {
        "namespace": "tag_open",
        "annotation_metadata": {
            "curator": {"name": "", "email": ""},
            "annotator": {},
            "version": "",
            "corpus": "",
            "annotation_tools": "flam-train",
            "annotation_rules": "",
            "validation": "",
            "data_source": "program",
        },
        "data": [
            {
                "time": round(begin + d.onset, DECIMALS),
                "duration": round(d.offset - d.onset, DECIMALS),
                "value": text.exact(d.phrase),
                "confidence": text.rounded(d.score),
            }
            for d in one.detections
        ],
        "sandbox": sandbox,
        "time": begin,
        "duration": round(one.seconds, MICRO),
    }

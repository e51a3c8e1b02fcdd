"""What flam-detect leaves, as label files: how a result's name tells its recording and channel, and which files of a
result folder are of no single recording."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

CLIPS = "clips"
"""The folder of a result folder that holds pieces of recordings: these are no recordings."""

EVENTS, HOURS, SILENT, SUMMARY = "events", "hours.csv", "silent.csv", "summary.csv"
"""What lies in a result folder beside the results of recordings: the first with the ending of each table."""

SETTINGS = "settings.json"
"""What all results of a folder were made with."""

DONE = ".done"
"""The folder of a result folder that holds what came of each recording."""

FORMAT = "flam-detections"
"""The `format` that JSON files say, and the sandbox of JAMS."""

TAGGED = re.compile(r"~([0-9a-f]{8})$")
OF_CHANNEL = re.compile(r"\.channel-([1-9][0-9]*)$")


def tag_of(name: str) -> str:
    """Of a file or folder, by its own name: what tells it from others in names of results (`TAGGED`)."""
    return hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()


def of_channel(channel: int | str | None, ending: str) -> str:
    """The ending of a result of one channel (`OF_CHANNEL`), of any with `*`; None: of all together."""
    return ending if channel is None else f".channel-{channel}{ending}"


def is_of_all(path: Path, called: str) -> bool:
    """Whether a file lies in a result folder and is made of all its recordings. called: its name without the ending of
    a table."""
    if not all((path.parent / name).is_file() for name in (SETTINGS, SUMMARY)):
        return False
    return OF_CHANNEL.sub("", called) == EVENTS or path.name in (HOURS, SILENT, SUMMARY, SETTINGS)


def is_of_clips(path: Path) -> bool:
    """Whether it lies in the folder of clips of a result folder."""
    return path.parent.name == CLIPS and (path.parent.parent / SETTINGS).is_file()

"""What a corpus' labels say about its recordings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flam_train.data.shards.schema import Event, Tag
from flam_train.data.sound.channels import Channel


@dataclass(frozen=True)
class Recording:
    """One audio file, or a part of it, with what the labels say about it: what a script of data_prep/ yields.

    key        unique in the corpus; made fit for a tar with `as_key`
    path       the audio file; it may be missing
    where      file and row of the labels, for messages
    captions   sentences about the part
    events     seconds from `start`; they may pass the end and are cut to it
    start      seconds into the file where the part begins
    seconds    length of the part; None: to the file's end
    source     what it is called where it came from (a file name, an address)
    licence    of this recording
    split      the corpus' own split or fold
    ids        what it is called across corpora, for finding overlap: "youtube:r1nicOVtvkQ", "freesound:117790"
    unknown    stretches, (onset, offset, label) in seconds from `start`, in which nobody knows whether the label is
               heard, "": what is. A sample that reaches into one is made only if it has events, none of that label
    details    plain data that is stored with the sample
    timed      more of it: rows that begin with an onset and an offset, in seconds from `start`; a sample's details have
               those that reach into it, cut to it, in seconds from its own start
    tags       weak labels, seconds from `start`; offset None: to the part's end
    channel    which of the recording's: "mean" of all, "first", "loudest", or a number from 1
    """

    key: str
    path: Path
    where: str
    captions: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    start: float = 0.0
    seconds: float | None = None
    source: str = ""
    licence: str = ""
    split: str = ""
    ids: tuple[str, ...] = ()
    unknown: tuple[tuple[float, float, str], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    timed: dict[str, list[list[Any]]] = field(default_factory=dict)
    tags: tuple[Tag, ...] = ()
    channel: Channel = "mean"


def as_key(name: str) -> str:
    """A name as a key: dots, slashes and white space become '_', nothing else changes."""
    return "".join("_" if c in "./\\" or c.isspace() else c for c in name)

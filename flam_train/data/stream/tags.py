"""Weak labels of a clip that is a part of a recording: which are known to be heard in it."""

from __future__ import annotations

from collections.abc import Sequence

from flam_train.data.shards.schema import Tag

INSIDE = 0.9
"""Share of a tag's seconds that lie in a clip for it to be a tag of the clip: some are 10.4 s long, clips 10 s."""


def of_clip(tag: Tag, duration: float) -> bool:
    """Whether it is heard in a clip of so many seconds; else nobody knows. tag: with its offset, of `moved`."""
    assert tag.offset is not None
    return min(tag.offset, duration) - max(tag.onset, 0.0) >= INSIDE * (tag.offset - tag.onset)


def may_be_of_clip(tag: Tag, duration: float, seconds: float) -> bool:
    """Whether it is heard in some clip of so many seconds that is taken from a sample of this duration."""
    offset = duration if tag.offset is None else tag.offset
    return min(min(offset, duration) - max(tag.onset, 0.0), seconds) >= INSIDE * (offset - tag.onset)


def moved(tags: Sequence[Tag], duration: float, start: float, seconds: float) -> tuple[Tag, ...]:
    """Those of the tags of `duration` seconds that have some in [start, start + seconds), in seconds from `start`. They
    are not cut: what is heard somewhere in a minute need not be heard in ten seconds of it."""
    ends = (Tag(t.label, t.onset - start, (duration if t.offset is None else t.offset) - start) for t in tags)
    return tuple(t for t in ends if t.offset is not None and t.onset < seconds and t.offset > 0)

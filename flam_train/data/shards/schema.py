"""What a sample of a shard says about itself, and the checks it must pass.

A sample is `{key}.flac` (or `.wav`) and `{key}.json`; the JSON is a `Record`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1

END_TOLERANCE = 0.02
"""Seconds by which an offset may pass the clip's end (rounding of the source's own decimals)."""


@dataclass(frozen=True)
class Event:
    """One annotated event: `label` is a class of the corpus' vocabulary, or the phrase itself."""

    onset: float
    offset: float
    label: str


@dataclass(frozen=True)
class Tag:
    """A weak label: `label`, as an event's, is heard somewhere in these seconds; offset None: to the clip's end.

    They may reach outside the clip, where it was cut from a longer one: then nobody knows whether it is heard here.
    """

    label: str
    onset: float = 0.0
    offset: float | None = None


@dataclass(frozen=True)
class Record:
    """A sample's description.

    key       unique in its corpus; no dot, slash or white space (it becomes a file name in a tar)
    duration  seconds of audio stored
    captions  sentences about the whole clip
    events    timed events, seconds from the clip's start
    tags      weak labels, in the same seconds
    source    where it came from (a file name, an id, an address)
    licence   of this recording
    split     the corpus' own split or fold
    details   plain data of its maker: the spec of a simulated mixture, the level curve of a bank's item
    """

    key: str
    duration: float
    captions: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    source: str = ""
    licence: str = ""
    split: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    tags: tuple[Tag, ...] = ()

    def check(self, where: str) -> Record:
        """Itself, or a ValueError that says `where` (file and row), what is wrong and what to do."""
        if not self.key or any(c in self.key for c in "./\\ \t\n\r"):
            raise ValueError(
                f"{where}: key {self.key!r} is empty or has a dot, slash or white space: replace them by '_'"
            )
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise ValueError(
                f"{where}: duration {self.duration!r} is not a positive number of seconds: drop the sample"
            )
        for n, caption in enumerate(self.captions):
            if not isinstance(caption, str) or not caption.strip():
                raise ValueError(f"{where}: caption {n} is empty: remove it or write one")
        for n, e in enumerate(self.events):
            at = f"{where}: event {n} ({e.label!r}, {e.onset} to {e.offset} s)"
            if not isinstance(e.label, str) or not e.label.strip():
                raise ValueError(f"{at}: the phrase is empty: write one or remove the event")
            if not (math.isfinite(e.onset) and math.isfinite(e.offset)):
                raise ValueError(f"{at}: a time is not a number: mend or remove the event")
            if e.offset <= e.onset:
                raise ValueError(f"{at}: the offset is not after the onset: mend or remove the event")
            if e.onset < 0 or e.offset > self.duration + END_TOLERANCE:
                raise ValueError(
                    f"{at}: lies outside the clip of {self.duration} s: cut it to the clip, or check that the "
                    "times are seconds from this clip's start"
                )
        for n, tag in enumerate(self.tags):
            self._check_tag(tag, f"{where}: tag {n} ({tag.label!r}, {tag.onset} to {tag.offset} s)")
        return self

    def _check_tag(self, tag: Tag, at: str) -> None:
        if not isinstance(tag.label, str) or not tag.label.strip():
            raise ValueError(f"{at}: the phrase is empty: write one or remove the tag")
        offset = self.duration if tag.offset is None else tag.offset
        if not (math.isfinite(tag.onset) and math.isfinite(offset)):
            raise ValueError(f"{at}: a time is not a number: mend or remove the tag")
        if offset <= tag.onset:
            raise ValueError(f"{at}: the offset is not after the onset: mend or remove the tag")
        if tag.onset >= self.duration or offset <= 0:
            raise ValueError(f"{at}: has no second in the clip of {self.duration} s: mend or remove the tag")

    def to_json(self) -> str:
        plain = asdict(self)
        if not self.tags:  # what has none is written as it was before there were any
            del plain["tags"]
        return json.dumps({"schema": SCHEMA_VERSION, **plain}, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Record:
        """Reads and checks what `to_json` wrote, or another WebDataset's JSON: there `text`, `caption` or
        `captions` are the captions, and key and duration are filled in by the reader (`data.shards`)."""
        try:
            raw = json.loads(text)
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{where}: not JSON ({error}): write the shard again") from error
        if not isinstance(raw, dict):
            raise ValueError(f"{where}: the JSON is not an object: write the shard again")
        version = raw.get("schema", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{where}: schema {version!r} is unknown here (this version reads {SCHEMA_VERSION}): update flam_train"
            )
        try:
            events = tuple(Event(float(e["onset"]), float(e["offset"]), e["label"]) for e in raw.get("events", ()))
            captions = raw.get("captions") or raw.get("caption") or raw.get("text") or ()
            captions = (captions,) if isinstance(captions, str) else tuple(captions)
            record = cls(
                key=str(raw["key"]),
                duration=float(raw["duration"]),
                captions=captions,
                events=events,
                source=str(raw.get("source", "")),
                licence=str(raw.get("licence", "")),
                split=str(raw.get("split", "")),
                details=raw.get("details", {}),
                tags=_tags(raw.get("tags", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: the JSON lacks or misuses {error}: write the shard again") from error
        return record.check(where)


def _tags(raw: Any) -> tuple[Tag, ...]:
    if isinstance(raw, str):
        raise TypeError("'tags'")
    return tuple(_tag(one) for one in raw)


def _tag(raw: Any) -> Tag:
    """Of {"label", "onset", "offset"}, times as far as they are known; or of the label alone."""
    if isinstance(raw, str):
        return Tag(raw)
    label, offset = raw["label"], raw.get("offset")
    return Tag(label, float(raw.get("onset", 0.0)), None if offset is None else float(offset))

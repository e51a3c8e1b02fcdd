"""The recipe of simulated mixtures: conf/mixing/*.yaml, read and checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from flam_train.batch import SAMPLE_RATE
from flam_train.paths import conf_file
from flam_train.settings import nearest


@dataclass(frozen=True)
class MixRecipe:
    """How mixtures are made: every number of it. Ranges are [lowest, highest], drawn uniformly, both ends included.

    clip_seconds            length of a mixture; one background of at least this length runs through it
    background_db           the level the background is brought to (dBFS, A-weighted RMS); null: as recorded
    events                  events a mixture; one that finds no free place in `tries` is left out
    event_seconds           an event is cropped at random to a length from this range; null: whole
    choose                  "class": each class is equally likely; "item": each recording is
    at_once                 highest number of events sounding at one time
    split_share, _parts     share of the events that are cut in so many parts, with pauses between them
    repeat_share, _times    share of the events that are heard so many times
    snr_db                  an event's level above the background's (both A-weighted RMS over sounding hops)
    peak_db                 where a recording's peak would pass this (dBFS), the whole mixture is lowered
    fade_seconds            linear fade at both ends of every piece
    inactive_db             20 ms under this level (dBFS, A-weighted, after the gain) are not labelled
    inactive_below_peak_db  nor are 20 ms that lie this far under the recording's loudest; null: no such rule
    bridge_seconds          a shorter gap between two active stretches of a class is labelled too
    shortest_seconds        a shorter active stretch is not labelled
    captions                captions a mixture
    caption_words           a caption leaves out the quietest events until it has so many words; null: all are told
    """

    clip_seconds: float
    background_db: tuple[float, float] | None
    events: tuple[int, int]
    event_seconds: tuple[float, float] | None
    choose: str
    at_once: int
    split_share: float
    split_parts: tuple[int, int]
    repeat_share: float
    repeat_times: tuple[int, int]
    snr_db: tuple[float, float]
    peak_db: float
    fade_seconds: float
    inactive_db: float
    inactive_below_peak_db: float | None
    bridge_seconds: float
    shortest_seconds: float
    captions: int
    caption_words: int | None
    tries: int = 20

    @classmethod
    def load(cls, name: str | Path) -> MixRecipe:
        """Reads `conf/mixing/NAME.yaml`, or a .yaml file by its path; ValueError names file, key and fix."""
        path = conf_file("mixing", str(name))
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML: {error}") from error
        return cls.from_dict(raw, str(path))

    @classmethod
    def from_dict(cls, raw: Any, where: str = "recipe") -> MixRecipe:
        """From plain data; `where` stands at the head of a message."""
        if not isinstance(raw, dict):
            raise ValueError(f"{where}: needs one `key: value` a line")
        known = [f.name for f in fields(cls)]
        for key in raw:
            if key not in known:
                raise ValueError(f"{where}: unknown key {key!r}: {nearest(key, known)}")
        missing = [f for f in known if f not in raw and f != "tries"]
        if missing:
            raise ValueError(f"{where}: {missing[0]!r} is missing: every number of a recipe is written down")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        recipe = cls(**values)
        recipe._check(where)
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Plain data (lists for ranges), for a manifest; `from_dict` reads it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def _check(self, where: str) -> None:
        def number(value: object) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool)

        for name in ("background_db", "events", "event_seconds", "split_parts", "repeat_times", "snr_db"):
            value = getattr(self, name)
            if value is None and name in ("background_db", "event_seconds"):
                continue
            if not (isinstance(value, tuple) and len(value) == 2 and all(map(number, value)) and value[0] <= value[1]):
                raise ValueError(f"{where}: {name} is {value!r}: write [lowest, highest]")
            if name in ("events", "split_parts", "repeat_times") and (value[0] < 1 or any(v != int(v) for v in value)):
                raise ValueError(f"{where}: {name} is {value!r}: both must be whole numbers from 1")
        for name in ("clip_seconds", "at_once", "captions", "tries"):
            value = getattr(self, name)
            if not number(value) or value <= 0:
                raise ValueError(f"{where}: {name} is {value!r}: it must be a number above 0")
        for name in (
            "split_share",
            "repeat_share",
            "peak_db",
            "fade_seconds",
            "inactive_db",
            "bridge_seconds",
            "shortest_seconds",
        ):
            if not number(getattr(self, name)):
                raise ValueError(f"{where}: {name} is {getattr(self, name)!r}: it must be a number")
        for name in ("inactive_below_peak_db", "caption_words"):
            if getattr(self, name) is not None and not number(getattr(self, name)):
                raise ValueError(f"{where}: {name} is {getattr(self, name)!r}: it must be a number or null")
        if not (self.split_share >= 0 and self.repeat_share >= 0 and self.split_share + self.repeat_share <= 1):
            raise ValueError(f"{where}: split_share and repeat_share must lie in [0, 1], their sum too")
        if self.peak_db > 0 or self.fade_seconds < 0:
            raise ValueError(f"{where}: peak_db must not be above 0, fade_seconds not below 0")
        if self.event_seconds is not None and self.event_seconds[0] <= 0:
            raise ValueError(f"{where}: event_seconds must be above 0")
        if self.choose not in ("class", "item"):
            raise ValueError(f"{where}: choose is {self.choose!r}: write class or item")

    @property
    def clip_samples(self) -> int:
        return round(self.clip_seconds * SAMPLE_RATE)

    @property
    def fade_samples(self) -> int:
        return round(self.fade_seconds * SAMPLE_RATE)

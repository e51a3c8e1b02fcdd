"""The recipe of simulated mixtures: conf/mixing/*.yaml, read and checked."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from flam_train.batch import SAMPLE_RATE
from flam_train.paths import conf_file
from flam_train.settings import from_plain, named, setting, settle

Number = int | float
"""Stays what was written, 6 or 6.0: checkpoints compare the recipes that a run's data was mixed by (`to_dict`)."""

RANGES = ("background_db", "events", "event_seconds", "split_parts", "repeat_times", "snr_db")

LOWEST_DB = -200
"""Below the level of a single sample's smallest step in an hour."""

MOST_SECONDS = 3600


@dataclass(frozen=True)
class MixRecipe:
    """How mixtures are made: every number of it. Ranges are [lowest, highest], drawn uniformly, both ends included."""

    clip_seconds: Number = setting(
        MISSING,
        "length of a mixture; one background of at least this length runs through it",
        above=0,
        most=MOST_SECONDS,
    )
    background_db: tuple[Number, Number] | None = setting(
        MISSING,
        "the level the background is brought to (dBFS, A-weighted RMS); null: as recorded",
        least=LOWEST_DB,
        most=0,
    )
    events: tuple[int, int] = setting(
        MISSING, "events a mixture; one that finds no free place in `tries` is left out", least=1, most=1000
    )
    event_seconds: tuple[Number, Number] | None = setting(
        MISSING, "an event is cropped at random to a length from this range; null: whole", above=0, most=MOST_SECONDS
    )
    choose: str = setting(
        MISSING, "`class`: each class is equally likely; `item`: each recording is", choices=("class", "item")
    )
    at_once: int = setting(MISSING, "highest number of events sounding at one time", least=1, most=1000)
    split_share: Number = setting(
        MISSING, "share of the events that are cut in parts, with pauses between them", least=0, most=1
    )
    split_parts: tuple[int, int] = setting(MISSING, "in how many", least=1, most=1000)
    repeat_share: Number = setting(MISSING, "share of the events that are heard several times", least=0, most=1)
    repeat_times: tuple[int, int] = setting(MISSING, "how many", least=1, most=1000)
    snr_db: tuple[Number, Number] = setting(
        MISSING,
        "an event's level above the background's (both A-weighted RMS over sounding hops)",
        least=LOWEST_DB,
        most=-LOWEST_DB,
    )
    peak_db: Number = setting(
        MISSING,
        "where a recording's peak would pass this (dBFS), the whole mixture is lowered",
        least=LOWEST_DB,
        most=0,
    )
    fade_seconds: Number = setting(MISSING, "linear fade at both ends of every piece", least=0, most=MOST_SECONDS)
    inactive_db: Number = setting(
        MISSING,
        "20 ms under this level (dBFS, A-weighted, after the gain) are not labelled",
        least=LOWEST_DB,
        most=0,
    )
    inactive_below_peak_db: Number | None = setting(
        MISSING,
        "nor are 20 ms that lie this far under the recording's loudest; null: no such rule",
        least=0,
        most=-LOWEST_DB,
    )
    bridge_seconds: Number = setting(
        MISSING, "a shorter gap between two active stretches of a class is labelled too", least=0, most=MOST_SECONDS
    )
    shortest_seconds: Number = setting(MISSING, "a shorter active stretch is not labelled", least=0, most=MOST_SECONDS)
    captions: int = setting(MISSING, "captions a mixture", least=1, most=1000)
    caption_words: int | None = setting(
        MISSING,
        "a caption leaves out the quietest events until it has so many words; null: all are told",
        least=1,
        most=10_000,
    )
    tries: int = setting(20, "draws of a place for an event", least=1, most=10_000)

    def __post_init__(self) -> None:
        settle(self, "")
        for name in RANGES:
            if (value := getattr(self, name)) is not None and value[0] > value[1]:
                raise ValueError(f"{name}: {list(value)} must be [lowest, highest]")
        if self.split_share + self.repeat_share > 1:
            raise ValueError("split_share: with repeat_share it must be at most 1")

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
        with named(where):
            return from_plain(cls, "", raw)

    def to_dict(self) -> dict[str, Any]:
        """Plain data (lists for ranges), for a manifest; `from_dict` reads it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def clip_samples(self) -> int:
        return round(self.clip_seconds * SAMPLE_RATE)

    @property
    def fade_samples(self) -> int:
        return round(self.fade_seconds * SAMPLE_RATE)

"""What is wanted of recordings: how they are listened to, and what is written of each. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import tzinfo
from functools import partial
from pathlib import Path

from flam_train.data.sound.channels import Channel
from flam_train.data.sound.length import Length
from flam_train.detection.calibration import Calibration
from flam_train.detection.clock import Clock, pattern_of, time_text
from flam_train.detection.events import Rules
from flam_train.detection.results import EACH, Results
from flam_train.detection.tables.formats import FORMATS, Format
from flam_train.detection.tables.separated import to_csv


@dataclass(frozen=True)
class Clocks:
    """How recordings tell when they begin. given: the one recording's own; zone and pattern as in `clock.clock_of`."""

    given: Clock | None = None
    zone: tzinfo | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        if self.pattern is not None:
            pattern_of(self.pattern)  # checks it: else each recording would fail by it


@dataclass(frozen=True)
class Analysis:
    """How recordings are listened to, and what is written of each.

    batch_size    windows that are embedded at once; None: as many as suit the device
    start, stop   seconds of each recording (None: its end)
    channel       as in `Stream`, or EACH
    thresholds    of single phrases, instead of the rules'
    calibration   of scores, if there is one
    method        of scoring (`FLAM.localize`); None: the model's own
    formats       names of `FORMATS`; excel: csv as spreadsheets open it
    plot, scores  a picture, the scores themselves
    keep          frames are kept: other phrases and rules then need no encoder
    """

    phrases: tuple[str, ...]
    rules: Rules = field(default_factory=Rules)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    method: str | None = None
    start: float = 0.0
    stop: float | None = None
    channel: Channel = "mean"
    precision: str = "32"
    batch_size: int | None = None
    formats: tuple[str, ...] = ("tsv",)
    excel: bool = False
    plot: bool = False
    scores: bool = False
    keep: bool = False
    clocks: Clocks = field(default_factory=Clocks)

    @property
    def writers(self) -> dict[str, Format]:
        """Of the tables."""
        chosen = {name: FORMATS[name] for name in self.formats}
        if self.excel:
            chosen["csv"] = Format(FORMATS["csv"].suffix, partial(to_csv, excel=True))
        return chosen

    def results(self, folder: Path, export: str) -> Results:
        """The result folder under these settings. export: sha256 of the weights."""
        audio = {"channel": self.channel, "start": self.start, "stop": self.stop, "precision": self.precision}
        clocks, found = self.clocks, self.calibration
        options = {
            "rules": asdict(self.rules), "thresholds": dict(self.thresholds),
            "calibration": found and [found.method, found.temperature, found.bias], "method": self.method,
            "formats": self.formats,
            "excel": self.excel, "plot": self.plot, "scores": self.scores, "keep": self.keep,
            "begin": time_text(clocks.given.begin) if clocks.given else None,
            "zone": None if clocks.zone is None else str(clocks.zone), "name_pattern": clocks.pattern,
        }  # fmt: skip
        return Results(folder, export, self.phrases, audio, options)

    def seconds_of(self, length: Length) -> float:
        """How much of a recording is listened to, all channels together."""
        stop = length.seconds if self.stop is None else min(self.stop, length.seconds)
        return max(stop - self.start, 0.0) * (length.channels if self.channel == EACH else 1)

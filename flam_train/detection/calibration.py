"""Scores that mean something, and thresholds of single phrases, as they were found on labelled recordings.

`calibrating` finds them. Shape suffixes: C phrases, T frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from flam_train import __version__
from flam_train.checkpoints import hub
from flam_train.checkpoints.export import FILES
from flam_train.data.shards.tars import replace_with
from flam_train.detection.events import Rules
from flam_train.detection.scoring import Scores
from flam_train.detection.smoothing import logit
from flam_train.models.methods import METHODS
from flam_train.settings import from_plain, setting, settle

CALIBRATION = "calibration.json"
"""What it is called in an export."""

VERSION = 2
"""Of the file: one more where an older flam_train would read it wrongly."""

AGAIN = "run flam-detect calibrate again"


@dataclass(frozen=True)
class Calibration:
    """Of the scores of one model by one method: calibrated = sigmoid((logit(score) + bias) / temperature).

    thresholds    phrase -> threshold of its calibrated scores; unseen: that of any other phrase
    low           `events.Rules.low` that was found with them: a share of a probability is another one than of a score
    rules         the other rules, under which they were found; under others they may not be the best
    data, report  plain data: on what it was found (positive_share: of its frames, how many a phrase is heard in), and
                  what it changes on other data (`calibrating.calibrate`)

    A calibrated score is the share of the frames with such a score in which the phrase is heard, where phrases are as
    frequent as in the data; where they are rarer, fewer are. Nothing is ranked anew: the temperature is above 0, and
    what does not sound still scores 0.
    """

    weights: str = setting(MISSING, "sha256 of the model's")
    method: str = setting(MISSING, "of `FLAM.localize`", choices=METHODS)
    temperature: float = setting(MISSING, "divides the logits of scores", above=0)
    bias: float = setting(MISSING, "is added to them before")
    unseen: float = setting(MISSING, "threshold of phrases without one of their own", least=0, most=1)
    thresholds: dict[str, float] = setting({}, "phrase -> threshold", least=0, most=1)
    low: float = setting(Rules.low, "`low` of `events.Rules`", least=0, most=1)
    rules: dict[str, float] = setting({}, "smooth, median, close and shortest of `events.Rules`")
    data: dict[str, Any] = setting({}, "kind, name, sha256 and counts of what it was found on, and of what it reports")
    report: dict[str, Any] = setting({}, "numbers of other data, before and after")

    def __post_init__(self) -> None:
        settle(self, "calibration")

    @property
    def shares(self) -> bool:
        """Whether a calibrated score is a share of frames: found on judged clips, only thresholds are."""
        return (self.temperature, self.bias) != (1.0, 0.0)

    @property
    def found_on(self) -> dict[str, Any]:
        """Name and sha256 of the data, and more about it; empty where nobody said."""
        return self.data.get("found") or {}

    def calibrated(self, score: np.ndarray) -> np.ndarray:
        """Of scores of any shape in [0, 1]: float32 in [0, 1], in the same order; 0 stays 0."""
        return expit((logit(score) + self.bias) / self.temperature).astype(np.float32)

    def apply(self, scores: Scores) -> Scores:
        """The same, calibrated. They must be of this method."""
        return replace(scores, score_CT=self.calibrated(scores.score_CT))

    def check(self, sha256: str | None, method: str | None = None) -> None:
        """ValueError that tells the fix, for other weights and another method. method: None if it is not chosen yet."""
        if self.weights != sha256:
            raise ValueError(
                f"was found for other weights, of sha256 {self.weights[:12]}..., and these have "
                f"{(sha256 or 'none')[:12]}...: {AGAIN}, or leave it out"
            )
        if method not in (None, self.method):
            raise ValueError(f"was found for scores of method {self.method!r}, not {method!r}: {AGAIN} for these")

    def check_data(self, sha256: str | None) -> None:
        """ValueError for the data that it was found on, where it would promise too much. sha256: over the hashes of
        their shards."""
        if sha256 is not None and self.found_on.get("sha256") == sha256:
            raise ValueError(
                f"was found on these data, {self.found_on.get('name')}: evaluate others, or calibrate on others"
            )

    def rules_of(self, rules: Rules) -> Rules:
        """Those under which it was found, with the threshold of unseen phrases as that of all without one."""
        return replace(rules, **self.rules, low=self.low, threshold=self.unseen)

    def thresholds_for(self, phrases: Iterable[str]) -> dict[str, float]:
        """Of each phrase its own threshold, or that of unseen ones."""
        return {phrase: self.thresholds.get(phrase, self.unseen) for phrase in phrases}

    def write(self, path: Path | str) -> Path:
        """Strict JSON, whole or not at all. Raises ValueError for a number that is none."""
        text = json.dumps(
            {"calibration": VERSION, "flam_train": __version__, **asdict(self)},
            indent=2, ensure_ascii=False, allow_nan=False,
        )  # fmt: skip
        replace_with(Path(path), lambda file: file.write(text.encode() + b"\n"))
        return Path(path)


def read(path: Path | str, sha256: str | None, method: str | None = None) -> Calibration:
    """What `Calibration.write` wrote for these weights.

    sha256  of the weights: `provenance["sha256"]` of an export
    method  that scores are made by, if it is known already
    Raises ValueError that names the file and the fix: damaged, of another version, of other weights, another method.
    """
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ValueError(f"{path}: {what}: give a file that flam-detect calibrate wrote") from None
    except ValueError as error:
        raise ValueError(f"{path}: is no JSON ({error}): {AGAIN}") from error
    if not isinstance(raw, dict) or "calibration" not in raw:
        raise ValueError(f"{path}: is no calibration: give a file that flam-detect calibrate wrote")
    version, by = raw.pop("calibration"), raw.pop("flam_train", "unknown")
    if version != VERSION:
        raise ValueError(
            f"{path}: of version {version}, by flam_train {by}, and flam_train {__version__} reads version {VERSION}: "
            f"{AGAIN}"
        )
    try:
        found = from_plain(Calibration, "", raw)
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}): {AGAIN}") from error
    try:
        found.check(sha256, method)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return found


def of_export(export: Path | str, sha256: str, method: str | None = None) -> tuple[Path, Calibration] | None:
    """The calibration that lies in an export, a folder or a repository on the hub, with its path; None without one.
    Errors as in `read`."""
    path = hub.local(export, FILES) / CALIBRATION
    return (path, read(path, sha256, method)) if path.is_file() else None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")

"""Scores of every frame and class beside their labels, made from what is kept; whole, or some classes at a time.

Shape suffixes: R rounds (one phrasing of each class a round), K classes, N recordings, F frames of all recordings,
T of one, D embedding width, X positive pairs of a class and a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_train.detection.calibration import Calibration
from flam_train.evaluation.choices import UNANNOTATED
from flam_train.evaluation.frame_embeddings import FrameEmbeddings
from flam_train.evaluation.result import Result
from flam_train.evaluation.words import Words
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import Detection
from flam_train.metrics.timed import lowered
from flam_train.models.flam import cosines, frame_score
from flam_train.settings import one_of

PAIRS = 1 << 26
"""Frames times classes that are worked on at a time: 256 MB of scores."""


@dataclass(frozen=True)
class Scores:
    """What one kind of phrasings finds in a set.

    kept       the embeddings; their words have this kind
    phrasings  of `choices.PHRASINGS`
    unannotated  of `choices.UNANNOTATED`
    calibration  where one is asked for: what scores mean (`calibrated`), and of each phrase the threshold (`decided`);
                 `score_KF` stays as it is. Metrics have their filters, not the rules under which it was found

    Raises ValueError for phrasings that were not kept, and for a calibration of other weights, or found on this data.
    """

    kept: FrameEmbeddings
    phrasings: str = "trained"
    unannotated: str = "negative"
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        one_of("unannotated", self.unannotated, UNANNOTATED)
        if self.phrasings not in self.kept.words:
            raise ValueError(
                f"{self.kept.about['dataset']}: kept with {' and '.join(self.kept.words)} phrasings, not "
                f"{self.phrasings}: evaluate the export with them once"
            )
        if self.calibration is not None:
            about = self.kept.about
            self.calibration.check(about["model"].get("sha256"))
            self.calibration.check_data(about["data"].get("sha256"))

    @property
    def words(self) -> Words:
        return self.kept.words[self.phrasings]

    @property
    def classes(self) -> list[str]:
        return self.words.classes

    @cached_property
    def events(self) -> list[list[Detection]]:
        """Of each recording (onset, offset, class), those of the classes that are scored."""
        scored = set(self.classes)
        return [[(a, b, c) for a, b, c in found if c in scored] for found in self.kept.events]

    @property
    def only_listed(self) -> list[str]:
        """The classes that are scored in the recordings alone that list them."""
        return [c for c in self.classes if c in set(self.kept.only_listed)] if self.unannotated == "mask" else []

    @cached_property
    def unknown_NK(self) -> Tensor | None:
        """bool: pairs that count in nothing, as nobody knows when the class is heard in the recording; None: there are
        none."""
        row = {name: k for k, name in enumerate(self.classes)}
        unknown_NK = torch.zeros(len(self.events), len(row), dtype=torch.bool)
        unknown_NK[:, [row[name] for name in self.only_listed]] = True
        for n, tagged in enumerate(self.kept.unknown):
            unknown_NK[n, [row[name] for name in tagged if name in row]] = True
        for n, found in enumerate(self.events):
            unknown_NK[n, [row[name] for _, _, name in found]] = False
        return unknown_NK if unknown_NK.any() else None

    def unknown_KF(self, classes: range | None = None) -> Tensor | None:
        """`unknown_NK` of every frame; classes as in `label_KF`."""
        if self.unknown_NK is None:
            return None
        classes = range(len(self.classes)) if classes is None else classes
        frames_N = torch.from_numpy(self.kept.frame_start_N1).diff()
        return self.unknown_NK.T[classes.start : classes.stop].repeat_interleave(frames_N, dim=1)

    @cached_property
    def _active(self) -> tuple[np.ndarray, np.ndarray]:
        """(class_X, frame_X): the positive pairs."""
        row = {name: k for k, name in enumerate(self.classes)}
        start_N1 = self.kept.frame_start_N1
        class_X, frame_X = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for found, start, end in zip(self.events, start_N1[:-1], start_N1[1:], strict=True):
            if found:
                grid = FrameGrid(int(end - start), float(end - start) * self.kept.frame_seconds)
                event_X, at_X = grid.labels([a for a, _, _ in found], [b for _, b, _ in found]).nonzero()
                class_X.append(np.array([row[c] for _, _, c in found])[event_X])
                frame_X.append(start + at_X)
        return np.concatenate(class_X), np.concatenate(frame_X)

    @property
    def positives_K(self) -> np.ndarray:
        """int64: the positive frames of each class."""
        class_X, frame_X = self._active
        pair_X = np.unique(class_X * len(self.kept.frame_FD) + frame_X)  # events of one class may overlap
        return np.bincount(pair_X // len(self.kept.frame_FD), minlength=len(self.classes))

    def label_KF(self, classes: range | None = None, frames: range | None = None) -> Tensor:
        """bool; only of these classes and frames, which lie beside one another."""
        classes = range(len(self.classes)) if classes is None else classes
        frames = range(len(self.kept.frame_FD)) if frames is None else frames
        class_X, frame_X = self._active
        mine = (class_X >= classes.start) & (class_X < classes.stop)
        mine &= (frame_X >= frames.start) & (frame_X < frames.stop)
        label_KF = torch.zeros(len(classes), len(frames), dtype=torch.bool)
        label_KF[torch.from_numpy(class_X[mine] - classes.start), torch.from_numpy(frame_X[mine] - frames.start)] = True
        return label_KF

    def score_KF(
        self, method: str, round: int = 0, classes: range | None = None, frames: range | None = None
    ) -> Tensor:
        """float32 in [0, 1], by a method of `FLAM.localize`; classes and frames as in `label_KF`."""
        classes = range(len(self.classes)) if classes is None else classes
        frames = range(len(self.kept.frame_FD)) if frames is None else frames
        place = {text: m for m, text in enumerate(self.kept.texts)}
        rows = [place[self.words.phrases[round][k]] for k in classes]
        text_KD, scale_K, bias_K = (
            torch.from_numpy(x[rows]) for x in (self.kept.text_MD, self.kept.scale_M, self.kept.bias_M)
        )
        cosine_KF = cosines(torch.from_numpy(self.kept.frame_FD[frames.start : frames.stop])[None], text_KD)[0]
        return frame_score(cosine_KF, scale_K, bias_K, method)

    @property
    def calibrated(self) -> Scores:
        """Those that mean something: by the calibration, or as they are. Of high ones some become equal in float32, so
        they are nothing to rank by."""
        return self if self.calibration is None else _Calibrated(**_fields_of(self))

    @property
    def decided(self) -> Scores:
        """What a threshold of 0.5 decides upon: with a calibration 1 above each phrase's own threshold, else 0; without
        one the scores themselves."""
        return self if self.calibration is None else _Decided(**_fields_of(self))

    def thresholds(self, round: int = 0) -> list[float]:
        """Of each class: its phrase's own, without a calibration 0.5."""
        phrases = self.words.phrases[round]
        if self.calibration is None:
            return [0.5] * len(phrases)
        of_phrase = self.calibration.thresholds_for(phrases)
        return [of_phrase[phrase] for phrase in phrases]

    def blocks(self, method: str, round: int = 0, whole_KF: Tensor | None = None) -> Iterator[tuple[Tensor, ...]]:
        """(score_FK, label_FK) of all classes, about PAIRS numbers at a time; and mask_FK, where some pairs count in
        nothing. whole_KF: `score_KF` of all of them, where it is there already."""
        size = max(1, PAIRS // len(self.kept.frame_FD))
        for first in range(0, len(self.classes), size):
            classes = range(first, min(first + size, len(self.classes)))
            score_KF = self.score_KF(method, round, classes) if whole_KF is None else whole_KF[first : classes.stop]
            unknown_KF = self.unknown_KF(classes)
            mask = () if unknown_KF is None else (~unknown_KF.T,)
            yield score_KF.T, self.label_KF(classes).T, *mask

    def recordings(self, score_KF: Any) -> list[Any]:
        """The frames of each recording: N arrays or tensors [K, T]."""
        start_N1 = self.kept.frame_start_N1
        return [score_KF[:, a:b] for a, b in pairwise(start_N1.tolist())]

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of the `Result` that the scores belong to, without its numbers."""
        of_result = {field.name for field in fields(Result)}
        about = {name: value for name, value in self.kept.about.items() if name in of_result}
        parameters = {
            "phrasings": self.phrasings,
            "several phrasings": "each metric is the mean over phrasings",
            "classes without such a phrasing (left out)": self.words.left_out,
            "windows": f"consecutive, {self.kept.about['seconds']:g} s",
            "batch size": self.kept.about["batch size"],
            "vocabulary sha256": self.kept.about["vocabulary sha256"],
        }
        if self.only_listed:
            parameters["classes scored where a recording lists them"] = self.only_listed
        if self.unknown_NK is not None:
            parameters["pairs of recording and class that count in nothing"] = int(self.unknown_NK.sum())
        threshold = self.kept.asked["soft_threshold"]
        if threshold is not None:
            parameters["labels"] = f"soft ones greater than {threshold:g}"
        split = "+".join(sorted(set(self.kept.splits) - {""}))
        protocol = f"sed/{self.phrasings}" + ("/calibrated" if self.calibration is not None else "")
        return about | {"protocol": protocol, "split": split, "parameters": parameters}


def _fields_of(scores: Scores) -> dict[str, Any]:
    """Without what it has cached."""
    return {field.name: getattr(scores, field.name) for field in fields(Scores)}


class _Calibrated(Scores):
    """Raises ValueError for another method than the calibration's."""

    def score_KF(
        self, method: str, round: int = 0, classes: range | None = None, frames: range | None = None
    ) -> Tensor:
        assert self.calibration is not None
        self.calibration.check(self.kept.about["model"].get("sha256"), method)
        score_KF = super().score_KF(method, round, classes, frames)
        return torch.from_numpy(self.calibration.calibrated(score_KF.numpy()))


class _Decided(_Calibrated):
    """Likewise. A median, and whatever else looks at an order, leaves the same of decisions as of scores; a mean does
    not."""

    def score_KF(
        self, method: str, round: int = 0, classes: range | None = None, frames: range | None = None
    ) -> Tensor:
        score_KF = super().score_KF(method, round, classes, frames)
        classes = range(len(self.classes)) if classes is None else classes
        return above(score_KF, self.thresholds(round)[classes.start : classes.stop])


def above(score_KX: Tensor, threshold_K: Sequence[float]) -> Tensor:
    """1 where a row's score is above its threshold, else 0; compared as in float64."""
    return (score_KX > lowered(threshold_K, score_KX.dtype)[:, None]).to(score_KX.dtype)

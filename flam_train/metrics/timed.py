"""Scores of many recordings and their events, checked, and laid out so that metrics work on all of them at once.

Shape suffixes: N recordings, K classes, T frames of one recording, F frames of all (each recording followed by one
separator of -inf), P pairs of a class and a recording, E events, Q pairs that have events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Detection = tuple[float, float, str]
"""Onset and offset in seconds, class name."""

BLOCK = 1 << 20
"""About how many numbers are worked on at a time."""

CLASSES = 16
"""Worked on together at least: fewer, and picking them from many recordings takes longer than the work."""


def _edges(frames: int, frame_seconds: float) -> np.ndarray:
    """Of any number of frames the same ones, to the last bit: recordings need not have equally many."""
    return np.arange(frames + 1) * frame_seconds


def spread(begin_R: Tensor, count_R: Tensor) -> tuple[Tensor, Tensor]:
    """(row_X, value_X), int64: for each row R the values begin, begin + 1, ... (count of them), row after row."""
    row_X = torch.arange(len(count_R), device=count_R.device).repeat_interleave(count_R)
    within_X = torch.arange(len(row_X), device=count_R.device) - (count_R.cumsum(0) - count_R)[row_X]
    return row_X, begin_R[row_X] + within_X


def checked(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores, labels and mask of frames, on the scores' device. Raises ValueError for shapes that differ and for scores
    that are not numbers."""
    if score_FK.ndim != 2 or score_FK.shape != label_FK.shape:
        raise ValueError(
            f"scores {tuple(score_FK.shape)} and labels {tuple(label_FK.shape)} must both be [frames, classes]"
        )
    if not score_FK.is_floating_point():
        raise ValueError(f"scores are {score_FK.dtype}, not floating-point numbers")
    if label_FK.dtype != torch.bool and not ((label_FK == 0) | (label_FK == 1)).all():
        raise ValueError("labels are neither bool nor 0 and 1: say from which value on a soft label is positive")
    if score_FK.isnan().any():
        row, column = (int(x) for x in score_FK.isnan().nonzero()[0])
        raise ValueError(f"the score of frame {row}, class {column} is not a number: look at the model's output")
    if mask_FK is not None:
        if mask_FK.ndim != 2 or mask_FK.shape[0] != score_FK.shape[0] or mask_FK.shape[1] not in (1, score_FK.shape[1]):
            raise ValueError(f"the mask {tuple(mask_FK.shape)} must be {tuple(score_FK.shape)} or [{len(score_FK)}, 1]")
        mask_FK = mask_FK.detach().to(score_FK.device).bool().expand_as(score_FK)
    return score_FK.detach(), label_FK.detach().to(score_FK.device).bool(), mask_FK


@dataclass(frozen=True)
class Sound:
    """score_NKT: N tensors [K, T_n] without frames behind the end. start_N1: where each begins among F, and F.
    recording_F: whose frame it is; onset_F, offset_F: its time, in seconds of its recording (a separator has none).
    duration_N. Times are float64."""

    score_NKT: list[Tensor]
    start_N1: Tensor
    recording_F: Tensor
    onset_F: Tensor
    offset_F: Tensor
    duration_N: Tensor
    frame_seconds: float

    @classmethod
    def of(
        cls, scores: Sequence[Tensor], classes: Sequence[str], durations: Sequence[float] | None, frame_seconds: float
    ) -> Sound:
        if not 0 < frame_seconds < math.inf:
            raise ValueError(f"frame_seconds {frame_seconds}: it must be more than 0")
        if not len(scores):
            raise ValueError("no recording: nothing to compute a score of")
        if len(set(classes)) != len(classes):
            raise ValueError(f"class {next(c for c in classes if list(classes).count(c) > 1)!r} is there twice")
        if durations is not None and len(durations) != len(scores):
            raise ValueError(f"{len(scores)} scores but {len(durations)} durations: give one of each a recording")
        kept, seconds = [], []
        for n, score in enumerate(scores):
            score_KT = torch.as_tensor(score)
            if score_KT.ndim != 2 or len(score_KT) != len(classes) or not score_KT.shape[1]:
                raise ValueError(
                    f"recording {n}: scores {tuple(score_KT.shape)} must be [{len(classes)} classes, frames]"
                )
            if not score_KT.is_floating_point():
                raise ValueError(f"recording {n}: scores are {score_KT.dtype}, not floating-point numbers")
            edge_T1 = _edges(score_KT.shape[1], frame_seconds)
            length = float(edge_T1[-1] if durations is None else durations[n])
            if not 0 < length < math.inf:
                raise ValueError(f"recording {n}: lasts {length} s: it must last")
            seconds.append(length)
            kept.append(score_KT[:, : np.searchsorted(edge_T1[:-1], length)])
        frames_N = torch.tensor([score_KT.shape[1] for score_KT in kept])
        start_N1 = torch.nn.functional.pad((frames_N + 1).cumsum(0), (1, 0))
        recording_F = torch.arange(len(kept)).repeat_interleave(frames_N + 1)
        duration_N = torch.tensor(seconds, dtype=torch.float64)
        edge_F = torch.empty(len(recording_F), dtype=torch.float64)
        for frames in frames_N.unique().tolist():
            alike_N = frames_N == frames
            at = start_N1[:-1][alike_N, None] + torch.arange(frames + 1)
            edge_F[at] = torch.from_numpy(_edges(frames, frame_seconds)).expand_as(at)
        edge_F = torch.minimum(edge_F, duration_N[recording_F])
        offset_F = torch.cat((edge_F[1:], edge_F[-1:]))
        offset_F[start_N1[1:] - 1] = edge_F[start_N1[1:] - 1]
        device = kept[0].device
        return cls(
            kept,
            start_N1.to(device),
            recording_F.to(device),
            edge_F.to(device),
            offset_F.to(device),
            duration_N.to(device),
            frame_seconds,
        )

    def class_blocks(self, classes: int) -> Iterator[range]:
        """The classes, some at a time."""
        size = max(CLASSES, BLOCK // len(self.recording_F))
        for first in range(0, classes, size):
            yield range(first, min(first + size, classes))

    def block(self, columns: list[int]) -> Tensor:
        """score_KF of some classes. Raises ValueError for scores that are not numbers."""
        consecutive = columns == list(range(columns[0], columns[-1] + 1))
        pick = slice(columns[0], columns[-1] + 1) if consecutive else torch.tensor(columns)
        separator = self.score_NKT[0].new_full((len(columns), 1), -math.inf)
        score_KF = torch.cat([part for s in self.score_NKT for part in (s[pick], separator)], dim=1)
        if score_KF.isnan().any():
            n = int(self.recording_F[score_KF.isnan().any(dim=0)][0])
            raise ValueError(f"recording {n}: a score is not a number: look at the model's output")
        return score_KF

    def frames(self, recording_P: Tensor, frames: int) -> Tensor:
        """at_PT: where the first `frames` frames of recordings are among F; the separator where one has fewer."""
        begin_P, end_P = self.start_N1[recording_P], self.start_N1[recording_P + 1] - 1
        at_PT = begin_P[:, None] + torch.arange(frames, device=begin_P.device)
        return torch.minimum(at_PT, end_P[:, None])

    def batches(self, recording_P: Tensor, weight_P: Tensor) -> Iterator[tuple[Tensor, int]]:
        """(which of P, frames of the longest): those of about as many frames together, a few at a time, so that
        weight x frames stay about BLOCK."""
        frames_P = self.start_N1.diff()[recording_P] - 1
        power_P = torch.log2(frames_P.double()).ceil()
        for power in power_P.unique().tolist():
            alike = (power_P == power).nonzero()[:, 0]
            frames = int(frames_P[alike].max())
            share = (weight_P[alike].cumsum(0) * frames).div(BLOCK, rounding_mode="floor")
            for part in alike.split(share.unique_consecutive(return_counts=True)[1].tolist()):
                yield part, frames

    def edges(self, recording_P: Tensor, frames: int) -> Tensor:
        """edge_PT1: where frames begin and end, in seconds."""
        edge_T1 = torch.from_numpy(_edges(frames, self.frame_seconds)).to(recording_P.device)
        return torch.minimum(edge_T1, self.duration_N[recording_P, None])


@dataclass(frozen=True)
class Truth:
    """Events sorted by class, recording and onset: onset_E, offset_E (float64, s), pair_E (of Q).
    class_Q, recording_Q; begin_N1, pair_of_recording: the pairs of recording n are the entries from begin_N1[n] on.
    count_K: events of each class; seconds_K: how long they last together."""

    onset_E: Tensor
    offset_E: Tensor
    pair_E: Tensor
    class_Q: Tensor
    recording_Q: Tensor
    begin_N1: Tensor
    pair_of_recording: Tensor
    count_K: Tensor
    seconds_K: Tensor

    @classmethod
    def of(cls, events: Sequence[Sequence[Detection]], classes: list[str], sound: Sound) -> Truth:
        recordings = len(sound.score_NKT)
        if len(events) != recordings:
            raise ValueError(f"{recordings} scores but {len(events)} lists of events: give one of each a recording")
        number = {name: k for k, name in enumerate(classes)}
        rows = [(n, a, b, name) for n, found in enumerate(events) for a, b, name in found]
        for n, a, b, name in rows:
            if name not in number:
                raise ValueError(f"recording {n}: class {name!r} of an event is none of the classes that are scored")
            if not (math.isfinite(a) and math.isfinite(b) and a < b):
                raise ValueError(f"recording {n}: an event of {name!r} from {a} to {b} s does not last: mend it")
        recording_E = np.array([n for n, _, _, _ in rows], dtype=np.int64)
        onset_E = np.array([a for _, a, _, _ in rows], dtype=np.float64)
        offset_E = np.array([b for _, _, b, _ in rows], dtype=np.float64)
        class_E = np.array([number[name] for _, _, _, name in rows], dtype=np.int64)
        order = np.lexsort((offset_E, onset_E, recording_E, class_E))
        recording_E, class_E, onset_E, offset_E = recording_E[order], class_E[order], onset_E[order], offset_E[order]
        # Merging: an event joins those before it in its group if it begins before they have ended. Times as ranks, so
        # that groups can be told apart by adding a multiple of their number.
        group_E = class_E * recordings + recording_E
        times, rank = np.unique(np.concatenate((onset_E, offset_E)), return_inverse=True)
        begin, end = (group_E * len(times) + part for part in np.split(rank, 2))
        last = np.maximum.accumulate(end) if len(end) else end
        first_E = np.ones(len(rows), dtype=bool)
        first_E[1:] = begin[1:] > last[:-1]
        at = np.flatnonzero(first_E)
        offset_E = np.maximum.reduceat(offset_E, at) if len(at) else offset_E
        onset_E, group_E = onset_E[at], group_E[at]
        pairs_Q, pair_E = np.unique(group_E, return_inverse=True)
        class_Q, recording_Q = np.divmod(pairs_Q, recordings)
        class_E = class_Q[pair_E]
        by_recording = np.argsort(recording_Q, kind="stable")
        begin_N1 = np.searchsorted(recording_Q[by_recording], np.arange(recordings + 1))
        seconds_K = np.bincount(class_E, weights=offset_E - onset_E, minlength=len(classes))
        arrays = onset_E, offset_E, pair_E, class_Q, recording_Q, begin_N1, by_recording
        device = sound.recording_F.device
        tensors = [torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in arrays]
        counts = [np.bincount(class_E, minlength=len(classes)), seconds_K]
        return cls(*tensors, *(torch.from_numpy(x).to(device) for x in counts))

    def events(self, pair_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(row_E, onset_E1, offset_E1) of the events of distinct pairs (-1: none); row_E: their places in pair_P."""
        place_Q = torch.full((len(self.class_Q) + 1,), -1, device=pair_P.device)
        place_Q[pair_P] = torch.arange(len(pair_P), device=pair_P.device)
        place_Q[-1] = -1  # where those without events went
        row_E = place_Q[self.pair_E]
        event_E = (row_E >= 0).nonzero()[:, 0]
        return row_E[event_E], self.onset_E[event_E, None], self.offset_E[event_E, None]

    def coverage(self, pair_P: Tensor, edge_PT1: Tensor) -> Tensor:
        """covered_PT1: seconds of the events of pairs before each edge. float64."""
        covered_PT1 = torch.zeros_like(edge_PT1)
        several = max(1, BLOCK // edge_PT1.shape[1])
        for row_E, onset_E1, offset_E1 in zip(*(x.split(several) for x in self.events(pair_P)), strict=True):
            seconds_ET1 = (torch.minimum(edge_PT1[row_E], offset_E1) - onset_E1).clamp_(min=0)
            covered_PT1.index_add_(0, row_E, seconds_ET1)
        return covered_PT1

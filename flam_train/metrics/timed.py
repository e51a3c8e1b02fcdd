"""Scores of many recordings and their events, checked, and laid out so that metrics work on all of them at once.

Shape suffixes: N recordings, K classes, T frames of one recording, F frames of all (each recording followed by one
separator of -inf), P pairs of a class and a recording, E events, Q pairs that have events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Detection = tuple[float, float, str]
"""Onset and offset in seconds, class name."""

BLOCK = 1 << 20
"""About how many numbers are worked on at a time."""

FAR, FAR_WITHIN = 10, 50
"""Times that lie so many times the recording's length after its beginning may be milliseconds; of an event that begins
in the recording, and may be longer than it, only later ones."""

PICKED = 512
"""Frames that are picked of a recording at least, over the classes that are worked on together: fewer, and picking them
from many recordings takes longer than the work."""


def _edges(frames: int, frame_seconds: float) -> np.ndarray:
    """Of any number of frames the same ones, to the last bit: recordings need not have equally many."""
    return np.arange(frames + 1) * frame_seconds


DECIMALS = 6
"""Times are compared to the microsecond, as sed_scores_eval does: .7 of 10 s is reached by 7 s, and what lies .2 s
apart lies within .2 s, whatever the last bits of sums and products say."""


def micro(seconds: Tensor) -> Tensor:
    """To the microsecond."""
    return seconds.round(decimals=DECIMALS)


def lowered(thresholds: Sequence[float], dtype: torch.dtype) -> Tensor:
    """The highest numbers of a precision that are no higher than the thresholds: a score of that precision is above
    them exactly where it is above the thresholds, as if both were compared in float64.

    Raises ValueError for none, or one that is no number.
    """
    try:
        exact = torch.tensor([float(thresholds[n]) for n in range(len(thresholds))], dtype=torch.float64)
    except (TypeError, ValueError):
        raise ValueError(f"thresholds {thresholds!r}: give one or more numbers in a list") from None
    if not len(exact):
        raise ValueError(f"thresholds {thresholds!r}: give one or more in a list")
    if exact.isnan().any():
        raise ValueError(f"thresholds {exact.tolist()}: one is not a number")
    near = exact.to(dtype)
    if dtype == torch.float16:  # of which torch does not know the next one
        below = torch.from_numpy(np.nextafter(near.numpy(), np.float16(-np.inf)))
    else:
        below = torch.nextafter(near, torch.full_like(near, -math.inf))
    return torch.where(near.double() > exact, below, near)


def spread(begin_R: Tensor, count_R: Tensor) -> tuple[Tensor, Tensor]:
    """(row_X, value_X), int64: for each row R the values begin, begin + 1, ... (count of them), row after row."""
    row_X = torch.arange(len(count_R), device=count_R.device).repeat_interleave(count_R)
    within_X = torch.arange(len(row_X), device=count_R.device) - (count_R.cumsum(0) - count_R)[row_X]
    return row_X, begin_R[row_X] + within_X


def checked(score_FK: Tensor, label_FK: Tensor, mask_FK: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores, labels and mask of frames, on the scores' device. Raises ValueError for shapes that differ, and for
    scores that are not numbers and labels that are none but where the mask leaves them out."""
    score_FK, label_FK = torch.as_tensor(score_FK), torch.as_tensor(label_FK)
    if score_FK.ndim != 2 or score_FK.shape != label_FK.shape:
        raise ValueError(
            f"scores {tuple(score_FK.shape)} and labels {tuple(label_FK.shape)} must both be [frames, classes]"
        )
    if not score_FK.is_floating_point():
        raise ValueError(f"scores are {score_FK.dtype}, not floating-point numbers")
    if not score_FK.shape[1]:
        raise ValueError("no class: nothing to compute a score of")
    if mask_FK is not None:
        mask_FK = torch.as_tensor(mask_FK)
        if mask_FK.ndim != 2 or mask_FK.shape[0] != score_FK.shape[0] or mask_FK.shape[1] not in (1, score_FK.shape[1]):
            raise ValueError(f"the mask {tuple(mask_FK.shape)} must be {tuple(score_FK.shape)} or [{len(score_FK)}, 1]")
        mask_FK = mask_FK.detach().to(score_FK.device).bool().expand_as(score_FK)
    label_FK = label_FK.detach().to(score_FK.device)
    if label_FK.dtype != torch.bool:
        known_FK = (label_FK == 0) | (label_FK == 1)
        if not (known_FK if mask_FK is None else known_FK | ~mask_FK).all():
            raise ValueError("labels are neither bool nor 0 and 1: say from which value on a soft label is positive")
    nothing_FK = score_FK.isnan() if mask_FK is None else score_FK.isnan() & mask_FK
    if nothing_FK.any():
        row, column = (int(x) for x in nothing_FK.nonzero()[0])
        raise ValueError(f"the score of frame {row}, class {column} is not a number: look at the model's output")
    return score_FK.detach(), label_FK.bool(), mask_FK


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
        if durations is not None and not isinstance(durations, Sized):
            raise ValueError(f"durations {durations!r}: give one of each recording in a list")
        if durations is not None and len(durations) != len(scores):
            raise ValueError(f"{len(scores)} scores but {len(durations)} durations: give one of each a recording")
        kept, seconds = [], []
        for n, score in enumerate(scores):
            score_KT = torch.as_tensor(score).detach()
            if score_KT.ndim != 2 or len(score_KT) != len(classes) or not score_KT.shape[1]:
                raise ValueError(
                    f"recording {n}: scores {tuple(score_KT.shape)} must be [{len(classes)} classes, frames]"
                )
            if not score_KT.is_floating_point():
                raise ValueError(f"recording {n}: scores are {score_KT.dtype}, not floating-point numbers")
            edge_T1 = _edges(score_KT.shape[1], frame_seconds)
            length = _number(edge_T1[-1] if durations is None else durations[n], f"recording {n}: the duration")
            if not (length < math.inf and round(length, DECIMALS) > 0):
                raise ValueError(f"recording {n}: lasts {length} s: it must last")
            seconds.append(length)
            begins_T, end = edge_T1[:-1].round(DECIMALS), round(length, DECIMALS)
            kept.append(score_KT[:, : np.searchsorted(begins_T, end)])
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
        frames = len(self.recording_F)
        size = max(-(-PICKED * len(self.score_NKT) // frames), BLOCK // frames)
        for first in range(0, classes, size):
            yield range(first, min(first + size, classes))

    def block(self, columns: list[int]) -> Tensor:
        """score_KF of some classes. Raises ValueError for scores that are not numbers."""
        consecutive = columns == list(range(columns[0], columns[-1] + 1))
        pick = slice(columns[0], columns[-1] + 1) if consecutive else columns
        separator = self.score_NKT[0].new_full((len(columns), 1), -math.inf)
        if self._arrays is None:
            score_KF = torch.cat([part for s in self.score_NKT for part in (s[pick], separator)], dim=1)
        else:
            end = separator.numpy()
            score_KF = torch.from_numpy(np.concatenate([part for s in self._arrays for part in (s[pick], end)], axis=1))
        if score_KF.isnan().any():
            n = int(self.recording_F[score_KF.isnan().any(dim=0)][0])
            raise ValueError(f"recording {n}: a score is not a number: look at the model's output")
        return score_KF

    @cached_property
    def _arrays(self) -> list[np.ndarray] | None:
        """Of many recordings NumPy picks five times as fast as torch; it has no bfloat16."""
        if any(score.is_cuda or score.dtype == torch.bfloat16 for score in self.score_NKT):
            return None
        return [score.numpy() for score in self.score_NKT]

    def batches(self, recording_P: Tensor) -> Sequence[Tensor]:
        """Which of P, in order, some at a time: about BLOCK frames together, but at least one recording."""
        frames_P = self.start_N1.diff()[recording_P]
        share_P = frames_P.cumsum(0).div(BLOCK, rounding_mode="floor")
        sizes = share_P.unique_consecutive(return_counts=True)[1].tolist()
        return torch.arange(len(recording_P), device=recording_P.device).split(sizes or [0])


@dataclass(frozen=True)
class Truth:
    """Events sorted by class, recording and onset: onset_E, offset_E (float64, s), pair_E (of Q).
    class_Q, recording_Q; begin_N1, pair_of_recording: the pairs of recording n are the entries from begin_N1[n] on.
    count_K: events of each class; seconds_K: how long they last together. first_Q1: where a pair's events begin among
    E, and E; before_E1: seconds of all events before each. onset_U, begun_E, offset_U, ended_E: of `_keys`."""

    onset_E: Tensor
    offset_E: Tensor
    pair_E: Tensor
    class_Q: Tensor
    recording_Q: Tensor
    begin_N1: Tensor
    pair_of_recording: Tensor
    count_K: Tensor
    seconds_K: Tensor
    first_Q1: Tensor
    before_E1: Tensor
    onset_U: Tensor
    begun_E: Tensor
    offset_U: Tensor
    ended_E: Tensor

    @classmethod
    def of(cls, events: Sequence[Sequence[Detection]], classes: list[str], sound: Sound) -> Truth:
        recordings = len(sound.score_NKT)
        if len(events) != recordings:
            raise ValueError(f"{recordings} scores but {len(events)} lists of events: give one of each a recording")
        number = {name: k for k, name in enumerate(classes)}
        ends = sound.duration_N.tolist()
        rows = [_row(n, event) for n, found in enumerate(events) for event in found]
        for n, a, b, name in rows:
            if name not in number:
                raise ValueError(f"recording {n}: class {name!r} of an event is none of the classes that are scored")
            what = f"recording {n}: an event of {name!r} from {a:g} to {b:g} s"
            if not (math.isfinite(a) and math.isfinite(b) and round(b - a, DECIMALS) > 0):
                raise ValueError(f"{what} does not last: mend it")
            if round(a, DECIMALS) < 0:
                raise ValueError(f"{what} begins before the recording: mend it, or cut it")
            end = ends[n]
            behind = round(a - end, DECIMALS) >= 0
            hint = "; are its times milliseconds?" if b > FAR * end and b / 1000 <= end else ""
            if hint and not behind and b > FAR_WITHIN * end:
                raise ValueError(f"{what} lasts far beyond the recording of {end:g} s{hint}: mend it, or cut it")
            if behind:
                raise ValueError(
                    f"{what} lies behind the end of the recording, {end:g} s{hint}: mend it, or leave it out"
                )
        recording_E = np.array([n for n, _, _, _ in rows], dtype=np.int64)
        onset_E = np.array([a for _, a, _, _ in rows], dtype=np.float64)
        offset_E = np.array([b for _, _, b, _ in rows], dtype=np.float64)
        class_E = np.array([number[name] for _, _, _, name in rows], dtype=np.int64)
        order = np.lexsort((offset_E, onset_E, recording_E, class_E))
        recording_E, class_E, onset_E, offset_E = recording_E[order], class_E[order], onset_E[order], offset_E[order]
        # Merging: an event joins those before it in its group if it begins before they have ended. Times as ranks, so
        # that groups can be told apart by adding a multiple of their number.
        group_E = class_E * recordings + recording_E
        times, rank = np.unique(np.concatenate((onset_E, offset_E)).round(DECIMALS), return_inverse=True)
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
        first_Q1 = np.searchsorted(pair_E, np.arange(len(pairs_Q) + 1))
        before_E1 = np.concatenate(([0.0], np.cumsum(offset_E - onset_E)))
        counts = np.bincount(class_E, minlength=len(classes)), seconds_K, first_Q1, before_E1
        tensors = [torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in (*arrays, *counts)]
        tensors += [*_keys(tensors[2], tensors[0]), *_keys(tensors[2], tensors[1])]
        return cls(*tensors)

    def begun(self, pair_I: Tensor, seconds_I: Tensor) -> Tensor:
        """The first of E, of a pair, that has not begun before a time; the one behind the pair's last if all have."""
        return _place(self.onset_U, self.begun_E, pair_I, torch.searchsorted(self.onset_U, seconds_I))

    def ended(self, pair_I: Tensor, seconds_I: Tensor) -> Tensor:
        """The first of E, of a pair, that has not ended at a time."""
        return _place(self.offset_U, self.ended_E, pair_I, torch.searchsorted(self.offset_U, seconds_I, right=True))

    def coverage(self, pair_I: Tensor, seconds_I: Tensor) -> Tensor:
        """Seconds of the events of a pair before a time. float64."""
        first_I, next_I = self.first_Q1[pair_I], self.begun(pair_I, seconds_I)
        last_E1 = torch.nn.functional.pad(self.offset_E, (1, 0), value=-math.inf)
        beyond_I = torch.where(next_I > first_I, (last_E1[next_I] - seconds_I).clamp(min=0), 0.0)
        return self.before_E1[next_I] - self.before_E1[first_I] - beyond_I


def _number(value: object, what: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{what} is {value!r}, not a number of seconds: mend it") from None


def _row(n: int, event: Sequence[object]) -> tuple[int, float, float, str]:
    """(recording, onset, offset, class). Raises ValueError for what is no `Detection`."""
    if isinstance(event, str) or len(event) != 3:
        raise ValueError(f"recording {n}: the event {event!r} must be (onset, offset, class)")
    onset, offset, name = event
    what = f"recording {n}: a time of the event {tuple(event)!r}"
    return n, _number(onset, what), _number(offset, what), str(name)


def _keys(pair_E: Tensor, time_E: Tensor) -> tuple[Tensor, Tensor]:
    """(time_U, key_E): all times, and for each event one number that grows with pair and time: pairs can be told apart
    and times compared exactly."""
    time_U, rank_E = time_E.unique(return_inverse=True)
    return time_U, pair_E * (len(time_U) + 1) + rank_E


def _place(time_U: Tensor, key_E: Tensor, pair_I: Tensor, rank_I: Tensor) -> Tensor:
    return torch.searchsorted(key_E, pair_I * (len(time_U) + 1) + rank_I)


def laid_out(
    scores: Sequence[Tensor],
    events: Sequence[Sequence[Detection]],
    classes: Sequence[str],
    durations: Sequence[float] | None,
    frame_seconds: float,
) -> tuple[Sound, Truth]:
    """Both, of the same classes. Raises ValueError as `psd.psds`, and for no class."""
    sound = Sound.of(scores, classes, durations, frame_seconds)
    if not len(classes):
        raise ValueError("no class: nothing to compute a score of")
    return sound, Truth.of(events, list(classes), sound)

"""Events of a recording that is still going on: each is given as soon as nothing that may come can change it.

Shape suffixes: C phrases, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import takewhile

import numpy as np
import torch

from flam_train.batch import SAMPLE_RATE
from flam_train.data.sound.streaming import Stream
from flam_train.detection.calibration import Calibration
from flam_train.detection.events import (
    Detection,
    Rules,
    by_onset,
    event_of,
    rounded,
    runs_of_smooth,
)
from flam_train.detection.scoring import Listening, Time, silenced
from flam_train.detection.smoothing import gaussian, gaussian_reach, median, median_frames

ANY = 2.0
"""A score above every threshold: the most that may come."""


def events_as_they_end(
    listening: Listening,
    phrases: Sequence[str],
    rules: Rules,
    thresholds: Mapping[str, float] | None = None,
    method: str | None = None,
    calibration: Calibration | None = None,
) -> Iterator[list[Detection]]:
    """The events that `events_of` finds in the whole, in lists: after each window what is certain by then, ordered by
    onset. listening: from the beginning on, without a thread (`early=0`), since what its stream knows must be as old as
    the frames are. calibration: of scores by this method. Others as in `score` and `events_of`."""
    model, stream = listening.model, listening.stream
    seconds = model.grid.frame_seconds
    settling = [
        _Settling(phrase, rules, (thresholds or {}).get(phrase, rules.threshold), seconds) for phrase in phrases
    ]
    done = 0
    with torch.inference_mode():
        text = model.embed_text(list(phrases))
    with closing(iter(listening)) as frames:
        for frame_TD in frames:
            time = _time_of(stream, done, len(frame_TD), seconds)
            with torch.inference_mode():  # not while whoever asks does something else
                score_CT = model.localize(frame_TD[None], text, method)[0].cpu().numpy()[:, : time.frames]
            done += time.frames
            score_CT, heard_T = silenced(score_CT, time), time.heard()
            score_CT = score_CT if calibration is None else calibration.calibrated(score_CT)
            found = [s.add(score_T, heard_T) for s, score_T in zip(settling, score_CT, strict=True)]
            yield sorted((event for events in found for event in events), key=by_onset)
    yield sorted((event for one in settling for event in one.rest(stream.samples / SAMPLE_RATE)), key=by_onset)


def _time_of(stream: Stream, done: int, frames: int, seconds: float) -> Time:
    """Of the frames behind those `done`, without padding. Windows are read to their ends before frames come out of
    them, so what is known of dead time is final."""
    end, last = stream.samples / SAMPLE_RATE, None
    if stream.ended:
        last = max(1, round(end / seconds))
        frames = max(0, min(frames, last - done))
    start = done * seconds
    stop = end if done + frames == last else min((done + frames) * seconds, end)
    stop = stop if frames else start
    return Time(done, frames, seconds, start, stop, tuple(stream.dead_since(start)))


class _Settling:
    """One phrase's events. Holds the frames that may still be part of one.

    All rules are monotone: more score gives the same events or longer ones. So what is an event if all that comes has
    the highest score, and the same if all has the lowest and is in no event, stays as it is. They come in their order.
    """

    def __init__(self, phrase: str, rules: Rules, threshold: float, frame_seconds: float) -> None:
        self._phrase, self._rules, self._threshold, self._seconds = phrase, rules, threshold, frame_seconds
        self._gaussian = gaussian_reach(rules.smooth, frame_seconds)
        self._reach = median_frames(rules.median, frame_seconds) // 2 + self._gaussian
        self._first = 0  # the frame from which on events are looked for
        self._before = 0  # frames held before it, which smoothing sees
        self._score_T, self._heard_T = np.zeros(0, np.float32), np.zeros(0, bool)

    def add(self, score_T: np.ndarray, heard_T: np.ndarray) -> list[Detection]:
        self._score_T = np.concatenate([self._score_T, score_T])
        self._heard_T = np.concatenate([self._heard_T, heard_T])
        most, least = self._runs_before(ANY), set(self._runs_before(0.0))
        certain = list(takewhile(least.__contains__, most))
        stop = (self._first + len(self._score_T) - self._before) * self._seconds
        found = [self._event(first, behind, stop) for first, behind in certain]
        # The last of `most` holds what may come, so that one is open; the frame before it is in no event, ever.
        open_since, _ = most[len(certain)]
        self._forget(open_since - 1)
        return found

    def rest(self, stop: float) -> list[Detection]:
        """At the end of the recording, after so many seconds."""
        mean_T = self._mean(self._score_T, self._heard_T)
        events = (self._event(*run, stop) for run in self._runs(mean_T, self._heard_T))
        return [event for event in events if event.offset > event.onset]

    def _runs_before(self, score: float) -> list[tuple[int, int]]:
        """What are events if all that comes has this score, and if it is 0, no gap to what follows is closed."""
        frames, come_T = len(self._score_T), np.full(self._gaussian, score, np.float32)
        # The mean is the lowest before frames that sound, the median before those that do not.
        heard_T = np.concatenate([self._heard_T, np.ones(self._gaussian, bool)])
        mean_T = self._mean(np.concatenate([self._score_T, come_T]), heard_T)[:frames]
        return self._runs(np.append(mean_T, np.float32(score)), np.append(self._heard_T, score > 0))

    def _mean(self, score_T: np.ndarray, heard_T: np.ndarray) -> np.ndarray:
        return gaussian(score_T, heard_T, self._rules.smooth, self._seconds)

    def _runs(self, mean_T: np.ndarray, heard_T: np.ndarray) -> list[tuple[int, int]]:
        """Counted from `_first` on."""
        smooth_T = (median(mean_T, self._rules.median, self._seconds) * heard_T)[self._before :]
        return runs_of_smooth(smooth_T, heard_T[self._before :], self._rules, self._threshold, self._seconds)

    def _event(self, first: int, behind: int, stop: float) -> Detection:
        inside_T = self._score_T[self._before + first : self._before + behind]
        onset, offset = (min((self._first + frame) * self._seconds, stop) for frame in (first, behind))
        if behind == len(self._score_T) - self._before:
            offset = stop
        return event_of(self._phrase, inside_T, *rounded(onset, offset, stop), None)

    def _forget(self, frames: int) -> None:
        if frames > 0:
            self._first += frames
            before = min(self._first, self._reach)
            gone = self._before + frames - before
            self._score_T, self._heard_T = self._score_T[gone:].copy(), self._heard_T[gone:].copy()
            self._before = before

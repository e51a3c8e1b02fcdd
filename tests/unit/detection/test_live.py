"""Events of a recording that goes on: those of the whole, never one that what comes could change."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flam_train.detection.events import Detection, Rules, events_of
from flam_train.detection.live import _Settling
from flam_train.detection.scoring import Scores, Time

FRAME = 0.3125

rules = st.builds(
    Rules,
    threshold=st.sampled_from([0.2, 0.5, 1.0]),
    low=st.sampled_from([0.0, 0.5, 1.0]),
    median=st.sampled_from([0.0, 0.9, 2.2]),
    close=st.sampled_from([0.0, 0.4, 1.3]),
    shortest=st.sampled_from([0.0, 0.7, 1.6]),
    smooth=st.sampled_from([0.0, 0.2, 0.3, 0.9]),
)


def whole(score_T, heard_T, some: Rules, stop: float):
    dead = [(t * FRAME, (t + 1) * FRAME) for t in np.flatnonzero(~heard_T)]
    time = Time(0, len(score_T), FRAME, 0.0, stop, tuple(dead))
    return events_of(Scores(("a",), score_T[None], time), some)


@settings(max_examples=300, deadline=None)
@given(st.data(), rules, st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_in_blocks_as_in_the_whole(data, some, frames, seed):
    rng = np.random.default_rng(seed)
    score_T = rng.choice([0.0, 0.15, 0.3, 0.6, 1.0], frames).astype(np.float32)
    heard_T = rng.random(frames) > 0.1
    score_T = score_T * heard_T
    stop = frames * FRAME - rng.choice([0.0, 0.1])
    want = whole(score_T, heard_T, some, stop)
    settling, got, at = _Settling("a", some, some.threshold, FRAME), [], 0
    while at < frames:
        size = data.draw(st.integers(1, 12))
        got += settling.add(score_T[at : at + size], heard_T[at : at + size])
        at += size
    got += settling.rest(stop)
    assert got == want


@settings(max_examples=200, deadline=None)
@given(rules, st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_each_as_soon_as_it_is_certain(some, frames, seed):
    """The first that is not given yet is another one, or none, with some continuation. A `low` of 0 is left out: the
    least that smoothing leaves of what sounds is above it, and nothing where nothing sounds."""
    some = replace(some, low=some.low or 0.5)
    rng = np.random.default_rng(seed)
    score_T = rng.choice([0.0, 0.15, 0.3, 0.6, 1.0], frames).astype(np.float32)
    heard_T = rng.random(frames) > 0.1
    given_now = _Settling("a", some, some.threshold, FRAME).add(score_T * heard_T, heard_T)

    def going_on(value: float) -> list[Detection]:
        longer_T = np.append(score_T * heard_T, np.full(20, value, np.float32))
        return whole(longer_T, np.append(heard_T, np.ones(20, bool)), some, (frames + 20) * FRAME)

    silent, loud = going_on(0.0), going_on(2.0)
    assert given_now == list(takewhile(silent.__contains__, loud))


def test_little_is_kept_of_a_stream_without_end():
    settling = _Settling("a", Rules(median=2.0, close=1.0, smooth=0.2), 0.5, FRAME)
    score_T = np.array([0.1] * 6 + [0.9] * 4 + [0.1] * 6, np.float32)
    events = [event for _ in range(500) for event in settling.add(score_T, np.ones(16, bool))]
    assert len(events) == 500
    assert len(settling._score_T) < 20

"""Events of scores: as a plain search finds them, and with the properties that the rules promise."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flam_train.detection.events import Detection, Rules, above, closed, events_of, runs_of
from flam_train.detection.scoring import Scores, Time

FRAME = 0.3125
NONE = Rules(threshold=0.5, low=1.0, median=0.0, close=0.0, shortest=0.0)


def scores_of(*rows, start: float = 0.0, stop: float | None = None, dead=(), first: int = 0) -> Scores:
    score_CT = np.array(rows, np.float32)
    frames = score_CT.shape[1]
    time = Time(first, frames, FRAME, start, (first + frames) * FRAME if stop is None else stop, tuple(dead))
    return Scores(tuple("ab"[: len(rows)]), score_CT, time)


def plain(score_T, heard_T, rules: Rules, threshold: float) -> list[tuple[int, int]]:
    """Frame by frame."""
    width, half = 2 * round((rules.median / FRAME - 1) / 2) + 1, 0
    if width > 1:
        half = width // 2
        padded = [score_T[0]] * half + list(score_T) + [score_T[-1]] * half
        score_T = [sorted(padded[t : t + width])[half] for t in range(len(score_T))]
    level_T = [s if h else 0.0 for s, h in zip(score_T, heard_T, strict=True)]
    runs, t = [], 0
    while t < len(level_T):
        begin = t
        while t < len(level_T) and level_T[t] > rules.low * threshold:
            t += 1
        if t > begin and max(level_T[begin:t]) > threshold:
            runs.append([begin, t])
        t += t == begin
    joined: list[list[int]] = []
    for run in runs:
        gap = range(joined[-1][1], run[0]) if joined else range(0)
        if joined and len(gap) * FRAME <= rules.close + 1e-6 and all(heard_T[t] for t in gap):
            joined[-1][1] = run[1]
        else:
            joined.append(run)
    return [(a, b) for a, b in joined if (b - a) * FRAME >= rules.shortest - 1e-6 or a == 0 or b == len(level_T)]


levels = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9, 1.0]), min_size=1, max_size=40)
rules_of_any_kind = st.builds(
    Rules,
    threshold=st.sampled_from([0.2, 0.5, 0.8]),
    low=st.sampled_from([0.3, 0.6, 1.0]),
    median=st.sampled_from([0.0, 0.94, 1.6]),
    close=st.sampled_from([0.0, 0.32, 0.7, 2.0]),
    shortest=st.sampled_from([0.0, 0.3125, 0.6, 1.0]),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(score=levels, rules=rules_of_any_kind, silent=st.sets(st.integers(0, 39), max_size=8))
def test_runs_are_those_of_a_plain_search(score, rules, silent):
    heard_T = np.array([t not in silent for t in range(len(score))])
    got = runs_of(np.array(score), heard_T, rules, rules.threshold, FRAME)
    assert got == plain(score, heard_T, rules, rules.threshold)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(score=levels, rules=rules_of_any_kind, higher=st.floats(0, 1))
def test_a_higher_threshold_never_adds_time(score, rules, higher):
    heard_T, score_T = np.ones(len(score), bool), np.array(score)
    less, more = (
        np.zeros(len(score), bool),
        np.zeros(len(score), bool),
    )
    for active_T, threshold in ((more, rules.threshold), (less, max(higher, rules.threshold))):
        for first, behind in runs_of(score_T, heard_T, rules, threshold, FRAME):
            assert not active_T[first:behind].any()  # no phrase is found twice at once
            active_T[first:behind] = True
            assert behind - first >= rules.shortest / FRAME - 1e-6 or first == 0 or behind == len(score)
    assert not (less & ~more).any()


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(score=levels, gap=st.floats(0, 6))
def test_closing_gaps_is_idempotent(score, gap):
    heard_T = np.ones(len(score), bool)
    once = closed(above(np.array(score), 0.5, 0.5), gap, heard_T)
    assert np.array_equal(closed(once, gap, heard_T), once)


@pytest.mark.parametrize(
    ("rules", "want"),
    [
        (NONE, [(0.938, 1.25), (1.562, 2.188), (3.438, 3.75)]),
        (Rules(0.85, 1.0, 0.0, 0.0, 0.0), [(1.562, 1.875)]),
        (Rules(0.5, 0.8, 0.0, 0.0, 0.0), [(0.625, 1.25), (1.562, 2.188), (3.438, 3.75)]),
        (Rules(0.5, 1.0, 0.9375, 0.0, 0.0), [(1.25, 2.188)]),
        (Rules(0.5, 1.0, 0.0, 0.3125, 0.0), [(0.938, 2.188), (3.438, 3.75)]),
        (Rules(0.5, 1.0, 0.0, 0.0, 0.5), [(1.562, 2.188)]),
    ],
)
def test_each_rule_changes_something(rules, want):
    score = [0, 0, 0.45, 0.8, 0.3, 0.9, 0.6, 0, 0, 0, 0, 0.7, 0, 0]
    assert [(e.onset, e.offset) for e in events_of(scores_of(score), rules)] == want


def test_an_event_tells_its_scores_and_where_it_lies():
    found = events_of(scores_of([0, 0.6, 1.0, 0], [0.9, 0.9, 0, 0.7]), NONE, {"b": 0.8}, channel=2)
    assert found == [
        Detection(0.0, 0.625, "b", pytest.approx(0.9), pytest.approx(0.9), 2),
        Detection(0.312, 0.938, "a", pytest.approx(0.8), 1.0, 2),
    ]
    assert pickle.loads(pickle.dumps(found)) == found
    assert math.isnan(Detection(0, 1, "a", 0.5).peak)


def test_times_do_not_reach_beyond_the_recording():
    score = [0.9] * 4
    for stop in (1.0, 1.0004, 1.0006, 1.2344):
        (found,) = events_of(scores_of(score, stop=stop), NONE)
        assert found.offset <= stop
        assert found.offset == pytest.approx(stop, abs=1.1e-3)
    (found,) = events_of(scores_of(score, first=3, start=1.0, stop=1.9), NONE)
    assert (found.onset, found.offset) == (1.0, 1.9)
    (found,) = events_of(scores_of([0.9], stop=0.0004), NONE)
    assert found.onset <= found.offset


def test_nothing_is_found_where_nothing_sounds():
    dead = [(0.625, 1.25)]
    found = events_of(scores_of([0.9] * 6, dead=dead), Rules(0.5, 1.0, 0.0, 5.0, 0.0))
    assert [(e.onset, e.offset) for e in found] == [(0.0, 0.625), (1.25, 1.875)]


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"low": -0.1}, {"low": 1.1}, {"median": -1}, {"close": math.nan}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=f"detection.{next(iter(wrong))}: "):
        Rules(**wrong)

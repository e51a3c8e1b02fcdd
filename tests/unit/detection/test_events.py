"""Events of scores: as a plain search finds them, and with the properties that the rules promise."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flam_train.detection.events import Detection, Rules, above, closed, events_of, runs_of, smoothed
from flam_train.detection.scoring import Scores, Time
from flam_train.detection.smoothing import gaussian

FRAME = 0.3125
NONE = Rules(threshold=0.5, low=1.0, median=0.0, close=0.0, shortest=0.0, smooth=0.0)


def scores_of(*rows, start: float = 0.0, stop: float | None = None, dead=(), first: int = 0) -> Scores:
    score_CT = np.array(rows, np.float32)
    frames = score_CT.shape[1]
    time = Time(first, frames, FRAME, start, (first + frames) * FRAME if stop is None else stop, tuple(dead))
    return Scores(tuple("ab"[: len(rows)]), score_CT, time)


def plain(score_T, heard_T, rules: Rules, threshold: float) -> list[tuple[int, int]]:
    """Frame by frame."""
    score_T = plain_mean(score_T, heard_T, rules.smooth)
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


def plain_mean(score_T, heard_T, seconds: float) -> list[float]:
    """The mean of logits, by weights up to three standard deviations away, of frames that sound."""
    last, out = len(score_T) - 1, []
    reach = round(3 * seconds / FRAME)
    for t in range(len(score_T)):
        total = weights = 0.0
        for other in range(t - reach, t + reach + 1):
            inside = min(max(other, 0), last)
            if heard_T[inside] and reach:
                weight = math.exp(-(((other - t) * FRAME / seconds) ** 2) / 2)
                score = min(max(float(score_T[inside]), 1e-30), 1 - 2.0**-25)
                logit = max(math.log(score / (1 - score)), -25 * math.log(2))
                total, weights = total + weight * logit, weights + weight
        smooth = 1 / (1 + math.exp(-total / weights)) if weights else float(score_T[t])
        out.append(smooth if heard_T[t] else 0.0)
    return out


levels = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9, 1.0]), min_size=1, max_size=40)
rules_of_any_kind = st.builds(
    Rules,
    threshold=st.sampled_from([0.2, 0.5, 0.8]),
    low=st.sampled_from([0.3, 0.6, 1.0]),
    median=st.sampled_from([0.0, 0.94, 1.6]),
    close=st.sampled_from([0.0, 0.32, 0.7, 2.0]),
    shortest=st.sampled_from([0.0, 0.3125, 0.6, 1.0]),
    smooth=st.sampled_from([0.0, 0.2, 0.3, 0.7]),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(score=levels, rules=rules_of_any_kind, silent=st.sets(st.integers(0, 39), max_size=8))
def test_runs_are_those_of_a_plain_search(score, rules, silent):
    heard_T = np.array([t not in silent for t in range(len(score))])
    got = runs_of(np.array(score), heard_T, rules, rules.threshold, FRAME)
    assert got == plain(score, heard_T, rules, rules.threshold)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(score=levels, seconds=st.sampled_from([0.1, 0.2, 0.3, 0.7, 5.0]), silent=st.sets(st.integers(0, 39), max_size=8))
def test_smooth_scores_are_those_of_a_plain_loop(score, seconds, silent):
    heard_T = np.array([t not in silent for t in range(len(score))])
    score_2T = np.stack([np.array(score), np.array(score)[::-1]])
    got = gaussian(score_2T, heard_T, seconds, FRAME)
    want = [plain_mean(score_T, heard_T, seconds) for score_T in score_2T]
    assert np.allclose(got, want, rtol=1e-6, atol=0)
    got = gaussian(score_2T.astype(np.float32), heard_T, seconds, FRAME)
    assert got.dtype == np.float32
    assert np.allclose(got, want, rtol=1e-5, atol=1e-7)


def test_smoothing_of_scores_that_float32_cannot_tell_from_0_or_1():
    heard_T = np.ones(9, bool)
    for level in (0.0, 1e-45, 1.0):
        got = gaussian(np.full(9, level, np.float32), heard_T, 0.3, FRAME)
        assert np.allclose(got, level, atol=1e-7)
    # One frame at 0 pulls its neighbours down as far as one at 1 pushes them up.
    low_T, high_T = np.full((2, 9), 0.5, np.float32)
    low_T[4], high_T[4] = 0, 1
    got = gaussian(np.stack([low_T, high_T]), heard_T, 0.3, FRAME)
    assert np.allclose(got[0], 1 - got[1], atol=1e-6)
    assert np.allclose(got[:, [0, -1]], 0.5)
    assert 0 < got[0, 4] < got[0, 3] < 0.5


def test_what_does_not_sound_takes_no_part_in_smoothing():
    score_T = np.array([0.9, 0.9, 0.9, 0.0, 0.0, 0.2, 0.2, 0.2], np.float32)
    heard_T = np.array([True] * 3 + [False] * 2 + [True] * 3)
    got = gaussian(score_T, heard_T, 0.2, FRAME)  # it reaches two frames far
    assert np.allclose(got, score_T)
    loud_T = np.where(heard_T, score_T, np.float32(1))  # whatever score is there
    assert np.array_equal(gaussian(loud_T, heard_T, 0.2, FRAME), got)
    across_T = gaussian(score_T, heard_T, 0.7, FRAME)
    assert np.array_equal(across_T[3:5], [0, 0])
    assert across_T[2] < 0.9
    assert across_T[5] > 0.2


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(score=levels, at=st.integers(0, 39), more=st.floats(0, 1), rules=rules_of_any_kind)
def test_a_higher_score_lowers_none(score, at, more, rules):
    heard_T, less_T = np.ones(len(score), bool), np.array(score)
    more_T = less_T.copy()
    more_T[at % len(score)] = max(more, more_T[at % len(score)])
    assert np.all(smoothed(more_T, heard_T, rules, FRAME) >= smoothed(less_T, heard_T, rules, FRAME) - 1e-12)


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
        (replace(NONE, threshold=0.85), [(1.562, 1.875)]),
        (replace(NONE, low=0.8), [(0.625, 1.25), (1.562, 2.188), (3.438, 3.75)]),
        (replace(NONE, median=0.9375), [(1.25, 2.188)]),
        (replace(NONE, close=0.3125), [(0.938, 2.188), (3.438, 3.75)]),
        (replace(NONE, shortest=0.5), [(1.562, 2.188)]),
        (replace(NONE, smooth=0.2), [(0.938, 1.875)]),
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
    (found,) = events_of(scores_of(score, stop=1.3), NONE)
    assert found.offset == 1.3, "what is left behind the last frame belongs to it"
    assert events_of(scores_of([0.9], stop=0.0004), NONE) == [], "no event lasts for no time"


def test_nothing_is_found_where_nothing_sounds():
    dead = [(0.625, 1.25)]
    found = events_of(scores_of([0.9] * 6, dead=dead), replace(NONE, close=5.0))
    assert [(e.onset, e.offset) for e in found] == [(0.0, 0.625), (1.25, 1.875)]


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"low": -0.1}, {"low": 1.1}, {"median": -1}, {"close": math.nan}, {"smooth": -0.1}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=f"detection.{next(iter(wrong))}: "):
        Rules(**wrong)

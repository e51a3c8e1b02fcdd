"""F1 of frames, segments and events: by hand, beside plain counts, beside sed_eval, and its quirks that are mended."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
import torch
from timed_problems import Problem, merged, problem, spans

from flam_train.metrics import detection, timed
from flam_train.metrics.detection import (
    THRESHOLDS,
    detections,
    event_f1,
    frame_f1,
    median_filter,
    merge_overlapping,
    segment_f1,
    segments,
)
from flam_train.metrics.reference import event_f1_reference, segment_f1_reference


def random_frames(seed):
    r = np.random.default_rng(seed)
    label = r.random((60, 4)) < 0.3
    label[:, 3] = False
    score = np.round(np.clip(r.random((60, 4)) * 0.8 + 0.3 * label, 0, 1), 2)
    return torch.tensor(score), torch.tensor(label), torch.tensor(r.random((60, 1)) < 0.8)


def plain_f1(score, label, mask, threshold):
    tp = fp = fn = 0
    per_class = []
    for k in range(score.shape[1]):
        counts = [0, 0, 0]
        for f in range(len(score)):
            if not mask[f, 0]:
                continue
            hit, true = bool(score[f, k] > threshold), bool(label[f, k])
            counts[0] += hit and true
            counts[1] += hit and not true
            counts[2] += true and not hit
        tp, fp, fn = tp + counts[0], fp + counts[1], fn + counts[2]
        if counts[0] + counts[2]:
            per_class.append(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))
    return sum(per_class) / len(per_class), 2 * tp / (2 * tp + fp + fn)


def test_frame_f1_equals_plain_counts():
    for seed in range(5):
        score, label, mask = random_frames(seed)
        curve = frame_f1(score, label, THRESHOLDS, mask)
        for threshold, got in zip(THRESHOLDS, curve.all(), strict=True):
            assert (got.macro, got.micro) == pytest.approx(plain_f1(score, label, mask, threshold), abs=1e-12)
            assert got.left_out == (3,)
            assert got.threshold == threshold
        swept = [one.macro for one in curve.all()]
        assert curve.best.macro == max(swept)
        assert curve.best.threshold == THRESHOLDS[swept.index(max(swept))]  # of equals the lowest


def test_many_scores_pass_thresholds_as_few_do():
    """Of many float32 numbers most are told by the upper half of their bits."""
    g = torch.Generator().manual_seed(0)
    given = torch.tensor(THRESHOLDS, dtype=torch.float64)
    ends = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-45, -1e-45, 1e38, -1e38])
    near = given.float()[:, None] + torch.tensor([-1, 0, 1]) * 2**-23 * given.float()[:, None]
    score = torch.cat((ends, near.flatten(), torch.randn(100_000, generator=g), torch.rand(100_000, generator=g)))
    for thresholds in (THRESHOLDS, (0.5,), (-1.0, 0.0, 1e-45, 3e38, 0.3)):
        curve = frame_f1(score[:, None], torch.ones(len(score), 1, dtype=torch.bool), thresholds)
        assert curve.raised_PK.flatten().tolist() == [int((score.double() > t).sum()) for t in thresholds]


SOME = (0.0, 0.1, 0.25, 0.5, 0.8, 1.7)


def as_detections(p: Problem, threshold: float) -> list[list[tuple[float, float, str]]]:
    seconds = [s.shape[1] * p.frame_seconds for s in p.scores] if p.durations is None else p.durations
    return [
        [
            (a, b, name)
            for k, name in enumerate(p.classes)
            for a, b in spans(score[k].double().numpy(), threshold, seconds[n], p.frame_seconds, reached=False)
        ]
        for n, score in enumerate(p.scores)
    ]


def same(ours, theirs) -> None:
    assert ours.per_class_K.tolist() == pytest.approx(theirs.per_class_K.tolist(), abs=1e-12, nan_ok=True)
    assert (ours.macro, ours.micro) == pytest.approx((theirs.macro, theirs.micro), abs=1e-12, nan_ok=True)
    assert ours.left_out == theirs.left_out


def sides(p: Problem, threshold: float) -> tuple:
    """For sed_eval, which compares raw floats: times in whole microseconds."""
    seconds = [s.shape[1] * p.frame_seconds for s in p.scores] if p.durations is None else p.durations
    both = (as_detections(p, threshold), p.events)
    both = ([[(round(a, 6), round(b, 6), c) for a, b, c in one] for one in found] for found in both)
    return (*both, p.classes), {"durations": [round(s, 6) for s in seconds], "threshold": threshold}


HALF = 5e-7
"""Seconds that sed_eval's collar needs to be met where it is met to the microsecond."""


@pytest.mark.parametrize("seconds", [1.0, 0.25])
def test_segments_equal_sed_eval(seconds):
    for seed in range(12):
        p = problem(seed, most_recordings=5)
        curve = segment_f1(*p.arguments(), SOME, seconds)
        for threshold in SOME[seed % 2 :: 2]:
            given, options = sides(p, threshold)
            same(curve.at(threshold), segment_f1_reference(*given, **options, segment_seconds=seconds))


def test_events_equal_sed_eval():
    for seed in range(20):
        p = problem(seed, most_recordings=5)
        collar, share = ((0.2, 0.2), (1.0, 0.5), (0.05, 0.0))[seed % 3]
        curve = event_f1(*p.arguments(), SOME, collar, share)
        for threshold in SOME[seed % 2 :: 2]:
            given, options = sides(p, threshold)
            theirs = event_f1_reference(*given, **options, collar_seconds=collar + HALF, offset_share=share + 1e-8)
            same(curve.at(threshold), theirs)


@pytest.mark.slow
def test_three_hundred_problems_equal_sed_eval():
    for seed in range(20, 320):
        p = problem(seed)
        for threshold in SOME:
            given, options = sides(p, threshold)
            same(segment_f1(*p.arguments(), SOME).at(threshold), segment_f1_reference(*given, **options))
            theirs = event_f1_reference(*given, **options, collar_seconds=0.2 + HALF, offset_share=0.2 + 1e-8)
            same(event_f1(*p.arguments(), SOME).at(threshold), theirs)


def most_pairs(detected: list, events: list, near) -> int:
    """The largest matching, by trying."""
    if not detected:
        return 0
    first, rest = detected[0], detected[1:]
    found = most_pairs(rest, events, near)
    for e in events:
        if near(first, e):
            found = max(found, 1 + most_pairs(rest, [x for x in events if x is not e], near))
    return found


def test_as_many_as_can_be_are_matched():
    """Detections that could take one another's event, with a collar wide enough for several."""
    for seed in range(40):
        p = problem(seed, most_recordings=3, most_frames=14)
        collar = 4 * p.frame_seconds

        def near(d, e, collar=collar):
            return abs(d[0] - e[0]) <= collar and abs(d[1] - e[1]) <= max(collar, 0.2 * (e[1] - e[0]))

        curve = event_f1(*p.arguments(), (0.5,), collar)
        found = as_detections(p, 0.5)
        for k, name in enumerate(p.classes):
            truth = [merged(one, name) for one in p.events]
            mine = [[(a, b) for a, b, c in one if c == name] for one in found]
            assert int(curve.hit_PK[0, k]) == sum(most_pairs(d, e, near) for d, e in zip(mine, truth, strict=True))
            assert int(curve.raised_PK[0, k]) == sum(map(len, mine))
            assert int(curve.positive_K[k]) == sum(map(len, truth))


def test_thresholds_closer_than_float32_resolves():
    """In any order, with two that are equal; the scores are float64."""
    score = torch.tensor([[1 - 2e-9], [1 - 3e-9], [1 - 1e-9]], dtype=torch.float64)
    label = torch.ones(3, 1, dtype=torch.bool)
    thresholds = (1 - 2.5e-9, 1 - 3.5e-9, 1 - 1.5e-9, 1 - 3.5e-9)
    curve = frame_f1(score, label, thresholds)
    assert curve.raised_PK.flatten().tolist() == curve.hit_PK.flatten().tolist() == [2, 3, 1, 3]
    events = event_f1([score.T], [[(0.0, 3.0, "a")]], ["a"], None, 1.0, thresholds)
    assert events.raised_PK.flatten().tolist() == [2, 1, 1, 1]
    assert events.hit_PK.flatten().tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"scores are torch\.int64, not floating-point"):
        frame_f1(torch.zeros(3, 1, dtype=torch.int64), label)
    with pytest.raises(ValueError, match="labels are neither bool nor 0 and 1"):
        frame_f1(score, torch.full((3, 1), 0.5))


def test_a_few_classes_at_a_time(monkeypatch):
    p = problem(4)
    whole = [f(*p.arguments(), SOME) for f in (segment_f1, event_f1)]
    monkeypatch.setattr(timed, "BLOCK", 10)
    monkeypatch.setattr(timed, "PICKED", 1)
    for one, f in zip(whole, (segment_f1, event_f1), strict=True):
        again = f(*p.arguments(), SOME)
        assert torch.equal(again.hit_PK, one.hit_PK)
        assert torch.equal(again.raised_PK, one.raised_PK)
        assert torch.equal(again.positive_K, one.positive_K)


def test_detections_and_median():
    score = np.array([[0.9, 0.1, 0.9, 0.9, 0.0, 0.7], [0.0, 0.0, 0.8, 0.0, 0.0, 0.0]])
    assert detections(score, ["a", "b"], 0.5, 0.5) == [(0, 0.5, "a"), (1, 2, "a"), (2.5, 3, "a"), (1, 1.5, "b")]
    filtered = detections(median_filter(torch.from_numpy(score), 3).numpy(), ["a", "b"], 0.5, 0.5)
    assert filtered == [(0, 3, "a")]
    with pytest.raises(ValueError, match="odd"):
        median_filter(torch.from_numpy(score), 4)
    with pytest.raises(ValueError, match="odd number of frames, got 0"):
        median_filter(torch.from_numpy(score), [3, 0])
    with pytest.raises(ValueError, match="filters of 1 classes, but 2 classes"):
        median_filter(torch.from_numpy(score), [3])
    with pytest.raises(ValueError, match="edges 'wrap': repeat or reflect"):
        median_filter(torch.from_numpy(score), 3, edges="wrap")


@pytest.mark.parametrize("frames", [1, 3, 5, 9])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_the_median_of_many_recordings_is_that_of_each(frames, block, monkeypatch):
    monkeypatch.setattr(detection, "BLOCK", block)
    r = np.random.default_rng(frames)
    lengths = [1, 2, 7, 30, 3]
    score = np.round(r.random((5, sum(lengths))).astype(np.float32), 1)
    start = np.cumsum([0, *lengths])
    got = median_filter(torch.from_numpy(score), frames, torch.from_numpy(start)).numpy()
    for a, b in pairwise(start):
        assert np.array_equal(got[:, a:b], scipy.ndimage.median_filter(score[:, a:b], (1, frames), mode="nearest"))
    mirrored = median_filter(torch.from_numpy(score), frames, torch.from_numpy(start), "reflect").numpy()
    for a, b in pairwise(start):
        assert np.array_equal(mirrored[:, a:b], scipy.ndimage.median_filter(score[:, a:b], (1, frames)))
    alone = median_filter(torch.from_numpy(score[:, 10:40]), frames).numpy()
    assert np.array_equal(alone, got[:, 10:40])
    widths = [7, frames, 1, frames, 3]
    got = median_filter(torch.from_numpy(score), widths, torch.from_numpy(start)).numpy()
    for row, width in enumerate(widths):
        one = median_filter(torch.from_numpy(score[row : row + 1]), width, torch.from_numpy(start)).numpy()
        assert np.array_equal(got[row : row + 1], one)


def test_merge_overlapping():
    events = [(3, 4, "a"), (0, 1, "a"), (0.5, 2, "a"), (2, 2.5, "a"), (0, 5, "b")]
    assert merge_overlapping(events) == [(0, 2.5, "a"), (3, 4, "a"), (0, 5, "b")]


def heard(frames: int, hop: float, *found: tuple[float, float]) -> torch.Tensor:
    score_1T = torch.zeros(1, frames)
    for a, b in found:
        score_1T[0, round(a / hop) : round(b / hop)] = 1.0
    return score_1T


def test_a_class_never_detected_counts_zero():
    """sed_eval's own macro mean would be 1.0 here: it drops the class that was missed."""
    score = torch.cat((heard(12, 0.5, (0, 2)), torch.zeros(2, 12)))
    events = [[(0.0, 2.0, "dog"), (3.0, 5.0, "cat")]]
    for metric in (segment_f1, event_f1):
        result = metric([score], events, ["dog", "cat", "cow"], None, 0.5).at(0.5)
        assert result.macro == 0.5
        assert result.micro == pytest.approx(2 / 3)
        assert result.left_out == (2,)
        assert math.isnan(result.per_class_K[2])


def test_segments_and_collars():
    events = [[(0.0, 10.0, "dog")], []]
    half = [heard(200, 0.05, (0, 5)), heard(200, 0.05)]
    assert segment_f1(half, events, ["dog"], None, 0.05).at(0.5).macro == pytest.approx(2 / 3)
    assert segment_f1(half, events, ["dog"], None, 0.05, segment_seconds=10.0).at(0.5).macro == 1.0
    for onset, offset, found in ((0.15, 8.5, 1.0), (0.25, 10.0, 0.0), (0.0, 7.5, 0.0)):
        score = [heard(200, 0.05, (onset, offset)), heard(200, 0.05)]
        assert event_f1(score, events, ["dog"], None, 0.05).at(0.5).macro == found
    # A detection where there is nothing is a false positive, in a recording without any event too.
    wrong = [heard(200, 0.05, (0, 10)), heard(200, 0.05, (1, 2))]
    assert event_f1(wrong, events, ["dog"], None, 0.05).at(0.5).macro == pytest.approx(2 / 3)


@pytest.mark.gpu
def test_on_a_gpu():
    for seed in range(20):
        p = problem(seed)
        for metric in (segment_f1, event_f1):
            here, there = metric(*p.arguments(), SOME), metric([s.cuda() for s in p.scores], *p.arguments()[1:], SOME)
            assert torch.equal(here.hit_PK, there.hit_PK)
            assert torch.equal(here.raised_PK, there.raised_PK)


def test_edges_that_meet_to_the_microsecond():
    """Raw floats say that .6 and .8 are more than .2 apart, and that .7 s of frames of .1 s end behind .7 s."""
    score = heard(20, 0.1, (0.6, 1.4)) * 0.55
    assert event_f1([score], [[(0.4, 1.4, "dog")]], ["dog"], None, 0.1).at(0.5).macro == 1.0
    assert event_f1([score], [[(0.399998, 1.4, "dog")]], ["dog"], None, 0.1).at(0.5).macro == 0.0
    pooled, label = segments([heard(20, 0.1, (0.6, 0.7))], [[(0.6, 0.7, "dog")]], ["dog"], None, 0.1, 0.1)
    assert pooled[:, 0].nonzero().flatten().tolist() == label[:, 0].nonzero().flatten().tolist() == [6]
    assert len(pooled) == 20
    for hop in (0.1, 0.02, 0.3125, 1 / 3):
        for size in (hop, 2 * hop, 5 * hop):
            one = torch.rand(1, 60, generator=torch.Generator().manual_seed(0))
            pooled, _ = segments([one], [[]], ["dog"], None, hop, size)
            assert torch.equal(pooled[:, 0], one.unflatten(1, (-1, round(size / hop))).amax(2)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_thresholds_are_those_of_float64_in_any_precision(dtype):
    g = torch.Generator().manual_seed(0)
    score = torch.rand(4000, 2, generator=g).to(dtype)
    label = torch.rand(4000, 2, generator=g) < score.float()
    given = (0.3, 0.30078125, 0.1, 0.99, -0.5, 0.0, 1e300, 1 / 3)
    exact = score.double()
    want, got = frame_f1(exact, label, given), frame_f1(score, label, given)
    assert torch.equal(got.raised_PK, want.raised_PK)
    assert torch.equal(got.hit_PK, want.hit_PK)
    assert got.raised_PK.tolist() == [[int((exact[:, k] > t).sum()) for k in range(2)] for t in given]
    recordings = [[s.T for s in scores.split(400)] for scores in (score, exact)]
    events = [[(2.0 * n, 2.0 * n + 3, "ab"[n % 2])] for n in range(10)]
    for metric in (segment_f1, event_f1):
        got, want = (metric(one, events, ["a", "b"], None, 0.1, given) for one in recordings)
        assert torch.equal(got.raised_PK, want.raised_PK)
        assert torch.equal(got.hit_PK, want.hit_PK)
    near = torch.tensor([[0.30078125]]).to(dtype)
    assert frame_f1(near, torch.ones(1, 1), (0.3,)).at(0.3).macro == 1.0
    if dtype != torch.bfloat16:
        assert detections(near.numpy(), ["a"], 0.3, 1.0) == [(0, 1, "a")]


def test_mistakes():
    score = [torch.zeros(1, 4)]
    with pytest.raises(ValueError, match="frame_seconds -1"):
        event_f1(score, [[]], ["dog"], [4.0], -1.0)
    with pytest.raises(ValueError, match="2 scores but 1 lists"):
        segment_f1(score * 2, [[]], ["dog"])
    with pytest.raises(ValueError, match="recording 0: class 'cat'"):
        event_f1(score, [[(0, 1, "cat")]], ["dog"])
    with pytest.raises(ValueError, match=r"segment_seconds 0\.0"):
        segment_f1(score, [[]], ["dog"], segment_seconds=0.0)
    with pytest.raises(ValueError, match=r"collar_seconds -1\.0"):
        event_f1(score, [[]], ["dog"], collar_seconds=-1.0)
    for wrong, match in (
        ([(5.0, 6.0, "dog")], r"from 5 to 6 s lies behind the end of the recording, 4 s: mend it"),
        ([(2000.0, 3000.0, "dog")], r"lies behind the end of the recording, 4 s; are its times milliseconds\?"),
        ([(-1.0, 0.5, "dog")], "begins before the recording: mend it, or cut it"),
    ):
        for metric in (segment_f1, event_f1):
            with pytest.raises(ValueError, match=f"recording 0: an event of 'dog' .*{match}"):
                metric(score, [wrong], ["dog"], None, 1.0)
    for wrong, match in (((), "give one or more in a list"), (0.5, "in a list"), ((0.5, math.nan), "is not a number")):
        for f in (
            lambda t: frame_f1(torch.zeros(4, 1), torch.zeros(4, 1), t),
            lambda t: event_f1(score, [[]], ["a"], thresholds=t),
        ):
            with pytest.raises(ValueError, match=f"thresholds .*{match}"):
                f(wrong)
    for f in (
        lambda: frame_f1(torch.zeros(4, 0), torch.zeros(4, 0)),
        lambda: segment_f1([torch.zeros(0, 4)], [[]], []),
    ):
        with pytest.raises(ValueError, match="no class: nothing to compute a score of"):
            f()
    with pytest.raises(ValueError, match=r"threshold 0\.7 is not one of those"):
        frame_f1(torch.zeros(4, 1), torch.zeros(4, 1)).at(0.7)
    with pytest.raises(ValueError, match="1 durations but 2 lists"):
        segment_f1_reference([[], []], [[], []], ["dog"], durations=[1.0])

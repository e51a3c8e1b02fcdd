"""What the metrics are given: edges to the microsecond, other types and shapes, and answers instead of depths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timed_problems import Problem, problem

from flam_train.metrics.bootstrap import (
    auroc_resampled,
    draws,
    event_counts,
    frame_counts,
    interval,
    mean_resampled,
    segment_counts,
)
from flam_train.metrics.calibration import Calibration, calibration
from flam_train.metrics.detection import (
    EDGES,
    F1Curve,
    auroc,
    detections,
    event_f1,
    frame_f1,
    median_filter,
    merge_overlapping,
    psds,
    segment_f1,
)
from flam_train.metrics.intersection import cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.ranking import average_precision, d_prime_of
from flam_train.metrics.relevance import relevance_metrics
from flam_train.metrics.retrieval import chance_level, retrieval_metrics
from flam_train.metrics.streaming import Retrieval
from flam_train.metrics.tagging import clip_scores

TIMED = [segment_f1, event_f1, intersection_f1, mean_iou, cross_triggers, psds]


def heard(first: int, last: int, frames: int = 20) -> torch.Tensor:
    score_KT = torch.zeros(1, frames)
    score_KT[0, first:last] = 1.0
    return score_KT


def test_events_that_touch_to_the_microsecond_are_one():
    for touch in (0.3, 0.1 + 0.2, 0.3 + 4e-7):
        found = event_f1([heard(0, 5)], [[(0.0, 0.3, "a"), (touch, 0.5, "a")]], ["a"], None, 0.1)
        assert (found.at(0.5).macro, found.positive_K.tolist()) == (1.0, [1])
        assert merge_overlapping([(0.0, 0.3, "a"), (touch, 0.5, "a")]) == [(0.0, 0.5, "a")]
    apart = event_f1([heard(0, 5)], [[(0.0, 0.3, "a"), (0.300002, 0.5, "a")]], ["a"], None, 0.1)
    assert apart.positive_K.tolist() == [2]


@pytest.mark.parametrize("hop", [0.03, 0.06, 0.1, 0.12, 0.15, 0.3, 1 / 30, 1 / 3, 0.7])
def test_a_frame_that_begins_at_the_end_is_none(hop):
    for frames in range(1, 40):
        score = [heard(frames, frames + 1, frames + 1)]
        given = score, [[]], ["a"], [round(frames * hop, 9)], hop
        assert event_f1(*given).raised_PK.tolist() == [[0]]
        assert intersection_f1(*given).raised_PK.tolist() == [[0]]
        assert segment_f1(*given).raised_PK.tolist() == [[0]]
        assert mean_iou(*given).pairs_K.tolist() == [0]
        assert cross_triggers(*given).false_K.tolist() == [0]


@pytest.mark.parametrize("metric", TIMED)
@pytest.mark.parametrize(
    ("event", "message"),
    [
        ((1.0, 1.0000001, "a"), "does not last"),
        ((0.0, 1500.0, "a"), r"lasts far beyond the recording of 2 s; are its times milliseconds\?"),
        ((5.0, 1500.0, "a"), r"behind the end of the recording, 2 s; are its times milliseconds\?"),
        (("x", 1.0, "a"), "a time of the event .* is 'x', not a number of seconds"),
        ((0.0, None, "a"), "a time of the event .* is None, not a number"),
        ((0.0, 1.0, "a", 0.5), r"must be \(onset, offset, class\)"),
    ],
)
def test_events_that_are_none(metric, event, message):
    with pytest.raises(ValueError, match=f"recording 0: .*{message}"):
        metric([torch.zeros(1, 20)], [[event]], ["a"], None, 0.1)


def test_times_as_tensors():
    event = (torch.tensor(0.5), np.float32(1.0), "a")
    assert event_f1([heard(5, 10)], [[event]], ["a"], None, 0.1).at(0.5).macro == 1.0


@pytest.mark.parametrize("metric", TIMED)
@pytest.mark.parametrize("durations", [6.25, [None], ["x"]])
def test_durations_that_are_none(metric, durations):
    with pytest.raises(ValueError, match=r"durations 6\.25: give one|the duration is .*, not a number of seconds"):
        metric([torch.zeros(1, 20)], [[(0.0, 1.0, "a")]], ["a"], durations, 0.1)


def test_precisions_that_differ_from_recording_to_recording():
    both = [torch.full((1, 10), 0.2999).half(), torch.full((1, 10), 0.2999)]
    for scores in (both, both[::-1]):
        given = scores, [[], [(0.0, 0.5, "a")]], ["a"], None, 0.1
        raised = int(event_f1(*given, (0.3,)).raised_PK)
        assert int(event_counts(*given, torch.arange(2), 2, 0.3).raised_UK.sum()) == raised
        assert int(cross_triggers(*given, 0.3).false_K + cross_triggers(*given, 0.3).right_K) == raised


def test_numpy_and_lists():
    score = np.random.default_rng(0).random((2, 9)).astype(np.float32)
    want = median_filter(torch.from_numpy(score), 3)
    for given in (score, score.tolist()):
        assert torch.equal(median_filter(given, np.int64(3)).float(), want)
        assert median_filter(given, [3, 3], [0, 4, 9]).shape == (2, 9)
    assert detections(score.tolist(), ["a", "b"], 0.5, 0.1) == detections(score, ["a", "b"], 0.5, 0.1)
    owner = [0, 1, 1]
    assert chance_level(owner, 2) == chance_level(np.array(owner), 2) == chance_level(torch.tensor(owner), 2)
    assert interval([1.0, 2.0, 3.0]) == interval(torch.tensor([1.0, 2.0, 3.0]))
    weight = draws(3, 4)
    assert mean_resampled([1.0, 2.0, 4.0], [0, 1, 2], weight.numpy()).tolist() == pytest.approx(
        mean_resampled(torch.tensor([1.0, 2.0, 4.0]), torch.arange(3), weight).tolist()
    )
    frames, label = torch.rand(6, 1), torch.tensor([[1], [0], [1], [0], [1], [0]])
    unit = [0, 0, 1, 1, 2, 2]
    assert auroc_resampled(lambda: [(frames, label)], unit, weight.numpy()).micro_R is not None
    assert frame_counts(frames, label, np.array(unit), 3).positive_UK.sum() == 3
    timed = [torch.rand(1, 5)] * 3, [[(0.0, 0.2, "a")]] * 3, ["a"], None, 0.1
    assert segment_counts(*timed, [0, 1, 2], 3).positive_UK.sum() == 3
    assert d_prime_of(0.5).item() == 0.0
    assert auroc(frames.tolist(), label.tolist()).macro == auroc(frames, label).macro
    assert auroc(frames.requires_grad_(), label).macro >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: median_filter(torch.zeros(4)), r"scores \(4,\) must be \[classes, frames\]"),
        (lambda: median_filter(torch.zeros(1, 4), 3, [0, 5]), "recordings begin at 0, the last ends at 4"),
        (lambda: detections(np.zeros((2, 3)), ["a"], 0.5, 0.1), r"scores \(2, 3\) must be \[1 classes, frames\]"),
        (lambda: chance_level([0, 1], 0), "but there are 0 clips"),
        (lambda: chance_level([-1, 0], 5), "but there are 5 clips"),
        (lambda: mean_resampled(torch.ones(2), torch.tensor([0.0, 1.0]), draws(2)), "units are torch.float32"),
        (lambda: event_counts([torch.zeros(1, 4)], [[]], ["a"], None, 0.1, [0], 1, 0.5, -1.0), "at least 0"),
        (lambda: event_counts([torch.zeros(1, 4)], [[]], ["a"], None, 0.1, [0.5], 1), "units are torch.float32"),
        (lambda: F1Curve.joined([]), "no class"),
        (lambda: F1Curve.of([], (0.5,)), "no class"),
        (lambda: Calibration.joined([]), "no part"),
        (lambda: calibration(torch.zeros(3, 1), torch.zeros(3, 1), bins=2.5), "bins 2.5: a whole number"),
        (lambda: clip_scores(torch.zeros(4, 1).int(), torch.tensor([0, 4])), "scores are torch.int32"),
        (lambda: clip_scores(torch.zeros(4, 1), torch.tensor([0.0, 4.0])), "starts torch.float32"),
        (lambda: relevance_metrics(torch.eye(2), torch.eye(2), [0.7, 0.2], [0, 1]), "text rows are torch.float32"),
        (lambda: Retrieval(4).update(torch.eye(2, 4), torch.arange(2), torch.eye(1, 4), torch.tensor([5])), "has 2"),
        (lambda: retrieval_metrics(torch.full((2, 3), 1e25), torch.full((2, 3), 1e25), [0, 1]), "overflow"),
    ],
)
def test_answers(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("threshold", [None, (0.5,), "x", math.nan])
def test_thresholds_that_are_none(threshold):
    given = [torch.zeros(1, 5)], [[]], ["a"], None, 0.1
    for call in (mean_iou, cross_triggers):
        with pytest.raises(ValueError, match="thresholds"):
            call(*given, threshold)


@pytest.mark.parametrize("thresholds", [np.float32(0.5), torch.tensor(0.5), np.array(0.5), None, iter([0.5]), 0.5])
def test_thresholds_that_are_no_list(thresholds):
    for call in (
        lambda: frame_f1(torch.zeros(4, 1), torch.zeros(4, 1), thresholds),
        lambda: event_f1([torch.zeros(1, 5)], [[]], ["a"], None, 0.1, thresholds),
    ):
        with pytest.raises(ValueError, match="give one or more numbers in a list"):
            call()


def test_labels_under_a_false_mask_are_not_looked_at():
    score, label = torch.tensor([[0.1], [0.9], [0.5]]), torch.tensor([[0.0], [1.0], [math.nan]])
    mask = torch.tensor([[True], [True], [False]])
    assert auroc(score, label, mask).macro == 1.0
    assert auroc(score, label.nan_to_num(-1.0), mask).macro == 1.0
    with pytest.raises(ValueError, match="labels are neither"):
        auroc(score, label)


def test_small_halves_are_retrieved():
    small = torch.full((2, 4096), 1.5e-4).half()
    small[1] *= -1
    assert retrieval_metrics(small, small, [0, 1])["text_to_audio/R@1"] == 1.0


def test_edges_by_name():
    from flam_train.evaluation.choices import MEDIAN_EDGES

    assert MEDIAN_EDGES == EDGES


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(5))
def test_what_lies_on_a_gpu_gives_the_same(seed):
    g = torch.Generator().manual_seed(seed)
    label = torch.rand(2000, 6, generator=g) < 0.1
    score = (torch.rand(label.shape, generator=g) * 0.8 + 0.2 * label).mul(50).round() / 50
    there = score.cuda(), label.cuda()
    assert auroc(*there).macro == auroc(score, label).macro
    assert auroc(*there).micro == auroc(score, label).micro
    assert average_precision(*there).micro == pytest.approx(average_precision(score, label).micro, abs=1e-12)
    both = [frame_f1(*given, (0.3, 0.5)) for given in (there, (score, label))]
    assert torch.equal(both[0].hit_PK, both[1].hit_PK)
    assert torch.equal(both[0].raised_PK, both[1].raised_PK)
    assert calibration(*there).ece == pytest.approx(calibration(score, label).ece, abs=1e-12)
    unit_F, weight_UR = torch.arange(2000) // 100, draws(20, 50)
    found, want = (auroc_resampled(lambda b=b: [b], unit_F, weight_UR) for b in (there, (score, label)))
    assert found.area_KR.is_cuda
    assert torch.allclose(found.area_KR.cpu(), want.area_KR, atol=1e-12)
    assert torch.allclose(found.micro_R.cpu(), want.micro_R, atol=1e-12)
    counts = frame_counts(*there, unit_F, 20)
    assert counts.hit_UK.is_cuda
    assert torch.equal(counts.hit_UK.cpu(), frame_counts(score, label, unit_F, 20).hit_UK)
    p = problem(seed)
    moved = Problem([s.cuda() for s in p.scores], *p.arguments()[1:])
    unit_N = torch.arange(len(p.scores))
    for counted in (segment_counts, event_counts):
        one, other = (counted(*x.arguments(), unit_N, len(unit_N)) for x in (moved, p))
        assert torch.equal(one.hit_UK.cpu(), other.hit_UK)
    unit = torch.nn.functional.normalize(torch.randn(40, 16, generator=g, dtype=torch.float64), dim=1)
    near = torch.nn.functional.normalize(unit + torch.randn(40, 16, generator=g), dim=1)
    assert retrieval_metrics(unit.cuda(), near.cuda(), torch.arange(40)) == pytest.approx(
        retrieval_metrics(unit, near, torch.arange(40))
    )

"""Bootstrap: weights on counts beside metrics of sets in which recordings really stand as often; known cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timed_problems import problem

from flam_train.metrics import bootstrap
from flam_train.metrics.bootstrap import (
    LEVELS,
    Counts,
    auroc_resampled,
    draws,
    event_counts,
    frame_counts,
    interval,
    levels_told,
    segment_counts,
)
from flam_train.metrics.detection import auroc, event_f1, frame_f1, segment_f1

SAME = {"abs": 1e-12, "nan_ok": True}


def frames(seed: int):
    """Uneven recordings, ties, a mask; units of one recording or of several, not in order."""
    r = np.random.default_rng(seed)
    recordings, classes = int(r.integers(2, 9)), int(r.integers(1, 5))
    recording_F = np.repeat(np.arange(recordings), r.integers(1, 12, size=recordings))
    label = r.random((len(recording_F), classes)) < r.uniform(0, 0.6, size=classes)
    score = np.round(r.random(label.shape) + 0.3 * label, 1 + seed % 3 * 3)
    mask = (None, r.random(label.shape) < 0.8, r.random((len(label), 1)) < 0.8)[seed % 3]
    unit_N = r.permutation(recordings) if seed % 2 else r.permutation(np.arange(recordings) // 2)
    tensors = (torch.from_numpy(x) for x in (score.astype(np.float32 if seed % 4 else np.float64), label))
    return *tensors, None if mask is None else torch.from_numpy(mask), recording_F, torch.from_numpy(unit_N)


def copies(weight_U, unit_N) -> list[int]:
    """The recordings of a resample, each as often as its unit is drawn."""
    return [n for n, unit in enumerate(unit_N.tolist()) for _ in range(int(weight_U[unit]))]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("memory", ["plenty", "little"])
def test_frames_equal_copied_recordings(seed, memory, monkeypatch):
    if memory == "little":
        monkeypatch.setattr(bootstrap, "TABLE", 3)
        monkeypatch.setattr(bootstrap, "CACHED", 2)
    score_FK, label_FK, mask_FK, recording_F, unit_N = frames(seed)
    units = int(unit_N.max()) + 1
    unit_F = unit_N[recording_F]
    weight_UR = draws(max(units, 2), 5, seed)[:units]
    found = auroc_resampled(
        lambda: (
            tuple(x if x.shape[1] == 1 else x[:, k : k + 2] for x in (score_FK, label_FK, mask_FK) if x is not None)
            for k in range(0, score_FK.shape[1], 2)
        ),
        unit_F,
        weight_UR,
    )
    macro_R, micro_R = found.macro_R, found.micro_R
    f1_macro_R, f1_micro_R = frame_counts(score_FK, label_FK, unit_F, units, 0.5, mask_FK).f1(weight_UR)
    for r, weight_U in enumerate(weight_UR.T):
        at = [f for n in copies(weight_U, unit_N) for f in np.flatnonzero(recording_F == n)]
        if not at:
            continue
        copied = score_FK[at], label_FK[at]
        mask = None if mask_FK is None else mask_FK[at]
        want = auroc(*copied, mask)
        assert (float(macro_R[r]), float(micro_R[r])) == pytest.approx((want.macro, want.micro), **SAME)
        f1 = frame_f1(*copied, (0.5,), mask).at(0.5)
        assert (float(f1_macro_R[r]), float(f1_micro_R[r])) == pytest.approx((f1.macro, f1.micro), **SAME)


@pytest.mark.parametrize("seed", range(40))
def test_segments_and_events_equal_copied_recordings(seed):
    p = problem(seed)
    recordings = len(p.scores)
    unit_N = torch.arange(recordings) if seed % 2 else torch.arange(recordings) % max(1, recordings // 2)
    units = int(unit_N.max()) + 1
    weight_UR = draws(max(units, 2), 4, seed)[:units]
    segment = segment_counts(*p.arguments(), unit_N, units, 0.5, 0.7).f1(weight_UR)
    event = event_counts(*p.arguments(), unit_N, units, 0.5, 0.3, 0.5).f1(weight_UR)
    for r, weight_U in enumerate(weight_UR.T):
        if not (at := copies(weight_U, unit_N)):
            continue
        seconds = None if p.durations is None else [p.durations[n] for n in at]
        copied = [p.scores[n] for n in at], [p.events[n] for n in at], p.classes, seconds, p.frame_seconds
        for got, want in (
            (segment, segment_f1(*copied, segment_seconds=0.7)),
            (event, event_f1(*copied, collar_seconds=0.3, offset_share=0.5)),
        ):
            f1 = want.at(0.5)
            assert [float(x[r]) for x in got] == pytest.approx([f1.macro, f1.micro], **SAME)


def test_sums_that_float32_does_not_hold():
    """One recording of so many frames that pairs are counted in float64: once each is the metric itself."""
    r = np.random.default_rng(0)
    label = torch.from_numpy(r.random((9000, 1)) < 0.4)
    score = torch.from_numpy(np.round(r.random((9000, 1)) + 0.1 * label.numpy(), 3))
    unit_F = torch.arange(9000) // 4500
    found = auroc_resampled(lambda: [(score, label)], unit_F, torch.tensor([[1, 3], [1, 0]]))
    want = auroc(score, label).macro, auroc(score[:4500], label[:4500]).macro
    assert found.macro_R.tolist() == pytest.approx(want, abs=1e-15)
    assert found.micro_R.tolist() == pytest.approx(want, abs=1e-15)


def test_micro_by_levels_is_as_near_as_is_said(monkeypatch):
    r = np.random.default_rng(1)
    label = torch.from_numpy(r.random((4000, 3)) < 0.3)
    score = torch.from_numpy(r.random((4000, 3)) + 0.2 * label.numpy())
    unit_F, weight_UR = torch.arange(4000) // 10, draws(400, 20)
    exact_R = auroc_resampled(lambda: [(score, label)], unit_F, weight_UR).micro_R
    monkeypatch.setattr(bootstrap, "LEVELS", 64)
    near_R = auroc_resampled(lambda: [(score, label)], unit_F, weight_UR).micro_R
    assert 0 < float((near_R - exact_R).abs().max()) < 1 / (2 * 64) / 10
    assert auroc_resampled(lambda: [(score, label)], unit_F, weight_UR, micro=False).micro_R is None


def test_a_class_without_positives_in_a_resample_is_left_out_of_it():
    score = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    label = torch.tensor([[True, False], [False, True], [False, False]])
    unit_F, weight_UR = torch.arange(3), torch.tensor([[1, 0], [1, 1], [1, 2]])
    found = auroc_resampled(lambda: [(score, label)], unit_F, weight_UR)
    assert found.macro_R.tolist() == [1.0, 1.0]
    counts = frame_counts(score, label, unit_F, 3, 0.75)
    assert counts.f1(weight_UR)[0].tolist() == [1.0, 1.0]
    nothing = auroc_resampled(lambda: [(score, label & False)], unit_F, weight_UR)
    assert nothing.macro_R.isnan().all()
    assert nothing.micro_R.isnan().all()


def test_draws():
    weight_UR = draws(50, 2000, 3)
    assert weight_UR.shape == (50, 2000)
    assert (weight_UR.sum(0) == 50).all()
    assert torch.equal(weight_UR, draws(50, 2000, 3))
    assert not torch.equal(weight_UR, draws(50, 2000, 4))
    assert float(weight_UR.double().var()) == pytest.approx(1 - 1 / 50, abs=0.02)


def test_intervals_cover_what_they_should():
    """Micro F1 with one decision a recording, all positive: hits are binomial, and so is what resampling gives."""
    covered, sets, recordings, share = 0, 300, 200, 0.7
    true = 2 * share / (share + 1)
    r = np.random.default_rng(0)
    for seed in range(sets):
        hit = torch.from_numpy(r.random((recordings, 1)) < share).int()
        counts = Counts(hit, hit, torch.ones_like(hit))
        found = interval(counts.f1(draws(recordings, 400, seed))[1])
        covered += found.low <= true <= found.high
    assert covered / sets == pytest.approx(0.95, abs=0.04)
    error = math.sqrt(share * (1 - share) / recordings) * 2 / (share + 1) ** 2  # by the delta method
    assert found.error == pytest.approx(error, rel=0.15)


def test_interval_by_hand():
    value_R = torch.cat([torch.arange(101.0), torch.tensor([torch.nan])])
    found = interval(value_R, 0.9)
    assert (found.low, found.high) == pytest.approx((5, 95))
    assert found.error == pytest.approx(float(torch.arange(101.0).std()))
    assert math.isnan(interval(torch.tensor([torch.nan])).low)


def test_user_mistakes():
    score, label = torch.rand(4, 2), torch.zeros(4, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="1 unit: of one recording"):
        draws(1)
    with pytest.raises(ValueError, match="resamples 0: draw at least 1"):
        draws(3, 0)
    with pytest.raises(ValueError, match="level 95: it must be"):
        interval(torch.rand(3), 95)
    with pytest.raises(ValueError, match=r"units \(3,\): give one of each of the 4"):
        frame_counts(score, label, torch.arange(3), 3)
    with pytest.raises(ValueError, match="units 0 to 3, but there are 3"):
        auroc_resampled(lambda: [(score, label)], torch.arange(4), draws(3))
    with pytest.raises(ValueError, match="no class: nothing"):
        auroc_resampled(lambda: [], torch.arange(4), draws(4))


def test_of_very_many_units_fewer_levels_are_told_apart():
    assert levels_told(1000) == LEVELS
    assert 2 <= levels_told(10**6) < LEVELS
    assert levels_told(10**9) == 2

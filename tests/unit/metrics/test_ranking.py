"""Precision, recall, average precision, d', error rate, tagging, thresholds of classes: beside scikit-learn, scipy,
sed_eval, and plain loops."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from dcase_util.containers import MetaDataContainer
from sed_eval.sound_event import SegmentBasedMetrics
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score
from timed_problems import Problem, merged, problem, spans

from flam_train.metrics.detection import Auroc, auroc, event_f1, frame_f1, segment_f1, segments
from flam_train.metrics.error_rate import error_rate, segment_error_rate
from flam_train.metrics.ranking import average_precision, average_precision_of_blocks, d_prime
from flam_train.metrics.tagging import clip_scores, tagging_metrics

NONE = {"abs": 1e-12, "nan_ok": True}


def frames(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """With ties; the last class has no positive where the seed is odd, the first only positives in some."""
    r = np.random.default_rng(seed)
    label = r.random((int(r.integers(1, 90)), 4)) < r.uniform(0.02, 0.6)
    label[:, 3] &= seed % 2 == 0
    label[:, 0] |= seed % 5 == 1
    score = np.clip(r.random(label.shape) * 0.8 + 0.3 * label, 0, 1)
    score = np.round(score, 1) if seed % 3 else score
    return torch.from_numpy(score.astype(np.float32 if seed % 4 else np.float64)), torch.from_numpy(label)


def test_precision_and_recall_equal_scikit_learn():
    for seed in range(60):
        score, label = frames(seed)
        rates = frame_f1(score, label, (0.5, 0.3)).rates_at(0.3)
        passed, kept = score.double().numpy() > 0.3, label.numpy().any(axis=0)
        options = {"zero_division": 0.0}
        precision, recall, _, _ = precision_recall_fscore_support(label.numpy(), passed, **options)
        assert rates.precision_K.tolist() == pytest.approx(np.where(kept, precision, np.nan).tolist(), **NONE)
        assert rates.recall_K.tolist() == pytest.approx(np.where(kept, recall, np.nan).tolist(), **NONE)
        if kept.any():
            assert rates.precision_macro == pytest.approx(precision[kept].mean(), **NONE)
            assert rates.recall_macro == pytest.approx(recall[kept].mean(), **NONE)
            micro = precision_recall_fscore_support(label.numpy(), passed, average="micro", **options)
            assert (rates.precision_micro, rates.recall_micro) == pytest.approx(micro[:2], **NONE)
    with pytest.raises(ValueError, match=r"threshold 0\.7 is not one of those"):
        frame_f1(score, label).rates_at(0.7)
    nothing = frame_f1(torch.zeros(3, 1), torch.zeros(3, 1)).rates_at(0.5)
    assert math.isnan(nothing.precision_micro)
    assert math.isnan(nothing.recall_micro)


def test_average_precision_equals_scikit_learn():
    for seed in range(80):
        score, label = frames(seed)
        got = average_precision(score, label)
        theirs = [
            average_precision_score(label[:, k], score[:, k].double()) if label[:, k].any() else math.nan
            for k in range(4)
        ]
        assert got.per_class_K.tolist() == pytest.approx(theirs, **NONE)
        some = [x for x in theirs if not math.isnan(x)]
        assert got.macro == pytest.approx(np.mean(some) if some else math.nan, **NONE)
        if some:
            pooled = average_precision_score(label.flatten(), score.flatten().double())
            assert got.micro == pytest.approx(pooled, **NONE)
        parts = average_precision_of_blocks(lambda s=score, y=label: zip(s.split(3, 1), y.split(3, 1), strict=True))
        assert (parts.macro, parts.micro) == pytest.approx((got.macro, got.micro), abs=0, nan_ok=True)
        mask = torch.rand(score.shape, generator=torch.Generator().manual_seed(seed)) < 0.7
        hidden = average_precision(torch.where(mask, score, math.nan), label, mask)
        alone = [average_precision(score[mask[:, k], k : k + 1], label[mask[:, k], k : k + 1]) for k in range(4)]
        assert hidden.per_class_K.tolist() == pytest.approx([one.macro for one in alone], **NONE)
    with pytest.raises(ValueError, match="no class: nothing to compute a score of"):
        average_precision_of_blocks(lambda: [])


def test_d_prime_equals_scipy():
    for seed in range(60):
        area = auroc(*frames(seed))
        got = d_prime(area)
        each = math.sqrt(2) * scipy.stats.norm.ppf(area.per_class_K.numpy())
        assert got.per_class_K.tolist() == pytest.approx(each.tolist(), abs=1e-9, nan_ok=True)
        some = each[~np.isnan(each)]
        assert got.macro == pytest.approx(some.mean() if len(some) else math.nan, abs=1e-9, nan_ok=True)
        assert got.of_macro == pytest.approx(math.sqrt(2) * scipy.stats.norm.ppf(area.macro), abs=1e-9, nan_ok=True)
        assert got.micro == pytest.approx(math.sqrt(2) * scipy.stats.norm.ppf(area.micro), abs=1e-9, nan_ok=True)
    perfect = d_prime(Auroc(0.75, 0.5, torch.tensor([0.5, 1.0, math.nan], dtype=torch.float64), (2,)))
    assert (perfect.macro, perfect.micro) == (math.inf, 0.0)
    assert math.isfinite(perfect.of_macro)


def as_detections(p: Problem, threshold: float, seconds: list[float]) -> list[list[tuple[float, float, str]]]:
    return [
        [
            (a, b, name)
            for k, name in enumerate(p.classes)
            for a, b in spans(score[k].double().numpy(), threshold, seconds[n], p.frame_seconds, reached=False)
        ]
        for n, score in enumerate(p.scores)
    ]


def by_sed_eval(p: Problem, threshold: float, segment_seconds: float) -> SegmentBasedMetrics:
    """Times in whole microseconds: it compares raw floats."""
    seconds = [s.shape[1] * p.frame_seconds for s in p.scores] if p.durations is None else p.durations
    metric = SegmentBasedMetrics(list(p.classes), time_resolution=segment_seconds)
    for n, (truth, found) in enumerate(zip(p.events, as_detections(p, threshold, seconds), strict=True)):
        both = [
            MetaDataContainer(
                [{"filename": str(n), "onset": round(a, 6), "offset": round(b, 6), "event_label": c} for a, b, c in one]
            )
            for one in (truth, found)
        ]
        metric.evaluate(*both, evaluated_length_seconds=round(float(seconds[n]), 6))
    return metric


def test_segments_equal_sed_eval():
    """Error rate, precision and recall."""
    for seed in range(48):
        p, threshold = problem(seed, most_recordings=5), (0.0, 0.25, 0.5, 0.8)[seed % 4]
        seconds = (1.0, 0.25)[seed // 4 % 2]
        metric = by_sed_eval(p, threshold, seconds)
        got = segment_error_rate(*p.arguments(), threshold, seconds)
        curve = segment_f1(*p.arguments(), (threshold,), seconds)
        rates = curve.rates_at(threshold)
        if not int(curve.positive_K.sum()):
            assert all(math.isnan(x) for x in (got.value, got.substitutions, got.deletions, got.insertions, got.macro))
            continue
        overall = metric.overall_error_rate()
        assert got.value == pytest.approx(overall["error_rate"], **NONE)
        assert got.substitutions == pytest.approx(overall["substitution_rate"], **NONE)
        assert got.deletions == pytest.approx(overall["deletion_rate"], **NONE)
        assert got.insertions == pytest.approx(overall["insertion_rate"], **NONE)
        there = [k for k in range(len(p.classes)) if curve.positive_K[k]]
        each = [metric.class_wise_error_rate(p.classes[k])["error_rate"] for k in there]
        assert got.per_class_K[there].tolist() == pytest.approx(each, **NONE)
        assert int(got.per_class_K.isnan().sum()) == len(p.classes) - len(there)
        assert got.macro == pytest.approx(np.mean(each), **NONE)
        if int(curve.raised_PK.sum()):
            assert rates.precision_micro == pytest.approx(metric.overall_f_measure()["precision"], **NONE)
        assert rates.recall_micro == pytest.approx(metric.overall_f_measure()["recall"], **NONE)


def test_error_rate_by_hand():
    label = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    score = torch.tensor([[0.0, 0.9, 0.9], [0.0, 0.0, 0.0], [0.0, 0.9, 0.0]])
    got = error_rate(score, label)
    assert (got.substitutions, got.deletions, got.insertions) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert got.per_class_K.tolist() == pytest.approx([1.0, 1.0, math.nan], nan_ok=True)
    assert error_rate(torch.zeros(3, 3), label).value == 1.0
    assert error_rate(torch.full((3, 1), 0.30078125, dtype=torch.bfloat16), torch.ones(3, 1), 0.3).value == 0.0
    with pytest.raises(ValueError, match="one is not a number"):
        error_rate(score, label, math.nan)
    with pytest.raises(ValueError, match=r"must both be \[frames, classes\]"):
        error_rate(score, label[:2])


def test_tagging_equals_scikit_learn():
    for seed in range(60):
        p = problem(seed)
        start = np.cumsum([0, *(s.shape[1] for s in p.scores)])
        score_FK = torch.cat([s.T for s in p.scores])
        label = np.array([[bool(merged(found, name)) for name in p.classes] for found in p.events])
        pool = ("max", "mean")[seed % 2]
        plain = np.array([[getattr(np, pool)(row.double().numpy()) for row in s] for s in p.scores])
        pooled = clip_scores(score_FK, torch.from_numpy(start), pool)
        assert pooled.double().numpy() == pytest.approx(plain, abs=1e-12)
        got = tagging_metrics(pooled, torch.from_numpy(label))
        both = [k for k in range(len(p.classes)) if 0 < label[:, k].sum() < len(label)]
        some = [k for k in range(len(p.classes)) if label[:, k].any()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            precisions = [average_precision_score(label[:, k], pooled[:, k].double()) for k in some]
            areas = [roc_auc_score(label[:, k], pooled[:, k].double()) for k in both]
            f1 = precision_recall_fscore_support(label, pooled.double().numpy() > 0.5, zero_division=0.0)[2]
        expected = [np.mean(x) if len(x) else math.nan for x in (precisions, areas, np.array(f1)[some])]
        measured = got.average_precision.macro, got.auroc.macro, got.f1.macro
        if len(p.classes) > 1:  # of one column scikit-learn's F1 is of both its values
            assert measured == pytest.approx(expected, **NONE)
        assert measured[:2] == pytest.approx(expected[:2], **NONE)
        assert got.d_prime.per_class_K.tolist() == pytest.approx(d_prime(got.auroc).per_class_K.tolist(), **NONE)


def test_clips_that_do_not_fit():
    score = torch.zeros(4, 2)
    for start, pool, match in (
        ([0, 4], "median", "pool 'median': max or mean"),
        ([0, 3], "max", "the last ends at 4"),
        ([1, 4], "max", "clips begin at 0"),
        ([0, 2, 2, 4], "mean", "clip 1 has no frame: leave it out"),
    ):
        with pytest.raises(ValueError, match=match):
            clip_scores(score, torch.tensor(start), pool)


def test_each_class_has_a_threshold_of_its_own():
    """By trying all; of equals the lowest, in whatever order they are given."""
    thresholds = (0.5, 0.1, 0.25, 0.8, 0.0, 1.7)
    for seed in range(40):
        p = problem(seed, most_recordings=5)
        for curve in (
            segment_f1(*p.arguments(), thresholds),
            event_f1(*p.arguments(), thresholds),
            frame_f1(*segments(*p.arguments()), thresholds),
        ):
            best, found = curve.best_of_each, []
            for k in range(len(p.classes)):
                of_class = [(float(curve.at(t).per_class_K[k]), -t) for t in thresholds]
                found.append(max(of_class) if curve.positive_K[k] else (math.nan, math.nan))
            assert best.f1_K.tolist() == pytest.approx([f1 for f1, _ in found], **NONE)
            assert best.threshold_K.tolist() == pytest.approx([-t for _, t in found], **NONE)
            some = [f1 for f1, _ in found if not math.isnan(f1)]
            assert best.macro == pytest.approx(np.mean(some) if some else math.nan, **NONE)
            assert not some or best.macro >= curve.best.macro

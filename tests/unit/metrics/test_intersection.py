"""Intersection-based F1, mean IoU and cross triggers: beside sed_scores_eval, beside plain counts, and by hand."""

import math

import numpy as np
import pytest
import torch
from sed_scores_eval import intersection_based
from sed_scores_eval.intersection_based.intermediate_statistics import accumulated_intermediate_statistics
from timed_problems import Problem, merged, problem, spans, with_events

from flam_train.metrics import timed
from flam_train.metrics.intersection import cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.reference import reference_inputs

SOME = (0.0, 0.1, 0.25, 0.5, 0.8, 1.7)
SHARES = ((0.5, 0.5), (0.7, 0.7), (0.1, 0.1), (1.0, 0.3), (0.2, 1.0))


def lengths(p: Problem) -> list[float]:
    return [s.shape[1] * p.frame_seconds for s in p.scores] if p.durations is None else p.durations


def found_in(p: Problem, n: int, k: int, threshold: float) -> list[tuple[float, float]]:
    return spans(p.scores[n][k].double().numpy(), threshold, lengths(p)[n], p.frame_seconds, reached=False)


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def share_of(one: tuple[float, float], others: list[tuple[float, float]], share: float) -> bool:
    return round(sum(overlap(one, o) for o in others), 6) >= round(share * (one[1] - one[0]), 6)


def plain_counts(p: Problem, k: int, threshold: float, dtc: float, gtc: float) -> tuple[int, int, int]:
    """Events found, detections that are not tolerated, events."""
    found = false = total = 0
    for n, events in enumerate(p.events):
        truth = merged(events, p.classes[k])
        mine = found_in(p, n, k, threshold)
        good = [d for d in mine if share_of(d, truth, dtc)]
        found += sum(share_of(e, good, gtc) for e in truth)
        false += len(mine) - len(good)
        total += len(truth)
    return found, false, total


def test_intersection_f1_equals_plain_counts():
    for seed in range(60):
        p = problem(seed)
        dtc, gtc = SHARES[seed % len(SHARES)]
        curve = intersection_f1(*p.arguments(), SOME, dtc, gtc)
        for i, threshold in enumerate(SOME):
            for k in range(len(p.classes)):
                found, false, total = plain_counts(p, k, threshold, dtc, gtc)
                got = int(curve.hit_PK[i, k]), int(curve.raised_PK[i, k]), int(curve.positive_K[k])
                assert got == (found, found + false, total)


def as_theirs(p: Problem) -> tuple:
    kept = range(len(p.classes))
    return reference_inputs([s.numpy() for s in p.scores], p.events, p.classes, kept, lengths(p), p.frame_seconds)


def test_intersection_f1_equals_sed_scores_eval():
    apart, compared = 0.0, 0
    for seed in range(80):
        p = with_events(problem(seed, most_recordings=6))  # it has no F1 of a class without events
        if not p.classes:
            continue
        dtc, gtc = SHARES[seed % len(SHARES)]
        threshold = SOME[seed % 6]
        options = {"dtc_threshold": dtc, "gtc_threshold": gtc}
        try:
            f1, precision, recall, _ = intersection_based.fscore(*as_theirs(p), threshold, **options)
        except (IndexError, AssertionError):  # its own, of a class none of whose counts changes at any threshold
            continue
        curve = intersection_f1(*p.arguments(), SOME, dtc, gtc)
        got, rates = curve.at(threshold), curve.rates_at(threshold)
        apart = max(apart, abs(got.macro - f1["macro_average"]), abs(got.micro - f1["micro_average"]))
        apart = max(apart, *(abs(float(got.per_class_K[k]) - f1[c]) for k, c in enumerate(p.classes)))
        apart = max(apart, abs(rates.recall_macro - recall["macro_average"]))
        for k, c in enumerate(p.classes):
            if curve.raised_PK[SOME.index(threshold), k]:  # where nothing is found precision is 1 there
                apart = max(apart, abs(float(rates.precision_K[k]) - precision[c]))
        compared += 1
    assert compared >= 60
    assert apart < 1e-12


def test_cross_triggers_equal_plain_counts_and_sed_scores_eval(monkeypatch):
    compared = 0
    for seed in range(160):
        p = problem(seed, most_recordings=6)
        dtc, cttc = ((0.5, 0.3), (0.1, 0.3), (1.0, 0.05), (0.7, 1.0))[seed % 4]
        threshold = SOME[seed % 6]
        monkeypatch.setattr(timed, "BLOCK", 20 if seed % 2 else 1 << 20)
        got = cross_triggers(*p.arguments(), threshold, dtc, cttc)
        count, false, crossed = np.zeros((len(p.classes),) * 2, dtype=int), [], []
        for k, name in enumerate(p.classes):
            wrong = [
                (n, d)
                for n, events in enumerate(p.events)
                for d in found_in(p, n, k, threshold)
                if not share_of(d, merged(events, name), dtc)
            ]
            on = [
                [
                    j
                    for j, c in enumerate(p.classes)
                    if j != k and (t := merged(p.events[n], c)) and share_of(d, t, cttc)
                ]
                for n, d in wrong
            ]
            for columns in on:
                count[k, columns] += 1
            false.append(len(wrong))
            crossed.append(sum(bool(columns) for columns in on))
            every = sum(len(found_in(p, n, k, threshold)) for n in range(len(p.scores)))
            assert int(got.right_K[k]) == every - len(wrong)
        assert got.count_KK.tolist() == count.tolist()
        assert (got.false_K.tolist(), got.crossed_K.tolist()) == (false, crossed)
        assert got.share == pytest.approx(sum(crossed) / sum(false) if sum(false) else math.nan, nan_ok=True)
        try:
            options = {"dtc_threshold": dtc, "gtc_threshold": dtc, "cttc_threshold": cttc}
            theirs, _ = accumulated_intermediate_statistics(*as_theirs(p), **options)
        except (IndexError, AssertionError, TypeError):  # its own, also of a class alone
            continue
        for k, name in enumerate(p.classes):
            scores, statistics = theirs[name]
            place = int(np.searchsorted(scores, threshold, side="right"))  # the lowest score above it
            for j, other in enumerate(p.classes):
                if j != k:
                    assert int(got.count_KK[k, j]) == int(statistics["cts"][other][place])
        compared += 1
    assert compared >= 40


def plain_iou(p: Problem, threshold: float) -> list[list[float]]:
    """Of each class a number for each pair."""
    out = []
    for k, name in enumerate(p.classes):
        pairs = []
        for n, events in enumerate(p.events):
            end = lengths(p)[n]
            truth = [(a, min(b, end)) for a, b in merged(events, name)]
            mine = found_in(p, n, k, threshold)
            if truth or mine:
                both = sum(overlap(d, e) for d in mine for e in truth)
                pairs.append(both / (sum(b - a for a, b in [*mine, *truth]) - both))
        out.append(pairs)
    return out


def test_mean_iou_equals_a_plain_one(monkeypatch):
    for seed in range(60):
        p, threshold = problem(seed), SOME[seed % 6]
        monkeypatch.setattr(timed, "BLOCK", 20 if seed % 2 else 1 << 20)
        monkeypatch.setattr(timed, "PICKED", 1 if seed % 2 else 512)
        got, pairs = mean_iou(*p.arguments(), threshold), plain_iou(p, threshold)
        assert got.pairs_K.tolist() == [len(one) for one in pairs]
        means = [float(np.mean(one)) if one else math.nan for one in pairs]
        assert got.per_class_K.tolist() == pytest.approx(means, abs=1e-12, nan_ok=True)
        every = [x for one in pairs for x in one]
        assert got.value == pytest.approx(np.mean(every) if every else math.nan, abs=1e-12, nan_ok=True)
        some = [m for m in means if not math.isnan(m)]
        assert got.macro == pytest.approx(np.mean(some) if some else math.nan, abs=1e-12, nan_ok=True)


def heard(*found: tuple[int, int], frames: int = 20) -> torch.Tensor:
    score_T = torch.zeros(frames)
    for a, b in found:
        score_T[a:b] = 1.0
    return score_T


def test_by_hand():
    score = torch.stack((heard((0, 4), (5, 10)), heard((12, 16)), heard((12, 14))))
    events = [[(0.0, 10.0, "dog"), (12.0, 14.0, "rain"), (13.0, 16.0, "cat")]]
    classes = ["dog", "cat", "rain"]
    one = intersection_f1([score], events, classes, None, 1.0)  # two detections cover nine tenths of the dog
    assert one.hit_PK.tolist() == [[1, 1, 1]]
    assert one.raised_PK.tolist() == [[1, 1, 1]]
    strict = intersection_f1([score], events, classes, None, 1.0, dtc=1.0, gtc=0.95)
    assert strict.hit_PK.tolist() == [[0, 0, 1]]
    assert strict.raised_PK.tolist() == [[0, 1, 1]]  # found nothing, and nothing of it lies elsewhere
    assert mean_iou([score], events, classes, None, 1.0).per_class_K.tolist() == pytest.approx([0.9, 0.75, 1.0])
    crossed = cross_triggers([score], events, classes, None, 1.0, dtc=0.8, cttc=0.5)
    assert crossed.count_KK.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert crossed.share == 1.0
    nothing = [torch.zeros(1, 4)]
    assert math.isnan(mean_iou(nothing, [[]], ["dog"]).value)
    assert math.isnan(cross_triggers(nothing, [[]], ["dog"]).share)
    assert math.isnan(intersection_f1(nothing, [[]], ["dog"]).at(0.5).macro)


def test_mistakes():
    score = [torch.zeros(1, 4)]
    for call, match in (
        (lambda: intersection_f1(score, [[]], ["dog"], dtc=0.0), r"dtc 0\.0: it must be more than 0 and at most 1"),
        (lambda: intersection_f1(score, [[]], ["dog"], gtc=1.5), r"gtc 1\.5: it must be"),
        (lambda: cross_triggers(score, [[]], ["dog"], cttc=math.nan), r"cttc nan: it must be"),
        (lambda: cross_triggers(score, [[]], ["dog"], threshold=math.nan), "one is not a number"),
        (lambda: mean_iou(score, [[]], ["dog"], threshold=math.nan), "one is not a number"),
        (lambda: mean_iou([torch.zeros(0, 4)], [[]], []), "no class: nothing to compute a score of"),
        (lambda: intersection_f1(score, [[(0, 1, "cat")]], ["dog"]), "recording 0: class 'cat'"),
        (lambda: cross_triggers(score * 2, [[]], ["dog"]), "2 scores but 1 lists"),
        (lambda: mean_iou([score[0] * math.nan], [[]], ["dog"]), "recording 0: a score is not a number"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.gpu
def test_on_a_gpu():
    for seed in range(20):
        p = problem(seed)
        there = ([s.cuda() for s in p.scores], *p.arguments()[1:])
        assert torch.equal(intersection_f1(*there, SOME).raised_PK, intersection_f1(*p.arguments(), SOME).raised_PK)
        assert torch.equal(cross_triggers(*there, 0.5).count_KK, cross_triggers(*p.arguments(), 0.5).count_KK)
        assert mean_iou(*there).value == pytest.approx(mean_iou(*p.arguments()).value, abs=1e-12, nan_ok=True)

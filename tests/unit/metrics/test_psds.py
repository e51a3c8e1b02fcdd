"""PSDS: against sed_scores_eval, against plain counts at every threshold, and by hand."""

import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from timed_problems import Problem, merged, problem, spans, with_events

from flam_train.metrics import timed
from flam_train.metrics.detection import PSDS, PsdsParameters, psds
from flam_train.metrics.psd import PsdRoc
from flam_train.metrics.reference import psds_reference

SETTINGS = [
    *PSDS.values(),
    PsdsParameters(0.5, 0.5, 0.3, 1.0, 0.0, 1000.0),
    PsdsParameters(1.0, 1.0, None, 0.0, 0.5, 20_000.0),
    PsdsParameters(0.05, 0.3, 0.05, 0.2, 2.0, 30.0),
]


def ours(p: Problem, parameters: PsdsParameters):
    return psds(*p.arguments(), **asdict(parameters), missing="skip")


def compare(seed: int) -> float:
    p, parameters = problem(seed), SETTINGS[seed % len(SETTINGS)]
    got = ours(p, parameters)
    scores = [score.numpy() for score in p.scores]
    options = {"durations": p.durations, "frame_seconds": p.frame_seconds, "parameters": parameters}
    try:
        value, per_class = psds_reference(scores, p.events, p.classes, **options)
    except (IndexError, AssertionError):  # its own, of a class none of whose counts changes at any threshold
        value, areas = plain(with_events(p), parameters)
        per_class = dict(zip(with_events(p).classes, areas, strict=True))
    assert list(got.per_class) == list(per_class)
    if not per_class:
        assert math.isnan(got.value)
        return 0.0
    return max(abs(got.value - value), *(abs(got.per_class[c] - v) for c, v in per_class.items()))


def test_equals_sed_scores_eval():
    assert max(compare(seed) for seed in range(150)) < 1e-9


@pytest.mark.slow
def test_equals_sed_scores_eval_on_three_thousand_problems():
    assert max(compare(seed) for seed in range(150, 3150)) < 1e-9


def plain(p: Problem, s: PsdsParameters) -> tuple[float, list[float]]:
    """Counts at every score that occurs, then the area under the best of them; from the definitions alone."""
    seconds = [float(t.shape[1] * p.frame_seconds) for t in p.scores] if p.durations is None else p.durations
    total = sum(seconds)
    truth = [[merged(found, name) for found in p.events] for name in p.classes]
    curves = []
    for k in range(len(p.classes)):
        score = [x[k].double().numpy() for x in p.scores]
        points = [(0.0, 0.0)]
        for threshold in np.unique(np.concatenate(score)):
            true = false = 0
            cross = 0.0
            for n, score_T in enumerate(score):
                found = spans(score_T, threshold, seconds[n], p.frame_seconds, reached=True)
                right = []
                for a, b in found:
                    if round(overlap((a, b), truth[k][n]), 6) >= round(s.dtc * (b - a), 6):
                        right.append((a, b))
                        continue
                    false += 1
                    for o in set(range(len(p.classes))) - {k} if s.alpha_ct else ():
                        share = round(overlap((a, b), truth[o][n]), 6)
                        if truth[o][n] and share >= round(s.cttc * (b - a), 6):
                            cross += 1 / sum(y - x for one in truth[o] for x, y in one) / (len(p.classes) - 1)
                true += sum(round(overlap(e, right), 6) >= round(s.gtc * (e[1] - e[0]), 6) for e in truth[k][n])
            points.append(((false / total + s.alpha_ct * cross) * 3600, true / sum(map(len, truth[k]))))
        curves.append(points)
    places = sorted({x for points in curves for x, _ in points if x <= s.max_efpr} | {s.max_efpr})
    areas, value = [0.0] * len(curves), 0.0
    for a, b in pairwise(places):
        heights = [max(y for x, y in points if x <= a) for points in curves]
        value += max(0.0, float(np.mean(heights) - s.alpha_st * np.std(heights))) * (b - a) / s.max_efpr
        areas = [area + y * (b - a) / s.max_efpr for area, y in zip(areas, heights, strict=True)]
    return value, areas


def overlap(span: tuple[float, float], others: list[tuple[float, float]]) -> float:
    return sum(max(0.0, min(span[1], b) - max(span[0], a)) for a, b in others)


def test_equals_plain_counts_at_every_threshold():
    checked = 0
    for seed in range(500, 560):
        p = with_events(problem(seed, most_recordings=4, most_frames=12))
        if not p.classes:
            continue
        parameters = SETTINGS[seed % len(SETTINGS)]
        got, (value, areas) = ours(p, parameters), plain(p, parameters)
        assert got.value == pytest.approx(value, abs=1e-9), seed
        assert list(got.per_class.values()) == pytest.approx(areas, abs=1e-9), seed
        checked += 1
    assert checked > 40


def test_many_recordings_of_which_few_false_positives_are_shown(monkeypatch):
    """Where thresholds are not looked at, and where classes and pairs are worked on a few at a time."""
    p = problem(11, most_recordings=1)
    r = np.random.default_rng(0)
    p = Problem(
        [torch.from_numpy(r.random((3, 8))) for _ in range(300)],
        [[(1.0, 2.0, f"class {n % 3}")] if n % 10 == 0 else [] for n in range(300)],
        [f"class {k}" for k in range(3)],
        None,
        0.5,
    )
    for parameters in (PSDS["PSDS1A"], PSDS["PSDS2"], PsdsParameters(0.3, 0.3, 0.1, 0.5, 0.0, 3.5)):
        arguments = [s.numpy() for s in p.scores], p.events, p.classes
        value, per_class = psds_reference(*arguments, frame_seconds=0.5, parameters=parameters)
        got = ours(p, parameters)
        assert got.value == pytest.approx(value, abs=1e-9)
        assert got.per_class == pytest.approx(per_class, abs=1e-9)
        with monkeypatch.context() as m:
            m.setattr(timed, "BLOCK", 40)
            m.setattr(timed, "PICKED", 1)
            assert ours(p, parameters).per_class == pytest.approx(got.per_class, abs=1e-12)


def perfect(events, classes, frames, hop):
    score = torch.zeros(len(classes), frames)
    for onset, offset, name in events:
        score[classes.index(name), round(onset / hop) : round(offset / hop)] = 1.0
    return score


def test_a_perfect_system():
    classes = ["dog", "cat", "cow"]
    # Overlapping events of one class (sed_scores_eval refuses them), a class without ground truth (it asserts).
    events = [[(0.0, 1.0, "dog"), (0.5, 2.0, "dog"), (3.0, 4.0, "cat")], []]
    scores = [perfect(e, classes, 10, 0.5) for e in events]
    for name, parameters in PSDS.items():
        result = psds(scores, events, classes, None, 0.5, **asdict(parameters), missing="skip")
        assert result.value == pytest.approx(1.0), name
        assert result.per_class == {"dog": 1.0, "cat": 1.0}
        assert result.left_out == ("cow",)
        assert result.parameters == parameters
    assert str(PSDS["PSDS2"]) == "dtc=0.1,gtc=0.1,cttc=0.3,alpha_ct=0.5,alpha_st=1,max_efpr=100"
    empty = psds(scores, [[], []], classes, None, 0.5, missing="skip")
    assert math.isnan(empty.value)
    assert (empty.per_class, empty.left_out) == ({}, ("dog", "cat", "cow"))


def test_by_hand():
    """One hour: an event of 4 s is found at .9, at .8 a false positive comes, at .4 all is one long detection."""
    hop, frames = 1.0, 3600
    score = torch.full((1, frames), 0.1)
    score[0, 10:14] = 0.9
    score[0, 100:110] = 0.8
    score[0, :200] = score[0, :200].clamp(min=0.4)
    result = psds([score], [[(10.0, 14.0, "dog"), (3000.0, 3002.0, "dog")]], ["dog"], None, hop, alpha_st=0.0)
    roc = result.class_rocs["dog"]
    # Nothing below .4 finds the second event: all is one detection that lies elsewhere by far.
    assert roc.efpr_M.tolist() == [0.0]
    assert roc.tpr_M.tolist() == [0.5]
    assert result.value == 0.5
    # The second event begins to be heard once three false positives have come: 3 of the 100 per hour that are shown.
    score[0, [300, 400]] = 0.8
    score[0, 3000:3002] = 0.7
    result = psds([score], [[(10.0, 14.0, "dog"), (3000.0, 3002.0, "dog")]], ["dog"], None, hop, alpha_st=0.0)
    assert result.class_rocs["dog"].efpr_M.tolist() == [0.0, 3.0]
    assert result.class_rocs["dog"].tpr_M.tolist() == [0.5, 1.0]
    assert result.value == pytest.approx((3 * 0.5 + 97 * 1.0) / 100)
    assert PsdRoc(np.array([0.0, 3.0]), np.array([0.5, 1.0])).area(100.0) == pytest.approx(result.value)


def test_cross_triggers_by_hand():
    """A detection of the dog on 2 s of the cat: one false positive, and one cross trigger for 4 s of cat in all."""
    classes = ["dog", "cat"]
    score = torch.tensor([[0.0, 0.9, 0.9, 0.0, 0.0, 0.8], [-math.inf] * 6])
    events = [[(1.0, 3.0, "cat"), (3.5, 5.5, "cat"), (5.0, 6.0, "dog")]]
    result = psds([score], events, classes, None, 1.0, 0.5, 0.5, 0.5, 1.0, 0.0, max_efpr=10_000.0)
    # 1 false positive in 6 s, and 1 cross trigger in 4 s of the only other class.
    assert result.class_rocs["dog"].efpr_M.tolist() == [0.0, pytest.approx((1 / 6 + 1 / 4) * 3600)]
    assert result.class_rocs["dog"].tpr_M.tolist() == [0.0, 1.0]
    assert result.class_rocs["cat"].tpr_M.tolist() == [0.0]


def test_unevenness_costs_in_psds1_only():
    classes = ["dog", "cat"]
    events = [[(0.0, 2.0, "dog"), (3.0, 5.0, "cat")]]
    scores = [perfect([(0.0, 2.0, "dog")], classes, 10, 0.5)]  # never hears the cat
    value = {name: psds(scores, events, classes, None, 0.5, **asdict(p)).value for name, p in PSDS.items()}
    assert value["PSDS1A"] == pytest.approx(0.5)
    assert value["PSDS1"] == pytest.approx(0.0)


def test_the_default_is_psds1():
    p = with_events(problem(5))
    assert psds(*p.arguments()).parameters == PSDS["PSDS1"]


def test_scores_that_are_never_reached_and_other_numbers():
    """Logits do as well as probabilities, and a score of -inf is no detection at any threshold."""
    p = with_events(problem(9))
    value = psds(*p.arguments(), alpha_st=0.0).value
    logits = [torch.logit(s.double() / 4 + 0.1) for s in p.scores]
    assert psds(logits, *p.arguments()[1:], alpha_st=0.0).value == pytest.approx(value, abs=1e-12)
    hushed = [s.double().where(s > 0.5, -math.inf) for s in p.scores]
    lowest = [s.double().where(s > 0.5, -5.0) for s in p.scores]
    got = psds(hushed, *p.arguments()[1:], alpha_st=0.0, max_efpr=5.0).value
    assert got == pytest.approx(psds(lowest, *p.arguments()[1:], alpha_st=0.0, max_efpr=5.0).value, abs=1e-2)
    assert psds([torch.full_like(s, -math.inf) for s in p.scores], *p.arguments()[1:]).value == 0.0


@pytest.mark.gpu
def test_on_a_gpu():
    for seed in range(40):
        p, parameters = problem(seed), SETTINGS[seed % len(SETTINGS)]
        there = Problem([s.cuda() for s in p.scores], *p.arguments()[1:])
        assert ours(there, parameters).per_class == pytest.approx(ours(p, parameters).per_class, abs=1e-9)


SCORE = [torch.zeros(1, 4)]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SCORE, [[(0, 1, "cat")]], ["dog"]), {}, "recording 0: class 'cat' of an event is none of the classes"),
        ((SCORE, [[]], ["dog", "cat"]), {}, r"recording 0: scores \(1, 4\) must be \[2 classes, frames\]"),
        ((SCORE, [[]], ["dog"]), {}, "'dog' has no event in the ground truth: leave it out, or say missing='skip'"),
        ((SCORE, [[], []], ["dog"]), {"missing": "skip"}, "1 scores but 2 lists of events"),
        ((SCORE * 2, [[]], ["dog"]), {"missing": "skip"}, "2 scores but 1 lists of events"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"], [1.0, 2.0]), {}, "1 scores but 2 durations"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"], [0.0]), {}, "recording 0: lasts 0.0 s"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"], [math.nan]), {}, "recording 0: lasts nan s"),
        ((SCORE, [[(1, 1, "dog")]], ["dog"]), {}, "recording 0: an event of 'dog' from 1 to 1 s does not last"),
        ((SCORE, [[(0, math.nan, "dog")]], ["dog"]), {}, "from 0 to nan s does not last"),
        (([torch.full((1, 4), math.nan)], [[(0, 1, "dog")]], ["dog"]), {}, "recording 0: a score is not a number"),
        (([torch.zeros(1, 4, dtype=torch.int64)], [[(0, 1, "dog")]], ["dog"]), {}, "scores are torch.int64"),
        (([torch.zeros(1, 0)], [[(0, 1, "dog")]], ["dog"]), {}, "must be"),
        (([torch.zeros(2, 4)], [[]], ["dog", "dog"]), {}, "class 'dog' is there twice"),
        (([], [], ["dog"]), {}, "no recording"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"], None, 0.0), {}, "frame_seconds 0.0"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"]), {"dtc": 0.0}, "dtc 0.0: it must be more than 0 and at most 1"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"]), {"gtc": 1.5}, "gtc 1.5"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"]), {"alpha_ct": 0.5}, "alpha_ct 0.5 without cttc"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"]), {"alpha_st": -1.0}, "alpha_st -1.0"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"]), {"max_efpr": 0.0}, "max_efpr 0.0"),
        ((SCORE, [[(0, 1, "dog")]], ["dog"]), {"missing": "maybe"}, "missing 'maybe': refuse or skip"),
    ],
)  # fmt: skip
def test_mistakes(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        psds(*arguments, **options)

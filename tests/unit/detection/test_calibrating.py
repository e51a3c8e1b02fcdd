"""What is found on labelled scores is what a plain search finds, and what is told is of other recordings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from flam_train.detection.calibrating import BINS, calibrate, counted, fitted, parted
from flam_train.detection.calibration import Calibration, logit
from flam_train.detection.events import Rules, events_of
from flam_train.detection.labelled import Data, Labelled, frames_of
from flam_train.detection.scoring import Scores, Time, silenced
from flam_train.detection.thresholds import (
    GRID,
    LOWS,
    PRIOR_EVENTS,
    best_of_all,
    best_of_each,
    chosen,
    curve,
    judged_peaks,
    levels,
)  # fmt: skip
from flam_train.metrics.calibration import calibration
from flam_train.metrics.f1 import F1Curve

FRAME = 0.3125
PHRASES = ("rain", "falling rain", "a dog", "a siren")
CONCEPTS = ("rain", "rain", "dog", "siren")
RULES = Rules(median=0.95, close=0.7, shortest=0.35, smooth=0.2)


def recording(number: int, frames: int = 200, shift: float = 0.0) -> Labelled:
    """Scores that are higher where phrases are heard, of each phrase by another amount; a second is silent."""
    rng = np.random.default_rng([7, number])
    time = Time(0, frames, FRAME, 0.0, frames * FRAME, ((5.0, 6.25),))
    logit_CT = rng.normal(-2.0, 1.0, (len(PHRASES), frames))
    events = []
    for concept, at in zip(("rain", "dog", "siren"), (2.0, 1.0, 0.0), strict=True):
        onset = 8.0
        while (onset := onset + rng.uniform(2, 9)) < frames * FRAME - 4:
            offset = onset + rng.uniform(0.7, 3.0)
            said = [phrase for phrase, c in zip(PHRASES, CONCEPTS, strict=True) if c == concept]
            events += [(round(onset, 3), round(offset, 3), phrase) for phrase in said]
            rows = [PHRASES.index(phrase) for phrase in said]
            logit_CT[rows, round(onset / FRAME) : round(offset / FRAME)] += 3.0 + at
            onset = offset
    score_CT = silenced((1 / (1 + np.exp(-logit_CT - shift))).astype(np.float32), time)
    scores = Scores(PHRASES, score_CT, time)
    events = tuple(sorted(events))
    known_CT = np.ones(score_CT.shape, bool)
    return Labelled(f"source {number // 2}", scores, frames_of(scores, events), known_CT, events)


def data(numbers: range, shift: float = 0.0, name: str = "toy") -> Data:
    recordings = tuple(recording(n, shift=shift) for n in numbers)
    about = {"kind": "shards", "name": name, "sha256": f"{name} {numbers} {shift}"}
    return Data(PHRASES, CONCEPTS, recordings, False, "ab" * 32, "unbiased", about)


@pytest.fixture(scope="module")
def some() -> Data:
    return data(range(6), shift=2.0)


def cross_entropy(data: Data, temperature: float, bias: float) -> float:
    """Frame by frame, with Platt's labels."""
    pairs = [
        (math.log(s) - math.log1p(-s), heard)
        for one in data.recordings
        for row, labels, known in zip(one.scores.score_CT.tolist(), one.label_CT, one.known_CT, strict=True)
        for s, heard, counts in zip(row, labels, known, strict=True)
        if counts and s > 0
    ]
    n1 = sum(heard for _, heard in pairs)
    n0, out = len(pairs) - n1, 0.0
    for x, heard in pairs:
        z, label = (x + bias) / temperature, 1 - 1 / (n1 + 2) if heard else 1 / (n0 + 2)
        out += label * math.log1p(math.exp(-z)) + (1 - label) * math.log1p(math.exp(z))
    return out / len(pairs)


def test_temperature_and_bias_are_the_likeliest(some):
    temperature, bias = fitted(*counted(some))
    assert 0.2 < temperature < 5
    assert bias < -1
    best = cross_entropy(some, temperature, bias)
    in_bias = minimize_scalar(
        lambda b: cross_entropy(some, temperature, b), bounds=(bias - 1, bias + 1), method="bounded"
    )
    in_temperature = minimize_scalar(lambda t: cross_entropy(some, t, bias), bounds=(0.1, 5), method="bounded")
    assert best == pytest.approx(in_bias.fun, abs=1e-7)
    assert best == pytest.approx(in_temperature.fun, abs=1e-7)
    assert (in_bias.x, in_temperature.x) == pytest.approx((bias, temperature), abs=1e-2)


def test_frames_are_counted_once_each_in_whatever_order(some):
    logit_N, count_N, positive_N = counted(some)
    sounding = [one.scores.score_CT > 0 for one in some.recordings]
    assert count_N.sum() == sum(x.sum() for x in sounding)
    assert positive_N.sum() == sum((one.label_CT & x).sum() for one, x in zip(some.recordings, sounding, strict=True))
    exact = np.sort(
        np.concatenate([logit(one.scores.score_CT[x]) for one, x in zip(some.recordings, sounding, strict=True)])
    )
    assert np.abs(np.repeat(logit_N, count_N) - exact).max() <= 0.5001 / BINS
    other = counted(some.of(some.recordings[::-1]))
    assert all(np.array_equal(a, b) for a, b in zip(other, (logit_N, count_N, positive_N), strict=True))


def test_the_least_and_the_greatest_score_have_a_bin(some):
    one = some.recordings[0]
    score_CT = one.scores.score_CT.copy()
    score_CT[0, :4] = [1e-45, 1.0, 1 - 2**-24, 0.5]
    logit_N, count_N, _ = counted(some.of([replace(one, scores=replace(one.scores, score_CT=score_CT))]))
    assert logit_N[0] == pytest.approx(math.log(1e-45), abs=0.5)
    assert logit_N[-1] == pytest.approx(25 * math.log(2), abs=1e-3)
    assert count_N.sum() == (score_CT > 0).sum()


def test_scores_that_part_labels_without_a_mistake_have_a_finite_temperature():
    found = fitted(np.array([-1.0, 1.0]), np.array([50, 10]), np.array([0, 10]))
    # Both labels are met exactly: log(11) and -log(51) at the two logits.
    slope, shift = (math.log(11) + math.log(51)) / 2, (math.log(11) - math.log(51)) / 2
    assert found == pytest.approx((1 / slope, shift / slope), rel=1e-5)


def test_labels_that_scores_say_nothing_of_are_refused():
    two, counts = np.array([-1.0, 1.0]), np.array([50, 50])
    with pytest.raises(ValueError, match="no higher where phrases are heard: look whether labels are of these"):
        fitted(two, counts, np.array([30, 10]))
    with pytest.raises(ValueError, match="of 100 frames of phrases there is not one frame in which a phrase is heard"):
        fitted(two, counts, np.array([0, 0]))
    with pytest.raises(ValueError, match="there is no frame in which a phrase is not heard: give more recordings"):
        fitted(two, counts, counts)


def test_levels_are_the_events_of_each_threshold(some):
    """All thresholds at once, as `events_of` finds them one by one."""
    grid = [0.2, 0.5, 0.8, 0.95]
    for one in some.recordings[:2]:
        level_CT = levels(one, RULES, np.tile(grid, (len(PHRASES), 1)))
        for p, threshold in enumerate(grid):
            want_CT = np.zeros(level_CT.shape, bool)
            for event in events_of(one.scores, replace(RULES, threshold=threshold)):
                span = slice(round(event.onset / FRAME), round(event.offset / FRAME))
                want_CT[PHRASES.index(event.phrase), span] = True
            assert want_CT.any()
            assert np.array_equal(level_CT > p, want_CT)


def plain_counts(data: Data, rules: Rules, threshold: float, phrase: str) -> tuple[int, int, int]:
    """(hits, found, there) of one phrase, by trying every way to match: few events a recording."""
    hits = found = there = 0
    for one in data.recordings:
        events = [e for e in one.events if e[2] == phrase]
        mine = [e for e in events_of(one.scores, rules, {p: threshold for p in PHRASES}) if e.phrase == phrase]
        near = [
            [
                abs(m.onset - a) <= 0.2 + 1e-9 and abs(m.offset - b) <= max(0.2, 0.2 * (b - a)) + 1e-9
                for a, b, _ in events
            ]
            for m in mine
        ]

        def most(row: int, taken: frozenset[int], near=near) -> int:
            if row == len(near):
                return 0
            ways = [1 + most(row + 1, taken | {k}) for k, ok in enumerate(near[row]) if ok and k not in taken]
            return max([most(row + 1, taken), *ways])

        hits, found, there = hits + most(0, frozenset()), found + len(mine), there + len(events)
    return hits, found, there


def test_event_f1_is_counted_as_by_hand(some):
    few = some.of(some.recordings[:2])
    grid_CP = np.tile([0.3, 0.7, 0.9], (len(PHRASES), 1))
    got, iou = curve(few, RULES, grid_CP)
    for c, phrase in enumerate(PHRASES):
        for p, threshold in enumerate(grid_CP[c]):
            counts = int(got.hit_PK[p, c]), int(got.raised_PK[p, c]), int(got.positive_K[c])
            assert counts == plain_counts(few, RULES, threshold, phrase)
    assert 0 < iou < 1


def a_curve(*counts: list[tuple[int, int]], positive: list[int]) -> F1Curve:
    """counts: of each phrase (hits, found) at each threshold."""
    hit_CP, raised_CP = (torch.tensor([[pair[n] for pair in row] for row in counts]) for n in (0, 1))
    return F1Curve(tuple(range(len(counts[0]))), hit_CP.T, raised_CP.T, torch.tensor(positive))


def test_a_phrase_with_few_events_gets_what_is_good_for_all():
    many = [(90, 300), (80, 100), (20, 20)]  # of 100 events: the second is best
    few = [(2, 3), (0, 0), (0, 0)]  # of 2: the first
    none = [(0, 9), (0, 1), (0, 0)]
    found = a_curve(many, few, none, [(a * 60, b * 60) for a, b in few], positive=[100, 2, 0, 120])
    everything = np.ones((3, 4), bool)
    assert best_of_each(found, everything).tolist() == [1, 0, 0, 0]
    found = a_curve(many, few, none, positive=[100, 2, 0])
    assert best_of_each(found, everything[:, :3]).tolist() == [1, 1, 1]
    allowed = everything[:, :3].copy()
    allowed[1] = False
    assert best_of_each(found, allowed).tolist() == [0, 0, 0]

    def f1(hit, raised, positive):
        return 2 * hit / (raised + positive)

    share = [(92 / 102, 303 / 102), (80 / 102, 100 / 102), (20 / 102, 20 / 102)]
    plain = [
        f1(h + PRIOR_EVENTS * a, r + PRIOR_EVENTS * b, 2 + PRIOR_EVENTS)
        for (h, r), (a, b) in zip(few, share, strict=True)
    ]
    assert max(range(3), key=plain.__getitem__) == 1


def test_unseen_phrases_get_what_is_best_on_the_mean():
    found = a_curve(
        [(9, 10), (5, 5), (1, 1)], [(0, 9), (8, 10), (8, 8)], [(1, 99), (1, 50), (0, 0)], positive=[10, 10, 1]
    )
    everything, all_of_them = np.ones((3, 3), bool), np.array([True, True, False])
    assert best_of_all(found, everything, all_of_them) == 1  # (.67 + .8) / 2
    assert best_of_all(found, everything, np.array([True, False, False])) == 0
    assert best_of_all(found, everything, np.array([False, True, False])) == 2


def test_what_is_chosen_is_best_by_a_plain_search(some):
    few = some.of(some.recordings[:3])
    found, (grid, rules) = chosen(few, RULES), (GRID[::6], RULES)
    assert list(found.own) == list(PHRASES)
    assert found.folds["rain"] == found.folds["falling rain"]

    def mean_f1(threshold: float, phrases) -> float:
        counts = [plain_counts(few, rules, threshold, phrase) for phrase in phrases]
        return float(np.mean([2 * h / (r + n) for h, r, n in counts]))

    best = mean_f1(found.unseen, PHRASES)
    assert all(mean_f1(threshold, PHRASES) <= best + 1e-9 for threshold in grid)
    best = mean_f1(found.folds["a dog"], ("rain", "falling rain", "a siren"))
    assert all(mean_f1(threshold, ("rain", "falling rain", "a siren")) <= best + 1e-9 for threshold in grid)


def test_it_helps_on_other_recordings_and_says_so():
    found = calibrate(data(range(8), 3.0), RULES, other := data(range(8, 14), 3.0, "other"))
    report = found.report
    assert report["after"]["ece"] < 0.02 < 0.2 < report["before"]["ece"]
    assert report["after"]["event_f1"] > report["before"]["event_f1"] + 0.1
    assert report["after"]["event_f1_unseen"] > report["before"]["event_f1"]
    assert report["after"]["mean_iou"] > report["before"]["mean_iou"]
    assert found.low in LOWS
    assert found.rules == {"smooth": 0.2, "median": 0.95, "close": 0.7, "shortest": 0.35}
    assert (found.weights, found.method) == (other.weights, other.method)
    assert (found.data["found"]["recordings"], found.data["reported"]["name"]) == (8, "other")
    rain = sum(phrase == "rain" for one in other.recordings for _, _, phrase in one.events)
    assert report["phrases"]["rain"]["events"] == found.data["reported"]["events"]["rain"] == rain
    json.dumps(report, allow_nan=False)


def test_the_report_is_what_detection_finds_with_it():
    find, other = data(range(6), 2.0), data(range(6, 9), 2.0, "other")
    found = calibrate(find, RULES, other)
    own = found.thresholds_for(PHRASES)
    scored = [replace(one, scores=found.apply(one.scores)) for one in other.recordings]
    for phrase in PHRASES:
        hits, raised, there = plain_counts(other.of(scored), found.rules_of(RULES), own[phrase], phrase)
        assert found.report["phrases"][phrase]["after"] == pytest.approx(2 * hits / (raised + there), abs=1e-6)
        hits, raised, there = plain_counts(other, RULES, RULES.threshold, phrase)
        assert found.report["phrases"][phrase]["before"] == pytest.approx(2 * hits / (raised + there), abs=1e-6)
    score_FK, label_FK = (
        torch.from_numpy(np.concatenate([x(one) for one in scored], axis=1)).T
        for x in (lambda one: one.scores.score_CT, lambda one: one.label_CT)
    )
    assert found.report["after"]["ece"] == pytest.approx(calibration(score_FK, label_FK).ece, abs=1e-6)


def test_the_same_data_give_the_same_file_in_any_order(some, tmp_path):
    first = calibrate(some, RULES).write(tmp_path / "a.json").read_bytes()
    again = calibrate(some.of(some.recordings[::-1]), RULES).write(tmp_path / "b.json").read_bytes()
    assert first == again


def test_no_source_is_in_both_parts(some):
    find, other = parted(some)
    assert {one.source for one in find.recordings}.isdisjoint(one.source for one in other.recordings)
    assert (len(find.recordings), len(other.recordings)) == (4, 2)
    two = parted(some.of(some.recordings[:4]))
    assert [len(part.recordings) for part in two] == [2, 2]
    with pytest.raises(ValueError, match="toy: all is of one source, 'source 0': give others to report on"):
        parted(some.of(some.recordings[:2]))


def test_a_phrase_that_is_alone_is_not_called_unseen(some):
    alone = [
        replace(
            one,
            events=tuple(e for e in one.events if e[2] == "a dog"),
            label_CT=one.label_CT * np.array([[0], [0], [1], [0]], bool),
        )
        for one in some.recordings
    ]
    found = calibrate(some.of(alone), RULES)
    assert list(found.thresholds) == ["a dog"]
    assert found.report["after"]["event_f1_unseen"] is None


def test_a_low_that_is_given_is_kept(some):
    assert calibrate(some, RULES, low=1.0).low == 1.0


def test_frames_that_nobody_knows_do_not_count(some):
    one = some.recordings[0]
    known_CT = one.known_CT.copy()
    known_CT[3] = False
    unknown = replace(
        one,
        known_CT=known_CT,
        label_CT=one.label_CT & known_CT,
        events=tuple(e for e in one.events if e[2] != "a siren"),
    )
    assert counted(some.of([unknown]))[1].sum() == (one.scores.score_CT[:3] > 0).sum()
    assert not levels(unknown, RULES, np.full((4, 1), 0.1))[3].any()
    assert levels(one, RULES, np.full((4, 1), 0.1))[3].any()


def test_what_cannot_be_told_is_refused(some):
    with pytest.raises(ValueError, match="toy: thresholds are found on the same data: report on others"):
        calibrate(some, RULES, some)
    silent = some.of([replace(one, events=()) for one in some.recordings])
    with pytest.raises(ValueError, match="toy: no event to find thresholds with: give more recordings"):
        calibrate(silent, RULES)
    other = replace(silent, about=silent.about | {"sha256": "other", "name": "other"})
    with pytest.raises(ValueError, match="other: no event to report on: give more recordings, or others"):
        calibrate(some, RULES, other)


def judged(numbers: range) -> Data:
    """All that is above .3 in some recordings, judged by their events."""
    out = []
    for n in numbers:
        one = recording(n, shift=1.0)
        found = [
            (d.onset, d.offset, d.phrase) for d in events_of(one.scores, replace(RULES, threshold=0.3, median=0.0))
        ]
        heard = [any(p == e[2] and a < e[1] and e[0] < b for a, b, p in one.events) for e in found]
        known_CT = frames_of(one.scores, found)
        yes = tuple(event for event, right in zip(found, heard, strict=True) if right)
        label_CT = frames_of(one.scores, yes)
        verdicts = tuple(zip(found, heard, strict=True))
        out.append(Labelled(f"{n}.wav", one.scores, label_CT, known_CT, yes, verdicts))
    return Data(
        PHRASES,
        PHRASES,
        tuple(out),
        True,
        "ab" * 32,
        "unbiased",
        {"kind": "judged", "name": "clips.csv", "sha256": "1"},
    )


def test_judged_events_are_kept_or_not():
    some = judged(range(6))
    phrase_J, peak_J, heard_J = judged_peaks(some, RULES)
    assert len(phrase_J) == sum(len(one.judged) for one in some.recordings)
    got, iou = curve(some, RULES, np.tile([0.5, 0.9], (4, 1)))
    assert math.isnan(iou)
    for c in range(4):
        for p, threshold in enumerate((0.5, 0.9)):
            over = [h for k, s, h in zip(phrase_J, peak_J, heard_J, strict=True) if k == c and s > threshold]
            assert (int(got.hit_PK[p, c]), int(got.raised_PK[p, c])) == (sum(over), len(over))
    assert got.positive_K.tolist() == [int(heard_J[phrase_J == c].sum()) for c in range(4)]


def test_no_threshold_is_below_what_was_judged():
    some = judged(range(9))
    find, _ = parted(some)
    found = calibrate(some, RULES)
    assert not found.shares
    calibrated = find.of([replace(one, scores=found.apply(one.scores)) for one in find.recordings])
    phrase_J, peak_J, _ = judged_peaks(calibrated, RULES)
    next_of = dict(pairwise(GRID))
    for c, phrase in enumerate(PHRASES):
        assert next_of[found.thresholds[phrase]] >= peak_J[phrase_J == c].min()
    assert next_of[found.unseen] >= peak_J.min()
    assert found.low == RULES.low
    assert found.report["after"]["mean_iou"] is None
    assert found.report["after"]["event_f1"] >= found.report["before"]["event_f1"]
    assert isinstance(found, Calibration)

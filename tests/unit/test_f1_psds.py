"""F1 and PSDS: by hand, beside plain counts, and the quirks of the libraries that are mended."""

import math

import numpy as np
import pytest
import torch

from flam_train.metrics.detection import (
    THRESHOLDS,
    best_frame_f1,
    detections,
    frame_f1,
    median_filter,
    merge_overlapping,
)
from flam_train.metrics.reference import PSDS, event_f1, psds_reference, segment_f1


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
        swept = []
        for threshold in THRESHOLDS:
            got = frame_f1(score, label, threshold, mask)
            assert (got.macro, got.micro) == pytest.approx(plain_f1(score, label, mask, threshold), abs=1e-12)
            assert got.left_out == (3,)
            swept.append(got.macro)
        best = best_frame_f1(score, label, mask)
        assert best.macro == max(swept)
        assert best.threshold == THRESHOLDS[swept.index(max(swept))]


def test_detections_and_median():
    score = np.array([[0.9, 0.1, 0.9, 0.9, 0.0, 0.7], [0.0, 0.0, 0.8, 0.0, 0.0, 0.0]])
    assert detections(score, ["a", "b"], 0.5, 0.5) == [(0, 0.5, "a"), (1, 2, "a"), (2.5, 3, "a"), (1, 1.5, "b")]
    filtered = detections(median_filter(score, 3), ["a", "b"], 0.5, 0.5)
    assert filtered == [(0, 3, "a")]
    with pytest.raises(ValueError, match="odd"):
        median_filter(score, 4)


def test_merge_overlapping():
    events = [(3, 4, "a"), (0, 1, "a"), (0.5, 2, "a"), (2, 2.5, "a"), (0, 5, "b")]
    assert merge_overlapping(events) == [(0, 2.5, "a"), (3, 4, "a"), (0, 5, "b")]


def test_a_class_never_detected_counts_zero():
    """sed_eval's own macro mean would be 1.0 here: it drops the class that was missed."""
    events, detected = [[(0.0, 2.0, "dog"), (3.0, 5.0, "cat")]], [[(0.0, 2.0, "dog")]]
    for result in (
        segment_f1(detected, events, ["dog", "cat", "cow"], durations=[6.0]),
        event_f1(detected, events, ["dog", "cat", "cow"], durations=[6.0]),
    ):
        assert result.macro == 0.5
        assert result.micro == pytest.approx(2 / 3)
        assert result.left_out == (2,)
        assert math.isnan(result.per_class_K[2])


def test_segments_and_collars():
    events = [[(0.0, 10.0, "dog")], []]
    assert segment_f1([[(0.0, 5.0, "dog")], []], events, ["dog"], durations=[10.0, 10.0]).macro == pytest.approx(2 / 3)
    coarse = segment_f1([[(0.0, 5.0, "dog")], []], events, ["dog"], durations=[10.0, 10.0], segment_seconds=10.0)
    assert coarse.macro == 1.0
    for onset, offset, found in ((0.15, 8.5, 1.0), (0.25, 10.0, 0.0), (0.0, 7.5, 0.0)):
        assert event_f1([[(onset, offset, "dog")], []], events, ["dog"], durations=[10.0, 10.0]).macro == found
    # A detection where there is nothing is a false positive, in a recording without any event too.
    wrong = event_f1([[(0.0, 10.0, "dog")], [(1.0, 2.0, "dog")]], events, ["dog"], durations=[10.0, 10.0])
    assert wrong.macro == pytest.approx(2 / 3)


def perfect(events, classes, frames, hop):
    score = np.zeros((len(classes), frames))
    for onset, offset, name in events:
        score[classes.index(name), round(onset / hop) : round(offset / hop)] = 1.0
    return score


def test_psds_of_a_perfect_system_and_its_quirks():
    classes = ["dog", "cat", "cow"]
    # Overlapping events of one class (the library refuses them), a class without ground truth (it asserts).
    events = [[(0.0, 1.0, "dog"), (0.5, 2.0, "dog"), (3.0, 4.0, "cat")], []]
    scores = [perfect(e, classes, 10, 0.5) for e in events]
    for name, parameters in PSDS.items():
        result = psds_reference(scores, events, classes, durations=[5.0, 5.0], frame_seconds=0.5, parameters=parameters)
        assert result.value == pytest.approx(1.0), name
        assert result.left_out == ("cow",)
        assert result.parameters == parameters
    dogs = [[e for e in found if e[2] == "dog"] for found in events]  # one class: no cross triggers to count
    alone = psds_reference(scores, dogs, classes, durations=[5.0, 5.0], frame_seconds=0.5, parameters=PSDS["PSDS2"])
    assert 0 < alone.value <= 1
    assert str(PSDS["PSDS2"]) == "dtc=0.1,gtc=0.1,cttc=0.3,alpha_ct=0.5,alpha_st=1,max_efpr=100"
    empty = psds_reference(scores, [[], []], classes, durations=[5, 5], frame_seconds=0.5, parameters=PSDS["PSDS1"])
    assert math.isnan(empty.value)


def test_unevenness_costs_in_psds1_only():
    classes = ["dog", "cat"]
    events = [[(0.0, 2.0, "dog"), (3.0, 5.0, "cat")]]
    scores = [perfect([(0.0, 2.0, "dog")], classes, 10, 0.5)]  # never hears the cat
    value = {
        name: psds_reference(scores, events, classes, durations=[5.0], frame_seconds=0.5, parameters=p).value
        for name, p in PSDS.items()
    }
    assert value["PSDS1A"] == pytest.approx(0.5)
    assert value["PSDS1"] == pytest.approx(0.0)


def test_user_mistakes():
    score = [np.zeros((1, 4))]
    options = {"durations": [2.0], "frame_seconds": 0.5, "parameters": PSDS["PSDS1"]}
    with pytest.raises(ValueError, match="recording 0: class 'cat'"):
        psds_reference(score, [[(0, 1, "cat")]], ["dog"], **options)
    with pytest.raises(ValueError, match="recording 0: scores"):
        psds_reference(score, [[]], ["dog", "cat"], **options)
    with pytest.raises(ValueError, match="1 durations but 2 lists"):
        segment_f1([[], []], [[], []], ["dog"], durations=[1.0])

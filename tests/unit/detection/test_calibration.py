"""A calibration keeps the order of scores, and is refused where it does not belong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from flam_train.detection.calibration import CALIBRATION, Calibration, logit, of_export, read
from flam_train.detection.events import Rules
from flam_train.detection.scoring import Scores, Time

FOUND = Calibration(
    weights="ab" * 32, method="unbiased", temperature=0.8, bias=-2.0, unseen=0.4, thresholds={"rain": 0.25}, low=0.2,
    rules={"median": 0.95}, data={"found": {"name": "toy"}}, report={"before": {"ece": None}},
)  # fmt: skip
SEVERAL = [1e-45, 1e-38, 1e-7, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 2**-24, 1.0]


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (0.05, 3.0), (0.7, -2.5), (20.0, -60.0), (1.0, 90.0)])
def test_scores_are_moved_and_keep_their_order(temperature, bias):
    found = replace(FOUND, temperature=temperature, bias=bias)
    given = np.array([SEVERAL], np.float32)
    got = found.calibrated(given)
    assert got.dtype == np.float32
    assert got.shape == given.shape
    assert np.all((got >= 0) & (got <= 1))
    assert np.all(np.diff(got) >= 0)

    def plain(score: float) -> float:
        exact = float(np.float32(score))
        z = (math.log(exact) - math.log(max(1 - exact, 2**-25)) + bias) / temperature
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0

    assert got[0] == pytest.approx([plain(s) for s in SEVERAL], rel=1e-5, abs=1e-30)


def test_silence_scores_nothing_and_nothing_else_changes_to_it():
    assert FOUND.calibrated(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
    assert replace(FOUND, bias=90.0).calibrated(np.zeros(1, np.float32)) == 0
    assert logit(np.zeros(1)) == -math.inf
    same = replace(FOUND, temperature=1.0, bias=0.0).calibrated(np.array(SEVERAL[2:], np.float32))
    assert same == pytest.approx(SEVERAL[2:], rel=1e-6)


def test_it_is_applied_to_scores_rules_and_phrases():
    scores = Scores(("rain", "a dog"), np.array([[0.5, 0.0], [0.9, 1.0]], np.float32), Time(0, 2, 0.3125, 0.0, 0.625))
    got = FOUND.apply(scores)
    assert (got.phrases, got.time) == (scores.phrases, scores.time)
    assert np.array_equal(got.score_CT, FOUND.calibrated(scores.score_CT))
    assert FOUND.thresholds_for(["a dog", "rain"]) == {"a dog": 0.4, "rain": 0.25}
    assert FOUND.rules_of(Rules(close=0.5)) == Rules(threshold=0.4, low=0.2, median=0.95, close=0.5)


def test_what_is_written_is_read_again(tmp_path):
    path = FOUND.write(tmp_path / "c.json")
    assert read(path, FOUND.weights) == FOUND
    assert read(path, FOUND.weights, "unbiased") == FOUND
    before = path.read_bytes()
    FOUND.write(path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="JSON"):
        replace(FOUND, report={"ece": math.nan}).write(path)
    assert path.read_bytes() == before


def test_an_export_may_have_one(tmp_path):
    assert of_export(tmp_path, FOUND.weights) is None
    FOUND.write(tmp_path / CALIBRATION)
    assert of_export(tmp_path, FOUND.weights) == (tmp_path / CALIBRATION, FOUND)
    with pytest.raises(ValueError, match=r"calibration\.json: was found for other weights"):
        of_export(tmp_path, "cd" * 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: json.dumps(raw)[:-9], r"c\.json: is no JSON .*: run flam-detect calibrate again"),
        (lambda raw: json.dumps(raw | {"temperature": math.inf}), "Infinity is no number.*: run flam-detect"),
        (lambda raw: "[1]", "is no calibration: give a file that flam-detect calibrate wrote"),
        (lambda raw: json.dumps({"result": 1}), "is no calibration"),
        (lambda raw: json.dumps(raw | {"calibration": 1}), "of version 1, .* reads version 2: run flam-detect"),
        (lambda raw: json.dumps(raw | {"temperature": 0}), r"damaged \(.*temperature: 0 must be above 0"),
        (lambda raw: json.dumps(raw | {"thresholds": {"rain": 1.5}}), r"damaged \(thresholds.rain: 1.5 must be"),
        (lambda raw: json.dumps(raw | {"method": "best"}), r"damaged \(method: 'best' is not known"),
        (lambda raw: json.dumps({k: v for k, v in raw.items() if k != "bias"}), r"damaged \('bias' is missing"),
        (lambda raw: json.dumps(raw | {"weights": "cd" * 32}), "other weights, of sha256 cdcd.* these have abab"),
    ],
)
def test_another_file_is_refused_with_its_name_and_the_fix(change, message, tmp_path):
    path = FOUND.write(tmp_path / "c.json")
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=message) as refused:
        read(path, FOUND.weights)
    assert str(path) in str(refused.value)


def test_another_method_and_no_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="scores of method 'unbiased', not 'cosine': run flam-detect calibrate again"):
        read(FOUND.write(tmp_path / "c.json"), FOUND.weights, "cosine")
    with pytest.raises(ValueError, match=r"d\.json: no such file: give a file that flam-detect calibrate wrote"):
        read(tmp_path / "d.json", FOUND.weights)

"""flam-detect run: thresholds for all phrases and of single ones, methods of scoring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from flam_train.checkpoints.export import load_export, save_export
from flam_train.cli import detect
from flam_train.detection.scoring import Listening, score
from flam_train.models.flam import FLAM


@pytest.fixture
def export(tmp_path, small_config, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.random.default_rng(0).normal(size=12 * 8000) * 0.1, 8000)
    torch.manual_seed(1)
    return save_export(FLAM(small_config), tmp_path / "export", {})


def run(export: Path, *thresholds: str) -> int | None:
    given = [word for one in thresholds for word in ("--threshold", one)]
    with pytest.raises(SystemExit) as left:
        detect.main(["run", str(export), "a.wav", "--phrases", "rain", "a=b", "--out", "out", "--low", "1", *given])
    return left.value.code


def found() -> set[str]:
    return {line.split("\t")[3] for line in Path("out/events.tsv").read_text().splitlines()[1:]}


def test_of_single_phrases(export):
    assert run(export, "1", "rain=0") == 0
    assert found() == {"rain"}
    options = json.loads(Path("out/settings.json").read_text())["options"]
    assert (options["rules"]["threshold"], options["thresholds"]) == (1, {"rain": 0})
    assert run(export, "a=b=0", "rain=1") == 0
    assert found() == {"a=b"}
    assert run(export, "0", "rain=1", "rain=0") == 0, "the last one counts"
    assert found() == {"rain", "a=b"}


def test_the_method_is_the_models_own_or_the_one_that_is_given(export):
    kept = {}
    for method in ((), ("--method", "unbiased"), ("--method", "biased")):
        with pytest.raises(SystemExit) as left:
            detect.main(["run", str(export), "a.wav", "--phrases", "rain", "--out", "out", "--scores", *method])
        assert left.value.code == 0
        with np.load("out/a.wav.scores.npz") as scores:
            kept[method[1:]] = scores["score"]
    model = load_export(export)
    assert model.default_method == "unbiased"
    assert np.array_equal(kept[()], kept[("unbiased",)])
    assert np.array_equal(kept[("biased",)], score(Listening(model, "a.wav"), ["rain"], method="biased").score_CT)
    assert not np.allclose(kept[("biased",)], kept[("unbiased",)])


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        ("snow=.5", "--threshold: 'snow' is none of the phrases"),
        ("rain=2", "threshold: 2 must be at least 0 and at most 1"),
        ("rain=", "is no threshold: give .7, or"),
        ("high", "is no threshold: give .7, or"),
    ],
)
def test_mistakes(threshold, said, export, capsys):
    assert run(export, threshold) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()

"""Evaluation with a calibration, where one is asked for: which numbers change, and into what."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from in_process import script
from tone_corpus import Ear, write_tones

from flam_train.detection.calibration import Calibration
from flam_train.evaluation.checked import compare
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.frame_embeddings import embed_frames
from flam_train.evaluation.report.classes import class_csv
from flam_train.evaluation.report.figures import clip_figure
from flam_train.evaluation.resampled import resampled
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import METRICS, SedMetrics, result_of
from flam_train.metrics.calibration import calibration
from flam_train.metrics.detection import THRESHOLDS, event_f1, frame_f1, median_filter, segment_f1
from flam_train.metrics.intersection import mean_iou
from flam_train.metrics.tagging import tagging_metrics

WEIGHTS = "0" * 64
FOUND = Calibration(
    WEIGHTS, "unbiased", 0.7, -0.4, 0.35, {"a low tone": 0.62, "a high tone": 0.2},
    data={"found": {"name": "tones of another day", "sha256": "ab" * 32}},
)  # fmt: skip
ALL = SedMetrics(metrics=METRICS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("shards") / "tones")


@pytest.fixture(scope="module")
def kept(corpus):
    """Of an ear that hears badly, so that thresholds matter."""
    made = embed_frames(Ear(), corpus)
    frame_FD = made.frame_FD + 0.3 * np.random.default_rng(2).standard_normal(made.frame_FD.shape)
    frame_FD = (frame_FD / np.linalg.norm(frame_FD, axis=1, keepdims=True)).astype(np.float32)
    return replace(made, frame_FD=frame_FD, scale_M=made.scale_M / 8, bias_M=made.bias_M / 8)


def test_numbers_at_a_threshold_are_those_of_each_phrase_and_the_rest_of_calibrated_scores(kept):
    """Round by round by the metrics themselves, of scores that are moved so that the own thresholds lie at 0.5."""
    scores = Scores(kept, calibration=FOUND)
    got, before = result_of(scores, ALL).metrics, result_of(Scores(kept), ALL).metrics
    assert list(got) == list(before)
    rounds = []
    for r, phrases in enumerate(scores.words.phrases):
        calibrated_KF = torch.from_numpy(FOUND.calibrated(Scores(kept).score_KF("unbiased", r).numpy()))
        own_K1 = torch.tensor([[FOUND.thresholds.get(phrase, 0.35)] for phrase in phrases])
        moved_KF = (calibrated_KF - own_K1 + 0.5).clamp(0, 1)
        label_FK = scores.label_KF().T
        start_N1 = torch.from_numpy(kept.frame_start_N1)
        timed = (
            scores.recordings(median_filter(moved_KF, [3] * len(scores.classes), start_N1)),
            *(scores.events, scores.classes, kept.durations, kept.frame_seconds),
        )
        tagged = torch.tensor(
            [[any(c == name for *_, c in found) for name in scores.classes] for found in scores.events]
        )
        clip_NK = torch.stack([x_KT.max(dim=1).values for x_KT in scores.recordings(moved_KF)])
        rounds.append({
            "frame_f1/macro": frame_f1(moved_KF.T, label_FK).at(0.5).macro,
            "segment_f1/micro": segment_f1(*timed).at(0.5).micro,
            "event_f1/macro": event_f1(*timed).at(0.5).macro,
            "event_precision/macro": event_f1(*timed).rates_at(0.5).precision_macro,
            "miou": mean_iou(*timed).value,
            "tagging/f1": tagging_metrics(clip_NK, tagged).f1.macro,
            "calibration/ECE": calibration(calibrated_KF.T, label_FK).ece,
            "frame_f1 best/macro": frame_f1(calibrated_KF.T, label_FK, THRESHOLDS).best.macro,
        })  # fmt: skip
    for name in rounds[0]:
        assert got[name] == pytest.approx(np.mean([one[name] for one in rounds]), abs=1e-6), name
        assert got[name] != pytest.approx(before[name], abs=1e-4) or " best" in name, name
    for name in got:  # what has no threshold of its own, or looks at the order alone
        alone = ("auroc", "dprime", "ap/", "PSDS", "MPAUC", "tagging/mAP", "tagging/a", "tagging/d")
        if name.startswith(alone) or " biased" in name:
            assert got[name] == pytest.approx(before[name], abs=1e-6, nan_ok=True), name


def test_one_that_changes_nothing_changes_nothing(kept):
    nothing = replace(FOUND, temperature=1.0, bias=0.0, unseen=0.5, thresholds={})
    got = result_of(Scores(kept, calibration=nothing), ALL)
    assert got.metrics == pytest.approx(result_of(Scores(kept), ALL).metrics, abs=1e-6, nan_ok=True)


def test_a_result_says_so_and_lies_beside_the_one_without(kept):
    result, without = result_of(Scores(kept, calibration=FOUND)), result_of(Scores(kept))
    assert (result.protocol, without.protocol) == ("sed/trained/calibrated", "sed/trained")
    assert (result.name, without.name) == ("sed-trained-calibrated-tones-test", "sed-trained-tones-test")
    assert result.parameters["threshold"] == "of each phrase its own"
    said = result.parameters["calibration"]
    assert said["found on"] == {"name": "tones of another day", "sha256": "ab" * 32}
    assert (said["temperature"], said["bias"]) == (0.7, -0.4)
    assert said["thresholds"] == [
        {"low": 0.62, "high": 0.2, "silent": 0.35},
        {"low": 0.35, "high": 0.2, "silent": 0.35},
    ]
    assert "calibration" not in without.parameters


def test_other_weights_and_kept_scores_without_any_are_refused(kept):
    for model, named in (({"sha256": "1" * 64}, "these have 111111111111..."), ({}, "these have none...")):
        other = replace(kept, about=kept.about | {"model": model})
        with pytest.raises(ValueError, match=named):
            Scores(other, calibration=FOUND)


def test_classes_and_the_references_see_the_same_thresholds(kept):
    scores = Scores(kept, calibration=FOUND)
    rows = list(csv.DictReader(class_csv(scores, ALL).splitlines()))
    assert [row["threshold"] for row in rows[:2]] == ["0.62", "0.2"]
    one = replace(kept, words={"trained": replace(scores.words, phrases=scores.words.phrases[:1])})
    metrics = result_of(Scores(one, calibration=FOUND), ALL).metrics
    for column, name in (
        ("event F1 at its threshold", "event_f1/macro"),
        ("frame recall at its threshold", "frame_recall/macro"),
    ):
        found = [float(row[column]) for row in rows if row[column]]
        assert np.mean(found) == pytest.approx(metrics[name]), column
    lines = list(compare(Scores(one, calibration=FOUND), SedMetrics(metrics=("segment_f1", "event_f1"))))
    assert [
        f"{metrics[name]:.12f}" in line
        for name, line in zip(("segment_f1/macro", "event_f1/macro"), lines, strict=True)
    ] == [True, True]


def test_intervals_are_of_the_same_numbers(kept):
    """The first of what is resampled is the set itself."""
    chosen = SedMetrics(metrics=("auroc", "frame_f1", "segment_f1", "event_f1", "precision_recall", "psds"))
    drawn = Bootstrap(5).drawn(kept)
    scores = Scores(kept, calibration=FOUND)
    metrics, before = (result_of(one, chosen).metrics for one in (scores, Scores(kept)))
    found = {name: float(value_R[0]) for name, value_R in resampled(scores, chosen, drawn, with_psds=True).items()}
    assert {"event_f1/macro", "frame_recall/micro", "frame_f1 biased/macro"} < found.keys()
    assert sum(name.startswith("PSDS") for name in found) == 3
    for name, value in found.items():
        assert value == pytest.approx(metrics[name], abs=1e-6, nan_ok=True), name
    assert found["event_f1/macro"] != pytest.approx(before["event_f1/macro"])


def test_a_heatmap_is_underlined_at_each_phrase_and_says_what_a_score_is(kept, corpus):
    scores = Scores(kept, calibration=FOUND)
    figure = clip_figure(scores, 0, corpus.waveform(0), threshold=scores.thresholds())
    (legend,) = figure.legends
    assert "score above the threshold of its phrase" in [text.get_text() for text in legend.get_texts()]
    assert any("share of frames" in text.get_text() for text in figure.texts)
    lines = figure.axes[1].lines
    for k, threshold in enumerate(FOUND.thresholds.values()):
        grid_T = scores.score_KF("unbiased", frames=range(8))[k] > threshold
        drawn = sum(np.ptp(line.get_xdata()) for line in lines if int(line.get_ydata()[0]) == k)
        assert drawn == pytest.approx(grid_T.sum().item() * kept.frame_seconds)


def test_the_script_and_the_table(kept, tmp_path):
    file, calibration_file = kept.save(tmp_path / "kept.safetensors"), FOUND.write(tmp_path / "c.json")
    out = tmp_path / "results"
    for more in ((), ("--calibration", calibration_file)):
        done = script("eval/sed.py", file, "--out", out, *more)
        assert done.returncode == 0, done.stderr
        assert "replaces" not in done.stderr
    names = sorted(path.name for path in out.glob("*.json"))
    assert names == ["sed-trained-calibrated-tones-test.json", "sed-trained-tones-test.json"]
    assert Result.read(out / names[0]).parameters["method"] == "unbiased"
    assert script("eval/table.py", out, "--out", tmp_path / "table").returncode == 0
    table = (tmp_path / "table.md").read_text()
    assert "trained, calibrated, unbiased" in table
    assert (
        "calibrated: scores, and instead of 0.5 a threshold of each phrase, as found on tones of another day" in table
    )


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({"weights": "ff" * 32}, (), "c.json: was found for other weights"),
        ({}, ("--method", "biased"), "c.json: was found for scores of method 'unbiased', not 'biased'"),
        ({"unseen": 2}, (), "c.json: is damaged (unseen: 2 must be"),
    ],
)
def test_one_that_does_not_belong_is_a_mistake(kept, tmp_path, change, arguments, said):
    file, path = kept.save(tmp_path / "kept.safetensors"), FOUND.write(tmp_path / "c.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    done = script("eval/sed.py", file, "--out", tmp_path / "results", "--calibration", path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("results/*.json"))

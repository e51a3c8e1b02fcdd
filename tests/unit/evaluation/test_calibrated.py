"""Evaluation with a calibration, where one is asked for: which numbers change, and into what."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from in_process import script
from matplotlib.figure import Figure
from matplotlib.text import Text
from tone_corpus import Ear, write_tones

from flam_train.detection.calibration import Calibration
from flam_train.evaluation.card import _task
from flam_train.evaluation.checked import compare
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.frame_embeddings import embed_frames
from flam_train.evaluation.report.classes import class_csv, save_tables
from flam_train.evaluation.report.figures import clip_figure, sed_figures
from flam_train.evaluation.resampled import resampled
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import METRICS, SedMetrics, result_of
from flam_train.frames import FrameGrid
from flam_train.metrics.calibration import calibration
from flam_train.metrics.detection import event_f1, frame_f1, median_filter, segment_f1
from flam_train.metrics.error_rate import segment_error_rate
from flam_train.metrics.intersection import cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.tagging import tagging_metrics
from flam_train.plotting import localization_figure

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


@pytest.mark.parametrize("pairs", [1 << 26, 40])  # all classes at once, and one at a time
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_what_is_above_thresholds_and_what_scores_mean(kept, monkeypatch, pairs, pool):
    """Round by round by the metrics themselves, of scores that are moved so that the own thresholds lie at 0.5; the
    rest is that of the scores, bit for bit."""
    monkeypatch.setattr("flam_train.evaluation.scores.PAIRS", pairs)
    chosen = replace(ALL, tagging_pool=pool)
    scores = Scores(kept, calibration=FOUND)
    got, before = result_of(scores, chosen).metrics, result_of(Scores(kept), chosen).metrics
    assert list(got) == list(before)
    rounds = []
    for r, phrases in enumerate(scores.words.phrases):
        calibrated_KF = torch.from_numpy(FOUND.calibrated(Scores(kept).score_KF("unbiased", r).numpy()))
        own_K1 = torch.tensor([[FOUND.thresholds.get(phrase, 0.35)] for phrase in phrases])
        moved_KF = (calibrated_KF - own_K1 + 0.5).clamp(0, 1)
        label_FK = scores.label_KF().T
        start_N1 = torch.from_numpy(kept.frame_start_N1)
        about = scores.events, scores.classes, kept.durations, kept.frame_seconds
        timed = scores.recordings(median_filter(moved_KF, [3] * len(scores.classes), start_N1)), *about
        tagged = [[any(c == name for *_, c in found) for name in scores.classes] for found in scores.events]
        pooled = [x_KT.amax(1) if pool == "max" else x_KT.mean(1) for x_KT in scores.recordings(calibrated_KF)]
        clip_NK = (torch.stack(pooled) - own_K1.T + 0.5).clamp(0, 1)
        rounds.append({
            "frame_f1/macro": frame_f1(moved_KF.T, label_FK).at(0.5).macro,
            "segment_f1/micro": segment_f1(*timed).at(0.5).micro,
            "event_f1/macro": event_f1(*timed).at(0.5).macro,
            "event_precision/macro": event_f1(*timed).rates_at(0.5).precision_macro,
            "segment_er": segment_error_rate(*timed, 0.5).value,
            "intersection_f1/macro": intersection_f1(*timed).at(0.5).macro,
            "cross_triggers": cross_triggers(*timed, 0.5).share,
            "miou": mean_iou(*timed).value,
            "tagging/f1": tagging_metrics(clip_NK, torch.tensor(tagged)).f1.macro,
            "calibration/ECE": calibration(calibrated_KF.T, label_FK).ece,
        })  # fmt: skip
    for name in rounds[0]:
        assert got[name] == pytest.approx(np.mean([one[name] for one in rounds]), abs=1e-6), name
        assert got[name] != pytest.approx(before[name], abs=1e-4), name
    others = ("/macro", "/micro", "calibration/", "tagging/f1", "miou", "segment_er", "cross_triggers")
    for name in got:
        alone = name.startswith(("auroc", "dprime", "ap/", "PSDS", "MPAUC", "tagging/mAP", "tagging/A", "tagging/d"))
        if alone or " best" in name or " biased" in name:
            assert got[name] == before[name] or np.isnan(got[name]), name
        else:
            assert name.startswith(others) or name.endswith(others) or "tagging/auroc" in name, name


def test_scores_that_calibration_makes_equal_are_still_ranked(kept):
    """Steep and high, so that in float32 many become 1."""
    steep = replace(FOUND, temperature=0.02, bias=20.0)
    sure = replace(kept, scale_M=40 * kept.scale_M)
    scores = Scores(sure, calibration=steep)
    assert len(scores.calibrated.score_KF("unbiased").unique()) < 0.8 * len(scores.score_KF("unbiased").unique())
    got, before = result_of(scores, ALL).metrics, result_of(Scores(sure), ALL).metrics
    same = {name: value for name, value in before.items() if name.startswith(("auroc", "ap/", "PSDS", "MPAUC"))}
    assert {name: got[name] for name in same} == same


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


def test_the_data_that_it_was_found_on_are_refused(kept):
    same = replace(FOUND, data={"found": {"name": "tones", "sha256": kept.about["data"]["sha256"]}})
    with pytest.raises(ValueError, match="was found on these data, tones: evaluate others, or calibrate on others"):
        Scores(kept, calibration=same)


def test_scores_of_another_method_are_refused(kept):
    scores = Scores(kept, calibration=FOUND)
    for chosen in (SedMetrics("biased"), SedMetrics("cosine", ("calibration", "frame_f1"))):
        with pytest.raises(ValueError, match="was found for scores of method 'unbiased', not"):
            result_of(scores, chosen)
    cosine = Scores(kept, calibration=replace(FOUND, method="cosine"))
    assert "calibration/ECE" in result_of(cosine, SedMetrics("cosine")).metrics  # shares of frames, unlike cosines
    pictures = sed_figures(cosine, SedMetrics("cosine", ("auroc",)), "set")
    assert any("calibrated" in text.get_text() for text in pictures["reliability"].findobj(Text))


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
    crossed = list(csv.DictReader(cross_trigger_csv_of(scores).splitlines()))
    assert crossed != list(csv.DictReader(cross_trigger_csv_of(Scores(kept)).splitlines()))
    lines = list(compare(Scores(one, calibration=FOUND), SedMetrics(metrics=("segment_f1", "event_f1"))))
    assert [
        f"{metrics[name]:.12f}" in line
        for name, line in zip(("segment_f1/macro", "event_f1/macro"), lines, strict=True)
    ] == [True, True]


def cross_trigger_csv_of(scores: Scores) -> str:
    with TemporaryDirectory() as folder:
        (path,) = save_tables(scores, SedMetrics(metrics=("cross_triggers",)), Path(folder), "set")
        return path.read_text()


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
    with pytest.raises(ValueError, match="2 thresholds of 3 phrases: give one of each"):
        localization_figure(
            corpus.waveform(0), np.zeros((3, 8)), None, list("abc"), FrameGrid(8, 2.0), threshold=[0.1, 0.2]
        )
    lines = figure.axes[1].lines
    for k, threshold in enumerate(FOUND.thresholds.values()):
        grid_T = scores.calibrated.score_KF("unbiased", frames=range(8))[k] > threshold
        drawn = sum(np.ptp(line.get_xdata()) for line in lines if int(line.get_ydata()[0]) == k)
        assert drawn == pytest.approx(grid_T.sum().item() * kept.frame_seconds)


def test_the_script_and_the_table(kept, tmp_path):
    file, calibration_file = kept.save(tmp_path / "kept.safetensors"), FOUND.write(tmp_path / "c.json")
    out = tmp_path / "results"
    for more in ((), ("--calibration", calibration_file)):
        done = script("eval/sed.py", file, "--out", out, *more)
        assert done.returncode == 0, done.stderr
        assert "replaces" not in done.stderr
    assert f"calibration {calibration_file}, found on tones of another day" in done.stderr
    names = sorted(path.name for path in out.glob("*.json"))
    assert names == ["sed-trained-calibrated-tones-test.json", "sed-trained-tones-test.json"]
    assert script("eval/table.py", out, "--out", tmp_path / "table").returncode == 0
    table = (tmp_path / "table.md").read_text()
    assert "trained, calibrated, unbiased" in table
    assert "calibrated: of each phrase a threshold instead of 0.5" in table
    assert "(on tones of another day)" in table
    replace(FOUND, unseen=0.9, data={}).write(calibration_file)
    done = script("eval/sed.py", file, "--out", out, "--calibration", calibration_file)
    assert "replaces an older result (a calibration found on tones of another day)" in done.stderr
    assert "found on unnamed data" in done.stderr
    assert script("eval/table.py", out, "--out", tmp_path / "table").returncode == 0
    assert "(on unnamed data)" in (tmp_path / "table.md").read_text()
    assert {_task(Result.read(out / name)) for name in names} == {
        "detection, trained phrasings, unbiased",
        "detection, trained phrasings, calibrated, unbiased",
    }


def test_the_script_on_shards(corpus, kept, tmp_path, monkeypatch):
    """It hears with the model once more; a calibration of another method than the model's own chooses that."""
    monkeypatch.setattr("flam_train.checkpoints.load_export", lambda *_: Ear().eval(), raising=False)
    biased = replace(FOUND, method="biased", thresholds={}, unseen=0.9)
    seen = []
    monkeypatch.setattr(
        "flam_train.evaluation.report.figures.localization_figure", lambda *a, **how: seen.append(how) or Figure()
    )
    out = tmp_path / "out"
    path = biased.write(tmp_path / "c.json")
    done = script("eval/sed.py", tmp_path, corpus.folder, "--calibration", path, "--plot", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    result = Result.read(out / "sed-trained-calibrated-tones-test.json")
    assert result.parameters["method"] == "biased"
    assert result.parameters["calibration"]["thresholds"][0] == dict.fromkeys(("low", "high", "silent"), 0.9)
    assert [how["threshold"] for how in seen] == [[0.9, 0.9, 0.9]]
    done = script("eval/sed.py", tmp_path, corpus.folder, "--calibration", path, "--threshold", 0.5, "--out", out)
    assert done.returncode == 2
    same = FOUND.data["found"] | {"sha256": result.data["sha256"]}
    replace(biased, data={"found": same}).write(path)
    heard = script("eval/sed.py", tmp_path, corpus.folder, "--calibration", path, "--out", tmp_path / "no")
    assert heard.returncode == 2
    assert f"{path}: was found on these data" in heard.stderr
    assert "clips/s" not in heard.stderr  # told before anything is heard
    assert "--threshold: with --calibration each phrase has its own" in done.stderr


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({"weights": "ff" * 32}, (), "c.json: was found for other weights"),
        ({}, ("--method", "biased"), "c.json: was found for scores of method 'unbiased', not 'biased'"),
        ({"unseen": 2}, (), "c.json: is damaged (unseen: 2 must be"),
        (None, (), "cannot be read (Is a directory): give a file that flam-detect calibrate wrote"),
    ],
)
def test_one_that_does_not_belong_is_a_mistake(kept, tmp_path, change, arguments, said):
    file, path = kept.save(tmp_path / "kept.safetensors"), FOUND.write(tmp_path / "c.json")
    if change is None:
        path = tmp_path
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    done = script("eval/sed.py", file, "--out", tmp_path / "results", "--calibration", path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("results/*.json"))

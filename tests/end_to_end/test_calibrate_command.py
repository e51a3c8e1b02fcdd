"""flam-detect calibrate, from an export and shards to a file that belongs to both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_runs import write_corpus

from flam_train.checkpoints.export import load_export, save_export
from flam_train.cli import detect
from flam_train.data.shards.corpus import Corpus
from flam_train.detection.calibration import CALIBRATION, of_export, read
from flam_train.models.flam import FLAM

PHRASES = ["siren wailing", "a siren wails", "engine humming"]


@pytest.fixture(scope="module")
def made(small_config, tmp_path_factory) -> tuple[Path, Path, Path]:
    """(export, shards, other shards)."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(13)  # one with which fresh weights happen to score tones higher than noise
    export = save_export(FLAM(small_config).eval(), folder / "export", {})
    both = [write_corpus(folder / name, 8, seed, ["siren", "engine"]) for seed, name in enumerate(("find", "report"))]
    return export, *both


@pytest.fixture
def export(made, tmp_path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "export"))


def calibrate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        detect.main(["calibrate", *map(str, arguments), "--device", "cpu"])
    return left.value.code or 0


def test_it_lies_in_the_export_and_says_what_it_changes(made, export, capsys):
    _, find, report = made
    assert calibrate(export, find, "--report", report, "--phrases", *PHRASES) == 0
    said = capsys.readouterr()
    path, found = of_export(export, load_export(export).provenance["sha256"])
    assert path == export / CALIBRATION
    assert set(found.thresholds) == set(PHRASES)
    assert (found.data["found"]["name"], found.data["reported"]["name"]) == ("find", "report")
    assert found.data["found"]["recordings"] == found.data["reported"]["recordings"] == 8
    lines = said.out.splitlines()
    assert lines[0] == "found on 8 recordings of find, reported on 8 of report (1.3 min, 12 events of 3 phrases)"
    assert lines[-1] == f"calibration  {path}"
    numbers = [
        "expected calibration error",
        "event F1, mean over phrases",
        "event F1, of all events",
        "event F1, p",
        "mean",
    ]
    assert all(line.startswith(name) for line, name in zip(lines[3:8], numbers, strict=True))
    assert sum(line.startswith(tuple(PHRASES)) for line in lines) == 3
    assert "find: 8 of 8 clips" in said.err


def test_it_is_the_same_each_time_and_is_replaced_only_when_told(made, export, tmp_path, capsys):
    _, find, _ = made
    out = tmp_path / "deep" / "mine.json"
    assert calibrate(export, find, "--phrases", *PHRASES, "--out", out) == 0
    first = out.read_bytes()
    assert not (export / CALIBRATION).exists()
    assert calibrate(export, find, "--phrases", *PHRASES, "--out", out) == 2
    assert "mine.json: is there: --overwrite replaces it, --out writes elsewhere" in capsys.readouterr().err
    assert calibrate(export, find, "--phrases", *PHRASES, "--out", out, "--overwrite", "--batch-size", 1) == 0
    assert out.read_bytes() == first
    about = json.loads(first)["data"]
    assert about["found"]["recordings"] + about["reported"]["recordings"] == 8
    with pytest.raises(ValueError, match=r"mine\.json: was found for other weights"):
        read(out, "ab" * 32)


def test_rules_and_precision_are_taken(made, export, tmp_path):
    _, find, report = made
    common = export, find, "--report", report, "--phrases", "siren wailing", "--out"
    rules = "--smooth", 0.4, "--median", 1.0, "--close", 0.5, "--shortest", 0.5, "--low", 0.3
    assert calibrate(*common, tmp_path / "a.json", *rules, "--method", "biased", "--precision", "bf16") == 0
    found = read(tmp_path / "a.json", load_export(export).provenance["sha256"])
    assert (found.low, found.method) == (0.3, "biased")
    assert found.rules == {"smooth": 0.4, "median": 1.0, "close": 0.5, "shortest": 0.5}
    assert found.report["after"]["event_f1_unseen"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hf://owner/name", "{find}"], "hf://owner/name: say with --out where to write its calibration"),
        (["{export}-2", "{find}"], "export-2: no such folder: give an export"),
        (["{find}", "{find}"], "is not an export"),
        (["{export}", "{find}-2"], "find-2"),
        (["{export}", "{find}", "--report", "{find}"], "thresholds are found on the same data"),
        (["{export}", "{find}", "--phrases", "a cat"], "--phrases: 'a cat' is nothing that"),
        (["{export}", "{find}", "--low", "2"], "detection.low: 2 must be at least 0 and at most 1"),
        (["{export}", "{find}", "--batch-size", "0"], "--batch-size 0: at least 1"),
        (["{export}", "{find}", "--out", "{export}/config.json/x"], "is a file"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments, message, made, export, capsys):
    names = {"export": export, "find": made[1]}
    assert calibrate(*(text.format(**names) for text in arguments)) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not (export / CALIBRATION).exists()


def test_an_export_that_cannot_be_written_to_asks_for_another_place(made, export, monkeypatch, capsys):
    def refused(**how):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("flam_train.disk.tempfile.mkstemp", refused)  # as root all folders can be written to
    assert calibrate(export, made[1]) == 2
    said = capsys.readouterr().err
    assert "cannot be written to (Permission denied): make it writable, or name another with --out FILE" in said


def test_ctrl_c_leaves_nothing_and_130(made, export, monkeypatch, capsys):
    def stopped(*given, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr("flam_train.detection.labelled.score", stopped)
    assert calibrate(export, made[1]) == 130
    assert list(export.glob("*calibration*")) == []


def detected(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        detect.main(["run", *map(str, arguments)])
    return left.value.code or 0


def test_detection_uses_it_and_says_so(made, export, tmp_path, monkeypatch, capsys):
    _, find, report = made
    wave_S = np.concatenate([Corpus(report).waveform(n) for n in range(2)])
    soundfile.write(tmp_path / "a.wav", wave_S, 48_000)
    monkeypatch.chdir(tmp_path)
    command = (export, "a.wav", "--phrases", PHRASES[0], "a whistle", "--scores", "--out")
    assert detected(*command, "before") == 0
    assert "calibrated" not in capsys.readouterr().err
    assert calibrate(export, find, "--report", report, "--phrases", *PHRASES) == 0
    capsys.readouterr()
    assert detected(*command, "after") == 0
    assert f"calibrated by {export / CALIBRATION} (8 recordings of find)" in capsys.readouterr().err
    _, found = of_export(export, load_export(export).provenance["sha256"])
    with np.load("before/a.wav.scores.npz") as plain, np.load("after/a.wav.scores.npz") as scores:
        np.testing.assert_allclose(scores["score"], found.calibrated(plain["score"]), atol=1e-6)
    options = json.loads(Path("after/settings.json").read_text())["options"]
    assert options["thresholds"] == {PHRASES[0]: found.thresholds[PHRASES[0]], "a whistle": found.unseen}
    assert options["rules"]["low"] == found.low
    assert detected(*command, "given", "--threshold", "0.25", "--close", "0") == 0
    options = json.loads(Path("given/settings.json").read_text())["options"]
    assert (options["thresholds"], options["rules"]["threshold"], options["rules"]["close"]) == ({}, 0.25, 0)
    assert detected(*command, "single", "--threshold", f"{PHRASES[0]}=0.25") == 0
    options = json.loads(Path("single/settings.json").read_text())["options"]
    assert options["thresholds"] == {PHRASES[0]: 0.25, "a whistle": found.unseen}
    assert detected(*command, "none", "--calibration", "none") == 0
    assert Path("none/events.tsv").read_bytes() == Path("before/events.tsv").read_bytes()
    other = json.loads((export / CALIBRATION).read_text()) | {"weights": "ab" * 32}
    Path("other.json").write_text(json.dumps(other))
    assert detected(*command, "other", "--calibration", "other.json") == 2
    assert "other.json: was found for other weights" in capsys.readouterr().err

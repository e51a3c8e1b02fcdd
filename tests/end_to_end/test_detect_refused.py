"""flam-detect run: what is refused, and what is said of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from detect_runs import files, noise, run

from flam_train.checkpoints.export import load_export, save_export

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.wav", "--phrases", "a\tb"], "has a tab inside"),
        (["a.wav", "--phrases", "a\nb"], "has a newline inside"),
        (["a.wav", "--phrases", " "], "phrase 1 is empty"),
        (["a.wav"], "no phrase: give --phrases or --phrases-file"),
        (["a.wav", "--phrases-file", "none.txt"], "none.txt"),
        (["*.flac", "--phrases", "rain"], "*.flac: matches nothing"),
        (["b.wav", "--phrases", "rain"], "b.wav: is not there"),
        (["a.wav", "--phrases", "rain", "b.wav"], "called like a recording"),
        (["a.wav", "--phrases", "rain", "--to", "1", "--from", "2"], "--to 1 s lies before --from 2 s"),
        (["a.wav", "--phrases", "rain", "--from", "1:99"], "is no time"),
        (["a.wav", "--phrases", "rain", "--threshold", "2"], "threshold"),
        (["a.wav", "--phrases", "rain", "--low", "-1"], "low"),
        (["a.wav", "--phrases", "rain", "--channels", "left"], "no channel"),
        (["a.wav", "--phrases", "rain", "--part", "3/2"], "no part"),
        (["a.wav", "--phrases", "rain", "--format", "xls"], "xls"),
        (["a.wav", "--phrases", "rain", "--device", "cuda:99"], "--device cuda:99: "),
        (["a.wav", "--phrases", "rain", "--device", "gpu"], "--device gpu: "),
        (["a.wav", "--phrases", "rain", "--zone", "Mars"], "'Mars' is no zone"),
        (["a.wav", "a2.wav", "--phrases", "rain", "--start", "2024-01-31T00:00"], "--start is of one recording"),
        (["a.wav", "--phrases", "rain", "--batch-size", "0"], "whole number from 1"),
        (["a.wav", "--phrases", "rain", "--clips", "3", "--margin", "-1"], "is no time"),
        (["a.wav", "--phrases", "rain", "--clips", "3", "--margin", "nan"], "is no time"),
        (["a.wav", "--phrases", "rain", "--name-pattern", "REC%Q"], "pattern 'REC%Q': '%Q' is not known"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(export, arguments, said, capsys):
    for name in ("a.wav", "a2.wav"):
        noise(name, 1)
    run(export, *arguments, "--out", "out", code=2)
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not Path("out").exists()


def test_an_export_that_was_altered(export, tmp_path, capsys):
    altered = save_export(load_export(export), tmp_path / "altered", {})
    weights = altered / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    noise("a.wav", 1)
    run(altered, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "copy the export again" in capsys.readouterr().err
    run(tmp_path, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "is not an export" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(export, tmp_path, capsys):
    noise("a.wav", 1)
    Path("file").write_text("")
    run(export, "a.wav", "--phrases", "rain", "--out", "file/out", code=2)
    assert "file is a file" in capsys.readouterr().err


def test_a_disk_that_is_full(export, monkeypatch, capsys):
    noise("rec/a.wav", 1)
    noise("rec/b.wav", 1)
    real = os.replace

    def full(source, target):
        if str(target).endswith("b.wav.tsv"):
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        run(export, "rec", "--phrases", "rain", "--out", "out", code=1)
    assert "b.wav.tsv: No space left on device: make room, and run the same command again" in capsys.readouterr().err
    assert sorted(name for name in files() if "b.wav" in name) == []
    run(export, "rec", "--phrases", "rain", "--out", "out")
    assert capsys.readouterr().err.startswith("2 recordings, 1 of them done before, on the CPU")


def test_a_read_only_folder(export, capsys, monkeypatch):
    noise("a.wav", 1)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "out")

    monkeypatch.setattr(tempfile, "mkstemp", refused)  # root may write everywhere
    run(export, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "--out out" in capsys.readouterr().err


def test_a_second_process_is_refused(export, capsys):
    from flam_train.detection.results import Results

    noise("a.wav", 1)
    with Results("out", "", [], {}, {}).held():
        run(export, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "another process does this" in capsys.readouterr().err

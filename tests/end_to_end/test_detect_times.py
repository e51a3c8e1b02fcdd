"""flam-detect run: how long recordings are, and when they begin, where their files say too little."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from needs import FFMPEG
from sound_files import through_ffmpeg

from flam_train.checkpoints.export import save_export
from flam_train.cli import detect
from flam_train.models.flam import FLAM


@pytest.fixture
def export(tmp_path, small_config, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    return save_export(FLAM(small_config), tmp_path / "export", {})


def run(export: Path, name: str, *options: str) -> dict[str, str]:
    """The recording's row of the summary."""
    with pytest.raises(SystemExit) as left:
        detect.main(["run", str(export), name, "--phrases", "rain", "--threshold", "0", "--out", "out", *options])
    assert left.value.code == 0
    (row,) = csv.DictReader(Path("out/summary.csv").read_text().splitlines())
    return row


@FFMPEG
@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.wma"])
def test_no_more_is_analysed_than_there_is(name, export):
    through_ffmpeg(Path(name).absolute(), np.random.default_rng(0).normal(size=48_000 * 3) * 0.1, 48_000)
    row = run(export, name)
    assert 2.9 < float(row["analysed"]) <= float(row["seconds"])
    (event,) = csv.DictReader(Path("out/events.tsv").read_text().splitlines(), delimiter="\t")
    assert float(event["offset"]) <= float(row["seconds"])


def test_a_given_start_without_a_zone_is_said_to_be_in_no_table(export, capsys):
    soundfile.write("a.wav", np.random.default_rng(0).normal(size=8_000 * 3) * 0.1, 8_000)
    row = run(export, "a.wav", "--start", "2024-01-31T23:59:59", "--format", "csv")
    assert row["begin"] == "2024-01-31T23:59:59.000"
    assert row["notes"].startswith("its zone is not known, and tables have no clock times: give --zone")
    assert "a.wav: its zone is not known" in capsys.readouterr().err
    assert "onset_datetime" not in Path("out/events.csv").read_text()
    assert "zone" not in run(export, "a.wav", "--start", "2024-01-31T23:59:59+01:00", "--format", "csv")["notes"]
    assert "2024-01-31T23:59:59.000+01:00" in Path("out/events.csv").read_text()

"""flam-detect run: how long recordings are whose header says another length than ffmpeg decodes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import FFMPEG
from sound_files import through_ffmpeg

from flam_train.checkpoints.export import save_export
from flam_train.cli import detect
from flam_train.models.flam import FLAM


@FFMPEG
@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.wma"])
def test_no_more_is_analysed_than_there_is(name, small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    through_ffmpeg(tmp_path / name, np.random.default_rng(0).normal(size=48_000 * 3) * 0.1, 48_000)
    torch.manual_seed(1)
    export = save_export(FLAM(small_config), tmp_path / "export", {})
    with pytest.raises(SystemExit) as left:
        detect.main(["run", str(export), name, "--phrases", "rain", "--threshold", "0", "--out", "out"])
    assert left.value.code == 0
    (row,) = csv.DictReader(Path("out/summary.csv").read_text().splitlines())
    assert 2.9 < float(row["analysed"]) <= float(row["seconds"])
    (event,) = csv.DictReader(Path("out/events.tsv").read_text().splitlines(), delimiter="\t")
    assert float(event["offset"]) <= float(row["seconds"])

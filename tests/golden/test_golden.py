"""What earlier commits left on a disk still loads and goes on, with the numbers found then (tests/golden/make.py)."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from make import CONF, ROOT, square, square_waves

from flam_train.cli.train import compose_conf
from flam_train.data.shards.corpus import Corpus
from flam_train.inference import load_model
from flam_train.training.run import train

SETS = sorted(Path(__file__).parent.glob("*.tar.xz"))


@pytest.fixture(params=SETS, ids=lambda path: path.name.split(".")[0])
def golden(request, tmp_path, monkeypatch) -> Path:
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    monkeypatch.chdir(folder)
    return folder


def numbers(folder: Path) -> dict:
    return json.loads((folder / "numbers.json").read_text())


def test_there_is_one():
    assert SETS


def test_shards(golden):
    for name, count in (("train", 4), ("test", 2)):
        corpus = Corpus(golden / "shards" / name)
        assert [corpus.key(n) for n in range(len(corpus))] == [f"clip-{n}" for n in range(count)]
        for n in range(count):
            record, waveform = square(n)
            assert corpus.record(n) == record
            np.testing.assert_array_equal(corpus.waveform(n), waveform)


def test_an_export(golden):
    then, model = numbers(golden), load_model(golden / "export")
    audio, text = model.embed_audio(square_waves()), model.embed_text(["a siren", "rain on a roof"])
    now = {
        "clip": audio.clip_BD[0],
        "frame of 20": audio.frame_BTD[0, 20],
        "text": text.text_CD,
        "scale": text.scale_C,
        "bias": text.bias_C,
    }
    for name, value in now.items():
        torch.testing.assert_close(
            value, torch.tensor(then[name]), rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_a_run_goes_on(golden, capsys):
    """Its checkpoint is from before checkpoints kept what the data was, and its settings lack those added since."""
    train(compose_conf(CONF))
    assert capsys.readouterr().err.count("it could not be compared") == 1
    with (golden / "run/metrics.csv").open(newline="") as file:
        now = {f"{row['step']} {row['name']}": float(row["value"]) for row in csv.DictReader(file)}
    then = numbers(golden)["curves"]
    assert {name.split()[0] for name in then} == {"0", "1", "2", "3"}
    assert {name: now[name] for name in then} == pytest.approx(then, rel=1e-3)


def test_kept_scores(golden):
    for script in ("sed", "retrieval"):
        command = [sys.executable, ROOT / f"eval/{script}.py", f"results/scores/{script}-test.safetensors"]
        subprocess.run([*command, "--out", "results"], check=True, capture_output=True)
    for name, then in numbers(golden)["results"].items():
        now = json.loads((golden / "results" / name).read_text())["metrics"]
        assert {metric: now[metric] for metric in then} == pytest.approx(then, rel=1e-6), name

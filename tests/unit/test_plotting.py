"""Figures: files that open, of the right content; mistakes named; no global state touched."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from flam_train.frames import FrameGrid
from flam_train.plotting import curves_figure, localization_figure, log_mel, read_curves, save_figure

GRID = FrameGrid(32, 10.0)


def test_log_mel_finds_a_tone():
    time = np.arange(48_000) / 48_000
    level, edges, centres = log_mel((20_000 * np.sin(2 * np.pi * 3000 * time)).astype(np.int16))
    assert level.shape == (96, 100)
    assert edges[-1] == pytest.approx(1.0)
    assert centres[level.mean(axis=1).argmax()] == pytest.approx(3000, rel=0.05)
    assert np.isfinite(log_mel(np.zeros(10, dtype=np.int16))[0]).all()


def test_localization_figure(tmp_path):
    r = np.random.default_rng(0)
    phrases = ["a dog barking", "a phrase so long that it has to be wrapped over more than just one line of text"]
    score, label = r.random((2, 32)), r.random((2, 32)) < 0.3
    figure = localization_figure(r.normal(0, 0.1, 300_000), score, label, phrases, GRID)
    above, below = figure.axes[:2]
    assert above.get_xlim() == below.get_xlim() == (0, 10)
    assert above.get_position().x0 == below.get_position().x0
    boxes = [(b.get_x(), b.get_x() + b.get_width()) for b in below.patches]
    np.testing.assert_allclose(boxes, [s for row in label for s in GRID.segments(row)])
    path = save_figure(figure, tmp_path / "new" / "figure.png")
    assert Image.open(path).size[0] == 1500
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]
    assert localization_figure(np.zeros(480_000, dtype=np.int16), score, None, phrases, GRID).legends == []


def test_curves_figure(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [f"{s},train/loss,{3 / s}\n{s},train/prior,0.5\n{s},learning_rate,1e-3" for s in range(1, 300)]
    path.write_text("step,name,value\n" + "\n".join(rows) + "\n10,val/auroc,0.9\n20,val/auroc,nan\n")
    figure = curves_figure(path)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["train", "validation: frame AUROC", "other"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]
    assert read_curves(path)["val/auroc"][0] == (10, 0.9)
    save_figure(figure, tmp_path / "curves.png", dpi=50)


def test_user_mistakes(tmp_path):
    score = np.zeros((1, 32))
    with pytest.raises(ValueError, match="2 phrases, 32 frames"):
        localization_figure(np.zeros(9), score, None, ["a", "b"], GRID)
    with pytest.raises(ValueError, match="labels"):
        localization_figure(np.zeros(9), score, np.zeros((1, 31)), ["a"], GRID)
    with pytest.raises(ValueError, match="too many"):
        localization_figure(np.zeros(9), np.zeros((40, 32)), None, ["a"] * 40, GRID)
    with pytest.raises(ValueError, match=r"\.png"):
        save_figure(localization_figure(np.zeros(9), score, None, ["a"], GRID), tmp_path / "a.jpg")
    for text, message in (
        ("step,name\n", "header"),
        ("step,name,value\n1,a,x\n", "row 2"),
        ("step,name,value\n", "no rows"),
    ):
        (tmp_path / "m.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            curves_figure(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="No such file"):
        curves_figure(tmp_path / "missing.csv")


def test_pyplot_is_left_alone():
    code = "import sys, flam_train.plotting; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

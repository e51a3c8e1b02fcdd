"""Figures: files that open, of the right content; mistakes named; no global state touched."""

import io
import math
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.patches import Patch
from PIL import Image

from flam_train.frames import FrameGrid
from flam_train.metrics.calibration import calibration
from flam_train.metrics.detection import THRESHOLDS, frame_f1, psds
from flam_train.plotting import (
    Ranking,
    blank_figure,
    class_bars,
    cross_trigger_figure,
    f1_curves,
    fitting,
    localization_figure,
    log_mel,
    psd_roc_figure,
    reliability_figure,
    retrieval_examples,
    save_figure,
    spread_figure,
)
from flam_train.plotting.style import legend_above

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


def test_a_legend_above_panels():
    figure = blank_figure(6, 4)
    assert legend_above(figure, {}, 5.5, 0.74) == 0
    assert figure.legends == []
    taken = legend_above(figure, {"event": Patch(), "nothing sounds": Patch()}, 5.5, 0.74)
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert (box.x1, box.y0) == pytest.approx((5.5, 4 - 0.74 + 0.06), abs=0.02)
    assert box.width <= taken + 0.1


def test_localization_shows_the_recordings_own_time():
    score, label = np.zeros((1, 32)), np.zeros((1, 32), dtype=bool)
    score[0, 4:8], score[0, 20:22], label[0, 4:12] = 0.75, 0.5, True
    figure = localization_figure(
        np.zeros(240_000, dtype=np.int16), score, label, ["a dog"], GRID, name="street_3", start=1230.0, threshold=0.5,
        meaning="score: how sure (0 to $1)",
    )  # fmt: skip
    written = words(figure)
    assert "street_3, 1230 to 1240 s" in written
    assert r"score: how sure (0 to \$1)" in written
    assert {"annotated", "score above the threshold 0.5"} <= set(written)
    above, below, bar = figure.axes
    assert above.get_xlim() == below.get_xlim() == (1230, 1240)
    assert below.get_xlabel() == "seconds of the recording"
    assert [text.get_text() for text in below.get_xticklabels()][:2] == ["1230", "1231"]
    # The spectrogram begins with the window, the recording ends in its middle.
    corners = above.collections[0].get_coordinates()[0, :, 0]
    assert (corners[0], corners[-1]) == pytest.approx((1230, 1235), abs=0.02)
    assert [(b.get_x(), b.get_width()) for b in below.patches] == [(1231.25, 2.5)]
    # Above the threshold, not at it.
    assert [list(line.get_xdata()) for line in below.lines] == [[1231.25, 1232.5]]
    assert list(bar.lines[0].get_xdata()) == [0.5, 0.5]
    without = words(localization_figure(np.zeros(9), score, label, ["a dog"], GRID))
    assert "0 to 10 s" in without
    assert not [text for text in without if "threshold" in text]


@pytest.mark.parametrize("phrase", ["a dog", "a phrase so long that it has to be wrapped over more than one line " * 3])
@pytest.mark.parametrize("rows", [1, 24])
def test_nothing_on_a_localization_lies_over_anything(phrase, rows):
    figure = localization_figure(
        np.zeros(480_000, dtype=np.int16), np.ones((rows, 32)), np.ones((rows, 32)) > 0, [phrase] * rows, GRID,
        name="a_very_long_name_" * 9, start=12345.5, threshold=0.25, meaning="what the colours mean, at length " * 3,
    )  # fmt: skip
    figure.savefig(io.BytesIO(), dpi=150)
    canvas = figure.canvas.get_renderer()
    boxes = [artist.get_tightbbox(canvas) for artist in (*figure.axes, *figure.texts, *figure.legends)]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def words(figure):
    """Everything that is written on a figure; it must draw without a warning."""
    figure.savefig(io.BytesIO(), dpi=40)
    own = [text.get_text() for text in figure.texts]
    own += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    own += [text.get_text() for axes in figure.axes for text in axes.texts]
    return own + [axes.get_title(loc="left") for axes in figure.axes]


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_long_texts_are_cut_to_the_room_there_is():
    for text in ("W" * 200, "i" * 200, "a dog"):
        cut = fitting(text, 3.0, 9)
        sheet = blank_figure(10.0, 1.0)
        sheet.set_dpi(150)
        shown = sheet.text(0, 0.5, cut, fontsize=9)
        width = shown.get_window_extent(sheet.canvas.get_renderer()).width / sheet.dpi
        assert width <= 3.0
        assert cut == text or (cut.endswith("…") and width > 2.7)
    assert fitting("$5", 1.0, 9) == r"\$5"
    assert fitting("WW", 0.01, 9) == "…"


# But for those of files that another test left to the garbage collector, which may come at any time.
without_warnings = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")


@without_warnings
def test_class_bars():
    first = {"dog": 0.5, "car": 0.9, "$5 or $6": math.nan, "a name " + 20 * "so " + "long": 0.7}
    figure = class_bars({"AUROC": first, "PSDS": {"dog": 0.25}}, "Set")
    (axes,) = figure.axes
    assert names(axes)[0] == "car"
    assert names(axes)[1].endswith("so…")
    assert names(axes)[2:] == ["dog", r"\$5 or \$6"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.7, 0.5, 0.0, 0.0, 0.0, 0.25, 0.0]
    written = words(figure)
    assert {"AUROC, mean 0.700 (dashed) over 3", "PSDS, mean 0.250 (dashed) over 1", "Set: 4 classes"} <= set(written)
    assert written.count("no value") == 4
    low, high = class_bars({"difference": {"a": -0.2, "b": 0.1}}, "x").axes[0].get_xlim()
    assert low < -0.2 < 0.1 < high
    assert "AUROC, no value" in words(class_bars({"AUROC": {"dog": math.nan}}, "One"))


@without_warnings
def test_class_bars_of_many_classes():
    many = {f"class {n:03}": n / 400 for n in range(400)} | {f"none {n}": math.nan for n in range(7)}
    figure = class_bars({"AUROC": many}, "Set")
    best, worst = figure.axes
    assert names(best) == [f"class {n:03}" for n in range(399, 379, -1)]
    assert names(worst) == [f"class {n:03}" for n in range(19, -1, -1)]
    assert best.get_xlim() == worst.get_xlim()
    assert {
        "Set: the best and worst 20 of 407 classes",
        "360 classes between the best and the worst are not shown, nor 7 without a value",
    } <= set(words(figure))
    few = class_bars({"AUROC": dict.fromkeys(many, math.nan) | {"class 001": 0.5}}, "Set")
    assert len(names(few.axes[0])) == 20
    assert "Set: 1 with a value of 407 classes, and 19 without" in words(few)


@without_warnings
def test_cross_triggers(tmp_path):
    r = np.random.default_rng(0)
    classes = ["dog", "$5 or $6", "a name " + 20 * "so " + "long"] + [f"class {n}" for n in range(40)]
    count_KK = r.integers(0, 3, (43, 43)) * (r.random((43, 43)) < 0.2)
    np.fill_diagonal(count_KK, 0)
    count_KK[2, 1], count_KK[1, 0] = 1234, 40
    few = cross_trigger_figure(count_KK[:3, :3], classes[:3], "Set")
    axes, bar = few.axes
    assert names(axes)[1] == r"\$5 or \$6"
    assert names(axes)[2].endswith("…")
    assert {"1.23k", "40"} <= {text.get_text() for text in axes.texts}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("detected, wrongly", "there instead")
    assert bar.get_ylabel() == "wrong detections on its events"
    assert "Set: 3 classes" in words(few)
    many = cross_trigger_figure(count_KK, classes, "Set")
    assert len(names(many.axes[0])) == 24
    assert names(many.axes[0])[0] == "dog"
    assert "Set: the 24 most confused of 43 classes" in words(many)
    for figure in (few, many, cross_trigger_figure(np.zeros((1, 1)), ["alone"], "One")):
        save_figure(figure, tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"One: counts \(2, 2\) must be \[1, 1\]"):
        cross_trigger_figure(np.zeros((2, 2)), ["alone"], "One")


@without_warnings
def test_f1_curves():
    score = torch.tensor([[0.02], [0.0003], [0.00005]])
    label = torch.tensor([[True], [True], [False]])
    curves = {"biased": frame_f1(score, label, THRESHOLDS), "none": frame_f1(score, ~label & label, THRESHOLDS)}
    figure = f1_curves(curves)
    (axes,) = figure.axes
    line, best = axes.lines[1:3]
    assert len(line.get_xdata()) == len(THRESHOLDS)
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (0.0001, 1.0)
    place = axes.transData.transform([(x, 0) for x in (0.0001, 0.001, 0.01, 0.1, 0.5, 1)])[:, 0]
    assert np.diff(place).min() > 0.1 * np.ptp(place)
    low, high = axes.get_xlim()
    assert low <= 0.0001 < high == 1
    assert {"biased: best 1.000 at 0.0001; 0.000 at 0.5", "none: no class with ground truth"} <= set(words(figure))
    with pytest.raises(ValueError, match="must be in"):
        f1_curves({"cosine": frame_f1(score, label, (-0.1, 0.1))})
    with pytest.raises(ValueError, match="0 curves"):
        f1_curves({})


@without_warnings
def test_reliability_figure():
    score = torch.tensor([[0.1], [0.1], [0.9]])
    label = torch.tensor([[False], [True], [True]])
    empty = calibration(score[:0], label[:0], bins=5)
    figure = reliability_figure({"biased": calibration(score, label, bins=5), "nothing": empty})
    above, below = figure.axes[:2]
    np.testing.assert_allclose([bar.get_height() for bar in above.patches], [0.5, 0, 0, 0, 1])
    assert [(bar.get_x(), bar.get_height()) for bar in below.patches] == [(0, 2), (0.8, 1)]
    assert {"ECE 0.3000, Brier score 0.2767", "nothing counted", "biased", "nothing"} <= set(words(figure))
    with pytest.raises(ValueError, match="0 calibrations"):
        reliability_figure({})


@without_warnings
def test_psd_roc_figure():
    scores = [torch.tensor([[0.9, 0.1, 0.1, 0.1]])]
    found = psds(scores, [[(0.0, 1.0, "dog")]], ["dog"], frame_seconds=1.0)
    absent = psds(scores, [[]], ["dog"], frame_seconds=1.0, missing="skip")
    figure = psd_roc_figure({"PSDS1": found, "absent": absent})
    joined = figure.axes[0].lines[-2]
    np.testing.assert_allclose(joined.get_xydata(), [(0, 1), (100, 1)])
    area = figure.axes[0].collections[0].get_paths()[0].get_extents()
    assert (area.x0, area.x1, area.y0, area.y1) == (0, 100, 0, 1)
    assert {"PSDS1: 1.000", "absent: not defined", "no class with ground truth"} <= set(words(figure))
    with pytest.raises(ValueError, match="0 settings"):
        psd_roc_figure({})


@without_warnings
def test_retrieval_examples():
    long = "many words " * 40
    clips = [Ranking("a dog for $5 or $6", [("clip one", 0.5, False), ("clip two", 0.25, True)], 2)]
    captions = [Ranking("clip one", [(long, 0.5, False)], None), Ranking("clip two", [("a dog", 1.0, True)], 1)]
    figure = retrieval_examples(clips, captions, "Some")
    written = words(figure)
    assert {"clip one", "clip two", "0.250", "right answer at rank 2", "no right answer"} <= set(written)
    assert written.count("✓") == 2
    assert max(map(len, written)) < 70
    assert "Captions found for a clip" not in words(retrieval_examples(clips, []))
    for many in ([], clips * 13):
        with pytest.raises(ValueError, match="give 1 to 12"):
            retrieval_examples(many, [])


def test_user_mistakes(tmp_path):
    score = np.zeros((1, 32))
    with pytest.raises(ValueError, match="2 phrases, 32 frames"):
        localization_figure(np.zeros(9), score, None, ["a", "b"], GRID)
    with pytest.raises(ValueError, match="labels"):
        localization_figure(np.zeros(9), score, np.zeros((1, 31)), ["a"], GRID)
    with pytest.raises(ValueError, match=r"threshold 1: scores lie in \[0, 1\]"):
        localization_figure(np.zeros(9), score, None, ["a"], GRID, threshold=1.0)
    with pytest.raises(ValueError, match="too many"):
        localization_figure(np.zeros(9), np.zeros((40, 32)), None, ["a"] * 40, GRID)
    with pytest.raises(ValueError, match=r"\.png"):
        save_figure(localization_figure(np.zeros(9), score, None, ["a"], GRID), tmp_path / "a.wav")


def test_pyplot_is_left_alone():
    code = "import sys, flam_train.plotting; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_class_bars_mistakes():
    for values, message in (
        ({}, "0 series"),
        ({"AUROC": {}}, "0 classes"),
        ({str(n): {"dog": 0.0} for n in range(5)}, "5 series"),
        ({"AUROC": {"dog": 0.0, "car": math.inf}}, "'car' has an infinite value"),
    ):
        with pytest.raises(ValueError, match=message):
            class_bars(values, "Set")


def test_spread_figure_shows_every_run_and_its_groups():
    panels = {"AUROC": {"lr=0.1": [0.5, 0.7], "lr=0.2": [0.9]}, "R@1": {"lr=0.2": [0.1, 0.2, 0.6]}}
    figure = spread_figure(panels)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["AUROC", "R@1"]
    for axes, groups in zip(figure.axes, panels.values(), strict=True):
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == ["lr=0.1", "lr=0.2"]
        dots = {line.get_ydata()[0]: list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"}
        assert dots == {labels.index(name): values for name, values in groups.items()}
        ends = {line.get_ydata()[0]: list(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"}
        for name, values in groups.items():
            row, mean = labels.index(name), sum(values) / len(values)
            if len(values) == 1:
                assert row not in ends
            else:
                deviation = math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1))
                assert ends[row] == pytest.approx([mean - deviation, mean + deviation])
    for empty in ({}, {"AUROC": {"a": []}}):
        with pytest.raises(ValueError, match="no numbers to draw"):
            spread_figure(empty)

"""The curves of a run: what shares an axis, what is written on it, and that nothing lies over anything."""

from __future__ import annotations

import io
from itertools import combinations

import pytest

from flam_train.plotting import curves_figure, read_curves, save_figure

RUN = {
    "loss/global": lambda s: 2 / (1 + s / 50),
    "loss/total": lambda s: 60 / (1 + s / 50),
    "loss/prior": lambda s: 0.3,
    "optim/lr": lambda s: 1e-4 * s / 100,
    "optim/gradient_norm": lambda s: 80 - s / 4,
    "speed/clips_per_s": lambda s: 900.0,
    "speed/data_wait": lambda s: 0.9 if s in (0, 60) else 0.004 + 0.001 * (s % 3),
    "val/tones/auroc_macro": lambda s: 0.7 + s / 1000,
    "val/tones/auroc_micro": lambda s: 0.8,
    "val/tones/text_to_audio_R@1": lambda s: 0.1,
    "val/tones/event_f1": lambda s: 0.2,
    "val/tones/psds1": lambda s: 0.3,
}


@pytest.fixture
def drawn(tmp_path):
    """title -> axes, of a metrics.csv with these curves."""

    def draw(curves, steps=range(0, 200, 10)):
        rows = [f"{step},{name},{curve(step)}" for step in steps for name, curve in curves.items()]
        (tmp_path / "metrics.csv").write_text("\n".join(["step,name,value", *rows]))
        figure = curves_figure(tmp_path / "metrics.csv")
        figure.savefig(io.BytesIO(), dpi=40)
        return {axes.get_title(loc="left"): axes for axes in figure.axes}

    return draw


def names(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []


def test_what_is_of_another_unit_has_its_own_axis(drawn):
    panels = drawn(RUN)
    assert {title: axes.get_ylabel() for title, axes in panels.items()} == {
        "loss": "loss (total: weighted sum)",
        "validation: frame AUROC": "AUROC (chance 0.5, best 1)",
        "validation: retrieval": "recall (share of queries)",
        "validation: events": "PSDS1, event F1 at 0.5",
        "learning rate": "learning rate",
        "gradient norm": "norm before clipping",
        "speed": "clips per second",
        "waiting for data": "share of the time (%)",
    }
    assert names(panels["loss"]) == ["global", "prior", "total"]
    assert names(panels["validation: frame AUROC"]) == ["tones: macro", "tones: micro"]
    assert names(panels["validation: events"]) == ["tones: event F1", "tones: PSDS1"]
    assert panels["loss"].get_yscale() == "log"
    # A line fills its axis, whatever the size of its numbers.
    rate = panels["learning rate"]
    assert rate.dataLim.ymax == pytest.approx(1.9e-4)
    assert rate.dataLim.height > 0.7 * rate.viewLim.height
    assert {axes.get_xlabel() for axes in panels.values()} == {"step"}
    assert len({axes.get_xlim() for axes in panels.values()}) == 1


def test_waiting_at_the_start_does_not_flatten_the_rest(drawn):
    axes = drawn(RUN)["waiting for data"]
    assert 0.006 < axes.get_ylim()[1] < 0.01
    marks, line = axes.lines
    assert list(marks.get_xdata()) == [0, 60]
    assert [text.get_text() for text in axes.texts] == ["▲ off the scale: 2 readings, up to 90 %"]
    assert not {0, 60} & set(line.get_xdata())
    assert "0.2 %" in [label.get_text() for label in axes.get_yticklabels()]
    even = drawn({"speed/data_wait": lambda s: s / 1000})["waiting for data"]
    assert not even.texts
    assert even.get_ylim()[1] > 0.19
    assert len(even.lines) == 1


@pytest.mark.parametrize("corpora", [1, 9])
def test_nothing_lies_over_anything(drawn, corpora):
    many = {f"val/a_corpus_of_a_long_name_{n}/auroc_macro": lambda s: 0.5 for n in range(corpora)}
    panels = drawn(RUN | many)
    figure = panels["loss"].figure
    canvas = figure.canvas.get_renderer()
    whole = [axes.get_tightbbox(canvas) for axes in panels.values()]  # with titles, legends and labels
    for one, other in combinations(whole, 2):
        assert not one.overlaps(other)
    for box in whole:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for axes in panels.values():
        assert len(axes.get_yticks()) <= 12
        if axes.get_legend():
            legend = axes.get_legend().get_window_extent(canvas)
            assert legend.y0 > axes.get_window_extent(canvas).y1, "a legend stands above the plot, where no line is"
            assert legend.x1 <= axes.get_window_extent(canvas).x1
            assert legend.y1 < axes._left_title.get_window_extent(canvas).y0


@pytest.mark.parametrize("left_out", range(7))
def test_no_place_stays_empty(drawn, left_out):
    panels = list(drawn(dict(list(RUN.items())[left_out:])).values())
    rows = {}
    for axes in panels:
        rows.setdefault(round(axes.get_position().y0, 3), []).append(axes.get_position())
    assert all(min(place.x0 for place in row) < 0.1 and max(place.x1 for place in row) > 0.95 for row in rows.values())


def test_lines_differ_without_colour(drawn):
    axes = drawn({f"loss/{n}": lambda s: 1.0 for n in range(30)})["loss"]
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == 30


def test_names_of_others(drawn):
    """A panel for each group, the rest together."""
    panels = drawn({"train/loss": lambda s: 3 / (s + 1), "mine/one": lambda s: 1.0, "alone": lambda s: 2.0})
    assert list(panels) == ["train", "other", "mine"]
    assert all(axes.get_ylabel() for axes in panels.values())


def test_many_points_get_a_trend(drawn, tmp_path):
    panels = drawn({"loss/sed": lambda s: s % 2, "optim/lr": lambda s: 1e-3}, range(300))
    noise, trend = panels["loss"].lines
    assert noise.get_ydata().std() > 5 * trend.get_ydata().std()
    assert len(panels["learning rate"].lines) == 1
    assert read_curves(tmp_path / "metrics.csv")["loss/sed"][:2] == [(0, 0.0), (1, 1.0)]


def test_one_value_and_values_that_are_not_finite(drawn, tmp_path):
    panels = drawn({"loss/sed": lambda s: 0.5, "loss/prior": lambda s: float("nan")}, [7])
    assert len(panels["loss"].lines) == 1
    save_figure(panels["loss"].figure, tmp_path / "curves.png", dpi=50)
    with pytest.raises(ValueError, match="not one finite value"):
        drawn({"loss/sed": lambda s: float("inf")})


@pytest.mark.parametrize(
    ("text", "message"),
    [("step,name\n", "header"), ("step,name,value\n1,a,x\n", "row 2"), ("step,name,value\n", "no rows")],
)
def test_mistakes(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=f"m.csv: .*{message}"):
        curves_figure(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="No such file"):
        curves_figure(tmp_path / "missing.csv")

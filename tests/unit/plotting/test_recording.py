"""The picture of a recording: what is short is seen at any length, what is written can be read, same in, same out."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import warnings
from datetime import datetime, timedelta
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from flam_train.plotting import Overview, recording_figure, save_figure, write_figure
from flam_train.plotting.localization import FOUND
from flam_train.plotting.recording import LEAST, _silent, _visible, highest

FRAME = 0.3125


def edges(seconds: float, start: float = 0.0) -> np.ndarray:
    first, stop = int(start / FRAME), int(np.ceil((start + seconds) / FRAME - 1e-9))
    return np.clip(np.arange(first, stop + 1) * FRAME, start, start + seconds)


def sound(seconds: float, start: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    overview = Overview(start)
    overview.feed((np.random.default_rng(0).normal(size=round(48_000 * seconds)) * 1000).astype(np.int16))
    return overview.log_mel()


def drawn(figure: Figure) -> np.ndarray:
    """uint8 [height, width, 3]; there must be no warning."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figure(figure, file)
    return np.asarray(Image.open(file).convert("RGB"))


def is_colour(image: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(image - 255 * np.array(to_rgb(colour))).max(axis=-1) < 2


def row_of(figure: Figure, image: np.ndarray, y: float) -> tuple[np.ndarray, float]:
    """Pixels of the rows' panel at data height y, and seconds a pixel."""
    axes = next(axes for axes in figure.axes if axes.get_xlabel())
    place = axes.get_position()
    height, width = image.shape[:2]
    top, low = axes.get_ylim()[1], axes.get_ylim()[0]
    at = (1 - place.y1) * height + (y - top) / (low - top) * place.height * height
    line = image[int(at), round(place.x0 * width) : round(place.x1 * width)]
    return line, float(np.ptp(axes.get_xlim())) / len(line)


@pytest.mark.parametrize("at", [0.0, 3.0, 12345.6, 28799.0])
def test_a_second_in_eight_hours_is_seen(at):
    time = edges(8 * 3600)
    score_KT = np.zeros((3, len(time) - 1), np.float32)
    score_KT[1, int(at / FRAME)] = 1
    figure = recording_figure(score_KT, time, ["a", "b", "c"], [(at, at + 1, 1)])
    image = drawn(figure)
    bar, second = row_of(figure, image, 1.78)
    there = np.flatnonzero(is_colour(bar, FOUND))
    assert LEAST <= len(there) <= LEAST + 1
    assert np.ptp(there) == len(there) - 1
    assert abs(there.mean() * second - at) <= 3 * second
    heat, _ = row_of(figure, image, 1.3)
    darkest = np.flatnonzero(is_colour(heat, "#0b2f5b"))
    assert 1 <= len(darkest) <= 2
    assert darkest[0] <= (at + FRAME) / second + 1
    assert darkest[-1] >= at / second - 1
    for row in (0, 2):  # others have neither
        assert not is_colour(row_of(figure, image, row + 0.78)[0], FOUND).any()
        assert is_colour(row_of(figure, image, row + 0.3)[0], "#f7f8fb").all()


def test_events_are_as_wide_as_they_last_where_that_can_be_seen():
    time = edges(100)
    figure = recording_figure(np.zeros((1, len(time) - 1)), time, ["a"], [(10, 20, 0), (15, 40, 0), (90, 100, 0)])
    bar, second = row_of(figure, drawn(figure), 0.78)
    there = (np.flatnonzero(is_colour(bar, FOUND)) + 0.5) * second
    inside = ((there > 10) & (there < 40)) | (there > 90)
    assert inside.all()
    assert len(there) * second == pytest.approx(40, abs=3 * second)


def test_highest_as_its_plain_twin():
    r = np.random.default_rng(0)
    for _ in range(50):
        frames, pixels = int(r.integers(2, 200)), int(r.integers(1, 60))
        value, time = r.random((2, frames)), np.concatenate([[0], np.cumsum(r.uniform(0.1, 1, frames))])
        pixel = np.linspace(0, time[-1], pixels + 1)
        found, found_edges = highest(value, time, pixel)
        if frames <= pixels:
            assert found is value
            assert found_edges is time
            continue
        want = [
            [max(v for v, a, b in zip(row, time, time[1:], strict=False) if a < high and b > low)
             for low, high in pairwise(pixel)]
            for row in value
        ]  # fmt: skip
        np.testing.assert_array_equal(found, want)


def test_no_event_is_narrower_than_can_be_seen():
    r = np.random.default_rng(0)
    for _ in range(20):
        start, seconds = r.uniform(0, 5000), np.exp(r.uniform(0, 11))
        pixel = np.linspace(start, start + seconds, 1000)
        onset = start + seconds * r.random(50)
        span = np.stack([onset, np.minimum(onset + np.exp(r.uniform(-3, 8, 50)), start + seconds)], axis=1)
        for (onset, offset), (first, wide) in zip(span, _visible(span, pixel), strict=True):
            slack = 1e-9 * (start + seconds)
            assert wide >= LEAST * (pixel[1] - pixel[0]) - slack
            assert start - slack <= first <= onset + slack
            assert offset - slack <= first + wide <= start + seconds + slack
    assert _visible(np.empty((0, 2)), pixel) == []


def test_dead_time_is_told_where_it_fills_half_a_pixel():
    pixel = np.arange(101.0)
    spans = [(0, 10), (20.2, 20.6), (30.6, 31.2), (40.6, 42.6), (42.7, 43), (99.4, 100)]
    assert _silent(spans, pixel) == [(0, 10), (41, 2), (99, 1)]
    assert _silent([], pixel) == []
    assert _silent([(0, 100)], pixel) == [(0, 100)]


def test_panels_and_what_is_written():
    time = edges(180, 3720)
    score_KT = np.random.default_rng(0).random((2, len(time) - 1))

    def clock(seconds: float) -> datetime:
        return datetime(2024, 5, 1, 22, 57, 30) + timedelta(seconds=seconds)

    figure = recording_figure(
        score_KT, time, ["a dog", "$5_000 or $6"], [(3800, 3801, 0)], log_mel=sound(200, 3710), clock=clock,
        dead=[(3740, 3750)], threshold=0.9, title="A_1 for $5",
    )  # fmt: skip
    drawn(figure)
    above, below = figure.axes[:2]
    assert above.get_xlim() == below.get_xlim() == (3720, 3900)
    assert above.get_position().x0 == below.get_position().x0
    assert [text.get_text() for text in below.get_yticklabels()] == ["a dog", r"\$5_000 or \$6"]
    assert below.get_ylim() == (2, 0)  # the first is on top
    assert [text.get_text() for text in below.get_xticklabels()][:2] == ["1:02:00", "1:02:30"]
    (day,) = above.child_axes
    assert [text.get_text() for text in day.get_xticklabels()][:3] == ["23:59:30", "2024-05-02", "00:00:30"]
    written = [text.get_text() for text in figure.texts]
    assert r"A_1 for \$5" in written
    assert "1:02:00 to 1:05:00, from 2024-05-01 23:59:30; 1 event" in written
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "event: a smoothed score over 0.9", "nothing sounds",
    ]  # fmt: skip
    assert below.collections[0].get_clim() == (0, 1)


def test_nothing_sounds():
    time = edges(120)
    silent = np.zeros((1, len(time) - 1))
    overview = Overview()
    overview.feed(np.zeros(120 * 48_000, np.int16))
    figure = recording_figure(silent, time, ["a"], log_mel=overview.log_mel(), dead=[(0, 120)])
    heat, _ = row_of(figure, drawn(figure), 0.3)
    assert not is_colour(heat, "#f7f8fb").any()  # no score of 0, but none
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nothing sounds"]
    assert recording_figure(silent, time, ["a"]).legends == []


@pytest.mark.parametrize("rows", [1, 24, 61])
@pytest.mark.parametrize("phrase", ["a dog", "a phrase so long that it has to be cut 犬🐕 " * 250])
def test_nothing_lies_over_anything(rows, phrase):
    time = edges(100_000, 1234.5)
    score_KT = np.zeros((rows, len(time) - 1), np.float32)
    figure = recording_figure(
        score_KT, time, [phrase] * rows, [(2000 + 7 * n, 2003 + 7 * n, n % rows) for n in range(3000)],
        log_mel=sound(10, 1234.5), dead=[(5000, 9000)], clock=lambda s: datetime(2024, 5, 1) + timedelta(seconds=s),
        threshold=0.25, title="a_very_long_name_" * 99, meaning="what the colours mean, at length " * 3,
    )  # fmt: skip
    drawn(figure)
    canvas = figure.canvas.get_renderer()
    boxes = [artist.get_tightbbox(canvas) for artist in (*figure.axes, *figure.texts, *figure.legends)]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_of_too_many_phrases_those_are_shown_of_which_most_was_found():
    time = edges(10)
    score_KT = np.zeros((100, len(time) - 1))
    score_KT[70:90, 3] = np.linspace(0.1, 0.2, 20)
    figure = recording_figure(score_KT, time, [f"phrase {n}" for n in range(100)], [(1, 2, 99), (1, 3, 98)])
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == 60
    assert {f"phrase {n}" for n in (*range(70, 90), 98, 99)} <= set(names)
    assert names == sorted(names, key=lambda name: int(name.split()[1]))
    assert any("60 of 100 phrases" in text.get_text() for text in figure.texts)


def a_figure() -> Figure:
    time = edges(60)
    score_KT = np.random.default_rng(0).random((3, len(time) - 1))
    events = [(1, 2, 0), (5, 30, 2)]
    return recording_figure(score_KT, time, ["犬 🐕", "é $", "c"], events, log_mel=sound(60), dead=[(40, 45)])


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_same_in_same_out(kind, tmp_path):
    first, second = io.BytesIO(), io.BytesIO()
    write_figure(a_figure(), first, kind)
    write_figure(a_figure(), second, kind)
    assert first.getvalue() == second.getvalue()
    path = save_figure(a_figure(), tmp_path / "new" / f"a.{kind}")
    assert path.read_bytes() == first.getvalue()
    assert [file.name for file in path.parent.iterdir()] == [f"a.{kind}"]


def test_in_any_locale(tmp_path):
    code = """
import sys
import test_recording
from flam_train.plotting import save_figure
save_figure(test_recording.a_figure(), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    file = io.BytesIO()
    write_figure(a_figure(), file)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    for locale in ("C", "de_DE.UTF-8"):
        command = [sys.executable, "-W", "error::UserWarning", "-c", code, str(tmp_path / "a.png")]
        done = subprocess.run(
            command,
            text=True,
            capture_output=True,
            env={**plain, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONPATH": path},
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "a.png").read_bytes() == file.getvalue()


def test_a_picture_leaves_nothing_behind():
    time = edges(10)

    def figures() -> int:
        gc.collect()
        return sum(isinstance(thing, Figure) for thing in gc.get_objects())

    before = figures()
    for _ in range(5):
        write_figure(recording_figure(np.zeros((1, len(time) - 1)), time, ["a"]), io.BytesIO())
    assert figures() <= before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score_KT": np.zeros((2, 32))}, r"scores \(2, 32\) must be \[1 phrases, 32 frames\]"),
        ({"score_KT": np.zeros((0, 32)), "phrases": []}, "at least one row"),
        ({"edges_T1": edges(10)[::-1]}, "edges of frames must rise"),
        ({"events": [(1, 2, 1)]}, "events name rows of scores, from 0 to 0"),
        ({"events": [(2, 1, 0)]}, "events must end behind their onset, and lie between 0 and 10 s"),
        ({"events": [(12, 13, 0)]}, "events must end behind their onset, and lie between 0 and 10 s"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    given = {"score_KT": np.zeros((1, 32)), "edges_T1": edges(10), "phrases": ["a"]} | change
    with pytest.raises(ValueError, match=message):
        recording_figure(**given)

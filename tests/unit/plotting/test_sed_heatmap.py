"""plot_sed_heatmap: panels, rows from above, red names, one colour bar; what does not fit is said."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from flam_train.plotting import plot_sed_heatmap
from flam_train.plotting.sed_heatmap import NEGATIVE

SCORES = {"a dog": np.linspace(0, 1, 32), "rain": np.zeros(32), "$5 & siren": np.ones(32)}
AUDIO = np.random.default_rng(0).normal(size=320_000).astype(np.float32) * 0.1


def drawn(tmp_path, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return plot_sed_heatmap(*args, save_path=tmp_path / "a.png", **options)


def reds(axes) -> list[str]:
    return [t.get_text() for t in axes.get_yticklabels() if to_hex(t.get_color()) == NEGATIVE]


def test_two_panels_and_three(tmp_path):
    label = {"rain": torch.ones(100), "a dog": torch.zeros(100)}
    for given, panels in ({}, 1), ({"post_similarity": SCORES}, 2), ({"post_similarity": SCORES, "label": label}, 3):
        figure = drawn(tmp_path, AUDIO, 32_000, **given)
        assert len(figure.axes) == panels + (panels > 1)  # one colour bar
        assert Image.open(tmp_path / "a.png").size == (2100, 1200)
    spectrogram, scores, labels, bar = figure.axes
    assert [t.get_text() for t in scores.get_yticklabels()] == ["a dog", "rain", r"\$5 & siren"]
    assert scores.get_ylim() == (3, 0)  # the first is on top
    assert [t.get_text() for t in labels.get_yticklabels()] == ["rain", "a dog"]
    assert np.array_equal(scores.collections[0].get_array(), np.stack(list(SCORES.values())))
    assert scores.collections[0].get_clim() == labels.collections[0].get_clim() == (0, 1)
    assert bar.get_ylim() == (0, 1)
    assert {axes.get_xlim() for axes in (spectrogram, scores, labels)} == {(0, 10)}
    above, below = scores.get_position(), labels.get_position()
    assert above.x0 == pytest.approx(below.x0)
    assert above.x1 == pytest.approx(below.x1)
    assert above.y0 > below.y1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("negative", "want"),
    [([], []), (["rain"], ["rain"]), ("a dog", ["a dog"]), (2, ["rain", r"\$5 & siren"]), (0, [])],
)
def test_negative_phrases_by_name_or_count(negative, want, tmp_path):
    figure = drawn(tmp_path, AUDIO, 32_000, SCORES, negative_class=negative)
    assert reds(figure.axes[1]) == want


def test_a_tone_is_where_it_sounds_at_any_rate(tmp_path):
    for rate in (8_000, 32_000, 48_000):
        t = np.arange(10 * rate) / rate
        tone = (np.sin(2 * np.pi * 1000 * t) * (t > 5) * 20_000).astype(np.int16)
        level = drawn(tmp_path, tone, rate, SCORES).axes[0].collections[0].get_array()
        row = level[:, 750].argmax()
        assert level[row, 750] > level[row, 250] + 50
        assert row in (25, 26)  # of 96 mel bins from 50 Hz to 16 kHz: 1 kHz


def test_audio_of_another_length_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match=r"10 s of audio, and duration=11: scores are drawn over the latter"):
        plot_sed_heatmap(AUDIO, 32_000, SCORES, duration=11.0, save_path=tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    drawn(tmp_path, AUDIO, 32_000, SCORES, duration=10.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"negative_class": ["rian"]}, r"negative_class: 'rian' is none of the phrases"),
        ({"negative_class": 4}, r"negative_class: 4 of 3 phrases"),
        ({"post_similarity": {}}, r"Scores: one array \[frames\] a phrase"),
        (
            {"post_similarity": {"a": np.zeros(3), "b": np.zeros(4)}},
            r"all of one length, got shapes \[\(3,\), \(4,\)\]",
        ),
        ({"label": {"a": np.full(3, 1.5)}}, r"Labels: from 1.5 to 1.5, must lie in \[0, 1\]"),
        ({"label": {"a": np.full(3, np.nan)}}, r"Labels: from nan"),
        ({"audio": AUDIO[None]}, r"audio: one row of samples is expected, got shape \(1, 320000\)"),
        ({"sr": 0}, "sr and duration must be above 0"),
    ],
)
def test_what_does_not_fit_is_said(change, message, tmp_path):
    given = {"audio": AUDIO, "sr": 32_000, "post_similarity": SCORES, "save_path": tmp_path / "a.png"} | change
    with pytest.raises(ValueError, match=message):
        plot_sed_heatmap(**given)
    assert not list(tmp_path.iterdir())


def test_without_a_path_it_is_shown(tmp_path):
    code = """
import matplotlib, numpy as np, sys
matplotlib.use("agg")
from flam_train.plotting import plot_sed_heatmap
plot_sed_heatmap(np.ones(48_000), 48_000, {"a": np.ones(3)}, duration=1, save_path=sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
import matplotlib.pyplot as plt
shown = []
plt.show = lambda: shown.append(plt.get_fignums())
plot_sed_heatmap(np.ones(48_000), 48_000, {"a": np.ones(3)}, duration=1)
assert shown == []  # agg has no window, and would warn
plt.get_backend = lambda: "TkAgg"
plot_sed_heatmap(np.ones(48_000), 48_000, {"a": np.ones(3)}, duration=1)
assert shown == [[1, 2]], shown
"""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr

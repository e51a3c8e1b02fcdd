"""The overview of a recording on its way: as a plain twin has it of the whole, however it is cut, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from matplotlib.figure import Figure

from flam_train.plotting import Overview, log_mel
from flam_train.plotting import spectrogram as module
from flam_train.plotting.spectrogram import show_spectrogram

RATE = 48_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 2000).astype(np.int16)


def fed(wave_S: np.ndarray, pieces: list[int], start: float = 0.0) -> Overview:
    overview = Overview(start)
    for piece_S in np.split(wave_S, np.cumsum(pieces)):
        overview.feed(piece_S)
    return overview


def plain(wave_S: np.ndarray, most: int) -> np.ndarray:
    """Of the whole at once: a window in the middle of each step, in float64."""
    hop, pool = 240, 1
    while len(wave_S) >= most * hop * pool:
        hop, pool = (2 * hop, 1) if hop < 1920 else (hop, 2 * pool)
    padded_S = np.concatenate([np.zeros(1024), wave_S / 32768, np.zeros(1024)])
    levels = []
    for at in range(0, len(wave_S) + 1, hop):
        _, _, centres_F = log_mel(np.zeros(4096))
        power = np.abs(np.fft.rfft(padded_S[at : at + 2048] * 0.5 * (1 - np.cos(np.pi * np.arange(2048) / 1024)))) ** 2
        levels.append(power @ filters(centres_F))
    columns = -(-len(wave_S) // (hop * pool))
    pooled = [np.max(levels[n * pool : (n + 1) * pool], axis=0) for n in range(columns)]
    return 10 * np.log10(np.maximum(pooled, 1e-12)).T


def filters(centres_F: np.ndarray) -> np.ndarray:
    """Triangles between neighbouring centres, by interpolation."""

    def mel(hertz):
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    corner = 700 * (10 ** (np.linspace(mel(50), mel(16000), len(centres_F) + 2) / 2595) - 1)
    np.testing.assert_allclose(corner[1:-1], centres_F)
    frequency = np.arange(1025) * RATE / 2048
    rows = []
    for low, centre, high in zip(corner, corner[1:], corner[2:], strict=False):
        row = np.interp(frequency, [low, centre, high], [0, 1, 0])
        if not row.any():
            row[np.abs(frequency - centre).argmin()] = 1
        rows.append(row / row.sum())
    return np.stack(rows, axis=1)


@pytest.mark.parametrize("seconds", [0.003, 0.05, 0.2, 0.4, 1.0, 2.3, 4.0])
def test_as_the_plain_twin(seconds, monkeypatch):
    monkeypatch.setattr(module, "MOST", 40)
    wave_S = noise(seconds)
    level_FH, edges, _ = fed(wave_S, [7, 1000, 480, 30_000], start=5.0).log_mel()
    np.testing.assert_allclose(level_FH, plain(wave_S, 40), atol=2e-3)
    assert edges[0] == 5.0
    assert edges[-1] == pytest.approx(5 + seconds, abs=1e-4)
    assert (np.diff(edges) > 0).all()
    assert len(edges) == level_FH.shape[1] + 1 <= 41


def test_pieces_make_no_difference(monkeypatch):
    monkeypatch.setattr(module, "MOST", 100)
    r = np.random.default_rng(1)
    wave_S = noise(20)
    want, edges, _ = fed(wave_S, []).log_mel()
    for _ in range(5):
        cut, cut_edges, _ = fed(wave_S, r.integers(0, 60_000, 30).tolist()).log_mel()
        np.testing.assert_allclose(cut, want, atol=1e-3)
        np.testing.assert_array_equal(cut_edges, edges)


def test_asking_on_the_way_changes_nothing():
    wave_S = noise(3)
    overview = Overview()
    for piece_S in np.split(wave_S, 6):
        overview.feed(piece_S)
        assert overview.log_mel()[0].shape[0] == 96
    np.testing.assert_array_equal(
        overview.log_mel()[0], fed(wave_S, [24_000 * n for n in (1, 1, 1, 1, 1)]).log_mel()[0]
    )


def test_a_clip_has_every_other_column_of_its_overview():
    wave_S = noise(2)
    level_FH, edges, _ = log_mel(wave_S)
    over_FH, over_edges, _ = fed(wave_S, []).log_mel()
    np.testing.assert_allclose(over_FH[:, ::2], level_FH, atol=1e-3)
    np.testing.assert_allclose(over_edges[::2], edges)
    np.testing.assert_allclose(log_mel(wave_S / 32768)[0], level_FH, atol=1e-3)


def test_a_moment_is_seen_in_an_hour():
    overview, second_S = Overview(), noise(1)
    loud_S = second_S.copy()
    loud_S[20_000:20_480] = 20_000 * np.sin(2 * np.pi * 5000 * np.arange(480) / RATE)
    for second in range(3600):
        overview.feed(loud_S if second == 2000 else second_S)
    level_FH, edges, centres = overview.log_mel()
    row = np.abs(centres - 5000).argmin()
    place = level_FH[row].argmax()
    assert edges[place] <= 2000.5 <= edges[place + 1]
    assert level_FH[row, place] > np.median(level_FH[row]) + 10
    assert level_FH.shape[1] <= 2000


def test_memory_is_bounded():
    minute_S = noise(60)

    def peak(minutes: int) -> int:
        tracemalloc.start()
        overview = Overview()
        for _ in range(minutes):
            overview.feed(minute_S)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # filters are made once
    few, many = peak(4), peak(60)
    assert many <= few * 1.1 + 100_000
    overview = Overview()
    overview.feed(minute_S)
    assert sum(array.nbytes for array in vars(overview).values() if isinstance(array, np.ndarray)) < 1_000_000


def test_silence_is_dark_and_a_click_darkens_nothing():
    def top(level_FH: np.ndarray) -> float:
        axes = Figure().subplots()
        _, edges, centres = log_mel(np.zeros(48_000))
        show_spectrogram(axes, level_FH, edges, centres)
        return axes.collections[0].get_clim()[1]

    level_FH = np.full((96, 100), -120.0)
    assert top(level_FH) == -50
    level_FH[:] = 0
    assert top(level_FH) == 0
    level_FH[:, 50] = 60
    assert top(level_FH) == 35


def test_no_samples():
    with pytest.raises(ValueError, match="of no samples: feed some"):
        Overview().log_mel()
    with pytest.raises(ValueError, match="a recording is one row of samples"):
        log_mel(np.zeros((2, 9)))

"""Windows over a recording of any length, and one embedding a frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from flam_train.detection import embedding
from flam_train.detection.embedding import CrossFade, Windows, embed
from flam_train.models.flam import FLAM

HOP = 247_500


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(3)
    return FLAM(small_config).eval()


def noise(seconds: float) -> np.ndarray:
    return (np.random.default_rng(5).normal(size=round(seconds * 48_000)) * 2000).astype(np.int16)


def in_pieces(wave_S: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from np.split(wave_S, range(size, len(wave_S), size))


@pytest.mark.parametrize("size", [7_001, 100_000, 3_000_000])
@pytest.mark.parametrize("seconds", [0.01, 3.0, 10.0, 10.5, 15.0, 15.15625, 25.0, 26.0])
def test_windows_are_where_the_recording_says(seconds, size):
    windows, wave_S = Windows(32, 480_000, 33), noise(seconds)
    found = list(windows.cut(in_pieces(wave_S, size)))
    assert len(found) == windows.count(len(wave_S)) == max(1, -(-(len(wave_S) - 480_000) // HOP) + 1)
    padded_S = np.concatenate([wave_S, np.zeros(480_000, np.int16)])
    for number, window_S in enumerate(found):
        assert np.array_equal(window_S, padded_S[number * HOP : number * HOP + 480_000])
    for first in range(len(found)):
        behind = windows.cut(in_pieces(wave_S[first * HOP :], size), first)
        assert all(np.array_equal(*pair) for pair in zip(behind, found[first:], strict=True))


GRIDS = [(32, 480_000, 33), (128, 480_000, 129), (31, 480_000, 31), (7, 480_000, 7), (2, 1000, 3), (1, 999, 1)]


@pytest.mark.parametrize(("frames", "samples", "hop"), GRIDS)
def test_windows_of_any_grid_reach_the_end_and_are_found_by_their_frames(frames, samples, hop):
    windows = Windows(frames, samples, hop)
    for length in [*range(1, 40), *(windows.start(n) + samples + d for n in range(9) for d in (-1, 0, 1))]:
        last = windows.count(length) - 1
        assert windows.start(last) + samples >= length
        assert last == 0 or windows.start(last - 1) + samples < length
    for first in range(4 * frames):
        for behind in (first + 1, first + 3, first + 2 * frames):
            seen = [n for n in range(40) if n * hop < 2 * behind and n * hop + 2 * frames > 2 * first]
            assert list(windows.of_frames(first, behind)) == seen


def plain(model: FLAM, wave_S: np.ndarray) -> torch.Tensor:
    """Frame by frame: the mean over both its halves and the windows that see them, by the distance from their edges."""
    windows = Windows.of(model)
    assert (windows.frames, windows.hop) == (32, 33)
    padded = torch.from_numpy(np.concatenate([wave_S, np.zeros(480_000, np.int16)]))
    with torch.inference_mode():
        found = [
            model.embed_audio(padded[n * HOP : n * HOP + 480_000][None]).frame_BTD[0]
            for n in range(windows.count(len(wave_S)))
        ]
    return faded(found, 33)


def faded(found: list[torch.Tensor], hop: int) -> torch.Tensor:
    frames, out = len(found[0]), []
    for frame in range((hop * (len(found) - 1) + 2 * frames + 1) // 2):
        total = torch.zeros_like(found[0][0])
        for half in (2 * frame, 2 * frame + 1):
            for n, one_TD in enumerate(found):
                inside = half - hop * n
                if 0 <= inside < 2 * frames:
                    total += min(inside + 0.5, 2 * frames - inside - 0.5) * one_TD[inside // 2]
        out.append(normalize(total, dim=0))
    return torch.stack(out)


@pytest.mark.parametrize("batches", [(1,), (2,), (1, 1, 1), (3, 2), (2, 5)])
@pytest.mark.parametrize(("frames", "samples", "hop"), GRIDS)
def test_windows_of_any_grid_are_cross_faded_as_frame_by_frame(frames, samples, hop, batches):
    rng = torch.Generator().manual_seed(frames)
    window_WTD = normalize(torch.randn(sum(batches), frames, 5, generator=rng, dtype=torch.float64), dim=-1)
    want_TD = faded(list(window_WTD), hop)
    windows = Windows(frames, samples, hop)
    joined = CrossFade(windows)
    got = [joined.add(part_WTD) for part_WTD in window_WTD.split(batches)] + [joined.rest()]
    assert [len(frame_TD) for frame_TD in got[:-1]] == [
        sum(batches[: n + 1]) * hop // 2 - sum(batches[:n]) * hop // 2 for n in range(len(batches))
    ]
    assert torch.allclose(torch.cat(got), want_TD)
    # From a later window on, be it at half a frame: the same frames, but those that earlier windows see.
    joined = CrossFade(windows, 1)
    late_TD = torch.cat([joined.add(window_WTD[1:]), joined.rest()]) if len(window_WTD) > 1 else want_TD[hop // 2 :]
    assert len(late_TD) == len(want_TD) - hop // 2
    assert torch.allclose(late_TD[frames - hop // 2 :], want_TD[frames:])


def test_frames_that_no_window_sees_are_none():
    with pytest.raises(ValueError, match="there is no window"):
        CrossFade(Windows(32, 480_000, 33)).rest()


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("seconds", [4.0, 10.0, 31.0])
def test_frames_are_the_weighted_mean_of_the_windows_that_see_them(seconds, batch_size, model):
    wave_S = noise(seconds)
    got_TD = torch.cat(list(embed(model, in_pieces(wave_S, 50_000), batch_size)))
    assert torch.allclose(got_TD, plain(model, wave_S), atol=1e-5)


def test_ten_seconds_are_what_the_model_says_of_them(model):
    wave_S = noise(10.0)
    with torch.inference_mode():
        want_TD = model.embed_audio(torch.from_numpy(wave_S)[None]).frame_BTD[0]
    assert torch.allclose(torch.cat(list(embed(model, [wave_S]))), want_TD, atol=1e-6)


def test_the_same_recording_gives_the_same_bits(model):
    first, second = (torch.cat(list(embed(model, in_pieces(noise(31.0), size)))) for size in (9_999, 123_456))
    assert torch.equal(first, second)


def test_threads_share_a_batch_and_end_with_it(model, monkeypatch):
    wave_S, sizes, embed_audio, threads = noise(61.0), [], FLAM.embed_audio, set()

    def watched(self, waveform_BS):
        sizes.append(len(waveform_BS))
        threads.add((threading.current_thread().name, torch.get_num_threads()))
        return embed_audio(self, waveform_BS)

    before = torch.get_num_threads()
    monkeypatch.setattr(FLAM, "embed_audio", watched)
    try:
        torch.set_num_threads(4)
        got_TD = torch.cat(list(embed(model, in_pieces(wave_S, 50_000), batch_size=2)))
        assert sizes == [1] * 11
        assert {cores for _, cores in threads} == {2}
        assert len(threads) == 2
        assert torch.get_num_threads() == 4
        list(embed(model, [wave_S], batch_size=6, early=0))
        assert sizes[11:] == [6, 5], "without threads, as asked"
    finally:
        torch.set_num_threads(before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("works beside", "reads ahead"))]
    assert torch.allclose(got_TD, plain(model, wave_S), atol=1e-5)


def test_where_memory_is_short_batches_are_halved(model, monkeypatch):
    monkeypatch.setattr(embedding, "threads_for", lambda *_: 1)  # as on a device of its own
    wave_S, sizes, embed_audio = noise(40.0), [], FLAM.embed_audio

    def short(self, waveform_BS):
        sizes.append(len(waveform_BS))
        if len(waveform_BS) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embed_audio(self, waveform_BS)

    want_TD = torch.cat(list(embed(model, [wave_S], 8)))
    monkeypatch.setattr(FLAM, "embed_audio", short)
    assert torch.allclose(torch.cat(list(embed(model, [wave_S], 8))), want_TD, atol=1e-5)
    assert sizes == [7, 4, 2, 2, 2, 1]
    monkeypatch.setattr(FLAM, "embed_audio", lambda *_: short(model, torch.zeros(3)))
    with pytest.raises(torch.OutOfMemoryError):
        list(embed(model, [wave_S], 8))

    def wrong(*_):
        sizes.append(0)
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(FLAM, "embed_audio", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(embed(model, [wave_S], 8))
    assert sizes.count(0) == 1, "not tried again with less"


def test_a_precision_that_is_none_is_refused(model):
    with pytest.raises(ValueError, match="precision: 'fp64' is not known"):
        list(embed(model, [noise(1.0)], precision="fp64"))
    frames = torch.cat(list(embed(model, [noise(1.0)], precision="bf16")))
    assert frames.dtype == torch.float32

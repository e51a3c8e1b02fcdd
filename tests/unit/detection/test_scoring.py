"""Parts of a recording are scored as they are in the whole; what does not sound scores nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from flam_train.data.sound.streaming import Stream
from flam_train.detection.scoring import Listening, Time, score
from flam_train.frames import FrameGrid
from flam_train.models.flam import FLAM

PHRASES = ["a siren", "rain"]


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(3)
    return FLAM(small_config).eval()


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return np.random.default_rng(5).normal(size=47 * 16_000) * 0.1


@pytest.fixture(scope="module")
def recording(wave, tmp_path_factory):
    soundfile.write(path := tmp_path_factory.mktemp("recording") / "whole.wav", wave, 16_000)
    return path


def test_a_file_that_was_cut_is_scored_as_the_whole(model, recording, wave, tmp_path):
    """From half a window away from the cut on, before it from half a frame more, where the cut is a multiple of two
    hops, which are 33 frames: then windows begin at the same places, and frames, too."""
    whole = score(Listening(model, recording), PHRASES)
    for frames in (33, 66):
        cut = frames * 5_000
        soundfile.write(tmp_path / "b.wav", wave[cut:], 16_000)
        part = score(Listening(model, tmp_path / "b.wav", batch_size=3), PHRASES)
        behind = np.abs(part.score_CT[:, 16:] - whole.score_CT[:, frames + 16 :])
        assert behind.max() < 1e-5
        soundfile.write(tmp_path / "a.wav", wave[:cut], 16_000)
        part = score(Listening(model, tmp_path / "a.wav"), PHRASES)
        before = np.abs(part.score_CT[:, :-17] - whole.score_CT[:, : frames - 17])
        assert before.size > 0
        assert before.max() < 1e-5


class Grid(FLAM):
    """A model of another number of frames: means of its own."""

    frames = 32

    @property
    def grid(self) -> FrameGrid:
        return FrameGrid(self.frames, super().grid.seconds)

    def embed_audio(self, waveform_BS):
        out = super().embed_audio(waveform_BS)
        frame_BDT = torch.nn.functional.adaptive_avg_pool1d(out.frame_BTD.transpose(1, 2), self.frames)
        return replace(out, frame_BTD=torch.nn.functional.normalize(frame_BDT.transpose(1, 2), dim=-1))


@pytest.mark.parametrize("frames", [1, 2, 31])
def test_parts_are_scored_as_in_the_whole_with_any_frames(frames, small_config, recording):
    """Also where a window has an odd number of them, and half of one is no whole number of samples."""
    torch.manual_seed(3)
    model = Grid(small_config).eval()
    model.frames = frames
    whole = score(Listening(model, recording), PHRASES)
    assert whole.score_CT.shape == (2, max(1, round(4.7 * frames)))
    for start, stop in ((0.0, 12.0), (7.3, 21.0), (13.1, 36.5), (33.3, None)):
        part = score(Listening(model, recording, start, stop, batch_size=3), PHRASES)
        want = whole.score_CT[:, part.time.first : part.time.first + part.time.frames]
        assert np.abs(part.score_CT - want).max() < 1e-5


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0.0, 12.0), (7.3, 21.0), (15.5, 15.6), (20.0, 20.1), (33.3, None), (36.1, 41.3), (40.0, 99.0), (46.5, 47.0)
    ],
)  # fmt: skip
def test_a_part_that_is_looked_at_is_scored_as_in_the_whole(start, stop, model, recording):
    whole = score(Listening(model, recording), PHRASES)
    part = score(Listening(model, recording, start, stop, batch_size=3), PHRASES)
    time, edges = part.time, part.time.edges()
    assert (time.start, time.stop) == (start, min(stop or 47.0, 47.0))
    assert (edges[0], edges[-1]) == (start, pytest.approx(time.stop, abs=0.16))
    assert np.all(np.diff(edges) > 0)
    assert part.score_CT.shape == (2, time.frames)
    want = whole.score_CT[:, time.first : time.first + time.frames]
    assert np.abs(part.score_CT - want).max() < 1e-5


def test_a_part_behind_the_end_is_refused(model, recording):
    with pytest.raises(ValueError, match=r"whole\.wav: (ends at|has no samples)"):
        score(Listening(model, recording, 47.2), PHRASES)
    with pytest.raises(ValueError, match=r"whole\.wav: has no samples"):
        score(Listening(model, recording, 90.0), PHRASES)
    with pytest.raises(ValueError, match=r"from 5 s to 4 s: give a part .* that ends behind its beginning"):
        Listening(model, recording, 5.0, 4.0)
    with pytest.raises(ValueError, match="from -1 s to the end: give a part within the recording"):
        Listening(model, recording, -1.0)


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 1), (0.4, 1), (5.0, 16), (10.1, 32), (15.2, 49)])
def test_any_length(seconds, frames, model, tmp_path):
    soundfile.write(path := tmp_path / "a.wav", np.random.default_rng(0).normal(size=round(seconds * 8000)), 8000)
    found = score(Listening(model, path), PHRASES)
    assert found.score_CT.shape == (2, frames)
    assert found.score_CT.dtype == np.float32
    assert np.all(found.score_CT > 0)
    assert found.time.stop == pytest.approx(seconds)


def test_what_does_not_sound_scores_nothing(model, wave, tmp_path):
    quiet = wave[: 30 * 16_000].copy()
    quiet[10 * 16_000 : 14 * 16_000] = 0.3
    soundfile.write(path := tmp_path / "a.wav", quiet, 16_000)
    found = score(Listening(model, path), PHRASES)
    assert found.time.dead == ((10.0, 14.0),)
    inside = (found.time.edges()[:-1] >= 10 - 0.16) & (found.time.edges()[1:] <= 14 + 0.16)
    assert np.array_equal(found.score_CT == 0, np.stack([inside] * 2))
    assert not score(Listening(model, path, 10.5, 13.0), PHRASES).score_CT.any()
    assert score(Listening(model, path, 10.5, 13.0), PHRASES).time.dead == ((10.5, 13.0),)


def test_half_of_a_frame_must_sound():
    time = Time(first=4, frames=4, frame_seconds=0.5, start=2.1, stop=4.0, dead=((2.3, 2.4), (2.5, 2.74), (3.2, 9.0)))
    assert time.edges().tolist() == [2.1, 2.5, 3.0, 3.5, 4.0]
    assert time.heard().tolist() == [True, True, False, False]


def test_what_is_heard_is_a_stream_of_the_file(recording):
    assert sum(map(len, Stream(recording))) == 47 * 48_000

"""Recordings of any length: windows join without gap or shift, detections lie in the recording."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from needs import FFMPEG
from sound_files import loud_and_quiet, through_ffmpeg

from flam_train.inference import detect, read_recording, score_recording
from flam_train.models.flam import FLAM

PHRASES = ["a siren", "rain"]


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(3)
    return FLAM(small_config).eval()


def noise(seconds: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return (torch.randn(round(seconds * 48_000), generator=generator) * 2000).to(torch.int16)


def test_ten_seconds_are_one_window(model):
    waveform_S = noise(10.0)
    with torch.inference_mode():
        want = model.localize(model.embed_audio(waveform_S[None]).frame_BTD, model.embed_text(PHRASES))[0]
    assert torch.allclose(score_recording(model, waveform_S, PHRASES), want, atol=1e-6)


@pytest.mark.parametrize("seconds", [3.0, 25.0, 26.0])
def test_each_frame_comes_from_the_window_that_sees_most_around_it(model, seconds):
    waveform_S = noise(seconds)
    got = score_recording(model, waveform_S, PHRASES, batch_size=2)
    assert got.shape == (2, round(seconds / 0.3125))
    padded = torch.nn.functional.pad(waveform_S, (0, 480_000))
    text = model.embed_text(PHRASES)
    for frame in range(got.shape[1]):
        # Windows begin every 16 frames; of those that hold the frame, the one whose middle is nearest.
        last = max(0, -(-(len(waveform_S) - 480_000) // 240_000))
        number = min(range(last + 1), key=lambda k: (abs(frame + 0.5 - 16 * k - 16), -k))
        with torch.inference_mode():
            window = padded[number * 240_000 : number * 240_000 + 480_000]
            score_CT = model.localize(model.embed_audio(window[None]).frame_BTD, text)[0]
        assert torch.allclose(got[:, frame], score_CT[:, frame - 16 * number], atol=1e-5), frame


def test_detections(model, monkeypatch):
    score_CT = torch.zeros(2, 10)
    score_CT[0, 2:5], score_CT[1, 8:] = 0.9, 0.7
    monkeypatch.setattr("flam_train.inference.score_recording", lambda *_: score_CT)
    first, second = detect(model, noise(3.0), PHRASES)
    assert (first.phrase, first.onset, first.offset) == ("a siren", 0.625, 1.5625)
    assert first.score == pytest.approx(0.9)
    assert (second.onset, second.offset) == (2.5, 3.0)  # cut to the recording
    assert detect(model, noise(3.0), PHRASES, threshold=0.95) == []


def test_reading_any_file(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=(22_050, 2)), 22_050)
    waveform_S = read_recording(tmp_path / "a.wav")
    assert waveform_S.dtype == torch.int16
    assert waveform_S.shape == (48_000,)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"b\.wav: unreadable.*: replace it, or leave it out"):
        read_recording(tmp_path / "b.wav")


def test_one_of_several_channels(tmp_path):
    sign = np.where(np.arange(4800) % 2, 1.0, -1.0)  # a constant is no sound
    left, right = 0.01 * sign, -0.25 * sign
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 48_000)
    for channel, want in (("mean", -0.12), ("first", 0.01), ("loudest", -0.25), (2, -0.25)):
        got = read_recording(tmp_path / "a.wav", channel) / 32768
        assert torch.allclose(got, torch.from_numpy(want * sign).float(), atol=1e-4)
    with pytest.raises(ValueError, match=r"a\.wav: has 2 channels, channel 3 is wanted: take another"):
        read_recording(tmp_path / "a.wav", 3)


@FFMPEG
def test_what_preparation_reads_is_read_here(tmp_path):
    path = through_ffmpeg(tmp_path / "12:30.m4a", loud_and_quiet(2.0), 44_100)
    assert len(read_recording(path)) == pytest.approx(96_000, abs=2000)


def test_an_empty_recording_is_refused(model):
    with pytest.raises(ValueError, match="one row of samples"):
        score_recording(model, torch.zeros(0, dtype=torch.int16), PHRASES)

"""Which channel of several is taken, and how far their mean lies below the loudest."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from needs import FFMPEG
from shard_samples import audio_bytes
from sound_files import mp3, through_ffmpeg, unknown_length, without_xing

from flam_train.data.sound import channels
from flam_train.data.sound.channels import channel_levels, channel_of, loudest
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.reading import read

RATE = 48_000


def sounds(seconds: float, levels: list[float], seed: int = 0) -> np.ndarray:
    """float64 [S, C]: independent noise of these levels."""
    return np.random.default_rng(seed).normal(size=(round(seconds * RATE), len(levels))) * levels


def test_what_a_channel_may_be_called():
    assert [channel_of(text) for text in ("mean", "first", "loudest", "1", "12")] == ["mean", "first", "loudest", 1, 12]
    for text in ("0", "-1", "1.5", "left", "", "Mean", "²"):
        with pytest.raises(ValueError, match="is no channel: mean, first, loudest, or a number from 1"):
            channel_of(text)


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_one_of_several(format, tmp_path):
    path, wave = tmp_path / "a", sounds(1.0, [0.02, 0.01, 0.08, 0.05])
    path.write_bytes(audio_bytes(wave, RATE, format))
    stored = soundfile.read(path, dtype="int16")[0].astype(int)
    assert np.abs(read(path) - stored.mean(axis=1)).max() <= 1
    for channel, number in (("first", 0), (1, 0), (2, 1), (4, 3), ("loudest", 2)):
        assert np.abs(read(path, channel=channel) - stored[:, number]).max() <= 1, channel
        assert np.abs(read(path, 0.5, 0.25, channel) - stored[24_000:36_000, number]).max() <= 1
    with pytest.raises(Unusable, match=r"a: has 4 channels, channel 5 is wanted: take another, mend the channel in"):
        read(path, channel=5)
    path.write_bytes(audio_bytes(wave[:, :1], RATE, format))
    for channel in ("mean", "first", "loudest", 1):
        assert np.abs(read(path, channel=channel) - stored[:, 0]).max() <= 1
    with pytest.raises(Unusable, match=r"a: has 1 channel, channel 2 is wanted"):
        read(path, channel=2)


@pytest.mark.parametrize("count", range(1, 18))
def test_the_mean_is_numpys_bit_for_bit(count):
    """Shards that were prepared before are those of today."""
    wave = np.random.default_rng(count).normal(size=(999, count)) * 10.0 ** np.arange(-8, count - 8)
    np.testing.assert_array_equal(channels.mixed(wave, "mean"), wave.mean(axis=1))


def test_the_loudest_is_that_of_the_whole_recording(tmp_path):
    path = tmp_path / "a.wav"
    wave = np.concatenate([sounds(2.0, [0.05, 0.02]), sounds(2.0, [0.01, 0.2])])
    path.write_bytes(audio_bytes(wave, RATE))
    assert loudest(path) == 2
    assert np.abs(read(path, 0.0, 1.0, "loudest") - wave[:RATE, 1] * 32768).max() <= 2
    path.write_bytes(audio_bytes(wave[:, ::-1], RATE))
    assert loudest(path) == 1


@pytest.mark.parametrize("seconds", [3.0, 40.0])
@pytest.mark.parametrize(
    ("levels", "want"),
    [
        ([0.1], 0.0), ([0.1, 0.1], 3.0), ([0.1] + [0.0] * 7, 18.06), ([0.0, 0.0], 0.0), ([0.0, 0.1], 6.02),
        ([0.01, 0.1], 5.98), ([0.1] * 4, 6.02),
    ],
)  # fmt: skip
def test_how_far_the_mean_lies_below_the_loudest(seconds, levels, want, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(audio_bytes(sounds(seconds, levels), RATE))
    assert channel_levels(path) == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("seconds", [3.0, 40.0])
def test_equal_and_opposite_channels(seconds, tmp_path):
    path, wave = tmp_path / "a.wav", np.round(sounds(seconds, [0.1]) * 32768) / 32768
    path.write_bytes(audio_bytes(np.concatenate([wave, wave], axis=1), RATE))
    assert channel_levels(path) == pytest.approx(0.0, abs=1e-9)
    path.write_bytes(audio_bytes(np.concatenate([wave, -wave], axis=1), RATE))
    assert channel_levels(path) == float("inf")
    assert not read(path).any()
    assert read(path, channel="loudest").any()


@pytest.mark.parametrize("seconds", [3.0, 40.0])
def test_a_constant_offset_is_no_sound(seconds, tmp_path):
    path, wave = tmp_path / "a.wav", sounds(seconds, [0.0, 0.05, 0.0])
    offset = np.array([0.5, 0.0, -0.3])
    path.write_bytes(audio_bytes(wave + offset, RATE))
    assert loudest(path) == 2
    assert channel_levels(path) == pytest.approx(9.54, abs=0.1)
    path.write_bytes(audio_bytes(np.zeros_like(wave) + offset, RATE))
    assert channel_levels(path) == 0.0


def test_excerpts_that_are_silent_are_not_all(tmp_path):
    path, wave = tmp_path / "a.wav", np.zeros((60 * RATE, 2))
    wave[:RATE] = sounds(1.0, [0.1, 0.0])
    path.write_bytes(audio_bytes(wave, RATE))
    assert channel_levels(path) == pytest.approx(6.02, abs=0.1)


def test_of_a_long_recording_excerpts_are_read(tmp_path, monkeypatch):
    read_samples = []
    squares = channels._squares
    monkeypatch.setattr(channels, "_squares", lambda b: squares(read_samples.append(len(x)) or x for x in b))
    path = tmp_path / "a.wav"
    path.write_bytes(audio_bytes(sounds(120.0, [0.1, 0.0]), 8000))
    assert channel_levels(path) == pytest.approx(6.02, abs=0.1)
    assert sum(read_samples) == channels.EXCERPTS * channels.EXCERPT * 8000


@pytest.mark.parametrize("kind", ["mp3", "flac", "gsm"])
def test_of_any_format(kind, tmp_path):
    wave = sounds(35.0, [0.1, 0.02])
    flac = unknown_length(audio_bytes(wave, RATE, "FLAC"))
    data = {
        "mp3": without_xing(mp3(35.0, channels=2)),
        "flac": flac,
        "gsm": audio_bytes(wave[:80_000, :1], 8000, "WAV", "GSM610"),
    }
    (tmp_path / "a").write_bytes(data[kind])
    assert channel_levels(tmp_path / "a") == pytest.approx({"mp3": 3.0, "flac": 5.85, "gsm": 0.0}[kind], abs=0.2)


@FFMPEG
@pytest.mark.parametrize("seconds", [3.0, 40.0])
def test_through_ffmpeg(seconds, tmp_path):
    path = through_ffmpeg(tmp_path / "a.m4a", sounds(seconds, [0.0, 0.1]), RATE, "-b:a", "192k")
    assert channel_levels(path) == pytest.approx(6.02, abs=0.2)
    assert loudest(path) == 2
    with pytest.raises(Unusable, match="has 2 channels, channel 3 is wanted"):
        read(path, channel=3)

"""Arrays as recordings: which axis is time, what full scale is, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from flam_train.data.sound.streaming import Stream
from flam_train.data.sound.waveforms import Chunks, Waveform


def heard(source, channel="mean") -> np.ndarray:
    return np.concatenate(list(Stream(source, channel=channel)))


@pytest.mark.parametrize("channels", [1, 2, 8, 32, 64])
def test_either_axis_may_be_that_of_channels(channels):
    wave_SC = np.random.default_rng(0).normal(size=(1000, channels)).astype(np.float32) * 0.05
    want_S = heard(Waveform(wave_SC, 48_000))
    assert np.array_equal(heard(Waveform(wave_SC.T, 48_000)), want_S)
    assert np.array_equal(want_S, np.rint(wave_SC.astype(np.float64).mean(axis=1) * 32768))
    assert np.array_equal(heard(Waveform(wave_SC.T, 48_000), channels), np.rint(wave_SC[:, -1].astype(float) * 32768))
    loud = wave_SC.copy()
    loud[:, channels // 2] *= 3
    assert np.array_equal(
        heard(Waveform(loud, 48_000), "loudest"), np.rint(loud[:, channels // 2].astype(float) * 32768)
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_are_scaled_by_their_range(dtype):
    info, half = np.iinfo(dtype), 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    middle = half if dtype.startswith("u") else 0
    samples = (np.array([-1.0, -0.5, 0.0, 0.5, 0.75]) * half + middle).astype(dtype)
    assert samples[0] == info.min
    assert heard(Waveform(samples, 48_000)).tolist() == [-32768, -16384, 0, 16384, 24576]


def test_int16_stays_as_it_is():
    wave_S = np.random.default_rng(0).integers(-32768, 32768, 100_000).astype(np.int16)
    assert np.array_equal(heard(Waveform(wave_S, 48_000)), wave_S)
    assert np.array_equal(heard(Chunks(np.split(wave_S, 7 * [0] + [5, 99, 50_000]), 48_000)), wave_S)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_other_rates_in_pieces_are_those_of_the_whole(rate):
    wave_S = np.random.default_rng(0).normal(size=rate * 2) * 0.1
    whole_S = heard(Waveform(wave_S, rate))
    assert len(whole_S) == pytest.approx(96_000, abs=1)
    pieces_S = heard(Chunks(np.array_split(wave_S, 37), rate))
    assert len(pieces_S) == len(whole_S)
    assert np.abs(pieces_S.astype(int) - whole_S).max() <= 1


def test_float_beyond_full_scale_is_warned_of_once_and_clipped():
    wave_S = np.array([0.5, -3.0, 0.25])
    with pytest.warns(UserWarning, match="the waveform: float samples reach 3, and are clipped at 1") as said:
        assert heard(Waveform(wave_S, 48_000)).tolist() == [16384, -32768, 8192]
    assert len(said) == 1
    with pytest.warns(UserWarning, match="the stream: float samples reach 3") as said:
        heard(Chunks([wave_S[:1], wave_S, wave_S], 48_000))
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heard(Waveform(wave_S / 3, 48_000))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 2)), r"of shape \(2, 2\), which axis is time"),
        (np.zeros((64, 40)), "which axis is time"),
        (np.zeros((65, 1000)), "which axis is time"),
        (np.zeros((1, 2, 1000)), r"has shape \(1, 2, 1000\)"),
        (np.zeros(0), "holds no samples"),
        (np.zeros((2, 0)), "holds no samples"),
        (np.float64(0.5), r"has shape \(\)"),
        (np.zeros(9, np.int64), "int64 is no kind of samples"),
        (np.zeros(9, bool), "bool is no kind of samples"),
        (np.zeros(9, complex), "complex128 is no kind of samples"),
        (np.array(["a"]), "<U1 is no kind of samples"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_line(samples, message):
    with pytest.raises(ValueError, match=message) as error:
        Waveform(samples, 48_000)
    assert "\n" not in str(error.value)


def test_a_short_recording_of_one_channel_is_told_by_its_axis_of_one():
    for shape in ((3,), (3, 1), (1, 3)):
        assert heard(Waveform(np.full(shape, 0.5), 48_000)).tolist() == [16384] * 3


def test_short_chunks_have_the_channels_of_the_first():
    wave_SC = np.random.default_rng(0).integers(-99, 99, (500, 2)).astype(np.int16)
    chunks = [wave_SC[:400], wave_SC[400:440].T, wave_SC[440:441], wave_SC[441:]]
    assert np.array_equal(heard(Chunks(chunks, 48_000), 2), wave_SC[:, 1])

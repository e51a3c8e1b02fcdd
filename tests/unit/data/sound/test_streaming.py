"""A recording in pieces is the recording; where nothing sounds in it is told."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import FFMPEG
from shard_samples import audio_bytes
from sound_files import loud_and_quiet, mp3, through_ffmpeg

from flam_train.data.sound import ffmpeg, opening
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.reading import read
from flam_train.data.sound.streaming import DeadTime, Stream


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    for module in (opening, ffmpeg):
        monkeypatch.setattr(module, "BLOCK", 10_000)


def pieces(*arguments, **options) -> tuple[np.ndarray, Stream]:
    stream = Stream(*arguments, **options)
    found = list(stream)
    assert max(map(len, found)) < 70_000
    whole_S = np.concatenate(found)
    assert whole_S.dtype == np.int16
    assert stream.samples == len(whole_S)
    return whole_S, stream


@pytest.mark.parametrize("channel", ["mean", "first", "loudest", 2])
@pytest.mark.parametrize(
    ("rate", "subtype"), [(48_000, "PCM_16"), (44_100, "PCM_16"), (8_000, "PCM_24"), (96_000, "FLOAT")]
)
def test_pieces_are_the_whole(rate, subtype, channel, tmp_path):
    wave = loud_and_quiet(5.0, rate, 2) * [1.0, 3.0]
    soundfile.write(path := tmp_path / "a.wav", wave, rate, subtype)
    for start, seconds in ((0.0, None), (0.05, 0.5), (1.2345, 2.0), (4.0, 9.0)):
        got_S, _ = pieces(path, start, seconds, channel)
        want_S = read(path, start, seconds, channel)
        assert len(got_S) == len(want_S)
        assert np.abs(got_S.astype(int) - want_S).max() <= 1


@FFMPEG
@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.mp3"])
def test_compressed_ones_too(name, tmp_path):
    path = tmp_path / name
    if name == "a.mp3":
        path.write_bytes(mp3(5.0))
    else:
        through_ffmpeg(path, loud_and_quiet(5.0))
    for start, seconds in ((0.0, None), (2.0, 1.0)):
        got_S, _ = pieces(path, start, seconds)
        want_S = read(path, start, seconds)
        assert len(got_S) == len(want_S)
        assert np.abs(got_S.astype(int) - want_S).max() <= 1


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200)), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 300), max_size=6),
)
def test_dead_time_is_that_of_a_plain_search(runs, cuts):
    wave_S = np.concatenate([np.full(n, value, np.int16) for value, n in runs])
    dead = DeadTime(rate=1000, at=500)
    for part_S in np.split(wave_S, sorted({min(at, len(wave_S)) for at in np.cumsum(cuts)})):
        dead.feed(part_S)
    want, at = [], 500
    for _, same in groupby(wave_S.tolist()):
        n = len(list(same))
        want += [(at / 1000, (at + n) / 1000)] if n >= 50 else []
        at += n
    assert dead.spans == want


@pytest.mark.parametrize("rate", [48_000, 44_100])
@pytest.mark.parametrize("level", [0.0, 0.25, 1e-6])
def test_silence_and_a_constant_are_dead(rate, level, tmp_path):
    wave = loud_and_quiet(8.0, rate)[:, 0] + 0.001
    wave[2 * rate : 3 * rate] = level
    wave[5 * rate : 5 * rate + rate // 25] = level  # 40 ms: too short
    soundfile.write(path := tmp_path / "a.flac", wave, rate, "PCM_24")
    assert pieces(path)[1].dead == [(2.0, 3.0)]
    assert pieces(path, 2.5, 4.0)[1].dead == [(pytest.approx(2.4, abs=1e-3), 3.0)]  # with the margin that was read


def test_what_ends_before_its_time_is_a_failure(tmp_path):
    path = tmp_path / "a.flac"
    whole = audio_bytes(loud_and_quiet(8.0), 44_100, "FLAC")
    path.write_bytes(whole)
    stream = iter(Stream(path))
    assert len(next(stream))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unusable, match=r"a\.flac: truncated audio, .*: replace it, or leave it out"):
        list(Stream(path))


@FFMPEG
@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.ac3"])
def test_what_ffmpeg_cannot_decode_in_the_middle_is_a_failure(name, tmp_path):
    """It goes on with silence or noise there, and calls it success."""
    path = through_ffmpeg(tmp_path / name, loud_and_quiet(20.0))
    assert pieces(path)[0].any()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    with pytest.raises(Unusable, match=rf"{name}: damaged audio \(ffmpeg: .*\): replace it, or leave it out") as told:
        list(Stream(path))
    assert "@ 0x" not in str(told.value)


def test_faults_name_the_file(tmp_path):
    soundfile.write(path := tmp_path / "a.wav", loud_and_quiet(1.0), 44_100, "FLOAT")
    with pytest.raises(Unusable, match=r"a\.wav: has no samples from 2 s on"):
        list(Stream(path, 2.0))
    with pytest.raises(Unusable, match=r"a\.wav: has 1 channel, channel 2 is wanted"):
        list(Stream(path, channel=2))
    wave = loud_and_quiet(1.0)
    wave[30_000] = np.nan
    soundfile.write(path, wave, 44_100, "FLOAT")
    with pytest.raises(Unusable, match=r"a\.wav: the audio has NaN or infinite samples"):
        list(Stream(path))
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(Unusable, match=r"b\.wav: "):
        list(Stream(tmp_path / "b.wav"))

"""FLAC whose header does not know its length, or knows a greater one than is there."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import soundfile
from needs import FFMPEG
from shard_samples import audio_bytes
from sound_files import ID3V1, ape, id3, loud_and_quiet, unknown_length

from flam_train.data.sound import flac
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.opening import measure, opened


def flac_of(seconds: float = 3.0, rate: int = 44_100, channels: int = 1, level: float = 0.5, bits: int = 16) -> bytes:
    wave = loud_and_quiet(seconds, rate, channels)
    return audio_bytes(wave, rate, "FLAC", f"PCM_{bits}", compression_level=level)


def part(path, first: int = 0, count: int | None = None) -> np.ndarray:
    with opened(path) as sound:
        return np.concatenate(list(sound.blocks(first, count)))


@FFMPEG
def test_a_part_that_was_cut_without_decoding_is_no_truncated_whole(tmp_path):
    (tmp_path / "a.flac").write_bytes(flac_of(12.0, 48_000))
    cut = ["-c", "copy", "-f", "segment", "-segment_time", "5", str(tmp_path / "s%d.flac")]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.flac"), *cut], check=True)
    for n, seconds in ((1, 5.0), (2, 2.0)):
        path = tmp_path / f"s{n}.flac"
        assert measure(path).seconds == pytest.approx(seconds, abs=0.15)
        assert len(part(path)) / 48_000 == pytest.approx(measure(path).seconds, abs=0.1)


def test_zeros_before_it(tmp_path):
    (tmp_path / "a").write_bytes(bytes(100) + flac_of())
    (tmp_path / "b").write_bytes(flac_of())
    assert measure(tmp_path / "a") == measure(tmp_path / "b")
    np.testing.assert_array_equal(part(tmp_path / "a"), part(tmp_path / "b"))


@pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize(("level", "bits"), [(0.0, 16), (1.0, 24)])
def test_a_stream_is_as_long_as_what_is_decoded(rate, channels, level, bits, tmp_path):
    data, path = flac_of(1.5, rate, channels, level, bits), tmp_path / "a.flac"
    path.write_bytes(data)
    want = soundfile.read(path, always_2d=True)[0]
    for before, behind in ((b"", b""), (id3(), b""), (b"", ID3V1), (id3(2000, True), ape()), (b"", ape() + ID3V1)):
        path.write_bytes(before + unknown_length(data) + behind)
        length = measure(path)
        assert (length.frames, length.rate, length.channels, length.how) == (len(want), rate, channels, "counted")
        np.testing.assert_array_equal(part(path), want)
        np.testing.assert_array_equal(part(path, len(want) // 3, 1000), want[len(want) // 3 :][:1000])
        path.write_bytes(before + data + behind)
        assert measure(path).how == "header"
        np.testing.assert_array_equal(part(path), want)


@pytest.mark.parametrize("junk", [b"", bytes(700), b"\xff\xf8\xc9\x08" * 50], ids=["none", "zeros", "like frames"])
def test_of_a_stream_that_was_cut_off_all_whole_frames_are_there(junk, tmp_path):
    data, path = unknown_length(flac_of()), tmp_path / "a.flac"
    path.write_bytes(flac_of())
    want = soundfile.read(path, always_2d=True)[0]
    for cut in range(len(data) // 2, len(data) // 2 + 9000, 900):
        path.write_bytes(data[:cut] + junk)
        frames = measure(path).frames
        assert frames % 4096 == 0
        np.testing.assert_array_equal(part(path), want[:frames])
        assert frames == 4096 * sum(end <= cut for end in ends_of(data))


def ends_of(data: bytes) -> list[int]:
    """Where the frames end: by their numbers, which must be all there."""
    starts = [
        at for at in range(4 + 38, len(data) - 2) if data[at : at + 2] == b"\xff\xf8" and flac._frame(data, at, 4096)
    ]
    numbers = [flac._frame(data, at, 4096)[0] // 4096 for at in starts]
    assert numbers == list(range(len(starts)))
    return [*starts[1:], len(data)]


def test_a_header_that_says_more_than_is_there_is_that_of_a_truncated_file(tmp_path):
    data, path = flac_of(), tmp_path / "a.flac"
    for behind in (b"", ID3V1, b"x" * 5000):
        path.write_bytes(data + behind)
        assert measure(path).how == "header"
        assert measure(path).frames == 3 * 44_100
    for cut in (9 * len(data) // 10, len(data) // 2, 20_000):
        path.write_bytes(data[:cut])
        with pytest.raises(Unusable, match=r"truncated audio, \d+ of 132300 samples are there: replace it, or leave"):
            measure(path)
    for cut in (len(data) - 1, len(data) // 2, 9000, 100, 60, 44):  # the first of them within the last frame
        path.write_bytes(data[:cut])
        with pytest.raises(Unusable, match=r"truncated audio|unreadable audio"):
            part(path)
        path.write_bytes(unknown_length(data)[:cut])
        if cut < 9000:
            with pytest.raises(Unusable, match=r"holds no whole frame|unreadable audio"):
                measure(path)


@pytest.mark.parametrize("seed", range(3))
def test_damage_never_gives_more_than_there_was(seed, tmp_path):
    rng = np.random.default_rng(seed)
    whole = unknown_length(flac_of(1.0))
    path = tmp_path / "a.flac"
    for _ in range(40):
        data = bytearray(whole[: rng.integers(42, len(whole))] if rng.random() < 0.5 else whole)
        for at in rng.integers(26, len(data), size=rng.integers(0, 5)):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert 0 < measure(path).frames <= 44_100
        except Unusable:
            continue


@FFMPEG
@pytest.mark.parametrize("channels", [1, 2])
def test_what_ffmpeg_pipes(channels, tmp_path):
    (tmp_path / "a.wav").write_bytes(audio_bytes(loud_and_quiet(2.7, 48_000, channels), 48_000))
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-f", "flac", "-"]
    (tmp_path / "a.flac").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert soundfile.info(tmp_path / "a.flac").frames > 1 << 60
    np.testing.assert_array_equal(part(tmp_path / "a.flac"), part(tmp_path / "a.wav"))

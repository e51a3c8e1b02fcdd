"""MPEG audio: as many samples as its frames have, whatever its header says, and the same samples from any place on."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import soundfile
from needs import FFMPEG
from sound_files import ID3V1, ape, decoded, frames_of, id3, lyrics3, mp3, without_xing

from flam_train.data.sound import mpeg
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.opening import LEAD_IN, measure, opened

RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def part(path, first: int = 0, count: int | None = None) -> np.ndarray:
    with opened(path) as sound:
        return np.concatenate(list(sound.blocks(first, count)))


def delay(data: bytes) -> int:
    """Samples that LAME put before the sound, and its header says so; decoders add 529 of their own."""
    at = data.index(b"LAME")
    return 529 + (data[at + 21] << 4 | data[at + 22] >> 4)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("variable", [True, False])
def test_without_a_header_all_frames_count(rate, channels, variable, tmp_path):
    """The twin is the file with its header: libsndfile knows its length, and takes the encoder's delay away."""
    data, path = mp3(6.0, rate, channels, variable), tmp_path / "a.mp3"
    path.write_bytes(data)
    assert measure(path).how == "header"
    want, skip, bare = soundfile.read(path, always_2d=True)[0], delay(data), without_xing(data)
    np.testing.assert_allclose(part(path), want, atol=1e-6)
    assert measure(path).frames == len(want) == 6 * rate
    for before, behind in (
        (b"", b""),
        (id3(), b""),
        (id3(2000, True) + id3(), ID3V1),
        (b"", ape()),
        (id3(), ape() + ID3V1),
        (b"", id3(2000, True) + ape() + ID3V1 + ID3V1),
        (b"", lyrics3() + ID3V1),
        (b"", lyrics3(1) + ID3V1),
    ):
        path.write_bytes(before + bare + behind)
        length, all_there = measure(path), part(path)
        spf = 1152 if rate > 24_000 else 576
        assert (length.frames, length.how) == (spf * (len(frames_of(data)) - 1), "counted")
        assert (length.rate, length.channels, len(all_there)) == (rate, channels, length.frames)
        np.testing.assert_allclose(all_there[skip : skip + len(want)], want, atol=1e-6)
    path.write_bytes(id3() + bytes(2000) + bare)  # what some players leave between tag and sound
    np.testing.assert_allclose(part(path), all_there, atol=1e-6)


def test_tags_behind_the_sound_leave_its_header_right(tmp_path):
    """The header says how many bytes the frames fill; were a tag taken for sound, the encoder's delay would stay."""
    path = tmp_path / "a.mp3"
    for tags in (ID3V1, ape(), lyrics3() + ID3V1, lyrics3(1) + ID3V1, id3(2000, True), ID3V1 + ape() + ID3V1):
        path.write_bytes(mp3(6.0) + tags)
        assert (measure(path).how, measure(path).frames) == ("header", 6 * 44_100)


@pytest.mark.parametrize("xing", [True, False])
@pytest.mark.parametrize("zeros", [1, 3000, 9000])
def test_zeros_before_the_first_frame_are_no_sound(zeros, xing, tmp_path, monkeypatch):
    data, path = mp3(6.0, 44_100, 2), tmp_path / "a.mp3"
    path.write_bytes(without_xing(data))
    want, frames = part(path), len(frames_of(data)) - 1
    path.write_bytes(bytes(zeros) + (data if xing else without_xing(data)))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert (measure(path).frames, measure(path).how) == (1152 * frames, "counted")
    np.testing.assert_allclose(part(path), want, atol=1e-6)


@FFMPEG
def test_other_junk_before_the_first_frame_is_no_sound(tmp_path):
    data, path = without_xing(mp3(6.0, 44_100, 2)), tmp_path / "a.mp3"
    path.write_bytes(b"HTTP/1.0 200 OK\r\n\r\n" + data)
    assert measure(path).frames == pytest.approx(1152 * len(frames_of(data)), abs=1152)
    assert len(part(path)) == pytest.approx(1152 * len(frames_of(data)), abs=2 * 1152)


@pytest.mark.parametrize("xing", [True, False])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_a_part_is_the_same_stretch_of_the_whole(xing, rate, tmp_path):
    """Of quiet frames, too, between loud ones that lean on dozens of them."""
    data, path = mp3(24.0, rate, 2, level=0.9), tmp_path / "a.mp3"
    path.write_bytes(data if xing else without_xing(data))
    whole = part(path)
    places, lead = np.random.default_rng(0).integers(0, len(whole), size=60).tolist(), LEAD_IN[rate <= 24_000]
    for first in [0, 1, lead - 1, lead, lead + 1, len(whole) - 1, *places]:
        np.testing.assert_allclose(part(path, first, 3000), whole[first : first + 3000], atol=1e-6)
    with opened(path) as sound:  # block by block, as a long recording is read
        blocks = [sound.read(first, 70_000) for first in range(0, len(whole), 70_000)]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


def test_files_one_behind_the_other(tmp_path):
    one, two = mp3(4.0, seed=1), mp3(5.0, seed=2)
    path = tmp_path / "a.mp3"
    path.write_bytes(one)
    first = part(path)
    for between in (b"", id3(), ID3V1, ID3V1 + id3(), bytes(3000)):
        path.write_bytes(one + between + two)
        length, wave = measure(path), part(path)
        assert length.how == "counted"
        assert length.frames == len(wave) == 1152 * (len(frames_of(one)) - 1 + len(frames_of(two)))
        np.testing.assert_allclose(wave[delay(one) :][: len(first)], first, atol=1e-6)
        assert np.abs(wave[-90_000:]).max() > 0.1
    path.write_bytes(one * 3)
    assert measure(path).frames == 1152 * (3 * len(frames_of(one)) - 1)


def test_fewer_frames_than_the_header_says_is_truncated_and_more_are_read(tmp_path):
    data, path = mp3(), tmp_path / "a.mp3"
    frames = frames_of(data)
    for cut in (len(data) // 3, len(data) // 2, len(data) - len(frames[-1]) - len(frames[-2]) - 1):
        path.write_bytes(data[:cut])
        for look in (measure, part):
            with pytest.raises(
                Unusable, match=rf"truncated audio, \d+ of {1152 * (len(frames) - 1)} samples are there"
            ):
                look(path)
    at = data.index(b"Xing") + 8
    for says, told in ((len(frames) // 2, True), (0, True), (len(frames) - 1, False)):
        path.write_bytes(data[:at] + says.to_bytes(4, "big") + (5).to_bytes(4, "big") + data[at + 8 :])
        assert measure(path).how == ("counted" if told else "header")
        assert measure(path).seconds == pytest.approx(8.0, abs=0.05)
        assert len(part(path)) == measure(path).frames
    path.write_bytes(data.replace(b"Xing", b"VBRI", 1)[:36] + b"VBRI" + data[40:])  # another encoder's header
    assert measure(path).frames == 1152 * (len(frames) - 1)


def test_a_stream_cut_anywhere_has_its_whole_frames(tmp_path):
    data, path = without_xing(mp3()), tmp_path / "a.mp3"
    ends = np.cumsum([len(frame) for frame in frames_of(data)])
    for cut in range(30_000, 33_000, 311):
        path.write_bytes(data[:cut])
        assert measure(path).frames == len(part(path)) == 1152 * int((ends <= cut).sum())


@pytest.mark.parametrize("seed", range(3))
def test_damage_never_gives_more_than_there_was(seed, tmp_path):
    rng = np.random.default_rng(seed)
    whole, path = without_xing(mp3(3.0, variable=bool(seed))), tmp_path / "a.mp3"
    most = 1152 * len(frames_of(whole))
    for _ in range(25):
        data = bytearray(whole)
        for at in rng.integers(4, len(data), size=rng.integers(1, 5)):
            data[at : at + 3] = rng.bytes(3)
        path.write_bytes(data)
        assert most - 12 * 1152 <= measure(path).frames <= most


@FFMPEG
@pytest.mark.parametrize(
    ("codec", "rate"), [("mp2", 48_000), ("mp2", 22_050), ("libmp3lame", 44_100), ("libmp3lame", 16_000)]
)
def test_as_ffmpeg_decodes_them(codec, rate, tmp_path):
    """Layer II at changing bit rates, too: of two files one behind the other."""
    path, pieces = tmp_path / "a.mp3", []
    for rest in (["-b:a", "64k"], ["-b:a", "128k"]):
        tone = f"aevalsrc=0.3*sin(900*t*t)|0.2*sin(3000*t):d=3:s={rate}"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", tone, "-c:a", codec, *rest, "-write_xing", "0"]
        command += ["-id3v2_version", "0", "-f", "mp2" if codec == "mp2" else "mp3", "-"]
        pieces.append(subprocess.run(command, capture_output=True, check=True).stdout)
    path.write_bytes(b"".join(pieces))
    want = decoded(path)
    assert measure(path).frames == len(want)
    np.testing.assert_allclose(part(path), want, atol=1e-4)


@FFMPEG
def test_rates_that_change_are_for_ffmpeg(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(without_xing(mp3(4.0, 44_100)) + without_xing(mp3(4.0, 22_050)))
    assert measure(path).seconds == pytest.approx(8.0, abs=0.2)
    with opened(path) as sound:
        assert sum(map(len, sound.blocks())) / sound.rate == pytest.approx(8.0, abs=0.2)


def test_frames_of_a_size_that_only_decoding_tells(tmp_path):
    """The free format: a bit rate of 0 in the header, here of frames of one size."""
    frames = frames_of(without_xing(mp3(4.0, 48_000, variable=False)))
    assert len({len(frame) for frame in frames}) == 1
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(frames))
    want = part(path)
    path.write_bytes(b"".join(f[:2] + bytes([f[2] & 0x0F]) + f[3:] for f in frames))
    assert mpeg.count(path.read_bytes()) is None
    assert measure(path).how == "decoded"
    assert measure(path).frames == len(want)
    np.testing.assert_allclose(part(path, 50_000, 5000), want[50_000:55_000], atol=1e-6)

"""What containers declare beside what is there: sizes that are too large, not known, or of another chunk."""

from __future__ import annotations

import io
import struct
import subprocess

import numpy as np
import pytest
import soundfile
from needs import FFMPEG
from shard_samples import audio_bytes
from sound_files import loud_and_quiet, through_ffmpeg

from flam_train.data.sound.faults import Fault, Unusable
from flam_train.data.sound.headers import check_boxes, peek
from flam_train.data.sound.opening import measure, opened
from flam_train.data.sound.reading import read

KINDS = {
    "wav": ("WAV", "PCM_16"), "wav 24 bit": ("WAV", "PCM_24"), "wav float": ("WAV", "FLOAT"),
    "wav a-law": ("WAV", "ALAW"), "wav ima": ("WAV", "IMA_ADPCM"), "wav ms": ("WAV", "MS_ADPCM"),
    "wav gsm": ("WAV", "GSM610"),
    "wavex": ("WAVEX", "PCM_16"), "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"), "w64 ms": ("W64", "MS_ADPCM"),
    "aiff": ("AIFF", "PCM_16"), "aifc float": ("AIFF", "FLOAT"), "aifc ima": ("AIFF", "IMA_ADPCM"),
    "nist": ("NIST", "PCM_16"), "8svx": ("SVX", "PCM_16"),
    "au": ("AU", "PCM_16"), "au u-law": ("AU", "ULAW"), "caf": ("CAF", "PCM_16"), "caf alac": ("CAF", "ALAC_16"),
}  # fmt: skip
ENDS = {"wav turned": ("WAV", "BIG"), "au turned": ("AU", "LITTLE")}
RATE = 8000


def made(kind: str, seconds: float = 4.0) -> bytes:
    wave = loud_and_quiet(seconds, RATE)
    if kind in ENDS:
        return audio_bytes(wave, RATE, ENDS[kind][0], "PCM_16", endian=ENDS[kind][1])
    return audio_bytes(wave, RATE, *KINDS[kind])


def samples(path) -> np.ndarray:
    with opened(path) as sound:
        return np.concatenate([np.zeros((0, sound.channels)), *sound.blocks()])


def bare(path) -> np.ndarray:
    """As libsndfile alone reads a file that is as it should be."""
    with soundfile.SoundFile(path) as f:
        return f.read(f.frames, always_2d=True)


@pytest.mark.parametrize("kind", [*KINDS, *ENDS])
def test_a_whole_file_is_as_libsndfile_reads_it_and_every_part_of_it_is_truncated(kind, tmp_path):
    data, path = made(kind), tmp_path / "a"
    path.write_bytes(data)
    length = measure(path)
    assert (length.rate, length.channels, length.how) == (RATE, 1, "header")
    np.testing.assert_array_equal(samples(path), bare(path))
    assert length.frames == len(bare(path)) >= 4 * RATE
    head = len(data) // 3 if kind == "caf alac" else 4500  # CAF of libsndfile leaves 4 kB free before the samples
    for cut in (head, len(data) // 2, 3 * len(data) // 4):
        path.write_bytes(data[:cut])
        for look in (measure, samples):
            with pytest.raises(Unusable, match=r"a: truncated audio, \d+ of \d+ bytes of samples are there: replace"):
                look(path)


@pytest.mark.parametrize("kind", ["wav", "wavex", "aiff", "au", "w64", "wav turned", "au turned"])
@pytest.mark.parametrize("channels", [1, 2])
def test_bytes_over_the_last_whole_block_are_no_sample(kind, channels, tmp_path):
    format, subtype = KINDS[kind] if kind in KINDS else (ENDS[kind][0], "PCM_16")
    wave = np.repeat(loud_and_quiet(4.0, RATE).reshape(-1, 1), channels, axis=1)
    ends = {"endian": ENDS[kind][1]} if kind in ENDS else {}
    data, path = audio_bytes(wave, RATE, format, subtype, **ends), tmp_path / "a"
    path.write_bytes(data)
    want = samples(path)
    name, behind, form, _, _ = PLACES[kind]
    at = data.find(name) + behind
    for over in range(2 * channels + 1):
        changed = bytearray(data)
        struct.pack_into(form, changed, at, struct.unpack_from(form, data, at)[0] + over)
        path.write_bytes(changed)
        if over < 2 * channels:
            np.testing.assert_array_equal(samples(path), want)
        else:
            with pytest.raises(Unusable, match="truncated audio"):
                measure(path)


PLACES = {
    "wav": (b"data", 4, "<I", 0, (4,)), "wavex": (b"data", 4, "<I", 0, (4,)), "wav gsm": (b"data", 4, "<I", 0, (4,)),
    "wav turned": (b"data", 4, ">I", 0, (4,)), "aiff": (b"SSND", 4, ">I", 8, (4,)),
    "aifc ima": (b"SSND", 4, ">I", 8, (4,)), "au": (b".snd", 8, ">I", 0, ()), "au turned": (b"dns.", 8, "<I", 0, ()),
    "caf": (b"data", 4, ">Q", 4, ()),
    "w64": (b"data\xf3\xac", 16, "<Q", 24, (16,)), "rf64": (b"ds64", 16, "<Q", 0, ()),
}  # fmt: skip
"""Of each kind: where the size of the samples' chunk stands, how, what it counts besides, and where the file's is."""


@pytest.mark.parametrize("kind", PLACES)
def test_a_size_that_nobody_filled_in_means_to_the_end(kind, tmp_path):
    name, behind, form, extra, whole = PLACES[kind]
    data, path = made(kind), tmp_path / "a"
    path.write_bytes(data)
    want = samples(path)
    bits = 8 * struct.calcsize(form)
    top = 1 << bits - 1
    for number in (0, extra, 2 * top - 1, 2 * top - 2, 2 * top - 37, top - 1, top, top - 4096, top + 36):
        for of_file in (number, None):
            changed = bytearray(data)
            for at in ([changed.find(name) + behind], *([at] for at in whole if of_file is not None)):
                struct.pack_into(form, changed, at[0], number)
            path.write_bytes(changed)
            assert measure(path).frames == len(want), (number, of_file)
            np.testing.assert_array_equal(samples(path), want)


@pytest.mark.parametrize("kind", ["wav", "aiff", "w64", "rf64"])
def test_chunks_behind_samples_of_no_known_number_are_no_samples(kind, tmp_path):
    name, behind, form, _, _ = PLACES[kind]
    data, path = bytearray(made(kind)), tmp_path / "a"
    path.write_bytes(data)
    want = samples(path)
    struct.pack_into(form, data, data.find(name) + behind, 0)
    for body in (b"INFOx", bytes(602)):
        chunk = b"bext" if len(body) > 9 else b"list" + bytes(12) if kind == "w64" else b"LIST"
        chunk = chunk.ljust(16, b"\xf3") if kind == "w64" else chunk
        size = len(chunk) + struct.calcsize(form) + len(body) if kind == "w64" else len(body)
        width = "<Q" if kind == "w64" else ">I" if kind == "aiff" else "<I"
        data += chunk + struct.pack(width, size) + body
        data += bytes(-len(data) % (8 if kind == "w64" else 2))
        path.write_bytes(data)
        assert measure(path).frames == len(want)
        np.testing.assert_array_equal(samples(path), want)
    path.write_bytes(data[:-300])  # they do not end with the file: who knows what they are
    assert measure(path).frames > len(want)


BEHIND = {
    "wav": b"LIST\x08\0\0\0INFOxyzw", "aiff": b"NAME\0\0\0\x08INFOxyzw", "8svx": b"NAME\0\0\0\x08INFOxyzw",
    "w64": b"list" + bytes(12) + struct.pack("<Q", 32) + b"INFOxyzw", "caf": b"free" + struct.pack(">Q", 8) + bytes(8),
    "au": bytes(200), "nist": bytes(200),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEHIND)
def test_what_stands_behind_the_samples_is_none(kind, tmp_path):
    (tmp_path / "a").write_bytes(made(kind))
    (tmp_path / "b").write_bytes(made(kind) + BEHIND[kind])
    assert measure(tmp_path / "b") == measure(tmp_path / "a")
    np.testing.assert_array_equal(samples(tmp_path / "b"), samples(tmp_path / "a"))


@FFMPEG
def test_mpeg_audio_in_a_wav(tmp_path):
    path = through_ffmpeg(tmp_path / "a.wav", loud_and_quiet(6.0), 44_100, "-c:a", "libmp3lame", "-q:a", "5")
    whole = samples(path)
    assert measure(path).frames == pytest.approx(len(whole), abs=1152)
    assert len(whole) / 44_100 == pytest.approx(6.0, abs=0.06)
    for start in (0.0, 1.0, 4.321):
        want = read(path)[round(start * 48_000) :][:48_000].astype(int)
        assert np.abs(read(path, start, 1.0) - want).max() <= 1
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(Unusable, match=r"truncated audio, [0-9]+ of [0-9]+ bytes"):
        measure(path)


def test_only_the_chunk_of_samples_counts(tmp_path):
    data, path = bytearray(made("wav")), tmp_path / "a.wav"
    for riff in (len(data), len(data) + 1000, 0, 3, 1 << 31):
        data[4:8] = struct.pack("<I", riff)
        path.write_bytes(data)
        assert measure(path).seconds == 4.0
    odd = b"LIST" + struct.pack("<I", 5) + b"INFOx\x00"
    path.write_bytes(data[:12] + odd + data[12:] + odd)
    assert measure(path).seconds == 4.0
    np.testing.assert_array_equal(samples(path), as_stored())
    path.write_bytes(data[:12] + odd + data[12:-2])
    with pytest.raises(Unusable, match="truncated audio, 63998 of 64000 bytes"):
        measure(path)
    path.write_bytes(data[:40] + bytes(4) + odd)  # it says that it holds nothing, and goes on as it should
    with pytest.raises(Unusable, match="holds no samples: replace it, or leave it out"):
        measure(path)


def as_stored() -> np.ndarray:
    return soundfile.read(io.BytesIO(made("wav")), always_2d=True)[0]


def test_more_than_riff_can_say(tmp_path):
    """A recorder's file of five gigabytes, of which the disk holds the beginning and the end."""
    data, path = made("wav"), tmp_path / "a.wav"
    for number in (0xFFFFFFFF, 0, 0x7FFFF000):
        with path.open("wb") as file:
            file.write(data[:40] + struct.pack("<I", number) + data[44:])
            file.truncate(5_000_000_000)
            file.seek(0, 2)
            file.write(data[44:])
        frames = (5_000_000_000 - 44) // 2 + 4 * RATE
        assert measure(path).frames == frames
        with opened(path) as sound:
            end = np.concatenate(list(sound.blocks(frames - 4 * RATE)))
        np.testing.assert_array_equal(end, as_stored())
    with path.open("r+b") as file:  # its size, of which 32 bits were written
        size = path.stat().st_size - 44
        file.seek(40)
        file.write(struct.pack("<I", size % (1 << 32)))
    assert measure(path).frames == frames


def test_rf64_by_its_other_name(tmp_path):
    data, path = made("rf64"), tmp_path / "a.wav"
    path.write_bytes(data)
    want = samples(path)
    for there in (data, data[:32].replace(data[28:32], bytes(4)) + data[32:]):
        path.write_bytes(b"BW64" + there[4:])
        np.testing.assert_array_equal(samples(path), want)
    path.write_bytes(b"BW64" + data[4:-2])
    with pytest.raises(Unusable, match="truncated audio, 63998 of 64000"):
        measure(path)


@FFMPEG
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.m4a", ["-movflags", "faststart"]),
        ("a.mp4", ["-movflags", "faststart", "-c:a", "aac"]),
        ("a.m4a", []),
        ("a.webm", []),
        ("a.mka", ["-c:a", "flac"]),
        ("a.wma", []),
    ],
)
def test_half_a_file_that_ffmpeg_reads_is_truncated(name, how, tmp_path):
    (tmp_path / "a.wav").write_bytes(audio_bytes(loud_and_quiet(6.0, 44_100), 44_100))
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", *how, tmp_path / name], check=True)
    assert measure(tmp_path / name).seconds == pytest.approx(6.0, abs=0.1)
    data = (tmp_path / name).read_bytes()
    for cut in (len(data) // 4, len(data) // 2, 7 * len(data) // 8):
        (tmp_path / name).write_bytes(data[:cut])
        with pytest.raises(Unusable, match=rf"truncated audio, {cut} of \d+ bytes are there"):
            measure(tmp_path / name)


def test_boxes_of_more_than_four_gigabytes():
    """Of MP4: their size stands behind their name."""
    head = struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 5_000_000_000)
    end = 16 + 5_000_000_000
    check_boxes(peek(io.BytesIO(), head + bytes(100)), end)
    for size in (end - 1, end // 2, 40):
        with pytest.raises(Fault, match=f"truncated audio, {size} of {end} bytes are there"):
            check_boxes(peek(io.BytesIO(), head + bytes(100)), size)
    check_boxes(peek(io.BytesIO(), head.replace(b"\x00\x00\x00\x01mdat", bytes(4) + b"mdat")), 40)  # to the end


@FFMPEG
@pytest.mark.parametrize("name", ["a.webm", "a.mka"])
def test_matroska_written_as_a_stream_is_whole(name, tmp_path):
    (tmp_path / "a.wav").write_bytes(audio_bytes(loud_and_quiet(6.0, 48_000), 48_000))
    codec = ["-c:a", "libopus", "-f", "webm" if "webm" in name else "matroska"]
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", *codec, "-"], capture_output=True, check=True
    )
    (tmp_path / name).write_bytes(done.stdout)
    assert measure(tmp_path / name).seconds == pytest.approx(6.0, abs=0.1)

"""Audio of any kind becomes 48 kHz mono, and so do parts of it."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from recording_files import tone

from flam_train.data.preparation.listing import Listing, Options, prepare
from flam_train.data.preparation.recordings import Recording, Unusable, decoded_once, read_part, seconds_of
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event

QUIET = Options(processes=1, per_shard=4, show=False)


def test_a_part_of_a_file(tmp_path):
    path = tone(tmp_path / "audio.flac", 5.0, rate=44_100, channels=2)
    one = Recording("one", path, "row 1", start=1.5, seconds=2.0, captions=("a tone",), ids=("youtube:abc",))
    corpus = Corpus(prepare(Listing("toy", [one], "captions"), tmp_path / "out", QUIET))
    record = corpus.record(0)
    assert record.duration == 2.0
    assert record.details == {"ids": ["youtube:abc"], "cut_from": [1.5, 3.5]}
    assert np.abs(corpus.waveform(0).astype(int) - read_part(path)[72_000:168_000]).max() <= 1


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.flac", {}),
        ("a.ogg", {"subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", {}),
    ],
)
def test_audio_of_any_rate_and_channels_becomes_48_khz_mono(name, how, tmp_path):
    rate = 48_000 if "opus" in name else 44_100
    path = tone(tmp_path / name, 2.0, rate=rate, channels=2, hz=1000, **how)
    wave = read_part(path, 0.5, 1.0)
    assert wave.dtype == np.int16
    assert len(wave) == 48_000
    assert seconds_of(path) == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(wave[4800:-4800] * np.hanning(38_400)))
    assert abs(np.argmax(spectrum) * 48_000 / 38_400 - 1000) < 3
    assert wave[4800:-4800].std() / 32768 == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.webm"])
def test_ffmpeg_reads_the_rest(name, tmp_path):
    wav = tone(tmp_path / "a.wav", 2.0, rate=48_000, channels=2, hz=1000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(wav), str(tmp_path / name)], check=True)
    assert seconds_of(tmp_path / name) == pytest.approx(2.0, abs=0.1)
    wave = read_part(tmp_path / name, 0.5, 1.0)
    assert len(wave) == 48_000
    assert wave[4800:-4800].std() / 32768 == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    (tmp_path / name).write_bytes(b"no audio")
    with pytest.raises(Unusable, match=r"unreadable audio.*fetch it again"):
        seconds_of(tmp_path / name)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(("name", "rate"), [("a.m4a", 44_100), ("a.webm", 48_000)])
def test_windows_through_ffmpeg_are_those_of_the_whole_and_it_is_decoded_once(name, rate, tmp_path, monkeypatch):
    noise = 0.2 * np.random.default_rng(0).normal(size=25 * rate)
    soundfile.write(tmp_path / "a.wav", np.convolve(noise, np.ones(8) / 8, "same"), rate)
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), str(tmp_path / name)], check=True)
    recording = Recording("a", tmp_path / name, "labels: row 1", events=(Event(1.0, 24.0, "noise"),))
    decoded = []
    run = subprocess.run

    def counted(command, **options):
        decoded.append("-c:a" in command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    out = prepare(Listing("noise", [recording], "events"), tmp_path / "out", Options(processes=1, show=False))
    assert sum(decoded) == 1
    monkeypatch.undo()
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
    corpus, whole = Corpus(out), read_part(tmp_path / name).astype(int)
    for n in range(3):
        record, part = corpus.record(n), corpus.waveform(n).astype(int)
        first = round(record.details["cut_from"][0] * 48_000)
        assert np.abs(part - whole[first : first + len(part)]).max() <= 1
    before = decoded_once(tmp_path / name, tmp_path / "decoded")
    os.utime(tmp_path / name, (1, 1))  # fetched again
    assert decoded_once(tmp_path / name, tmp_path / "decoded") != before
    shutil.rmtree(tmp_path / "decoded")
    (tmp_path / name).write_bytes(b"no audio")
    with pytest.raises(Unusable, match=r"unreadable audio|nothing was decoded"):
        decoded_once(tmp_path / name, tmp_path / "decoded")
    assert not list((tmp_path / "decoded").iterdir())


def test_without_ffmpeg_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"a.m4a: .m4a files are read through ffmpeg, and ffprobe is not installed"
    ) as e:
        seconds_of(tmp_path / "a.m4a")
    assert not isinstance(e.value, Unusable), "this ends the run: it is not the file's fault"

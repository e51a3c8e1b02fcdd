"""Recordings of any kind become the samples that their labels mean."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from needs import FFMPEG
from recording_files import tone
from shard_samples import audio_bytes
from sound_files import loud_and_quiet, mp3, through_ffmpeg, unknown_length, without_xing

from flam_train.cli.prepare import parser, with_channel
from flam_train.data.preparation.listing import Listing, Options, prepare, read_missing
from flam_train.data.preparation.planned import PlannedSamples
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event
from flam_train.data.sound import ffmpeg, opening
from flam_train.data.sound.reading import read

QUIET = Options(processes=1, per_shard=4, most_missing=0.6, show=False)


def windows_of(recordings: list[Recording], out, kind: str = "events") -> dict[str, np.ndarray]:
    """{key: int [S]} of what a corpus of them holds."""
    corpus = Corpus(prepare(Listing("toy", recordings, kind), out, QUIET))
    return {corpus.key(n): corpus.waveform(n).astype(int) for n in range(len(corpus))}


def test_a_part_of_a_file(tmp_path):
    path = tone(tmp_path / "audio.flac", 5.0, rate=44_100, channels=2)
    one = Recording("one", path, "row 1", start=1.5, seconds=2.0, captions=("a tone",), ids=("youtube:abc",))
    corpus = Corpus(prepare(Listing("toy", [one], "captions"), tmp_path / "out", QUIET))
    record = corpus.record(0)
    assert record.duration == 2.0
    assert record.details == {"ids": ["youtube:abc"], "cut_from": [1.5, 3.5]}
    assert np.abs(corpus.waveform(0).astype(int) - read(path)[72_000:168_000]).max() <= 1


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
    one = Recording("one", path, "row 1", start=0.5, seconds=1.0, captions=("a tone",))
    wave = windows_of([one], tmp_path / "out", "captions")["one"]
    assert len(wave) == 48_000
    spectrum = np.abs(np.fft.rfft(wave[4800:-4800] * np.hanning(38_400)))
    assert abs(np.argmax(spectrum) * 48_000 / 38_400 - 1000) < 3
    assert wave[4800:-4800].std() / 32768 == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@FFMPEG
@pytest.mark.parametrize(("name", "rate"), [("a.m4a", 44_100), ("a.webm", 48_000)])
def test_windows_through_ffmpeg_are_those_of_the_whole_and_it_is_decoded_once(name, rate, tmp_path, monkeypatch):
    path = through_ffmpeg(tmp_path / name, loud_and_quiet(25.0, rate), rate)
    started, start = [], ffmpeg._started
    monkeypatch.setattr(ffmpeg, "_started", lambda command: started.append(command) or start(command))
    found = windows_of([Recording("a", path, "row 1", events=(Event(1.0, 24.0, "noise"),))], tmp_path / "out")
    assert sorted("ffprobe" in command[0] for command in started) == [False, True]
    assert not [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
    whole = read(path).astype(int)
    for n in range(3):
        part = found[f"a-{n:04d}"]
        assert np.abs(part - whole[480_000 * n : 480_000 * n + len(part)]).max() <= 1


LONG = {
    "mp3": lambda: without_xing(mp3(32.0, 44_100, 2)),
    "flac": lambda: unknown_length(audio_bytes(loud_and_quiet(32.0, 44_100, 2), 44_100, format="FLAC")),
    "gsm": lambda: audio_bytes(loud_and_quiet(32.0, 8000), 8000, "WAV", "GSM610"),
}


@pytest.mark.parametrize("kind", LONG)
def test_windows_of_what_does_not_say_how_long_it_is(kind, tmp_path):
    (tmp_path / "a").write_bytes(LONG[kind]())
    events = (Event(1.0, 2.0, "noise"), Event(29.0, 31.9, "noise"))
    found = windows_of([Recording("a", tmp_path / "a", "row 1", events=events)], tmp_path / "out")
    whole = read(tmp_path / "a").astype(int)
    assert sorted(found) == [f"a-{n:04d}" for n in range(4)]
    for n, part in enumerate(found[key] for key in sorted(found)):
        assert np.abs(part - whole[480_000 * n : 480_000 * n + len(part)]).max() <= 1
    assert sum(map(len, found.values())) == pytest.approx(len(whole), abs=50)


def test_lengths_are_looked_up_once_for_all_splits(tmp_path, monkeypatch):
    looks, look = [], opening.look
    monkeypatch.setattr(opening, "look", lambda *args: looks.append(args[2:]) or look(*args))
    path = tone(tmp_path / "a.wav", 3.0)
    for split in ("train", "test"):
        windows_of([Recording("a", path, "row 1", events=(Event(0, 1, "tone"),))], tmp_path / split)
    assert len(looks) == 1


def test_channels(tmp_path):
    """The loudest is told over the whole recording: all its windows have the same."""
    noise = np.random.default_rng(0).normal(size=(25, 48_000, 2))
    wave = np.concatenate([noise[:10] * [0.05, 0.02], noise[10:] * [0.01, 0.2]]).reshape(-1, 2)
    soundfile.write(tmp_path / "a.wav", wave, 48_000)
    soundfile.write(tmp_path / "b.wav", wave[:96_000, :1], 48_000)
    stored = soundfile.read(tmp_path / "a.wav", dtype="int16")[0].astype(int)
    events = (Event(0, 1, "noise"),)
    a, b = (Recording(k, tmp_path / f"{k}.wav", "row", events=events) for k in "ab")
    one, two = stored.T
    for channel, want in (("mean", stored.mean(axis=1)), ("first", one), (2, two), ("loudest", two)):
        listing = with_channel(Listing("toy", [a, b], "events"), channel)
        corpus = Corpus(prepare(listing, tmp_path / str(channel), QUIET))
        got = {corpus.key(k): corpus.waveform(k) for k in range(len(corpus))}
        joined = np.concatenate([got[f"a-{k:04d}"] for k in range(3)])
        assert np.abs(joined - want).max() <= 1, channel
        assert ("b" in got) == (channel != 2)
    ((key, _, why),) = read_missing(tmp_path / "2")
    assert key == "b"
    assert why.startswith("has 1 channel, channel 2 is wanted: take another, mend the channel")
    chosen = with_channel(Listing("toy", [replace(a, channel=2), b], "events"), "first")
    assert [r.channel for r in chosen.recordings] == [2, "first"]


def test_the_option_of_all_scripts(capsys):
    said = parser("what it is").parse_args(["FOLDER", "OUT", "--channel", "2"])
    assert said.channel == 2
    assert parser("what it is").parse_args(["FOLDER", "OUT"]).channel == "mean"
    with pytest.raises(SystemExit):
        parser("what it is").parse_args(["FOLDER", "OUT", "--channel", "left"])
    assert "'left' is no channel: mean, first, loudest, or a number from 1" in capsys.readouterr().err


def test_the_digest_of_the_mean_is_that_of_before(tmp_path):
    """Shards that were made before there were channels are gone on with."""
    one = Recording("one", tmp_path / "a.wav", "row 1", captions=("a tone",))
    listing = Listing("toy", [one], "captions")
    assert listing.digest == "697d7f51c960fb8dc488916c9db3b350"
    others = {Listing("toy", [replace(one, channel=c)], "captions").digest for c in ("mean", "first", "loudest", 1, 2)}
    assert len(others) == 5


def test_a_plan_of_before_is_gone_on_with(tmp_path):
    """Its samples say neither channel nor what the file begins with."""
    path = tone(tmp_path / "a.wav", 25.0, channels=2)
    items = PlannedSamples(tmp_path)
    items.decide("plan", "events", [Recording("a", path, "row 1", events=(Event(0, 1, "tone"),))], 0, 1, False)
    want = [items(n) for n in range(3)]
    rows = [json.loads(line) for line in items.lines.read_text().splitlines()]
    lines = [json.dumps({k: v for k, v in row.items() if k not in ("channel", "lead")}) + "\n" for row in rows]
    items.lines.write_text("".join(lines))
    np.save(items.offsets, np.cumsum([0, *map(len, lines)]))
    before = PlannedSamples(tmp_path)
    for n in range(3):
        record, wave = before(n)
        assert record == want[n][0]
        np.testing.assert_array_equal(wave, want[n][1])

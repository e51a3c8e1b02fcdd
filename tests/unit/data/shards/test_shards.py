from __future__ import annotations

import gzip
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from shard_samples import audio_bytes, corpus, sample, tar_of
from sound_files import loud_and_quiet, mp3, unknown_length, without_xing

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards import corpus as reading
from flam_train.data.shards.audio import read_recording, to_int16
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.data.shards.tars import index_tar
from flam_train.data.shards.writing import index_folder, write_manifest, write_shard

NOISE = sample("noise")[1]


@pytest.mark.parametrize("audio", ["flac", "wav"])
def test_what_is_written_is_read(tmp_path, audio):
    def make(key):
        return sample(key, 0.2, events=[(0.05, 0.1, "dog")])

    opened = corpus(tmp_path, (3, 0, 2), audio, make=make)
    assert len(opened) == 5
    assert opened.shard_sizes.tolist() == [3, 0, 2]
    keys = [opened.key(i) for i in range(5)]
    assert keys == ["toy-0-0", "toy-0-1", "toy-0-2", "toy-2-0", "toy-2-1"]
    for i, key in enumerate(keys):
        record, waveform = make(key)
        assert opened.record(i) == record
        read = opened.waveform(i)
        assert read.dtype == np.int16
        np.testing.assert_array_equal(read, waveform)
    with pytest.raises(IndexError):
        opened.key(5)


@pytest.mark.parametrize("audio", ["flac", "wav"])
@pytest.mark.parametrize("windowed", [1 << 24, 0])
def test_a_window_is_a_slice_of_the_whole(tmp_path, monkeypatch, audio, windowed):
    monkeypatch.setattr(reading, "WINDOWED", windowed)
    opened = corpus(tmp_path, (2,), audio, make=lambda key: sample(key, 1.0))
    whole = opened.waveform(1)
    np.testing.assert_array_equal(opened.waveform(1, 0.25, 0.5), whole[12000:36000])
    np.testing.assert_array_equal(opened.waveform(1, 0.9, 0.5), whole[43200:])
    assert len(opened.waveform(1, 2.0, 0.5)) == 0


def test_the_same_samples_give_the_same_bytes(tmp_path):
    a, b = (write_shard(tmp_path / f / "shard-000000.tar", [sample("a"), sample("b")]) for f in "xy")
    assert a == b
    assert [p.read_bytes() for p in sorted((tmp_path / "x").iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "y").iterdir())
    ]


def test_plain_webdataset_reads_our_tars(tmp_path):
    opened = corpus(tmp_path, (3, 2))
    urls = [str(p) for p in sorted(tmp_path.glob("*.tar"))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [s["__key__"] for s in read] == [opened.key(i) for i in range(5)]
    for i, s in enumerate(read):
        assert Record.from_json(s["json"], "x") == opened.record(i)
        assert s["flac"][:4] == b"fLaC"


def test_a_failing_writer_leaves_nothing(tmp_path):
    def samples():
        yield sample("a")
        raise RuntimeError("the disk of the corpus is gone")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "shard-000000.tar", samples())
    assert list(tmp_path.iterdir()) == []


def test_what_must_not_be_written(tmp_path):
    path = tmp_path / "shard-000000.tar"
    record, waveform = sample("a")
    for bad, message in [
        ([(record, waveform.astype(np.float32))], r"sample 0 \('a'\): the waveform is float32 .*to_int16"),
        ([(record, waveform[:0])], "the waveform is empty: drop"),
        ([(replace(record, duration=3.0), waveform)], "record says 3.0 s: set duration"),
        ([(record, waveform)] * 2, r"sample 1 \('a'\): this key is in the shard already"),
        ([(replace(record, key="a.b"), waveform)], "key 'a.b' .*replace them by '_'"),
        ([(replace(record, captions=(" ",)), waveform)], "caption 0 is empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_shard(path, bad)
    with pytest.raises(ValueError, match=r"audio format 'mp3'"):
        write_shard(path, [(record, waveform)], "mp3")
    with pytest.raises(ValueError, match=r"ends in .tar"):
        write_shard(tmp_path / "shard", [])
    entries = [write_shard(tmp_path / f"shard-{n}.tar", [sample("a")]) for n in range(2)]
    with pytest.raises(ValueError, match=r"key 'a' is in shard-0.tar and shard-1.tar"):
        write_manifest(tmp_path, "toy", entries, vocabulary=None, annotates=[])
    with pytest.raises(ValueError, match=r"x: the audio has NaN"):
        to_int16(np.array([0.0, np.nan]), "x")


def test_few_files_are_open_at_a_time_and_a_corpus_pickles_small(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "OPEN_SHARDS", 2)
    opened = corpus(tmp_path, (1,) * 6)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for i in [0, 5, 3, 1, 2, 4, 0]:
        np.testing.assert_array_equal(opened.waveform(i), sample(f"toy-{i}-0")[1])
        assert max(len(opened._rows), len(opened._files)) <= 2
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 4  # a tar and its index each
    data = pickle.dumps(opened)
    assert len(data) < 5000
    np.testing.assert_array_equal(pickle.loads(data).waveform(3), opened.waveform(3))


def test_damage_is_found(tmp_path):
    corpus(tmp_path, (2, 1))
    tar, manifest = tmp_path / "shard-000000.tar", tmp_path / "manifest.json"
    good, text = tar.read_bytes(), manifest.read_text()
    Corpus(tmp_path, verify=True)

    place = int(index_tar(tar)["audio"][1]) + 500
    tar.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(ValueError, match=r"shard-000000.tar: its sha256 is not the manifest's.*write or copy"):
        Corpus(tmp_path, verify=True)
    opened = Corpus(tmp_path)
    opened.waveform(0)
    with pytest.raises(ValueError, match=r"shard-000000.tar: sample 1 \('toy-0-1'\): its audio bytes are damaged"):
        opened.waveform(1, 0.01, 0.01)

    tar.write_bytes(good[:-2000])
    with pytest.raises(ValueError, match=r"shard-000000.tar: \d+ bytes, the manifest says \d+: truncated"):
        Corpus(tmp_path)
    tar.unlink()
    with pytest.raises(ValueError, match=r"shard-000000.tar: in .*manifest.json but missing"):
        Corpus(tmp_path)
    tar.write_bytes(good)

    index = tmp_path / "shard-000000.index.npy"
    rows = index.read_bytes()
    index.write_bytes(rows[:-10])
    with pytest.raises(ValueError, match=r"shard-000000.index.npy: no readable index"):
        Corpus(tmp_path)
    np.save(index, index_tar(tar)[:1])
    with pytest.raises(ValueError, match=r"shard-000000.index.npy: 1 samples, the manifest says 2"):
        Corpus(tmp_path)
    index.write_bytes(rows)

    for change, message in [
        ({"schema": 99}, "manifest version 99 is unknown.*update flam_train"),
        ({"sample_rate": 44100}, "sample rate 44100"),
        ({"samples": 7}, "7 samples are not the sum"),
    ]:
        manifest.write_text(json.dumps({**json.loads(text), **change}))
        with pytest.raises(ValueError, match=f"manifest.json: {message}"):
            Corpus(tmp_path)
    manifest.write_text("{")
    with pytest.raises(ValueError, match=r"manifest.json: not JSON"):
        Corpus(tmp_path)
    manifest.unlink()
    with pytest.raises(ValueError, match=r"manifest.json: missing: not a corpus"):
        Corpus(tmp_path)


FLOAT_NAN = audio_bytes(np.array([0.0, np.nan, 0.5] * 1000, dtype=np.float32), subtype="FLOAT")
FLAC = audio_bytes(NOISE, format="FLAC")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("flac", FLAC[: len(FLAC) // 2], "unreadable or truncated audio.*fetch or prepare"),
        ("wav", audio_bytes(NOISE)[:3000], "truncated audio, 2956 of 9600 bytes"),
        ("flac", b"no audio at all", "unreadable or truncated audio"),
        ("wav", audio_bytes(NOISE[:0]), "truncated audio, it holds no samples"),
        ("wav", audio_bytes(NOISE, 44100), "sample rate 44100 Hz, not 48000: resample"),
        ("wav", FLOAT_NAN, "NaN or infinite"),
        ("wav", audio_bytes(NOISE[:2400]), "lasts 0.050 s, its record says 0.100 s"),
    ],
)
def test_bad_audio_in_a_shard_of_ours_names_file_row_key_and_fix(tmp_path, name, data, message):
    """Written by another program in our layout: our writer refuses all of these."""
    write_shard(tmp_path / "shard-0.tar", [sample("good")])
    record = replace(sample("bad")[0], duration=0.0625 if data is FLOAT_NAN else 0.1)
    members = {f"bad.{name}": data, "bad.json": record.to_json().encode()}
    tar_of(tmp_path / "shard-1.tar", members)
    np.save(tmp_path / "shard-1.index.npy", index_tar(tmp_path / "shard-1.tar"))
    size = (tmp_path / "shard-1.tar").stat().st_size
    entry = write_shard(tmp_path / "shard-0.tar", [sample("good")])
    entries = [entry, replace(entry, name="shard-1.tar", bytes=size, samples=1)]
    write_manifest(tmp_path, "toy", entries, vocabulary=None, annotates=[])
    opened = Corpus(tmp_path)
    opened.waveform(0)
    with pytest.raises(ValueError, match=rf"shard-1.tar: sample 0 \('bad'\): .*{message}"):
        opened.waveform(1)


def test_foreign_tars_are_indexed_and_read(tmp_path):
    tars, out = tmp_path / "theirs", tmp_path / "index"
    tars.mkdir()
    wav, stereo = audio_bytes(NOISE), audio_bytes(np.stack([NOISE, NOISE // 2], axis=1), format="FLAC")
    floats = audio_bytes(NOISE / 32768.0, subtype="FLOAT")
    tar_of(
        tars / "a.tar",
        {
            "./x/one.wav": wav,
            "./x/one.json": json.dumps({"text": ["rain", "it rains"], "tag": 3}).encode(),
            "two.flac": stereo,
            "two.txt": b"a dog\n\nbarks\n",
            "readme": b"not a sample",
            "three.cls": b"7",
            "three.wav": floats,
            "three.json": json.dumps({"caption": "wind", "duration": "long"}).encode(),
        },
    )
    tar_of(tars / "b.tar", {"one.OGG".lower(): audio_bytes(NOISE, format="OGG", subtype="VORBIS"), "one.json": b"{}"})
    seen = []
    before = sorted(tars.iterdir())
    opened = Corpus(index_folder(tars, "theirs", out=out, progress=lambda *a: seen.append(a)), verify=True)
    assert sorted(tars.iterdir()) == before
    assert seen == [("a.tar", 0, 2), ("b.tar", 1, 2)]
    assert [opened.key(i) for i in range(4)] == ["x_one", "two", "three", "one"]
    assert [opened.record(i).captions for i in range(4)] == [("rain", "it rains"), ("a dog", "barks"), ("wind",), ()]
    assert all(opened.record(i).duration == pytest.approx(0.1, abs=0.01) for i in range(4))
    np.testing.assert_array_equal(opened.waveform(0), NOISE)
    np.testing.assert_allclose(opened.waveform(1), NOISE * 0.75, atol=1.01)
    np.testing.assert_array_equal(opened.waveform(2), NOISE)
    np.testing.assert_array_equal(opened.waveform(0, 0.05, 0.01), NOISE[2400:2880])
    assert opened.manifest["seconds"] == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("windowed", [1 << 24, 0])
@pytest.mark.parametrize("kind", ["flac", "mp3", "wav", "gsm"])
def test_foreign_audio_that_does_not_say_how_long_it_is(tmp_path, monkeypatch, kind, windowed):
    """A FLAC of a stream, MP3 without a header, a WAV nobody finished: the length of what is there, and all of it."""
    monkeypatch.setattr(reading, "WINDOWED", windowed)
    wave = loud_and_quiet(5.0, SAMPLE_RATE)
    data = {
        "flac": lambda: unknown_length(audio_bytes(wave, format="FLAC")),
        "mp3": lambda: without_xing(mp3(5.0, SAMPLE_RATE)),
        "wav": lambda: (whole := audio_bytes(wave))[:40] + bytes(4) + whole[44:],
        "gsm": lambda: audio_bytes(wave, subtype="GSM610"),
    }[kind]()
    tar_of(
        tmp_path / "a.tar", {f"one.{'wav' if kind == 'gsm' else kind}": data, "one.txt": b"\xef\xbb\xbfa beep\nrain"}
    )
    opened = Corpus(index_folder(tmp_path, "theirs"))
    (tmp_path / "plain").write_bytes(data)
    want = read_recording(tmp_path / "plain").astype(int)
    assert opened.record(0).duration == opened.manifest["seconds"] == len(want) / SAMPLE_RATE
    assert len(want) / SAMPLE_RATE == pytest.approx(5.0, abs=0.06)
    assert np.abs(opened.waveform(0) - want).max() <= 1
    for start, seconds in ((0.0, 1.0), (3.3, 0.5), (4.5, 9.0)):
        first = round(start * SAMPLE_RATE)
        part = opened.waveform(0, start, seconds)
        assert np.abs(part - want[first : first + round(seconds * SAMPLE_RATE)]).max() <= 1
    assert opened.record(0).captions == ("a beep", "rain")


def test_half_a_flac_in_a_tar_is_truncated(tmp_path):
    tar_of(tmp_path / "a.tar", {"one.flac": FLAC[: len(FLAC) // 2], "one.txt": b"rain"})
    with pytest.raises(ValueError, match=r"a\.tar: sample 0 \('one'\): truncated audio, \d+ of \d+ samples are there"):
        index_folder(tmp_path, "theirs")


def test_a_duration_that_others_wrote_is_that_of_the_audio(tmp_path):
    seconds = Corpus(index_folder(*one_of(tmp_path / "a", {"caption": "rain"}))).manifest["seconds"]
    index_folder(*one_of(tmp_path / "b", {"caption": "rain", "duration": round(seconds) + 0.3}))
    match = r"t\.tar: sample 0 \('one'\): its JSON says that it lasts 30 s, and the audio .*: mend `duration`"
    with pytest.raises(ValueError, match=match):
        index_folder(*one_of(tmp_path / "c", {"caption": "rain", "duration": 30}))


def one_of(folder: Path, about: dict) -> tuple[Path, str]:
    folder.mkdir()
    tar_of(folder / "t.tar", {"one.flac": FLAC, "one.json": json.dumps(about).encode()})
    return folder, "theirs"


def test_captions_are_read_without_marks_and_blanks(tmp_path):
    texts = {"one.txt": "\ufeffrain \n".encode(), "two.txt": "thunder".encode("utf-16")}
    texts["three.json"] = json.dumps({"caption": "\ufeffwind"}).encode()
    tar_of(
        tmp_path / "a.tar",
        {k: v for name in texts for k, v in ((f"{name.split('.')[0]}.flac", FLAC), (name, texts[name]))},
    )
    corpus = Corpus(index_folder(tmp_path, "theirs"))
    assert {corpus.key(i): corpus.record(i).captions for i in range(3)} == {
        "one": ("rain",), "two": ("thunder",), "three": ("wind",),
    }  # fmt: skip


def test_indexing_without_a_check_reads_no_audio(tmp_path, monkeypatch):
    tar_of(tmp_path / "a.tar", {"one.flac": unknown_length(FLAC), "one.txt": b"rain"})
    monkeypatch.setattr("flam_train.data.shards.audio.look", None)
    assert Corpus(index_folder(tmp_path, "theirs", check=False)).manifest["seconds"] == 0
    with pytest.raises(TypeError):
        index_folder(tmp_path, "theirs")


def test_foreign_audio_with_fewer_samples_than_it_declares(tmp_path):
    for data in (audio_bytes(NOISE)[:-100], mp3(2.0, SAMPLE_RATE)[:9000]):
        tar_of(tmp_path / "a.tar", {f"one.{'wav' if data[:1] == b'R' else 'mp3'}": data, "one.txt": b"rain"})
        with pytest.raises(
            ValueError, match=r"a.tar: sample 0 \('one'\): truncated audio, \d+ of \d+ .* are there: fetch or"
        ):
            index_folder(tmp_path, "theirs")


def test_foreign_keys_that_two_tars_share_get_the_tars_name(tmp_path):
    for name in "ab":
        tar_of(tmp_path / f"{name}-long name.tar", {"0.wav": audio_bytes(NOISE), "0.txt": name.encode()})
    opened = Corpus(index_folder(tmp_path, "theirs"))
    assert [opened.key(i) for i in range(2)] == ["a-long_name_0", "b-long_name_0"]
    assert [opened.record(i).captions for i in range(2)] == [("a",), ("b",)]
    np.testing.assert_array_equal(opened.waveform(1), NOISE)


def test_bad_foreign_tars(tmp_path):
    with pytest.raises(ValueError, match=r"holds no .tar"):
        index_folder(tmp_path, "theirs")
    wav = audio_bytes(NOISE)
    path = tar_of(tmp_path / "a.tar", {"0.wav": wav, "1.wav": audio_bytes(NOISE, 16000), "1.json": b"{"})
    with pytest.raises(ValueError, match=r"a.tar: sample 1 \('1'\): sample rate 16000 Hz"):
        index_folder(tmp_path, "theirs")
    opened = Corpus(index_folder(tmp_path, "theirs", check=False))
    np.testing.assert_array_equal(opened.waveform(0), NOISE)
    with pytest.raises(ValueError, match=r"a.tar: sample 1 \('1'\): sample rate 16000 Hz"):
        opened.waveform(1)
    with pytest.raises(ValueError, match=r"a.tar: sample 1 \('1'\): unreadable text"):
        opened.record(1)
    whole = path.read_bytes()
    for cut in (700, 3000, 10752):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"a.tar: sample \d: not a whole, uncompressed tar.*copy or write"):
            index_tar(path)
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(ValueError, match=r"gunzip"):
        index_tar(path)
    for members, message in [
        ({"0.json": b"{}"}, r"sample 0 \('0'\): has no audio"),
        ({"0.wav": wav, "1.wav": wav, "0.json": b"{}", "0.flac": wav}, "comes twice"),
        ({"0.wav": wav, "0.WAV": wav}, "two .WAV members"),
    ]:
        with pytest.raises(ValueError, match=message):
            index_tar(tar_of(path, members))


def test_an_empty_shard(tmp_path):
    assert write_shard(tmp_path / "shard-000000.tar", []).samples == 0
    assert len(index_tar(tmp_path / "shard-000000.tar")) == 0


def test_vocabulary_beside_the_shards_and_what_is_annotated(tmp_path):
    (tmp_path / "v.yaml").write_text("classes: {dog_bark: {concept: dog, phrasings: [a dog]}, rain: rain}")
    opened = corpus(tmp_path, vocabulary="v.yaml", annotates=["dog"])
    assert opened.annotates == ["dog"]
    assert opened.vocabulary.concept("dog_bark").id == "dog"
    with pytest.raises(ValueError, match=r"annotates 'dog_bark', no concept of vocabulary 'v.yaml' \(.*dog"):
        corpus(tmp_path, vocabulary="v.yaml", annotates=["dog_bark"])


def test_record_and_tar_must_agree_on_the_key(tmp_path):
    record, waveform = sample("a")
    tar = tar_of(tmp_path / "s.tar", {"b.wav": audio_bytes(waveform), "b.json": record.to_json().encode()})
    np.save(tmp_path / "s.index.npy", index_tar(tar))
    entry = replace(write_shard(tmp_path / "t.tar", [sample("a")]), name="s.tar", bytes=tar.stat().st_size)
    write_manifest(tmp_path, "toy", [entry], vocabulary=None, annotates=[])
    with pytest.raises(ValueError, match=r"s.tar: sample 0 \('b'\): its JSON is of 'a'"):
        Corpus(tmp_path).record(0)


def test_silence_of_one_sample(tmp_path):
    one = Record("a", 1 / SAMPLE_RATE), np.zeros(1, dtype=np.int16)
    write_manifest(tmp_path, "toy", [write_shard(tmp_path / "s.tar", [one], "wav")], vocabulary=None, annotates=[])
    assert Corpus(tmp_path).waveform(0).tolist() == [0]

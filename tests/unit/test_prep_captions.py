"""Captioned corpora from label files as they are published to shards."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flam_train.data.audio_folders import YouTubeFiles, parse_youtube_stem
from flam_train.data.caption_files import read_json, read_table, unique_keys
from flam_train.data.corpus import Corpus
from flam_train.data.preparation import read_missing
from flam_train.data.schema import Record

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "data_prep"))

import audiocaps  # noqa: E402
import audioset_acd  # noqa: E402
import clotho  # noqa: E402
import freesound  # noqa: E402
import wavcaps  # noqa: E402


def sound(path: Path, seconds: float = 0.3, rate: int = 22_050, frequency: float = 440.0) -> Path:
    """A tone, in the format that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * frequency / rate * np.arange(round(seconds * rate))), rate)
    return path


def table(path: Path, rows: list[tuple], end: str = "\n", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def dump(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def prepared(module, *args: object) -> None:
    module.main([*map(str, args), "--processes", "1", "--quiet"])


def records(folder: Path) -> dict[str, Record]:
    corpus = Corpus(folder, verify=True)
    return {corpus.key(i): corpus.record(i) for i in range(len(corpus))}


def refused(capsys, module, *args: object) -> str:
    """The message of a script that refuses its input."""
    with pytest.raises(SystemExit) as stop:
        prepared(module, *args)
    assert stop.value.code == 2
    return capsys.readouterr().err


# ---- what the readers share


def test_rows_are_told_by_the_line_on_which_they_begin(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"two\r\nlines"\r\n\r\n3,4\r\n')
    assert list(read_table(path, "ab")) == [
        (f"{path}: row 2", {"a": "1", "b": "two\r\nlines"}),
        (f"{path}: row 5", {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 1: empty"),
        (b"a,c\n", "row 1: no column 'b'"),
        (b"a,b\n1,2\n3\n", "row 3: 1 fields, the header has 2"),
        (b"a,b\n1,2\n\xff,2\n", "row 3: not utf-8"),
        (b'a,b\n1,2\n"3,4\n5,6\n', "row 3: not CSV"),
        (b'a,b\n"1"x,2\n', "row 2: not CSV"),
        (b"a,b\n1,2\r3,4\n", "row 2: not CSV"),
    ],
)
def test_faulty_tables(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t.csv: " + message):
        list(read_table(path, "ab"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"a":\n}', "row 3: not JSON"),
        (b'{"a":\n"\xff"}', "row 2: not UTF-8"),
        (b"[" * 100_000, "row 1: not JSON that can be read"),
        (b"1" * 5000, "row 1: not JSON that can be read"),
    ],
)
def test_faulty_json(tmp_path, content, message):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t.json: " + message):
        read_json(path)


def test_names_that_would_share_a_key_are_told_apart():
    keys = unique_keys(["a b", "a_b", " a", "c"])
    assert keys["c"] == "c"
    assert keys[" a"] == "_a"
    assert len(set(keys.values())) == 4
    assert keys["a b"].startswith("a_b-")


ODD_IDS = ["-0123456789", "_0123456789", "Yabcdefghij", "YYYYYYYYYYY", "a_30_40_50_", "Y_1_2_3_4_5"]


@pytest.mark.parametrize("youtube_id", ["r1nicOVtvkQ", *ODD_IDS])
def test_youtube_ids_are_found_under_every_name(tmp_path, youtube_id):
    for name, start in [
        ("{}", None),
        ("Y{}", None),
        ("{}_30", "30"),
        ("Y{}_30", "30"),
        ("{}_000030", "000030"),
        ("Y{}_30.000_40.000", "30.000"),
        ("{}_30000", "30000"),
    ]:
        assert parse_youtube_stem(name.format(youtube_id)) == (youtube_id, start)
    assert parse_youtube_stem("soundscape_12") is None
    for suffix in ("m4a", "webm", "mp4", "opus"):
        folder = tmp_path / suffix
        (folder / "deep" / ".hidden").mkdir(parents=True)
        (folder / "deep" / ".hidden" / f"{youtube_id}.wav").touch()
        path = folder / "deep" / f"{youtube_id}_30.{suffix}"
        path.touch()
        assert YouTubeFiles(folder).find(youtube_id, 30) == path
        assert YouTubeFiles(folder).find(youtube_id) == path
        assert not YouTubeFiles(folder).find(youtube_id, 40).exists()
    (folder / f"Y{youtube_id}.flac").touch()
    (folder / f"{youtube_id}.mp3").touch()
    assert YouTubeFiles(folder).find(youtube_id).suffix == ".flac"
    assert YouTubeFiles(folder).find(youtube_id, 30) == path
    assert not YouTubeFiles(folder).find(youtube_id, 40, alone=False).exists()


# ---- AudioCaps

IDS = ["r1nicOVtvkQ", "-abcdefghij", "_abcdefghij", "Yabcdefghij"]
HEADER = ("audiocap_id", "youtube_id", "start_time", "caption")


def test_audiocaps_1(tmp_path):
    folder, out = tmp_path / "audiocaps", tmp_path / "out"
    train = [(91139 + n, i, 130, f"A woman’s voice, number {n} ") for n, i in enumerate(IDS)]
    table(folder / "dataset/train.csv", [HEADER, *train], "\r\n")
    # One row a caption; the rows of a clip do not stand together.
    test = [(10 * k + n, i, 30, f"Caption {k} of {i}") for k in range(5) for n, i in enumerate(IDS[:2])]
    table(folder / "dataset/test.csv", [HEADER, *test], "\r\n")
    sound(folder / "train" / f"Y{IDS[0]}.wav", rate=32_000)
    sound(folder / "train" / f"{IDS[1]}_130.flac", rate=44_100)
    sound(folder / "train" / f"{IDS[2]}.wav", rate=16_000)
    sound(folder / "train" / f"Y{IDS[3]}.ogg")
    sound(folder / "test" / f"Y{IDS[0]}_30.wav", 0.5)
    prepared(audiocaps, folder, out, "--split", "train", "test", "--max-missing", 0.5)
    assert Corpus(out / "train").name == "audiocaps-train"
    found = records(out / "train")
    assert sorted(found) == sorted(f"Y{i}_130" for i in IDS)
    record = found["Yr1nicOVtvkQ_130"]
    assert record.captions == ("A woman’s voice, number 0",)
    assert record.duration == pytest.approx(0.3)
    assert record.details == {"audiocap_ids": ["91139"], "ids": ["youtube:r1nicOVtvkQ"]}
    assert record.split == "train"
    found = records(out / "test")
    assert list(found) == ["Yr1nicOVtvkQ_30"]
    assert found["Yr1nicOVtvkQ_30"].captions == tuple(f"Caption {k} of {IDS[0]}" for k in range(5))
    assert [(key, why) for key, _, why in read_missing(out / "test")] == [("Y-abcdefghij_30", "missing")]
    # The test clip's own file is not the training clip's: its name says another start.
    assert records(out / "train")["Yr1nicOVtvkQ_130"].duration != 0.5


def test_audiocaps_2_and_whole_videos(tmp_path):
    folder, out = tmp_path / "audiocaps", tmp_path / "out"
    rows = [(1, IDS[0], 0, "a dog barks"), (2, IDS[1], 2, "rain"), (3, IDS[0], 0, "a dog is barking")]
    table(folder / "dataset2.0/train.csv", [HEADER, *rows])
    table(folder / "dataset/train.csv", [HEADER, (1, IDS[0], 0, "A dog barks")], "\r\n")
    for i in IDS[:2]:
        sound(tmp_path / "videos" / f"{i}.wav", 13, 8_000)
    options = ["--version", "2.0", "--split", "train", "--recordings", tmp_path / "videos", "--whole-videos"]
    prepared(audiocaps, folder, out, *options)
    assert Corpus(out / "train").name == "audiocaps2-train"
    found = records(out / "train")
    assert found[f"Y{IDS[0]}_0"].captions == ("a dog barks", "a dog is barking")
    assert found[f"Y{IDS[1]}_2"].duration == pytest.approx(10)
    assert found[f"Y{IDS[1]}_2"].details["cut_from"] == [2, 12]
    # A downloader's names; a number in another folder is something else.
    sound(folder / "train/3.ogg")
    sound(folder / "val/2.ogg")
    paths = [r.path for r in audiocaps.read_audiocaps(folder, "train", "2.0")]
    assert paths == [folder / "train/3.ogg", folder / f"Y{IDS[1]}.wav"]
    # Two clips of one video: a file that does not say which it is serves neither.
    table(folder / "dataset2.0/train.csv", [HEADER, (1, IDS[0], 0, "a"), (2, IDS[0], 50, "b")])
    sound(folder / "x" / f"{IDS[0]}.wav")
    path = sound(folder / "x" / f"{IDS[0]}_50.wav")
    first, second = audiocaps.read_audiocaps(folder, "train", "2.0")
    assert not first.path.exists()
    assert second.path == path


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        ([(1, "short", 0, "a")], "train", "row 2: youtube_id 'short' is not"),
        ([(1, IDS[0], 0, "a"), (1, IDS[1], "1.5", "a")], "train", "row 3: start_time '1.5' is not"),
        ([(1, IDS[0], 0, " ")], "train", "row 2: the caption is empty"),
        ([(1, IDS[0], 0, "a")], "val", "row 2: clip r1nicOVtvkQ has 1 captions, not 5"),
        ([(1, IDS[0], 0)], "train", "row 2: 3 fields, the header has 4"),
        ([], "train", "the labels list no recording"),
    ],
)
def test_audiocaps_refuses(tmp_path, capsys, rows, split, message):
    table(tmp_path / "ac" / f"{split}.csv", [HEADER, *rows])
    assert message in refused(capsys, audiocaps, tmp_path / "ac", tmp_path / "out", "--split", split)


def test_audiocaps_without_labels(tmp_path, capsys):
    message = refused(capsys, audiocaps, tmp_path, tmp_path / "out")
    assert "AudioCaps 1.0's train.csv is not there, neither as dataset/train.csv nor as train.csv" in message


# ---- Clotho

FIVE = tuple(f"caption_{n}" for n in range(1, 6))
META = ("file_name", "keywords", "sound_id", "sound_link", "start_end_samples", "manufacturer", "license")
CC0 = "http://creativecommons.org/publicdomain/zero/1.0/"


def clotho_folder(folder: Path, names: list[str], meta: list[tuple], split: str = "evaluation") -> Path:
    rows = [(name, *(f"Caption {n} of {name.strip()}" + " " * (n == 3) for n in range(5))) for name in names]
    table(folder / f"clotho_captions_{split}.csv", [("file_name", *FIVE), *rows], "\r\n", "ascii")
    table(folder / f"clotho_metadata_{split}.csv", [META, *meta], "\r\n", "iso-8859-1")
    return folder


def test_clotho(tmp_path):
    names = [
        "Santa Motor.wav",
        " Ambience Birds.wav",
        "Ambience Birds.wav",
        "rain, heavy (2.5 min).wav",
        "Kitchen w_x.wav",
    ]
    link = "https://freesound.org/people/someone/sounds/{}"
    meta = [
        ("Santa Motor.wav", "motor;toy", "117790", link.format(117790), "[0, 700000]", "José", CC0),
        (
            " Ambience Birds.wav",
            "",
            "Not found",
            link.format(12),
            "",
            "x",
            "http://creativecommons.org/licenses/by/3.0/",
        ),
        ("Ambience Birds.wav", "", "Not found", "Not found", "", "", ""),
        ("Kitchen w:x.wav", "", "55", link.format(55), "", "x", CC0),
    ]
    folder = clotho_folder(tmp_path / "clotho", names, meta)
    for n, name in enumerate(names):
        sound(folder / "evaluation" / (name if n < 4 else "Kitchen w:x.wav"), 0.2 + 0.1 * n, 44_100)
    prepared(clotho, folder, tmp_path / "out", "--split", "evaluation")
    corpus = Corpus(tmp_path / "out/evaluation")
    assert (corpus.name, corpus.annotates) == ("clotho-evaluation", [])
    assert corpus.manifest["details"]["without_freesound_id"] == 2
    found = {r.details["file_name"]: r for r in records(tmp_path / "out/evaluation").values()}
    assert sorted(found) == sorted(names)
    assert [round(found[name].duration, 2) for name in names] == [0.2, 0.3, 0.4, 0.5, 0.6]
    santa = found["Santa Motor.wav"]
    assert santa.key == "Santa_Motor"
    assert santa.captions == tuple(f"Caption {n} of Santa Motor.wav" for n in range(5))
    assert santa.details["ids"] == ["freesound:117790"]
    assert santa.details["author"] == "José"
    assert santa.licence.startswith(CC0)
    assert "non-commercial" in santa.licence
    assert found[" Ambience Birds.wav"].key == "_Ambience_Birds"
    assert found[" Ambience Birds.wav"].details["ids"] == ["freesound:12"]
    assert "ids" not in found["Ambience Birds.wav"].details
    assert found["rain, heavy (2.5 min).wav"].licence.startswith("audio: not stated")
    assert found["Kitchen w_x.wav"].details["ids"] == ["freesound:55"]


def test_a_name_that_is_in_two_splits_of_clotho(tmp_path):
    for n, split in enumerate(("development", "validation")):
        clotho_folder(tmp_path / "clotho", ["City Ambience w_ Car Passing_1-2.wav"], [], split)
        sound(
            tmp_path / "clotho" / "clotho_audio_files" / split / "City Ambience w_ Car Passing_1-2.wav", 0.2 + 0.1 * n
        )
    prepared(clotho, tmp_path / "clotho", tmp_path / "out", "--split", "development", "validation")
    for n, split in enumerate(("development", "validation")):
        (record,) = records(tmp_path / "out" / split).values()
        assert record.duration == pytest.approx(0.2 + 0.1 * n)


def test_clotho_names_that_share_a_key(tmp_path):
    folder = clotho_folder(tmp_path / "clotho", ["a b.wav", "a_b.wav"], [], "validation")
    assert len({r.key for r in clotho.read_clotho(folder, "validation")}) == 2


def test_clotho_refuses(tmp_path, capsys):
    folder = clotho_folder(tmp_path / "clotho", ["a.wav", "a.wav"], [])
    assert "row 3: 'a.wav' has a row before" in refused(capsys, clotho, folder, tmp_path / "o", "--split", "evaluation")
    table(folder / "clotho_captions_evaluation.csv", [("file_name", *FIVE), ("a.wav", "a", "b", " ", "d", "e")])
    assert "row 2: caption_3 is empty" in refused(capsys, clotho, folder, tmp_path / "o", "--split", "evaluation")
    table(folder / "clotho_captions_evaluation.csv", [("file_name", *FIVE), ("../a.wav", *"abcde")])
    assert "row 2: '../a.wav' is not the name" in refused(
        capsys, clotho, folder, tmp_path / "o", "--split", "evaluation"
    )
    (folder / "clotho_metadata_evaluation.csv").unlink()
    table(folder / "clotho_captions_evaluation.csv", [("file_name", *FIVE), ("a.wav", *"abcde")])
    message = refused(capsys, clotho, folder, tmp_path / "o", "--split", "evaluation")
    assert "clotho_metadata_evaluation.csv is not there" in message


# ---- WavCaps

DEEP = "mnt/fast/nobackup/scratch4weeks/xm00178/WavCaps/data/waveforms"


def wavcaps_folder(folder: Path) -> Path:
    def source(path: str, rows: list[dict]) -> None:
        dump(
            folder / "json_files" / path,
            {"num_captions_per_audio": 1, "data": [r | {"audio": "wav_path"} for r in rows]},
        )

    source("AudioSet_SL/as_final.json", [
        {"id": "Yb0RFKhbpFJA.wav", "caption": "Wind and a man speaking are heard", "duration": 10.0},
        {"id": "Yr1nicOVtvkQ.wav", "caption": "A woman talks", "duration": 10.0},
        {"id": "Y-YYabcdefgh.wav", "caption": " ", "duration": 10.0},
    ])  # fmt: skip
    source("BBC_Sound_Effects/bbc_final.json", [{
        "description": "Crows", "category": "['Nature']", "caption": "Crows caw.", "id": "NHU05051026", "duration": 8.1,
        "download_link": "https://sound-effects-media.bbcrewind.co.uk/zip/NHU05051026.wav.zip",
    }])  # fmt: skip
    common = {"tags": ["a"], "description": "d", "author": "someone", "download_link": "https://example.org/s.flac"}
    source("FreeSound/fsd_final.json", [
        common | {"id": "117790", "file_name": "x.wav", "href": "/people/x/", "duration": 3.1, "caption": "A door."},
        common | {"id": "70", "file_name": "y.mp3", "href": "/people/y/", "duration": 3.1, "caption": "Drums."},
    ])  # fmt: skip
    source("SoundBible/sb_final.json", [
        {"title": "t", "description": "d", "author": "a", "href": "h", "caption": "Bells ring.", "id": "70",
         "duration": 1.5, "download_link": "http://soundbible.com/grab.php?id=70&type=wav"},
    ])  # fmt: skip
    sound(folder / f"Zip_files/AudioSet_SL/{DEEP}/AudioSet_SL_flac/Yb0RFKhbpFJA.flac", rate=32_000)
    sound(folder / f"Zip_files/AudioSet_SL/{DEEP}/AudioSet_SL_flac/Yr1nicOVtvkQ.flac", rate=32_000)
    sound(folder / f"Zip_files/BBC_Sound_Effects/{DEEP}/BBC_Sound_Effects_flac/NHU05051026.flac", rate=32_000)
    for number in ("70", "117790"):
        sound(folder / f"Zip_files/FreeSound/{DEEP}/FreeSound_flac/{number}.flac", 0.4, 32_000)
    sound(folder / f"Zip_files/SoundBible/{DEEP}/SoundBible_flac/70.flac", 0.7, 32_000)
    return folder


def test_wavcaps(tmp_path, capsys):
    folder, out = wavcaps_folder(tmp_path / "wavcaps"), tmp_path / "out"
    prepared(wavcaps, folder, out)
    printed = capsys.readouterr().out
    assert "no --blacklist" in printed
    assert "wavcaps-audioset-sl: left out 1 of 3 recordings (no caption 1)" in printed
    found = records(out / "AudioSet_SL")
    assert sorted(found) == ["Yb0RFKhbpFJA", "Yr1nicOVtvkQ"]
    assert found["Yb0RFKhbpFJA"].details["ids"] == ["youtube:b0RFKhbpFJA"]
    assert found["Yb0RFKhbpFJA"].captions == ("Wind and a man speaking are heard",)
    assert (out / "AudioSet_SL/left_out.tsv").read_text() == "name\treason\nY-YYabcdefgh\tno caption\n"
    free, bible = records(out / "FreeSound"), records(out / "SoundBible")
    # Both have a sound 70.
    assert (free["70"].duration, bible["70"].duration) == (pytest.approx(0.4), pytest.approx(0.7))
    assert free["117790"].details == {"author": "someone", "ids": ["freesound:117790"]}
    assert "ids" not in bible["70"].details
    assert list(records(out / "BBC_Sound_Effects")) == ["NHU05051026"]
    assert Corpus(out / "BBC_Sound_Effects").name == "wavcaps-bbc-sound-effects"


def test_wavcaps_blacklists(tmp_path, capsys):
    folder, out = wavcaps_folder(tmp_path / "wavcaps"), tmp_path / "out"
    published = dump(
        tmp_path / "blacklist_exclude_test_ac.json", {"AudioSet": ["Yr1nicOVtvkQ.wav"], "FreeSound": ["70"]}
    )
    prepared(wavcaps, folder, out, "--blacklist", published)
    printed = capsys.readouterr().out
    assert "wavcaps-audioset-sl: left out 2 of 3 recordings (blacklist 1, no caption 1)" in printed
    assert "wavcaps-freesound: left out 1 of 2 recordings (blacklist 1)" in printed
    assert list(records(out / "AudioSet_SL")) == ["Yb0RFKhbpFJA"]
    assert list(records(out / "FreeSound")) == ["117790"]
    # SoundBible's numbers are its own.
    assert list(records(out / "SoundBible")) == ["70"]
    details = Corpus(out / "FreeSound").manifest["details"]
    assert (details["left_out"], list(details["blacklist"])) == (1, ["blacklist_exclude_test_ac.json"])
    # As aac-datasets has them.
    rows = [("index", "id"), (0, "b0RFKhbpFJA"), (1, "Yr1nicOVtvkQ.wav")]
    audioset, clotho_ids = table(tmp_path / "a.csv", rows), table(tmp_path / "c.csv", [("index", "id"), (0, "117790")])
    assert wavcaps.read_blacklist([audioset, clotho_ids, published]) == {
        "AudioSet": {"b0RFKhbpFJA", "r1nicOVtvkQ"},
        "FreeSound": {"117790", "70"},
    }
    with pytest.raises(ValueError, match=r"bad.json: row 1: 'Audioset': the keys must be"):
        wavcaps.read_blacklist([dump(tmp_path / "bad.json", {"Audioset": []})])
    with pytest.raises(ValueError, match=r"bad.json: AudioSet: entry 2: None is not an id"):
        wavcaps.read_blacklist([dump(tmp_path / "bad.json", {"AudioSet": ["x", None]})])


def test_wavcaps_takes_numbers_and_repeated_entries(tmp_path):
    data = [
        {"id": 7, "caption": "A"},
        {"id": "7", "caption": "B"},
        {"id": "7", "caption": "A"},
        {"id": "8", "caption": ""},
    ]
    dump(tmp_path / "FreeSound/fsd_final.json", {"data": data})
    recordings, left_out = wavcaps.read_wavcaps(tmp_path, "FreeSound")
    assert [(r.key, r.captions, r.ids) for r in recordings] == [("7", ("A", "B"), ("freesound:7",))]
    assert left_out == [("8", "no caption")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": {}}, "row 1: is not an object with a list `data`"),
        ({"data": [{"id": "1", "caption": "a"}, 3]}, "entry 2: 3 is not an object"),
        ({"data": [{"id": "1"}]}, "entry 1: 'caption' is None, not a string"),
        ({"data": [{"id": True, "caption": "a"}]}, "entry 1: 'id' is True, not a string"),
        ({"data": [{"id": "a/b", "caption": "a"}]}, "entry 1: 'a/b' is not the name of a file"),
        ({"data": [{"id": "1", "caption": "\ud800"}]}, "has half a character"),
    ],
)
def test_wavcaps_refuses(tmp_path, capsys, content, message):
    dump(tmp_path / "w/json_files/SoundBible/sb_final.json", content)
    told = refused(capsys, wavcaps, tmp_path / "w", tmp_path / "out", "--source", "SoundBible")
    assert "sb_final.json: " in told
    assert message in told


# ---- FreeSound


def laion(number: int, text: list[str], **more: object) -> dict:
    about = {"id": number, "title": f"{number}.wav", "description": "d", "tags": ["a"], "username": "someone"}
    about |= {"download_url": f"https://freesound.org/data/{number}.wav"}
    return {"text": text, "tag": ["dog", "park"], "original_data": about} | more


def tar(path: Path, samples: list[tuple[str, dict]], cut: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for n, (name, label) in enumerate(samples):
            audio = io.BytesIO()
            soundfile.write(audio, 0.3 * np.sin(np.arange(9600 + 2400 * n) / 10), 48_000, format="FLAC")
            for suffix, data in (("flac", audio.getvalue()), ("json", json.dumps(label).encode())):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    if cut:
        os.truncate(path, path.stat().st_size - cut)
    return path


def test_freesound_tars(tmp_path, capsys):
    folder, out = tmp_path / "freesound", tmp_path / "out"
    tar(folder / "train_1/0.tar", [("1", laion(117790, ["dog in park", "A dog."])), ("2", laion(8, ["___ 12"]))])
    tar(folder / "train_2/0.tar", [("scratch/freesound_new/1", laion(9, ["rain"]))])
    tar(folder / "test/0.tar", [("1", laion(10, ["bell"]))])
    dump(folder / "train_1/sizes.json", {"0.tar": 2})
    table(folder / "freesound_meta.csv", [("audio_filename", "freesound_id", "license"), ("1.flac", "117790", CC0)])
    prepared(freesound, folder, out)
    assert "freesound-train: left out 1 of 3 recordings (no caption 1)" in capsys.readouterr().out
    found = records(out / "train")
    assert sorted(found) == ["train_1_0_1", "train_2_0_scratch_freesound_new_1"]
    dog = found["train_1_0_1"]
    assert dog.captions == ("dog in park", "A dog.")
    assert dog.licence == CC0
    assert dog.source == "https://freesound.org/data/117790.wav"
    assert dog.details == {"author": "someone", "ids": ["freesound:117790"]}
    assert dog.duration == pytest.approx(0.2)
    assert list(records(out / "test")) == ["test_0_1"]
    assert records(out / "test")["test_0_1"].split == "test"
    assert (out / "train/left_out.tsv").read_text() == "name\treason\ntrain_1/0/2\tno caption\n"
    prepared(freesound, folder, tmp_path / "tags", "--tags")
    assert records(tmp_path / "tags/train")["train_1_0_2"].captions == ("dog, park",)


def test_the_parts_of_freesound_share_what_is_unpacked(tmp_path):
    folder, out = tmp_path / "freesound", tmp_path / "out"
    for n in range(2):
        tar(folder / f"train/{n}.tar", [(str(k), laion(10 * n + k, [f"sound {k}"])) for k in range(3)])
    for part in (1, 2):
        prepared(freesound, folder, out, "--part", f"{part}/2", "--audio", "wav")
        assert sorted(p.name for p in (out / ".unpacked/train").iterdir()) == ["0", "1"]
    found = [sorted(records(path)) for path in sorted((out / "train").glob("part-*"))]
    assert sorted(found[0] + found[1]) == [f"train_{n}_{k}" for n in range(2) for k in range(3)]


def test_freesound_goes_on_unpacking(tmp_path, monkeypatch):
    folder, out = tmp_path / "freesound", tmp_path / "un"
    for n in range(3):
        tar(folder / f"train/{n}.tar", [("1", laion(n, ["a"]))])
    order = []
    monkeypatch.setattr(
        freesound, "_unpack_tar", lambda t, target, do=freesound._unpack_tar: (order.append(t.stem), do(t, target))
    )
    (out / "train/1").mkdir(parents=True)  # done before
    (out / "train/.2.killed").mkdir()  # what a killed run left behind
    (out / "train/.2.killed/1.json").write_text("{")
    freesound.unpack(folder, out, turn=3, show=False)
    assert order == ["2", "0"]
    assert sorted(p.name for p in out.glob("train/[0-9]")) == ["0", "1", "2"]
    assert [r.key for r in freesound.read_freesound(out, "train")[0]] == ["train_0_1", "train_2_1"]
    # Another part was faster.
    monkeypatch.setattr(
        freesound, "_unpack_tar", lambda t, target: (out / "train/3").mkdir() or (out / "train/3/x").touch()
    )
    tar(folder / "train/3.tar", [("1", laion(3, ["a"]))])
    freesound.unpack(folder, out, show=False)
    assert sorted(p.name for p in out.glob("train/[!.]*")) == ["0", "1", "2", "3"]


def test_freesound_folder(tmp_path, capsys):
    folder, out = tmp_path / "own", tmp_path / "out"
    about = {"id": 1, "title": "Barking_Dog &amp; rain.WAV", "tags": ["dog"], "license": CC0, "username": "me"}
    text = 'A dog barks at <a href="https://x.org">the door</a>. Then it sleeps.\r\nRecorded with a v1.2 recorder.'
    for name, label in {
        "one.two": about | {"description": text},
        "untitled": {"title": "0042.aif", "description": "", "tags": ["wind", "trees"]},
        "gone": {"title": "gone"},
    }.items():
        dump(folder / f"{name}.json", label)
    sound(folder / "one.two.mp3", rate=44_100)
    sound(folder / "untitled.ogg")
    sound(folder / "bare.wav")
    prepared(freesound, folder, out, "--max-missing", 0.5)
    assert "left out 2 of 4 recordings (no JSON 1, no caption 1)" in capsys.readouterr().out
    found = records(out / "train")
    assert list(found) == ["one_two"]
    assert found["one_two"].captions == ("Barking_Dog & rain", "A dog barks at the door.")
    assert found["one_two"].licence == CC0
    assert found["one_two"].source == "freesound.org/s/1"
    assert not (out / "test").exists()
    assert [key for key, _, _ in read_missing(out / "train")] == ["gone"]
    tagged, _ = freesound.read_freesound(folder, "train", tags=True)
    assert {r.key: r.captions for r in tagged}["untitled"] == ("wind, trees",)


def test_freesound_refuses(tmp_path, capsys):
    folder, out = tmp_path / "freesound", tmp_path / "out"
    broken = tar(folder / "train/0.tar", [("1", laion(1, ["a"]))], cut=9000)
    message = refused(capsys, freesound, folder, out)
    assert "0.tar: sample" in message
    assert "not a whole, uncompressed tar" in message
    assert not list((out / ".unpacked/train").iterdir())
    tar(broken, [("1", laion(1, ["a"]))])
    dump(folder / "train/sizes.json", {"0.tar": 512})
    assert "0.tar: holds 1 samples" in refused(capsys, freesound, folder, out)
    (folder / "train/sizes.json").unlink()
    tar(broken, [("1", laion(1, ["a"], original_data={"id": "x"}))])
    assert "1.json: row 1: id 'x' is not a number" in refused(capsys, freesound, folder, out)
    assert "lies inside" in refused(capsys, freesound, folder, folder / "out")
    (tmp_path / "empty").mkdir()
    assert "neither tars nor audio" in refused(capsys, freesound, tmp_path / "empty", out)
    dump(tmp_path / "own/a.json", {"text": [1]})
    assert "a.json: row 1: 'text' is not a list of strings" in refused(capsys, freesound, tmp_path / "own", out)


# ---- Auto-ACD


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ('The audio caption for the given information could be: "A dog barks in a park."', "A dog barks in a park."),
        ("The audio caption for the given information could be: A dog barks.", "A dog barks."),
        ("A possible audio caption could be:\n“A dog barks.”", "A dog barks."),
        ('"A dog barks."', "A dog barks."),
        ('"Hello" and "goodbye" are said', '"Hello" and "goodbye" are said'),
        ("The man says: hello", "The man says: hello"),
        ("A man reads a caption: it rains", "A man reads a caption: it rains"),
        ('The audio caption for the given information could be: ""', ""),
    ],
)
def test_what_the_language_model_put_around_a_caption(text, caption):
    assert audioset_acd.plain_caption(text) == caption


def test_audioset_acd(tmp_path, capsys):
    folder, out = tmp_path / "acd", tmp_path / "out"
    wrapper = 'The audio caption for the given information could be: "{}"'
    rows = [
        ("YPsERnugT1hs", "A lady in a dress speaks softly, then laughs"),
        ("oPRC3zComfA_000117", "Electronic music plays"),
        ("YYabcdefghij", "An id that begins with Y"),
        ("Yabcdefghij_", "An id that ends with _"),
        ("YoPRC3zComfA", "Another clip of a video that VGGSound took one of"),
        ("Yabcdefghij_000030", "A row of VGGSound whose id begins with Y"),
        ("YPsERnugT1hs", wrapper.format("A lady speaks")),
        ("YPsERnugT1hs", "A lady in a dress speaks softly, then laughs"),
        ("Y-abcdefghij", wrapper.format("")),
    ]
    table(folder / "train.csv", [("youtube_id", "caption"), *rows])
    sound(folder / "audio/YPsERnugT1hs.flac", rate=32_000)
    sound(folder / "audio/Yabcdefghij_30.wav", 0.6)
    sound(folder / "audio/oPRC3zComfA_000117.wav", 0.5)
    prepared(audioset_acd, folder, out, "--split", "train", "--max-missing", 0.5)
    assert "audioset-acd-train: left out 1 of 5 recordings (no caption 1)" in capsys.readouterr().out
    found = records(out / "train")
    # The file Yabcdefghij_30 is a clip of "Yabcdefghij", not of "abcdefghij_".
    assert sorted(found) == ["YPsERnugT1hs", "YYabcdefghij"]
    assert found["YPsERnugT1hs"].captions == ("A lady in a dress speaks softly, then laughs", "A lady speaks")
    assert found["YPsERnugT1hs"].details["ids"] == ["youtube:PsERnugT1hs"]
    prepared(
        audioset_acd,
        folder,
        tmp_path / "both",
        "--split",
        "train",
        "--of",
        "audioset",
        "vggsound",
        "--max-missing",
        0.5,
    )
    found = records(tmp_path / "both/train")
    assert Corpus(tmp_path / "both/train").name == "auto-acd-train"
    assert found["Yabcdefghij_000030"].details["ids"] == ["youtube:Yabcdefghij"]
    assert found["Yabcdefghij_000030"].duration == pytest.approx(0.6)
    assert found["oPRC3zComfA_000117"].duration == pytest.approx(0.5)


@pytest.mark.parametrize(
    "name", ["", "PsERnugT1hs", "XPsERnugT1hs", "oPRC3zComfA_00011x", "oPRC3zComfA-000117", "Y1234567890ä"]
)
def test_audioset_acd_refuses_other_ids(tmp_path, capsys, name):
    table(tmp_path / "acd/test.csv", [("youtube_id", "caption"), ("YPsERnugT1hs", "a"), (name, "b")])
    message = refused(capsys, audioset_acd, tmp_path / "acd", tmp_path / "out", "--split", "test")
    assert f"test.csv: row 3: youtube_id {name!r} is neither" in message


# ---- anything malformed


def mutants(text: bytes, count: int):
    """Label files with bytes changed, removed, doubled."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        data = bytearray(text)
        for _ in range(int(rng.integers(1, 6))):
            at, kind = int(rng.integers(len(data))), int(rng.integers(4))
            if kind == 0:
                data[at] = int(rng.integers(256))
            elif kind == 1:
                data[at] = int(rng.choice(list(b'",\r\n\\{}[]:0')))
            elif kind == 2:
                del data[at : at + int(rng.integers(1, 9))]
            else:
                data[at:at] = data[at : at + int(rng.integers(1, 30))]
            data = data or bytearray(b"x")
        yield bytes(data)


def read_one(tmp_path: Path, which: str):
    """(the label file to spoil, a function that reads it)"""
    if which == "audiocaps":
        path = table(tmp_path / "train.csv", [HEADER, (1, IDS[0], 30, "a, b"), (2, IDS[1], 0, "c")], "\r\n")
        return path, lambda: audiocaps.read_audiocaps(tmp_path, "train")
    if which in ("clotho", "clotho metadata"):
        clotho_folder(tmp_path, ["a, b.wav", " c.wav"], [("a, b.wav", "k", "1", "l", "", "é", CC0)])
        path = tmp_path / ("clotho_captions_evaluation.csv" if which == "clotho" else "clotho_metadata_evaluation.csv")
        return path, lambda: clotho.read_clotho(tmp_path, "evaluation")
    if which == "wavcaps":
        data = [{"id": "Yb0RFKhbpFJA.wav", "caption": "a"}, {"id": 7, "caption": "b", "href": "x"}]
        return dump(tmp_path / "as_final.json", {"data": data}), lambda: wavcaps.read_wavcaps(tmp_path, "AudioSet_SL")
    if which == "freesound":
        return dump(tmp_path / "a.json", laion(1, ["x"])), lambda: freesound.read_freesound(tmp_path, "train")
    path = table(
        tmp_path / "train.csv", [("youtube_id", "caption"), ("YPsERnugT1hs", "a, b"), ("oPRC3zComfA_000117", "c")]
    )
    return path, lambda: audioset_acd.read_audioset_acd(tmp_path, "train", ("audioset", "vggsound"))


@pytest.mark.parametrize("which", ["audiocaps", "clotho", "clotho metadata", "wavcaps", "freesound", "audioset_acd"])
def test_malformed_labels_are_valid_or_told_by_file_and_row(tmp_path, which):
    path, read = read_one(tmp_path, which)
    good = path.read_bytes()
    read()
    told = []
    for data in mutants(good, 400):
        path.write_bytes(data)
        try:
            found = read()
        except ValueError as error:
            told.append(str(error))
            continue
        for r in found[0] if isinstance(found, tuple) else found:
            record = Record(r.key, 1.0, r.captions, r.events, r.source, r.licence, r.split, r.details)
            record.check(r.where).to_json().encode()
    assert len(told) > 50
    assert [why for why in told if str(path) not in why or not re.search(r"(row|entry) \d", why)] == []

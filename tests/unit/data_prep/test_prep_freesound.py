"""FreeSound, from LAION's tars or a folder to shards."""

from __future__ import annotations

import freesound
import pytest
from caption_labels import (
    CC0,
    dump,
    laion,
    prepared,
    records,
    refused,
    sound,
    table,
    tar,
)

from flam_train.data.preparation.listing import read_missing


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

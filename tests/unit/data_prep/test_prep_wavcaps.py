"""WavCaps, from its label files as published to shards."""

from __future__ import annotations

import pytest
import wavcaps
from caption_labels import (
    dump,
    prepared,
    records,
    refused,
    table,
    wavcaps_folder,
)

from flam_train.data.shards.corpus import Corpus


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

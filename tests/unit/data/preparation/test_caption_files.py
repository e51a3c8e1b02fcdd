"""What the readers of captioned corpora share: tables, JSON, names, YouTube's ids."""

from __future__ import annotations

import pytest

from flam_train.data.preparation.audio_folders import YouTubeFiles, parse_youtube_stem
from flam_train.data.preparation.caption_files import read_json, read_table, unique_keys


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

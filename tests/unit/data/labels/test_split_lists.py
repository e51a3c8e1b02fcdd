"""A list of one's own splits, as people have them."""

from __future__ import annotations

import re

import pytest

from flam_train.data.labels.split_lists import read_list

NAMES = ["a.wav", "b.wav", "in/c.wav"]


def find(name: str, row: int) -> str | None:
    return next((n for n in (*NAMES, "unlabelled.wav") if n.endswith(name)), None)


def read(path, text, encoding="utf-8"):
    (path / "s.csv").write_bytes(text.encode(encoding))
    return read_list(path / "s.csv", NAMES, find)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("filename,split\na.wav,train\nb.wav,Val\nc.wav,evaluation\n", "utf-8"),
        ("Subset;length;File name\r\ntraining;1,5;a.wav\r\n\r\ndev;2,5;b.wav\r\ntest;3,5;c.wav\r\n", "utf-8-sig"),
        ("recording\tfold\na.wav\ttrain\nb.wav\tvalidation\nc.wav\teval\nunlabelled.wav\ttest\nc.wav\ttest\n", "utf-8"),
        ("sep=;\r\nsplit;audio_filename\r\ntrain;a.wav\r\nval;b.wav\r\ntest;c.wav\r\n", "utf-16"),
        ("# of 2024\nfilepath,split\na.wav,train\nb.wav,val\nin/c.wav,test\n", "utf-8"),
        ("name,split\na.wav,train\nb.wav,val\nc.wav,test\n", "utf-8"),
        ("Begin File,name,split\na.wav,x,train\nb.wav,y,val\nc.wav,z,test\n", "utf-8"),
    ],
)
def test_a_list_of_splits(tmp_path, text, encoding):
    expected = dict(zip(NAMES, ("train", "validation", "test"), strict=True))
    assert read(tmp_path, text, encoding) == (expected, 0)


def test_a_list_of_a_whole_dataset_of_which_a_part_is_here(tmp_path):
    rows = "z1.wav,train\na.wav,train\nb.wav,val\nc.wav,test\nz2.wav,unlabelled\n"
    splits, elsewhere = read(tmp_path, "filename,split\n" + rows)
    assert (set(splits), elsewhere) == (set(NAMES), 2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "row 1: no columns filename and split: write this header"),
        ("name,part\na.wav,train\n", "row 1: no columns filename and split"),
        ("name,split\na.wav,1\n", "row 2: '1' is no split: write train, validation, test"),
        ("name,split\na.wav\n", "row 2: '' is no split"),
        ("name,split\n\n ,train\n", "row 3: names no recording"),
        ("name,split\nz.wav,train\ny.wav,train\n", r"row 2: 'z\.wav' is not in the folder, nor is any other"),
        ("name,split\na.wav,train\na.wav,x\na.wav,test\n", "row 3: 'x' is no split"),
        ("name,split\na.wav,train\nb.wav,dev\na.wav,test\n", r"row 4: 'a\.wav' is in test here, in train in row 2"),
        (
            "name,split\na.wav,train\nin/c.wav,train\nc.wav,test\n",
            r"row 4: 'c\.wav' is in test, 'in/c\.wav' of row 3 in train, and both would be in/c\.wav: give the",
        ),
        ("name,split\na.wav,train\n", r"s\.csv: b\.wav \(and 1 more\) is in no split: add a row for each recording$"),
        ("name,split\na.wav,train\nB.wav,test\nc.wav,test\n", r"b\.wav is in no split: .*; row 3, 'B\.wav', is not in"),
        ('name,split\n"a.wav,train\n', "row 2: unexpected end of data: mend the quotes"),
    ],
)
def test_faults_of_a_list(tmp_path, text, match):
    with pytest.raises(ValueError, match=re.escape(str(tmp_path)) + ".*" + match):
        read(tmp_path, text)


def test_a_list_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv: cannot be read \(No such file"):
        read_list(tmp_path / "none.csv", NAMES, find)
    with pytest.raises(ValueError, match=r"s\.csv: row 2: not text in utf-8 .*: save it as UTF-8, or say its encoding"):
        read(tmp_path, "name,split\nü.wav,train\n", "latin-1")

"""Room to write is looked for without leaving anything; what a disk says is told with the file's name."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from flam_train.data.shards.tars import replace_with
from flam_train.disk import check_writable, replacing
from flam_train.evaluation.parts import Kept


def refused(number: int):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


def test_nothing_is_left_behind(tmp_path):
    check_writable(tmp_path / "a" / "b", "OUT")
    check_writable(tmp_path, "OUT")
    assert list(tmp_path.iterdir()) == []


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    for below in ("file", "file/a/b"):
        with pytest.raises(ValueError, match=rf"--out {tmp_path}/{below}: {tmp_path}/file is a file: name a folder"):
            check_writable(tmp_path / below, "--out")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
        (errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_folder_that_takes_no_file(number, message, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", refused(number))
    fix = "make room there" if number == errno.ENOSPC else "make it writable"
    with pytest.raises(ValueError, match=rf"OUT {tmp_path}/a: cannot be written to \({message}\): {fix}, or name ano"):
        check_writable(tmp_path / "a", "OUT")


def test_a_disk_with_less_than_a_file_s_room(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refused(errno.ENOSPC))
    with pytest.raises(ValueError, match="No space left on device"):
        check_writable(tmp_path, "OUT")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_by_its_own_kind_alone(tmp_path):
    def write(folder):
        with replacing(folder, "export", ("about.json", "weights", "tokenizer")) as draft:
            (draft / "about.json").write_text("new")
            (draft / "weights").write_text("new")

    out = tmp_path / "out"
    for _ in range(2):  # a new one, then an empty one
        write(out)
        assert sorted(path.name for path in out.iterdir()) == ["about.json", "weights"]
        for path in out.iterdir():
            path.unlink()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out: is there, and is no export \(about.json is missing\): name another"):
        write(out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.txt"]
    (out / "about.json").write_text("old")
    (out / "tokenizer").mkdir()
    write(out)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "about.json": "new", "weights": "new", "thesis.txt": "mine",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"thesis.txt: is there, and is no export"):
        write(out / "thesis.txt")


class Full:
    """A file on a full disk."""

    write = staticmethod(refused(errno.ENOSPC))


def short_of(_) -> None:
    raise OSError("9 requested and 0 written")


WRITERS = {
    "plainly": lambda file: Full().write(b""),
    "by torch": lambda file: torch.save(torch.zeros(9), Full()),  # which ends with an error of its own
    "by NumPy": short_of,  # without a number
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_found_no_room_is_named_and_not_there(write, tmp_path):
    with pytest.raises(OSError, match=r"No space left|9 requested") as told:
        replace_with(tmp_path / "a", write)
    assert told.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_content_stays_as_it_is_told(tmp_path):
    def write(_):
        try:
            Full().write(b"")
        except OSError as error:
            raise ValueError("row 3 is wrong") from error

    with pytest.raises(ValueError, match="row 3 is wrong"):
        replace_with(tmp_path / "a", write)


def test_kept_arrays_that_found_no_room(tmp_path, monkeypatch):
    """As safetensors tells it: in words, and by no OSError."""

    def save_file(*_):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("flam_train.evaluation.parts.save_file", save_file)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a.safetensors'") as told:
        Kept({"x": np.zeros(3)}, {}).write(tmp_path / "a.safetensors")
    assert told.value.errno == errno.ENOSPC

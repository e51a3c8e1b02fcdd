"""A place that cannot be written to is found before the work; a disk that fills up meanwhile ends it in a line."""

from __future__ import annotations

import errno
import os
import re

import pytest
from checkout import ROOT
from in_process import Done, program, script
from recording_files import tone

from flam_train.cli import convert, train
from flam_train.data.shards import tars

PREPARED = sorted(path.name for path in (ROOT / "data_prep").glob("*.py") if "prepare.run(" in path.read_text())

CALLS = {
    **{f"data_prep/{name}": ("nowhere", "OUT") for name in PREPARED},
    "data_prep/synthetic.py": ("OUT",),
    "data_prep/simulate.py": ("OUT", "--bank", "nowhere", "--recipe", "demo", "--count", "1"),
    "data_prep/caption_bank.py": ("nowhere", "OUT"),
    "data_prep/verify.py": ("nowhere", "--plots", "OUT"),
    "eval/sed.py": ("nowhere", "nowhere", "--out", "OUT"),
    "eval/retrieval.py": ("nowhere", "nowhere", "--out", "OUT"),
    "eval/zero_shot.py": ("nowhere", "nowhere", "--out", "OUT"),
    "eval/protocols.py": ("nowhere", "--out", "OUT"),
    "eval/compare.py": ("nowhere", "nowhere", "--out", "OUT/name"),
    "eval/table.py": ("nowhere", "--out", "OUT/name"),
}
"""What is read is not there either: that the other fault is told means that it was looked for first."""


def told(done: Done, code: int) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", CALLS)
def test_a_place_below_a_file(name, tmp_path):
    (tmp_path / "file").touch()
    arguments = [word.replace("OUT", str(tmp_path / "file/out")) for word in CALLS[name]]
    line = told(script(name, *arguments), 2)
    assert re.fullmatch(rf"error: \S+ {tmp_path}/file/out: {tmp_path}/file is a file: name a folder, .*", line)


def test_of_commands(tmp_path):
    (tmp_path / "file").touch()
    for *arguments, option in (
        ("openflam", "x.pth", f"{tmp_path}/file/a", "OUT"),
        ("to-openflam", "x", f"{tmp_path}/file/a", "OUT"),
        ("clap", "x.pt", f"{tmp_path}/file/a", "OUT"),
        ("to-hf-clap", "x", f"{tmp_path}/file/a", "OUT"),
    ):
        line = told(program(lambda given=arguments: convert.main(given), "flam-convert"), 2)
        assert line.startswith(f"error: {option} {tmp_path}/file")
    overrides = ["model=test", "text=bytes", f"run_dir={tmp_path}/file/run", "data.workers=0"]
    line = told(program(lambda: train.main(overrides), "flam-train"), 2)
    assert line.startswith(f"flam-train: run_dir {tmp_path}/file/run: {tmp_path}/file is a file")


def test_a_report_needs_no_place(tmp_path):
    (tmp_path / "file").touch()
    tone(tmp_path / "s/a.wav", 1.0)
    (tmp_path / "s/a.txt").write_text("0\t1\tdog\n")
    assert script("data_prep/custom.py", tmp_path / "s", tmp_path / "file/out", "--report-only").returncode == 0


def test_a_disk_that_fills_up_while_shards_are_written(tmp_path, monkeypatch):
    for n in range(6):
        tone(tmp_path / f"s/{n}.wav", 1.0)
        (tmp_path / f"s/{n}.txt").write_text("0\t1\tdog\n")
    arguments = (tmp_path / "s", tmp_path / "out", "--processes", 1, "--quiet", "--per-shard", 2, "--test-share", 0)
    sync, synced = os.fsync, []

    def full(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append(name)
        if "shard-000001.tar" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(tars.os, "fsync", full)
        line = told(script("data_prep/custom.py", *arguments), 1)
    shard = tmp_path / "out/train/shard-000001.tar"
    assert line == f"error: {shard}: No space left on device: make room, and run the same command again"
    assert any("shard-000001.tar" in name for name in synced)
    whole = {p.name for p in (tmp_path / "out/train").iterdir() if p.name.startswith((".shard", "shard"))}
    assert whole == {"shard-000000.tar", "shard-000000.index.npy"}
    assert script("data_prep/custom.py", *arguments).returncode == 0

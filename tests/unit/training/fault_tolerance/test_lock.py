"""A run folder has one owner: who is refused, and whose lock counts as left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from flam_train.training.fault_tolerance import lock
from flam_train.training.fault_tolerance.lock import LOCK, OwnFolder, RunLock, whoami

QUICK = {"refresh": 0.1, "patience": 0.6}


def left_behind(folder, **change):
    """The lock of another process, not touched any more."""
    owner = {"id": "other", **whoami(), **change}
    (folder / LOCK).write_text(json.dumps(owner))


def test_the_second_refuses_and_the_folder_is_free_afterwards(tmp_path, capsys):
    with RunLock(tmp_path, **QUICK):
        with pytest.raises(ValueError, match=rf"process {os.getpid()} on .* is training in this folder: wait for it"):
            RunLock(tmp_path).__enter__()
        assert "watching it" not in capsys.readouterr().err  # a process of this machine is asked
    assert not list(tmp_path.iterdir())
    with RunLock(tmp_path / "new" / "folder", **QUICK):
        pass


def test_a_killed_process_of_this_machine_holds_nothing(tmp_path, capsys):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    started = lock._started(dead.pid)
    dead.wait()
    left_behind(tmp_path, pid=dead.pid, started=started)
    with RunLock(tmp_path):
        assert "watching it" not in capsys.readouterr().err
    left_behind(tmp_path, started="0")  # another process has its number now
    with RunLock(tmp_path):
        pass


def test_another_machine_is_watched(tmp_path, capsys):
    left_behind(tmp_path, machine="elsewhere", host="node7")
    with RunLock(tmp_path, **QUICK) as mine:
        assert json.loads((tmp_path / LOCK).read_text())["id"] == mine.me["id"]
    assert f"left by process {os.getpid()} on node7? watching it" in capsys.readouterr().err

    left_behind(tmp_path, machine="elsewhere", host="node7")
    ended = threading.Event()

    def touch():
        while not ended.wait(0.01):
            os.utime(tmp_path / LOCK)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        with pytest.raises(ValueError, match=r"on node7 is training in this folder"):
            RunLock(tmp_path, **QUICK).__enter__()
    finally:
        ended.set()
        toucher.join()


def test_neither_clocks_nor_names_of_hosts_matter(tmp_path, monkeypatch):
    left_behind(tmp_path, host="renamed")
    os.utime(tmp_path / LOCK, (4e9, 4e9))
    with pytest.raises(ValueError, match="on renamed is training"):  # this very process, under another name
        RunLock(tmp_path).__enter__()
    left_behind(tmp_path, machine="elsewhere")
    os.utime(tmp_path / LOCK, (4e9, 4e9))
    with RunLock(tmp_path, **QUICK):
        pass


def test_a_requeued_job_finds_its_own_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    left_behind(tmp_path, machine="elsewhere")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with RunLock(tmp_path):
        assert "watching it" not in capsys.readouterr().err
    left_behind(tmp_path)
    with pytest.raises(ValueError, match="job 17, process"):  # two steps of one job
        RunLock(tmp_path).__enter__()


def test_of_two_that_find_an_old_lock_one_gets_the_folder(tmp_path):
    left_behind(tmp_path, machine="elsewhere")
    locks, got, refused = [RunLock(tmp_path, **QUICK) for _ in range(4)], [], []

    def take(one):
        try:
            got.append(one.__enter__())
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(one,)) for one in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)
    got[0].__exit__()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ended", [False, True])
def test_who_stood_still_too_long_writes_nothing_more(ended, tmp_path):
    """ended: the other has left again."""
    with RunLock(tmp_path, **QUICK) as mine:
        (tmp_path / LOCK).unlink()
        if not ended:
            left_behind(tmp_path, machine="elsewhere")
        end = time.monotonic() + 60
        while not mine.lost and time.monotonic() < end:
            time.sleep(0.05)
        owner = OwnFolder(mine)
        for hook in (owner.on_train_batch_start, owner.on_save_checkpoint):
            with pytest.raises(ValueError, match=r"\.lock: gone, or another job's"):
                hook(*[SimpleNamespace()] * (4 if hook == owner.on_train_batch_start else 3))
    if not ended:
        assert json.loads((tmp_path / LOCK).read_text())["id"] == "other"  # the other's is not taken away


def test_what_is_no_lock(tmp_path):
    for text in ("", "[]", '{"id": 1}'):
        (tmp_path / LOCK).write_text(text)
        with pytest.raises(ValueError, match=r"not a lock.*if no run uses this folder, remove the file"):
            RunLock(tmp_path).__enter__()

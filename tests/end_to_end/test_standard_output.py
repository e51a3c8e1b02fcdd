"""What a command says when nobody can read what it prints."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import ROOT
from detect_runs import noise, rows

COMMANDS = {
    "flam-train": "from flam_train.cli.train import main; sys.exit(main(sys.argv[1:]))",
    "flam-eval": "from flam_train.cli.scripts import main; main(sys.argv[1:])",
    "flam-eval table": "from flam_train.cli.scripts import main; main(['table', *sys.argv[1:]])",
    "flam-convert": "from flam_train.cli.convert import main; main(sys.argv[1:])",
    "flam-detect": "from flam_train.cli.detect import main; main(sys.argv[1:])",
}


def started(program: str, *arguments: object, to: object = None, buffered: bool = True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"import sys\n{program}", *map(str, arguments)]
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    return subprocess.run(command, stdout=to, stderr=subprocess.PIPE, text=True, env=env)


@pytest.fixture
def full(tmp_path) -> Path:
    """A device like /dev/full, which is no device in every container."""
    path = Path("/dev/full")
    if not (path.exists() and stat.S_ISCHR(path.stat().st_mode)):
        path = tmp_path / "full"
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
            path.open("wb").close()
        except OSError:
            pytest.skip("no /dev/full, and none can be made")
    return path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("buffered", [True, False])
def test_help_that_cannot_be_written(command, buffered):
    with open(os.devnull, "rb") as nothing:
        done = started(COMMANDS[command], "--help", to=nothing, buffered=buffered)
    told = "error: standard output: Bad file descriptor: mend it, and run the same command again\n"
    assert (done.returncode, done.stderr) == (1, told)


@pytest.mark.parametrize("buffered", [True, False])
def test_a_disk_without_room(full, buffered):
    with full.open("wb") as file:
        done = started(COMMANDS["flam-train"], "--help", to=file, buffered=buffered)
    told = "error: standard output: No space left on device: make room, and run the same command again\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_a_mistake_in_the_command_stays_one():
    with open(os.devnull, "rb") as nothing:
        done = started(COMMANDS["flam-detect"], "run", to=nothing)
    assert done.returncode == 2
    assert "standard output" not in done.stderr


def test_labels_that_are_only_reported(tmp_path):
    noise(f"{tmp_path}/a.wav", 3)
    (tmp_path / "a.txt").write_text("1\t2\train\n")
    program = f"import runpy; sys.argv[0] = 'custom.py'; runpy.run_path({str(ROOT / 'data_prep/custom.py')!r}, "
    with open(os.devnull, "rb") as nothing:
        done = started(program + "run_name='__main__')", tmp_path, "none", "--report-only", "--quiet", to=nothing)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: ")


def closed(program: str, *arguments: object) -> subprocess.CompletedProcess:
    """As `>&-` of a shell."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", f"import sys\n{program}", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True)


def piped(program: str, *arguments: object) -> subprocess.CompletedProcess:
    """As `| head -1` of a shell, which has gone before anything is printed."""
    read, write = os.pipe()
    os.close(read)
    try:
        return started(program, *arguments, to=write)
    finally:
        os.close(write)


def unwritable(program: str, *arguments: object) -> subprocess.CompletedProcess:
    with open(os.devnull, "rb") as nothing:
        return started(program, *arguments, to=nothing)


@pytest.mark.parametrize(("run", "code", "told"), [(closed, 0, ""), (piped, 1, ""), (unwritable, 1, "standard output")])
def test_detection_has_done_its_work(
    export, tmp_path, monkeypatch, run: Callable[..., subprocess.CompletedProcess], code: int, told: str
):
    monkeypatch.chdir(tmp_path)
    noise("a.wav", 3)
    done = run(COMMANDS["flam-detect"], "run", export, "a.wav", "--phrases", "rain", "--out", "out", "--quiet")
    assert done.returncode == code, done.stderr
    assert done.stderr.removeprefix("error: ").partition(":")[0] == told
    assert rows("out/summary.csv")[0]["status"] == "done"


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    program = (
        "import os; from flam_train.cli.answers import printing\n"
        "with printing(), open(sys.argv[1], 'w') as file: os.write(1, b'of a library'); file.write('mine')"
    )
    assert closed(program, tmp_path / "file").returncode == 0
    assert (tmp_path / "file").read_text() == "mine"

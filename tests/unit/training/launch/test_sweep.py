"""How a sweep ends: what becomes of its points when they end well, ill, by a signal, or are asked to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from flam_train.training.launch import sweep
from flam_train.training.launch.points import Planned

TOUCH = "import pathlib, signal, sys, time; pathlib.Path(sys.argv[1]).touch(); "
WAIT = "time.sleep(60)"


def ending(monkeypatch, tmp_path: Path, capsys, *codes: str, flags=("--dry-run",)) -> tuple[int, list[str], list[bool]]:
    """The exit code, what became of each point, and whether it ran. codes: of Python, one a point."""
    planned = [Planned(f"x={n}", tmp_path / f"x={n}", (code,), {}) for n, code in enumerate(codes)]

    def python(point: Planned, flags: list[str]) -> list[str]:
        return [sys.executable, "-S", "-c", TOUCH + point.overrides[0], str(tmp_path / f"ran-{point.name}")]

    monkeypatch.setattr(sweep, "command", python)
    code = sweep.run_points(planned, flags)
    _, *lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == [point.name for point in planned]
    return code, [line.split(maxsplit=1)[1] for line in lines], [(tmp_path / f"ran-{p.name}").exists() for p in planned]


@pytest.mark.parametrize(
    ("codes", "code", "outcomes"),
    [
        (("", ""), 0, ["done", "done"]),
        (("sys.exit(2)", "", "sys.exit(1)"), 1, ["failed, exit code 2", "done", "failed, exit code 1"]),
        (("signal.raise_signal(9)", ""), 1, ["killed by SIGKILL", "done"]),
        (("", "sys.exit(75)", ""), 75, ["done", "stopped", "not begun"]),
        (("sys.exit(130)", ""), 130, ["stopped", "not begun"]),
        (("sys.exit(3)", "sys.exit(75)"), 75, ["failed, exit code 3", "stopped"]),
    ],
)
def test_how_points_end(codes, code, outcomes, monkeypatch, tmp_path, capsys):
    found = ending(monkeypatch, tmp_path, capsys, *codes)
    assert found == (code, outcomes, [outcome != "not begun" for outcome in outcomes])


def asked_when(path: Path, kind: signal.Signals) -> None:
    def ask() -> None:
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.1)  # for the handler that is set behind it
        os.kill(os.getpid(), kind)

    threading.Thread(target=ask, daemon=True).start()


SAVES = "signal.signal(15, lambda *_: sys.exit(75)); signal.signal(10, lambda *_: sys.exit(75)); " + WAIT


@pytest.mark.parametrize(
    ("kind", "first", "code", "outcome"),
    [
        (signal.SIGTERM, SAVES, 75, "stopped"),
        (signal.SIGUSR1, SAVES, 75, "stopped"),
        (signal.SIGINT, SAVES, 130, "stopped"),
        (signal.SIGTERM, WAIT, 75, "stopped"),  # before it listens
        (signal.SIGTERM, SAVES.replace("exit(75)", "exit(0)"), 75, "done"),  # at its end
        (signal.SIGTERM, SAVES.replace("exit(75)", "exit(1)"), 1, "failed, exit code 1"),  # what it did is lost
    ],
)
def test_a_sweep_that_is_asked_to_stop(kind, first, code, outcome, monkeypatch, tmp_path, capsys):
    before = [signal.getsignal(kind) for kind in sweep.REQUESTS]
    asked_when(tmp_path / "ran-x=0", kind)
    found = ending(monkeypatch, tmp_path, capsys, first, "")
    assert found == (code, [outcome, "not begun"], [True, False])
    assert [signal.getsignal(kind) for kind in sweep.REQUESTS] == before


def test_a_last_point_that_ends_well_is_the_end_of_the_sweep(monkeypatch, tmp_path, capsys):
    asked_when(tmp_path / "ran-x=0", signal.SIGTERM)
    found = ending(monkeypatch, tmp_path, capsys, SAVES.replace("exit(75)", "exit(0)"))
    assert found == (0, ["done"], [True])


def test_a_folder_that_cannot_go_on_is_a_point_that_failed(monkeypatch, tmp_path, capsys):
    def refused(conf: dict) -> str:
        raise ValueError("holds a run with other settings")

    monkeypatch.setattr(sweep, "nothing_left", refused)
    assert ending(monkeypatch, tmp_path, capsys, "", flags=()) == (1, ["failed"], [False])
    monkeypatch.setattr(sweep, "nothing_left", lambda conf: "all 4 steps are done")
    assert ending(monkeypatch, tmp_path, capsys, "", flags=()) == (0, ["was done"], [False])

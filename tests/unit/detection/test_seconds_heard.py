"""What is shown while recordings are listened to."""

from __future__ import annotations

import io

import pytest

from flam_train.detection import progress as module
from flam_train.detection.progress import Progress, hours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def expecting(seconds: float, recordings: int, **options) -> Progress:
    """All of one length, which is known."""
    progress = Progress(recordings, **options)
    for _ in range(recordings):
        progress.expect(seconds / recordings)
    return progress


def test_what_is_not_measured_yet_is_more(clock):
    file = io.StringIO()
    progress = Progress(3, file=file)
    for _ in range(2):
        progress.expect(600.0)
    with progress.recording(600.0):
        for known in (False, True):
            if known:
                progress.expect(2400.0)
            clock[0] += 30.0
            progress.heard(300.0)
    assert file.getvalue().splitlines() == [
        "0 of 3 recordings, 5:00 min of more than 20:00 min, 10 x real time",
        "0 of 3 recordings, 17 % of 1:00:00 h, 10 x real time, 5:00 min left",
    ]


def test_a_log_has_a_line_every_half_minute(clock):
    file = io.StringIO()
    progress = expecting(7200.0, 3, file=file)
    with progress.recording(3600.0):
        for _ in range(60):
            clock[0] += 1.0
            progress.heard(30.0)
    lines = file.getvalue().splitlines()
    assert lines == [
        "0 of 3 recordings, 12 % of 2:00:00 h, 30 x real time, 3:30 min left",
        "0 of 3 recordings, 25 % of 2:00:00 h, 30 x real time, 3:00 min left",
    ]


def test_a_terminal_has_one_line_that_notes_do_not_break(clock):
    file = Terminal()
    progress = expecting(100.0, 1, file=file)
    with progress.recording(100.0):
        clock[0] += 1.0
        progress.heard(50.0)
        progress.note("failed: a.wav")
        progress.end()
    shown = file.getvalue()
    assert shown.count("\n") == 1
    assert "50 % of 1:40 min, 50 x real time, 1 s left" in shown
    assert shown.endswith("\rfailed: a.wav\n")
    assert max(map(len, shown.replace("\n", "\r").split("\r"))) <= module.WIDTH


def test_more_than_a_recording_is_never_heard_of_it(clock):
    """The last window is longer than what there is; one that failed counts as passed."""
    file = Terminal()
    progress = expecting(30.0, 3, file=file)
    for heard in (15.0, 0.0, 10.0):
        with progress.recording(10.0):
            clock[0] += 1.0
            progress.heard(heard)
    assert "2 of 3 recordings, 100 % of 30 s" in file.getvalue().split("\r")[-1]


def test_quiet_and_named(clock):
    file = Terminal()
    quiet = expecting(10.0, 1, quiet=True, file=file)
    with quiet.recording(10.0):
        clock[0] += 60.0
        quiet.heard(10.0)
    quiet.note("failed: a.wav")
    quiet.end()
    assert file.getvalue() == "failed: a.wav\n"
    named = expecting(10.0, 1, name="1/2", file=(file := Terminal()))
    with named.recording(10.0):
        clock[0] += 60.0
        named.heard(10.0)
    assert file.getvalue().startswith("1/2: 0 of 1 recordings, 100 %"), "several share a terminal: lines"


def test_no_seconds_at_all(clock):
    file = Terminal()
    progress = expecting(0.0, 1, file=file)
    with progress.recording(0.0):
        clock[0] += 1.0
        progress.heard(0.3)
    assert "0 of 1 recordings, 0 s, 0 x real time" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599.6, "1:00:00 h"), (90061, "25:01:01 h")]
)
def test_hours(seconds, said):
    assert hours(seconds) == said

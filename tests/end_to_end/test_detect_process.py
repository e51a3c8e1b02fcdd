"""flam-detect run as a process among others: its streams and locale, signals, parts, what it costs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from detect_runs import LOOSE, PHRASES, files, noise, rows, run

from flam_train.detection.tables.formats import FORMATS

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""The encoder in the first thread, where a signal is heard at once."""


def test_closed_standard_input(export):
    noise("a.wav", 1)
    command = [sys.executable, "-m", "flam_train.cli.detect", "run", str(export), "-", "--phrases", "rain"]
    script = 'exec "$@" --out out <&-'
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True)
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
    done = subprocess.run([*command, "--out", "out", "--quiet"], input="a.wav\n", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_locale_of_nothing_but_ascii(export):
    noise("чайка 🐕.wav", 1)
    command = [sys.executable, "-m", "flam_train.cli.detect", "run", str(export), "чайка 🐕.wav", "--phrases", "🐕"]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "--out", "out", "--threshold", "0"], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert rows("out/events.tsv")[0] == {
        "filename": "чайка 🐕.wav", "onset": "0.000", "offset": "1.000", "event_label": "🐕"
    }  # fmt: skip


def test_a_german_locale(export, tmp_path):
    places = tmp_path / "locales"
    made = ["localedef", "-c", "-i", "de_DE", "-f", "UTF-8", str(places / "de_DE.UTF-8")]
    places.mkdir()
    if shutil.which("localedef") is None or subprocess.run(made, capture_output=True).returncode:
        pytest.skip("no German locale can be made here")
    noise("a.wav", 5)
    code = (
        "import locale, sys\nfrom flam_train.cli import detect\n"
        "locale.setlocale(locale.LC_ALL, ''); assert locale.str(1.5) == '1,5'\n"
        "detect.main(sys.argv[1:])"
    )
    formats = ["--format", *FORMATS]
    command = [sys.executable, "-c", code, "run", str(export), "a.wav", "--phrases", "rain", "--threshold", "0"]
    env = {**os.environ, "LC_ALL": "de_DE.UTF-8", "LOCPATH": str(places)}
    done = subprocess.run([*command, *formats, "--out", "german"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run(export, "a.wav", "--phrases", "rain", "--threshold", "0", *formats, "--out", "plain")
    for name in [name for name in files("plain") if name.startswith(("a.wav", "events", "summary"))]:
        assert files("german")[name] == files("plain")[name], name


@pytest.mark.slow
def test_twelve_hours(export):
    """In memory that an hour needs, and none of its clock times a frame late."""
    with soundfile.SoundFile("night.flac", "w", 8000, 1) as file:
        for n in range(12 * 60):
            file.write(np.random.default_rng(n).normal(size=8000 * 60) * 0.05)
    code = (
        "import resource, sys\nfrom flam_train.cli import detect\n"
        "try: detect.main(sys.argv[1:])\n"
        "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, "run", str(export), "night.flac", "--phrases", *PHRASES, *LOOSE]
    peaks = []
    for to in ("1:00:00", "12:00:00"):
        done = subprocess.run([*command, "--to", to, "--out", to[:2]], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 80, f"{peaks} MiB"
    assert rows("12/summary.csv")[0]["analysed"] == "43200"
    command += ["--from", "11:50:00", "--format", "csv", "--start", "2024-05-01T20:00:00+00:00", "--out", "last"]
    subprocess.run(command, check=True, capture_output=True)

    def late(table: str) -> list[list[str]]:
        spans = [[row[name] for name in ("event_label", "onset", "offset")] for row in rows(table)]
        return sorted(one for one in spans if float(one[1]) > 42_700 and float(one[2]) < 43_190)

    assert late("last/events.csv") == late("12/events.tsv") != []
    for row in rows("last/events.csv"):
        passed = datetime.fromisoformat(row["onset_datetime"]) - datetime(2024, 5, 1, 20, tzinfo=UTC)
        assert passed.total_seconds() == float(row["onset"])


STOPPED = """
import signal, sys
from flam_train.cli import detect
from flam_train.detection import embedding

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
batches, real = [], embedding.full_precision

def until(frame_WTD):
    batches.append(1)
    if len(batches) == 5:
        signal.raise_signal(signal.Signals[sys.argv[1]])
    return real(frame_WTD)

embedding.full_precision = until
detect.main(sys.argv[2:])
"""
"""A signal while the fifth batch of windows is embedded."""


@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM"])
def test_what_is_stopped_leaves_whole_files_and_the_same_command_goes_on(export, by):
    for n in range(4):
        noise(f"rec/{n}.wav", 30, seed=n)
    command = ["run", str(export), "rec", "--phrases", *PHRASES, *LOOSE, "--keep", "--batch-size", "2", "--out"]
    script = [sys.executable, "-c", STOPPED, by, *command, "out"]
    stopped = subprocess.run(script, capture_output=True, text=True, env=ONE_THREAD)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on" in stopped.stderr
    assert not [name for name in files() if Path(name).name.startswith(".") and not name.startswith(".lock")]
    assert [row["status"] for row in rows("out/summary.csv")] == ["done", *["not done"] * 3]
    run(*command[1:], "out")
    run(*command[1:], "straight")
    tables = {name: data for name, data in files().items() if name.endswith(".tsv")}
    assert tables == {name: data for name, data in files("straight").items() if name.endswith(".tsv")}


def test_what_is_stopped_while_threads_share_the_work(export):
    """Whoever waits for them hears it, and they end; how much is done by then is chance."""
    for n in range(4):
        noise(f"rec/{n}.wav", 30, seed=n)
    command = ["run", str(export), "rec", "--phrases", *PHRASES, *LOOSE, "--keep", "--batch-size", "2", "--out"]
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}
    script = STOPPED.replace("signal.raise_signal(", "import os; os.kill(os.getpid(), ")
    stopped = subprocess.run(
        [sys.executable, "-c", script, "SIGINT", *command, "out"], capture_output=True, text=True, env=threads
    )
    assert (stopped.returncode, stopped.stderr.splitlines()[-1]) == (130, "stopped; the same command goes on")
    assert "Traceback" not in stopped.stderr
    assert not [name for name in files() if Path(name).name.startswith(".") and not name.startswith(".lock")]
    whole = [sys.executable, "-m", "flam_train.cli.detect", *command]
    for out in ("out", "straight"):
        subprocess.run([*whole, out], check=True, capture_output=True, env=threads)
    assert rows("out/events.tsv") == rows("straight/events.tsv")


TWICE = """
import atexit, signal, sys
from flam_train.cli import answers, detect, detect_run, evaluate
from flam_train.detection import embedding

signal.signal(signal.SIGINT, signal.default_int_handler)
again, by = sys.argv[1], signal.Signals[sys.argv[2]]
real = {"embedding": embedding.full_precision, "joining": detect_run._join, "telling": evaluate.answer, "leaving": id}

def first(frame_WTD, batches=[]):
    batches.append(1)
    if len(batches) == 5:
        signal.raise_signal(signal.SIGINT)
    return real["embedding"](frame_WTD)

def second(*given):
    signal.raise_signal(by)
    return real[again](*given)

embedding.full_precision = first
if again == "joining":
    detect_run._join = second
elif again == "telling":
    evaluate.answer = second
else:
    atexit.register(second, 0)
detect.main(sys.argv[3:])
"""
"""Ctrl-C, and another signal while that one is being handled."""


@pytest.mark.parametrize(("again", "by"), [("joining", "SIGINT"), ("telling", "SIGTERM"), ("leaving", "SIGINT")])
def test_a_second_ctrl_c_ends_it_at_once_and_quietly(export, again, by):
    for n in range(3):
        noise(f"rec/{n}.wav", 30, seed=n)
    command = ["run", str(export), "rec", "--phrases", *PHRASES, *LOOSE, "--keep", "--quiet", "--batch-size", "2"]
    script = [sys.executable, "-c", TWICE, again, by, *command, "--out", "out"]
    stopped = subprocess.run(script, capture_output=True, text=True, env=ONE_THREAD)
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert stopped.stderr == ("\nstopped; the same command goes on\n" if again == "leaving" else "")
    whole = files()
    run(*command[1:], "--out", "straight")
    assert "rec/0.wav.tsv" in whole
    assert all(files("straight")[name] == data for name, data in whole.items() if name.startswith("rec/"))
    run(*command[1:], "--out", "out")
    assert rows("out/events.tsv") == rows("straight/events.tsv")


def test_ctrl_c_of_a_terminal_ends_several_processes_quietly(export):
    for n in range(2):
        noise(f"rec/{n}.wav", 5, seed=n)
    command = [sys.executable, "-c", FOREGROUND, "run", str(export), "rec", "--phrases", "rain", "--out", "out"]
    process = subprocess.Popen(
        [*command, "--device", "cpu,cpu"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr.readline() == "2 recordings, on the CPU, the CPU\n"
    os.killpg(process.pid, signal.SIGINT)  # while they begin, or later
    _, said = process.communicate()
    assert (process.returncode, said) == (130, "\nstopped; the same command goes on\n")
    run(*command[4:])


FOREGROUND = """
import signal, sys
from flam_train.cli import detect

signal.signal(signal.SIGINT, signal.default_int_handler)
detect.main(sys.argv[1:])
"""

KILLED = """
import os, signal, sys
from flam_train.cli import detect
from flam_train.detection import embedding

real, made = {"embedding": embedding.full_precision, "replace": os.replace}, []

def until(*given):
    made.append(given)
    if len(made) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real[sys.argv[1]](*given)

if sys.argv[1] == "embedding":
    embedding.full_precision = until
else:
    os.replace = until
detect.main(sys.argv[2:])
"""
"""kill -9 while frames are kept, or a result has been written and not yet renamed."""


@pytest.mark.parametrize("while_", ["embedding", "replace"])
def test_what_kill_9_leaves_half_written_goes_with_the_next_run(export, while_):
    for n in range(2):
        noise(f"rec/{n}.wav", 30, seed=n)
    command = ["run", str(export), "rec", "--phrases", *PHRASES, *LOOSE, "--keep", "--batch-size", "2", "--out"]
    script = [sys.executable, "-c", KILLED, while_, *command, "out"]
    killed = subprocess.run(script, capture_output=True, text=True, env=ONE_THREAD)
    assert killed.returncode == -9, killed.stderr

    def drafts():
        return [name for name in files() if re.fullmatch(r"\..*\.[0-9]+", Path(name).name)]

    assert len(drafts()) == 1
    run(*command[1:], "out", "--part", "2/2")
    assert drafts() == []
    run(*command[1:], "out")
    run(*command[1:], "straight")
    locks = {name for name in files() if name.startswith(".lock")}
    assert {n: d for n, d in files().items() if n not in locks and ".done" not in n} == {
        n: d for n, d in files("straight").items() if n not in locks and ".done" not in n
    }


def test_parts_and_several_devices_find_the_same(export):
    for n in range(5):
        noise(f"rec/{n}.wav", 12, seed=n)
    command = (export, "rec", "--phrases", *PHRASES, *LOOSE, "--out")
    run(*command, "alone")
    for part in ("1/2", "2/2"):
        run(*command, "parts", "--part", part)
    run(*command, "two", "--device", "cpu,cpu")
    for folder in ("parts", "two"):
        assert rows(f"{folder}/events.tsv") == rows("alone/events.tsv")
        assert {row["status"] for row in rows(f"{folder}/summary.csv")} == {"done"}
    Path("rec/2.wav").write_text("")
    run(*command, "two", "--device", "cpu,cpu", code=3)


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom flam_train.cli import detect\n"
        "try: detect.main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'lightning', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")

"""Done means done with these settings: whole files, none of other settings, one process in a folder."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flam_train import disk
from flam_train.data.labels.detected import DONE as STATUSES
from flam_train.data.labels.detected import SETTINGS
from flam_train.detection.events import Detection
from flam_train.detection.recordings import recordings_of
from flam_train.detection.results import Dead, Outcome, Results

PHRASES = ["a dog", '=HYPERLINK("x"), "y"']
EVENTS = (Detection(0.5, 1.25, "a dog", 0.75, 0.9), Detection(2.0, 3.0, "a dog", 0.5, math.nan, 2))
DEAD = (Dead(10.0, 12.5),)
DONE = Outcome(
    "done",
    "",
    3600.5,
    8000,
    60.0,
    1800.0,
    (Dead(10.0, 12.5),),
    "2024-01-31T23:59:59.000+01:00",
    "",
    ("a note",),
    EVENTS,
)
FAILED = Outcome("failed", "a.wav: truncated\naudio")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def recordings(tmp_path, out):
    for name in ("a.wav", "b.wav", "=c.wav", "s/a.wav", os.fsdecode(b"\xff.wav")):
        (tmp_path / "recs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "recs" / name).write_text(name.encode(errors="replace").decode())
    return recordings_of([str(tmp_path / "recs")], out)


def results(out, **changed) -> Results:
    given = {"export": "0" * 64, "phrases": PHRASES, "audio": {"channel": "mean"}, "options": {"threshold": 0.5}}
    return Results(out, **given | changed)


def text(said: str):
    return lambda file: file.write(said.encode())


def put(results: Results, recording, outcome: Outcome = DONE, **files: str) -> None:
    writers = {f".{ending}": text(said) for ending, said in (files or {"tsv": "events"}).items()}
    results.put(recording, results.finger_print(recording), outcome, writers)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_put_is_found_again(out, recordings):
    before = results(out)
    for recording in recordings:
        assert before.outcome(recording) is None
    put(before, recordings[0])
    put(before, recordings[1], FAILED, log="why")
    after = results(out)
    assert after.file(recordings[0], ".tsv").read_text() == "events"
    assert repr(after.outcome(recordings[0])) == repr(DONE)  # of which one number is none
    assert repr(after.outcome(recordings[1])) == repr(FAILED)
    assert after.to_do(recordings) == recordings[1:]  # what failed is tried again


@pytest.mark.parametrize(
    "changed",
    [{"export": "1" * 64}, {"phrases": ["a dog"]}, {"audio": {"channel": 1}}, {"options": {"threshold": 0.6}}],
)
def test_other_settings_are_done_again(changed, out, recordings):
    put(results(out), recordings[0])
    assert results(out, **changed).outcome(recordings[0]) is None


def test_another_version_does_it_again(out, recordings, monkeypatch):
    put(results(out), recordings[0])
    monkeypatch.setattr("flam_train.detection.results.__version__", "99")
    assert results(out).outcome(recordings[0]) is None


def test_a_recording_that_changed_is_done_again(out, recordings):
    first, second = recordings[:2]
    for recording in (first, second):
        put(results(out), recording)
    about = first.path.stat()
    os.utime(first.path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    second.path.write_text("longer than before")
    assert results(out).to_do([first, second]) == [first, second]
    second.path.unlink()
    assert results(out).outcome(second) is None


def test_a_result_that_is_gone_or_cut_is_done_again(out, recordings):
    for harm in (Path.unlink, lambda path: path.write_text("eve")):
        put(results(out), recordings[0])
        assert results(out).outcome(recordings[0]) is not None
        harm(results(out).file(recordings[0], ".tsv"))
        assert results(out).outcome(recordings[0]) is None
    put(results(out), recordings[0])
    (out / STATUSES / f"{recordings[0].place}.json").write_text('{"finger')
    assert results(out).outcome(recordings[0]) is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_is_stopped_is_not_taken_for_done(stop, out, recordings):
    def stopped(file):
        file.write(b"half")
        raise stop

    one, recording = results(out), recordings[0]
    put(one, recording, tsv="old", csv="old")
    with pytest.raises((KeyboardInterrupt, OSError)):
        one.put(recording, one.finger_print(recording), DONE, {".tsv": text("new"), ".csv": stopped})
    assert one.outcome(recording) is None
    assert names(out) == ["recs/=c.wav.csv", "recs/=c.wav.tsv"]
    assert one.file(recording, ".tsv").read_text() == "new"
    assert one.file(recording, ".csv").read_text() == "old"


def test_files_of_an_older_outcome_go(out, recordings):
    put(results(out), recordings[0], tsv="old", csv="old")
    put(results(out, options={}), recordings[0], tsv="new", json="new")
    place = recordings[0].place
    assert names(out) == [f"{STATUSES}/{place}.json", f"{place}.json", f"{place}.tsv"]


def test_a_finger_print_is_plain_and_whole(out, recordings):
    one = results(out, audio={"part": (0.0, math.inf), "channel": "each"})
    found = one.finger_print(recordings[0])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found.keys() == {"format", "version", "export", "phrases", "audio", "options", "file"}
    assert one.frames_bound(recordings[0]) == {name: found[name] for name in ("export", "audio", "file")}


def test_the_settings_stand_beside_it(out):
    with results(out).held():
        found = json.loads((out / SETTINGS).read_text())
    assert found["phrases"] == PHRASES
    assert found["options"] == {"threshold": 0.5}


def test_one_process_in_a_folder(out):
    again = rf"{out}: another process does this: wait for its end, or give another --out"
    with results(out).held():
        for part in ((1, 1), (1, 2)):
            with pytest.raises(ValueError, match=again), results(out).held(part):
                pass
    with results(out).held((1, 2)), results(out).held((2, 2)):
        with pytest.raises(ValueError, match=again), results(out).held():
            pass
        with pytest.raises(ValueError, match="another process does part 2/2 of this"), results(out).held((2, 2)):
            pass
    with results(out).held():
        pass


def test_another_process_is_refused_and_a_dead_one_is_not(out):
    code = (
        "import sys, flam_train.detection.results as r\n"
        f"with r.Results({str(out)!r}, '', [], {{}}, {{}}).held():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="another process does this"), results(out).held():
            pass
    finally:
        process.kill()
        process.communicate()
    with results(out).held():
        pass


def test_a_disk_without_locks(out, recordings, monkeypatch):
    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(disk.fcntl, "flock", refused)
    with results(out).held():
        put(results(out), recordings[0])
        with results(out).joining():
            assert results(out).to_do(recordings[:1]) == []

"""From recordings to shards: windows, missing audio, parts, kills."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from checkout import ROOT
from recording_files import tone

from flam_train.cli import prepare as cli
from flam_train.data.preparation.listing import Listing, Options, prepare, read_missing
from flam_train.data.preparation.merging import merge
from flam_train.data.preparation.planned import events_of, windows
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.opening import measure
from flam_train.data.sound.reading import read
from flam_train.data.stream.clips import cut

QUIET = Options(processes=1, per_shard=4, show=False)


def recordings(folder: Path, lengths: list[float], **fields) -> list[Recording]:
    out = []
    for n, seconds in enumerate(lengths):
        path = tone(folder / f"{n:03d}.wav", seconds, hz=200 + 10 * n)
        out.append(Recording(f"r{n:03d}", path, f"labels.tsv: row {n + 1}", source=path.name, **fields))
    return out


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("kind", "seconds", "expected"),
    [
        ("events", 3.0, [(0, 3.0)]),
        ("events", 10.9, [(0, 10.0)]),
        ("events", 11.0, [(0, 10.0), (10.0, 1.0)]),
        ("events", 25.5, [(0, 10.0), (10.0, 10.0), (20.0, 5.5)]),
        ("events", 20.4, [(0, 10.0), (10.0, 10.0)]),
        ("captions", 25.5, [(0, 25.5)]),
        ("captions", 100.0, [(0, 60.0)]),
    ],
)
def test_windows(kind, seconds, expected):
    assert windows(kind, seconds) == expected


def test_events_are_cut_at_the_windows_and_the_end(tmp_path):
    events = (Event(1.0, 2.0, "a"), Event(9.0, 12.0, "b"), Event(23.0, 99.0, "c"), Event(50.0, 60.0, "gone"))
    listing = Listing("toy", recordings(tmp_path / "audio", [24.0, 0.5], events=events), "events")
    corpus = Corpus(prepare(listing, tmp_path / "out", QUIET))
    found = {corpus.key(n): corpus.record(n) for n in range(len(corpus))}
    assert sorted(found) == ["r000-0000", "r000-0001", "r000-0002", "r001"]
    assert found["r000-0000"].events == (Event(1.0, 2.0, "a"), Event(9.0, 10.0, "b"))
    assert found["r000-0001"].events == (Event(0.0, 2.0, "b"),)
    assert found["r000-0002"].events == (Event(3.0, 4.0, "c"),)
    assert found["r000-0001"].details["cut_from"] == [10.0, 20.0]
    assert found["r001"].duration == 0.5
    assert corpus.manifest["details"]["events"] == 4
    whole = read(listing.recordings[0].path)
    window = next(n for n in range(len(corpus)) if corpus.key(n) == "r000-0001")
    assert np.abs(corpus.waveform(window).astype(int) - whole[480_000:960_000]).max() <= 1


def test_a_bank_is_cut_to_where_it_sounds(tmp_path):
    wave = np.concatenate([np.zeros(8000), 0.5 * np.sin(np.arange(8000) / 5), np.zeros(16_000)])
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    made = [Recording(n, tmp_path / f"{n}.wav", "row", events=(Event(0, 2.0, "dog_bark"),)) for n in ("a", "silent")]
    options = Options(processes=1, most_missing=0.5, show=False)
    corpus = Corpus(prepare(Listing("toy", made, "bank"), tmp_path / "out", options))
    record = corpus.record(0)
    assert len(corpus) == 1
    assert record.duration == pytest.approx(0.5, abs=0.03)
    assert record.events == (Event(0.0, record.duration, "dog_bark"),)
    assert record.details["role"] == "event"
    assert [key for key, _, why in read_missing(tmp_path / "out") if "silent throughout" in why] == ["silent"]


def test_missing_and_unreadable_audio_is_listed_and_too_much_of_it_fails(tmp_path):
    made = recordings(tmp_path / "audio", [0.3] * 10)
    made[3].path.unlink()
    made[7].path.write_bytes(b"RIFF nothing")
    half = made[5].path.read_bytes()
    made[5].path.write_bytes(half[: len(half) // 3])  # the header is whole, the rest is not
    listing = Listing("toy", made, "captions")
    with pytest.raises(ValueError, match=r"missing.tsv: [23] of 10 recordings.*more than 5%.*--max-missing"):
        prepare(listing, tmp_path / "out", QUIET)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert {key for key, _, _ in read_missing(tmp_path / "out")} >= {"r003", "r007"}
    corpus = Corpus(prepare(listing, tmp_path / "out", Options(processes=1, per_shard=4, most_missing=0.3, show=False)))
    keys = {corpus.key(n) for n in range(len(corpus))}
    gone = {key for key, _, _ in read_missing(tmp_path / "out")}
    assert keys | gone == {r.key for r in made}
    assert not keys & gone
    assert corpus.manifest["details"]["missing"] == len(gone)


def test_a_window_that_cannot_be_decoded_is_left_out_of_its_shard(tmp_path):
    made = recordings(tmp_path / "audio", [0.3] * 9)
    for r in made:
        soundfile.write(r.path.with_suffix(".flac"), *soundfile.read(r.path))
    made = [Recording(r.key, r.path.with_suffix(".flac"), r.where) for r in made]
    data = bytearray(made[4].path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)  # both ends are as they should be
    made[4].path.write_bytes(data)
    assert measure(made[4].path).seconds == pytest.approx(0.3)
    with pytest.raises(Unusable):
        read(made[4].path)
    options = Options(processes=1, per_shard=4, most_missing=0.2, show=False)
    corpus = Corpus(prepare(Listing("toy", made, "captions"), tmp_path / "out", options))
    assert len(corpus) == 8
    assert [key for key, _, _ in read_missing(tmp_path / "out")] == ["r004"]
    assert not list((tmp_path / "out").glob(".*"))


def test_windows_of_a_recording_do_not_sit_together(tmp_path):
    made = recordings(tmp_path / "audio", [31.0] * 3, events=(Event(0, 31, "a"),))
    corpus = Corpus(prepare(Listing("toy", made, "events"), tmp_path / "out", QUIET))
    order = [corpus.key(n) for n in range(len(corpus))]
    assert len(order) == 12
    assert order != sorted(order)
    neighbours = sum(a[:4] == b[:4] for a, b in itertools.pairwise(order))
    assert neighbours < 8  # 9 if they sat together


def test_parts_and_merge(tmp_path):
    made = recordings(tmp_path / "audio", [0.2] * 11, captions=("a tone",))
    made[2].path.unlink()
    out = tmp_path / "out"
    parts = [Options((i, 3), 1, per_shard=2, most_missing=0.5, show=False) for i in (1, 2, 3)]
    listing = Listing("toy", made, "captions", details={"maker": "test"}, files={"note.txt": "hello"})
    prepare(listing, out, parts[0])
    prepare(listing, out, parts[1])
    with pytest.raises(ValueError, match=r"part-0003-of-0003: is not there"):
        merge(out)
    assert not (out / "manifest.json").exists()
    prepare(listing, out, parts[2])
    merge(out)
    once = bytes_of(out)
    merge(out)
    assert bytes_of(out) == once
    corpus = Corpus(out, verify=True)
    assert {corpus.key(n) for n in range(len(corpus))} == {r.key for r in made} - {"r002"}
    assert all(len(corpus.waveform(n)) == 9600 for n in range(len(corpus)))
    assert corpus.manifest["details"] | {"recordings": 11, "missing": 1, "parts": 3} == corpus.manifest["details"]
    assert (out / "note.txt").read_text() == "hello"
    assert [key for key, _, _ in read_missing(out)] == ["r002"]
    shutil.rmtree(out / "part-0002-of-0003")
    other = Listing("toy", made[:-1], "captions")
    with pytest.raises(ValueError, match=r"part-0001-of-0003, \S*part-0003-of-0003 holds shards made in another way"):
        prepare(other, out, parts[1])
    assert not (out / "part-0002-of-0003").exists()
    prepare(other, tmp_path / "elsewhere", parts[1]).rename(out / "part-0002-of-0003")
    with pytest.raises(ValueError, match="other labels"):
        merge(out)


def test_a_part_may_be_empty(tmp_path):
    made = recordings(tmp_path / "audio", [0.2] * 2, captions=("a tone",))
    for i in (1, 2, 3):
        prepare(Listing("toy", made, "captions"), tmp_path / "out", Options((i, 3), 1, show=False))
    assert len(Corpus(merge(tmp_path / "out"))) == 2


def test_events_of_windows_equal_a_cut_of_each():
    rng = np.random.default_rng(0)
    onsets = rng.uniform(0, 95, 200)
    events = [Event(on, on + rng.uniform(0.01, 30), str(n)) for n, on in enumerate(onsets)]
    events += [Event(10.0, 20.0, "edge"), Event(0.0, 100.0, "all"), Event(99.0, 500.0, "past")]
    parts = windows("events", 97.3)
    assert events_of(events, parts) == [cut(events, start, length) for start, length in parts]


def test_any_number_of_processes_makes_the_same_bytes_and_a_second_run_does_nothing(tmp_path):
    made = recordings(tmp_path / "audio", [0.2] * 9, captions=("a tone",))
    listing = Listing("toy", made, "captions")
    one = bytes_of(prepare(listing, tmp_path / "one", QUIET))
    two = prepare(listing, tmp_path / "two", Options(processes=2, per_shard=4, show=False))
    assert bytes_of(two) == one
    times = {p: p.stat().st_mtime_ns for p in two.iterdir()}
    prepare(listing, tmp_path / "two", QUIET)
    assert {p: p.stat().st_mtime_ns for p in two.iterdir()} == times
    with pytest.raises(ValueError, match="holds shards made in another way, with another --audio, --per-shard or"):
        prepare(listing, tmp_path / "two", Options(processes=1, per_shard=3, show=False))


KILLED = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
import test_preparation as t
from flam_train.data.preparation import recordings
if __name__ == "__main__":
    made = [t.Recording(f"r{{n:03d}}", Path({audio!r}) / f"{{n:03d}}.wav", "row", source=f"{{n:03d}}.wav",
            captions=("a tone",)) for n in range(40)]
    t.prepare(t.Listing("toy", made, "captions"), Path({out!r}), t.Options(processes=2, per_shard=4, show=False))
"""


@pytest.mark.parametrize("kills", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(kills, tmp_path):
    made = recordings(tmp_path / "audio", [3.0] * 40, captions=("a tone",))
    whole = bytes_of(prepare(Listing("toy", made, "captions"), tmp_path / "whole", QUIET))
    script = tmp_path / "script.py"
    out = tmp_path / "out"
    script.write_text(KILLED.format(path=sys.path, audio=str(tmp_path / "audio"), out=str(out)))
    rng = np.random.default_rng(0)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, str(script)], start_new_session=True, env=env)
        wanted = len(list(out.glob("*.tar"))) + int(rng.integers(0, 3))
        deadline = time.monotonic() + 60
        while process.poll() is None and len(list(out.glob("*.tar"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 0.05)))
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
    subprocess.run([sys.executable, str(script)], check=True, env=env)
    assert bytes_of(out) == whole


def test_mistakes(tmp_path):
    one = recordings(tmp_path, [0.2])[0]
    with pytest.raises(ValueError, match=r"labels.tsv: row 1: key 'r000' is that of labels.tsv: row 1 too"):
        prepare(Listing("toy", [one, one], "captions"), tmp_path / "out", QUIET)
    with pytest.raises(ValueError, match="no recording"):
        prepare(Listing("toy", [], "captions"), tmp_path / "out", QUIET)
    with pytest.raises(ValueError, match="parts are 1/3 to 3/3"):
        Options((4, 3))
    assert as_key("./-a b.c/Yé") == "__-a_b_c_Yé"
    assert not (tmp_path / "out").exists()
    assert (prepare(Listing("toy", [one], "captions"), tmp_path / "out", QUIET) / "manifest.json").is_file()


def test_changed_labelling_is_never_taken_for_the_same_corpus(tmp_path):
    made = recordings(tmp_path / "audio", [0.3] * 3, captions=("a tone",), events=(Event(0.0, 0.2, "a"),))
    prepare(Listing("toy", made, "captions"), tmp_path / "out", QUIET)
    for other in (
        Listing("toy", made, "events"),
        Listing("toy", made, "captions", annotates=("a",)),
        Listing("toy", made, "captions", details={"x": 1}),
        Listing("toy", made, "captions", files={"vocabulary.yaml": "corpus: toy"}),
    ):
        with pytest.raises(ValueError, match="holds shards made in another way, of other labels, or read with"):
            prepare(other, tmp_path / "out", QUIET)


def test_nothing_is_written_where_one_of_several_corpora_would_be_refused(tmp_path, capsys):
    """Else a rerun with other options would leave a new train beside an old test."""
    made = recordings(tmp_path / "audio", [0.2] * 4, captions=("a tone",))
    halves = {"train": made[:2], "test": made[2:]}

    def script(**chosen):
        listings = {name: Listing(f"toy-{name}", some, "captions") for name, some in chosen.items()}
        with contextlib.suppress(SystemExit):
            cli.run(cli.parser("toy"), lambda args: listings, [str(tmp_path), str(tmp_path / "out"), "--quiet"])
        return capsys.readouterr().err

    assert script(**halves) == ""
    shutil.rmtree(tmp_path / "out" / "train")
    assert re.search(r"out/test holds shards made in another way", script(train=made[:3], test=made[3:]))
    assert not (tmp_path / "out" / "train").exists()
    assert script(more=made) == ""  # published splits are fetched and made one by one
    assert script(**halves) == ""


def test_a_kill_behind_the_manifest_leaves_nothing_behind(tmp_path):
    listing = Listing("toy", recordings(tmp_path / "audio", [0.3] * 3, captions=("a tone",)), "captions")
    folder = prepare(listing, tmp_path / "out", QUIET)
    whole = bytes_of(folder)
    for name in (".plan.jsonl", ".plan.npy", ".plan.done", ".shard-000000.dropped.json"):
        (folder / name).write_text("[]")
    prepare(listing, folder, QUIET)
    assert bytes_of(folder) == whole


def test_what_was_missing_is_looked_for_again(tmp_path):
    made = recordings(tmp_path / "audio", [0.3] * 5, captions=("a tone",))
    made[3].path.rename(tmp_path / "later.wav")
    listing = Listing("toy", made, "captions")
    with pytest.raises(ValueError, match="1 of 5 recordings are missing"):
        prepare(listing, tmp_path / "out", QUIET)
    (tmp_path / "later.wav").rename(made[3].path)
    assert len(Corpus(prepare(listing, tmp_path / "out", QUIET))) == 5


def test_what_could_not_be_decoded_is_tried_again(tmp_path):
    made = recordings(tmp_path / "audio", [0.3] * 5, captions=("a tone",))
    good = made[2].path.read_bytes()
    soundfile.write(made[2].path, np.full(4800, np.nan), 16_000, subtype="FLOAT")
    listing = Listing("toy", made, "captions")
    with pytest.raises(ValueError, match=r"1 of 5 recordings are missing or unreadable.*NaN"):
        prepare(listing, tmp_path / "out", QUIET)
    made[2].path.write_bytes(good)
    folder = prepare(listing, tmp_path / "out", QUIET)
    assert len(Corpus(folder, verify=True)) == 5
    assert read_missing(folder) == []
    assert bytes_of(folder) == bytes_of(prepare(listing, tmp_path / "fresh", QUIET))


def test_an_empty_part_brings_the_files_of_the_others(tmp_path):
    made = recordings(tmp_path / "audio", [0.3] * 2, events=(Event(0.0, 0.2, "dog"),))
    words = "corpus: toy\nclasses:\n  dog:\n    phrasings: [a dog]\n"
    listing = Listing("toy", made, "events", "vocabulary.yaml", ["dog"], files={"vocabulary.yaml": words})
    for i in (1, 2, 3):
        prepare(listing, tmp_path / "out", Options((i, 3), 1, show=False))
    corpus = Corpus(merge(tmp_path / "out"))
    assert len(corpus) == 2
    assert list(corpus.vocabulary.classes) == ["dog"]


def test_a_bank_takes_the_part_that_is_meant(tmp_path):
    path = tone(tmp_path / "a.wav", 6.0)
    made = [Recording(f"p{n}", path, "row", events=(Event(0, 1, "dog"),), start=float(n), seconds=1.0) for n in (0, 2)]
    corpus = Corpus(prepare(Listing("toy", made, "bank"), tmp_path / "out", QUIET))
    assert {corpus.key(n): corpus.record(n).duration for n in range(2)} == {"p0": 1.0, "p2": 1.0}

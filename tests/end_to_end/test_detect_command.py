"""flam-detect run, as its users type it: what is written, done again or not, refused, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from in_process import script

from flam_train.checkpoints.export import load_export, save_export
from flam_train.cli import detect
from flam_train.data.shards.corpus import Corpus
from flam_train.detection import job
from flam_train.detection.events import Rules, events_of
from flam_train.detection.scoring import Listening, score
from flam_train.detection.tables.formats import FORMATS
from flam_train.models.flam import FLAM
from flam_train.plotting import Overview

PHRASES = ["a dog barks", "rain"]
LOOSE = ("--threshold", "0.2", "--low", "0.8", "--smooth", "0", "--median", "0", "--close", "0", "--shortest", "0")
"""So that weights that learnt nothing find something."""


@pytest.fixture(scope="module")
def export(tmp_path_factory, small_config) -> Path:
    torch.manual_seed(1)
    return save_export(FLAM(small_config), tmp_path_factory.mktemp("made") / "export", {})


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def noise(path: str, seconds: float, rate: int = 8000, channels: int = 1, seed: int = 0, **options) -> str:
    rng = np.random.default_rng(seed)
    loud_S1 = np.repeat(rng.uniform(0.01, 0.4, 1 + int(seconds)), rate)[: round(seconds * rate), None]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, loud_S1 * rng.normal(size=(len(loud_S1), channels)), rate, **options)
    return path


def run(*arguments: object, code: int = 0) -> None:
    """flam-detect run, in this process."""
    with pytest.raises(SystemExit) as left:
        detect.main(["run", *map(str, arguments)])
    assert left.value.code == code


def rows(path: str) -> list[dict[str, str]]:
    text = Path(path).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t" if path.endswith("tsv") else ","))


def files(folder: str = "out") -> dict[str, bytes]:
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def encoded(monkeypatch) -> list[Path]:
    """The recordings that go through the encoder from now on."""
    names: list[Path] = []

    class Counted(Listening):
        def __iter__(self):
            names.append(self.stream.source)
            return super().__iter__()

    monkeypatch.setattr("flam_train.detection.analysis.Listening", Counted)
    return names


def test_the_events_are_those_of_the_scores(export, capsys):
    noise("rec/a.wav", 21.3)
    noise("rec/s/b.flac", 12.0, 44100, 2, 1)
    run(export, "rec", "--phrases", *PHRASES, "--out", "out", *LOOSE, "--scores")
    model = load_export(export)
    found = [
        (f"rec/{name}", f"{e.onset:.3f}", f"{e.offset:.3f}", e.phrase)
        for name in ("a.wav", "s/b.flac")
        for e in events_of(score(Listening(model, f"rec/{name}"), PHRASES), Rules(0.2, 0.8, 0, 0, 0, 0))
    ]
    assert found
    assert [tuple(row.values()) for row in rows("out/events.tsv")] == found
    assert [tuple(row.values()) for row in rows("out/rec/a.wav.tsv")] == [f for f in found if f[0] == "rec/a.wav"]
    with np.load("out/rec/a.wav.scores.npz") as scores:
        assert scores["phrases"].tolist() == PHRASES
        assert np.array_equal(scores["score"], score(Listening(model, "rec/a.wav"), PHRASES).score_CT)
        assert scores["edges"][-1] == 21.25  # of the next frame less than half is there
        assert scores["heard"].all()
    said = capsys.readouterr()
    assert said.out.startswith("2 done\n")
    assert "events   out/events.tsv\nsummary  out/summary.csv\n" in said.out
    assert "2 recordings, on the CPU" in said.err


def test_the_same_command_does_nothing_again(export, monkeypatch, capsys):
    noise("rec/a.wav", 12)
    noise("rec/b.wav", 12)
    command = (export, "rec", "--phrases", *PHRASES, "--out", "out", *LOOSE)
    run(*command, "--scores")
    before, heard = files(), encoded(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(job, "load_export", None)  # not even the model is needed
        run(*command, "--scores")
    assert (files(), heard) == (before, [])
    noise("rec/a.wav", 13)
    run(*command, "--scores")
    assert heard == [Path("rec/a.wav")]
    Path("out/rec/b.wav.tsv").unlink()
    run(*command, "--scores")
    assert heard == [Path("rec/a.wav"), Path("rec/b.wav")]
    run(*command)
    assert len(heard) == 4, "other settings"
    assert not Path("out/rec/a.wav.scores.npz").exists(), "a result of other settings"


def test_kept_frames_need_no_encoder(export, monkeypatch):
    noise("a.wav", 33)
    run(export, "a.wav", "--phrases", "rain", "--out", "out")
    run(export, "a.wav", "--phrases", "rain", "--out", "out", "--keep")  # of what is done without them, too
    heard = encoded(monkeypatch)
    run(export, "a.wav", "--phrases", *PHRASES, "--out", "out", *LOOSE)
    assert heard == []
    again = rows("out/events.tsv")
    run(export, "a.wav", "--phrases", *PHRASES, "--out", "new", *LOOSE, "--keep")
    assert rows("new/events.tsv") == again
    run(export, "a.wav", "--phrases", *PHRASES, "--out", "out", *LOOSE, "--to", "20")
    assert len(heard) == 2, "of another part there are other frames"
    run(export, "a.wav", "--phrases", "a siren", "--out", "out", *LOOSE)
    assert len(heard) == 2, "those of the whole are still there"


def test_one_bad_file_costs_no_other(export, capsys):
    noise("rec/a.wav", 5)
    Path("rec/b.wav").write_text("no sound")
    Path("rec/c.wav").write_bytes(b"")
    whole = Path(noise("rec/d.flac", 20, 44100)).read_bytes()
    Path("rec/d.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write("rec/e.wav", np.array([0.1, np.nan, 0.2] * 8000, np.float32), 48000, subtype="FLOAT")
    run(export, "rec", "--phrases", "rain", "--out", "out", code=3)
    said = capsys.readouterr()
    assert said.out.startswith("1 done, 4 failed\n")
    for name in ("b.wav", "c.wav", "d.flac", "e.wav"):
        assert f"failed: rec/{name}: " in said.err
    found = {row["result"]: row for row in rows("out/summary.csv")}
    assert [found[f"./rec/{n}"]["status"] for n in ("a.wav", "b.wav", "e.wav")] == ["done", "failed", "failed"]
    assert "NaN" in found["./rec/e.wav"]["reason"]
    noise("rec/b.wav", 5)
    run(export, "rec/a.wav", "rec/b.wav", "--phrases", "rain", "--out", "out")
    run(export, "rec/c.wav", "rec/d.flac", "--phrases", "rain", "--out", "out", code=1)


def test_parts_of_recordings_have_the_times_of_the_whole(export):
    noise("a.wav", 61)
    command = (export, "a.wav", "--phrases", *PHRASES, *LOOSE)
    run(*command, "--out", "whole", "--scores")
    run(*command, "--out", "part", "--scores", "--from", "0:20", "--to", "40")
    with np.load("whole/a.wav.scores.npz") as whole, np.load("part/a.wav.scores.npz") as part:
        first = int(20 / 0.3125)
        assert part["edges"][0] == 20.0
        assert part["edges"][-1] == 40.0
        np.testing.assert_allclose(part["score"], whole["score"][:, first : first + 64], atol=1e-5)
    inside = [r for r in rows("whole/events.tsv") if float(r["onset"]) > 20 and float(r["offset"]) < 40]
    assert inside
    assert [r for r in rows("part/events.tsv") if float(r["onset"]) > 20 and float(r["offset"]) < 40] == inside
    assert rows("part/summary.csv")[0]["analysed"] == "20"
    run(*command, "--out", "late", "--from", "2:00", code=1)
    assert "ends at 61.00 s, before 120 s" in rows("late/summary.csv")[0]["reason"]


def test_each_channel_on_its_own(export):
    wave_SC = np.random.default_rng(0).normal(size=(8000 * 12, 2)) * 0.1
    soundfile.write("two.wav", wave_SC, 8000)
    soundfile.write("second.wav", wave_SC[:, 1], 8000)
    command = (export, "--phrases", *PHRASES, *LOOSE, "--keep", "--format", "tsv", "raven", "csv")
    run(*command, "--out", "each", "--channels", "each", "--scores", "two.wav")
    run(*command, "--out", "one", "--channels", "2", "--scores", "two.wav")
    run(*command, "--out", "alone", "second.wav", "--scores")
    each = rows("each/events.tsv")
    assert {row["channel"] for row in each} == {"1", "2"}
    times = [(r["onset"], r["offset"], r["event_label"]) for r in each if r["channel"] == "2"]
    assert times
    assert times == [(r["onset"], r["offset"], r["event_label"]) for r in rows("one/events.tsv")]
    assert times == [(r["onset"], r["offset"], r["event_label"]) for r in rows("alone/events.tsv")]
    assert {row["channel"] for row in rows("each/events.csv")} == {"1", "2"}
    with np.load("each/two.wav.scores.npz") as scores:
        assert scores["score"].shape == (2, 2, 38)
    run(*command, "--out", "third", "--channels", "3", "two.wav", code=1)
    assert "has 2 channels, channel 3 is wanted" in rows("third/summary.csv")[0]["reason"]


def test_pictures(export, monkeypatch):
    noise("a.wav", 21, channels=2)
    command = (export, "a.wav", "--phrases", *PHRASES, *LOOSE, "--plot", "--out")
    run(*command, "out", "--keep")
    picture = Path("out/a.wav.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    Path("out/a.wav.png").unlink()
    heard = encoded(monkeypatch)
    drawn = []

    def fed(self, wave_S):
        drawn.append(len(wave_S))
        real(self, wave_S)

    real = Overview.feed
    monkeypatch.setattr(Overview, "feed", fed)
    run(*command, "out")  # of kept frames, for which nothing goes through the encoder
    assert [len(heard), sum(drawn)] == [0, 21 * 48_000]
    assert Path("out/a.wav.png").read_bytes() == picture
    run(*command, "each", "--channels", "each", "--from", "3", "--to", "9")
    assert {name for name in files("each") if name.endswith(".png")} == {"a.wav.channel-1.png", "a.wav.channel-2.png"}


def test_clips_become_labels_once_they_are_judged(export, capsys):
    noise("rec/a.wav", 33)
    noise("rec/b.wav", 33, seed=3)
    command = (export, "rec", "--phrases", *PHRASES, *LOOSE, "--out", "out", "--clips", "4", "--margin", "1")
    run(*command, "--part", "1/2")
    assert "no clips yet: 1 recordings are not done" in capsys.readouterr().err
    run(*command)
    table = rows("out/clips/clips.csv")
    assert len(table) == 4
    assert soundfile.info(f"out/clips/{table[0]['filename']}").samplerate == 48_000
    run(*command)  # which analyses none of them, and may replace what nobody has judged
    assert len(rows("out/summary.csv")) == 2
    text = Path("out/clips/clips.csv").read_text().splitlines()
    column = text[0].split(",").index("heard")
    judged = [line.split(",") for line in text]
    for cells, answer in zip(judged[1:], ("yes", "no", "yes", "yes"), strict=True):
        cells[column] = answer
    Path("out/clips/clips.csv").write_text("\n".join(map(",".join, judged)) + "\n")
    run(*command, code=2)
    assert "is judged" in capsys.readouterr().err
    script("data_prep/custom.py", "out/clips", "shards", "--labels", "out/clips/clips.csv", "--test-share", "0")
    corpus = Corpus("shards/train")
    assert sorted(len(corpus.record(n).events) for n in range(len(corpus))) == [0, 1, 1, 1]


def test_clock_times(export):
    noise("20240131_235950.wav", 25)
    noise("12345678_123456.wav", 5)  # no date, whatever it looks like
    command = (export, "--phrases", *PHRASES, *LOOSE, "--format", "csv", "--out", "out")
    run(*command, "20240131_235950.wav", "12345678_123456.wav", "--zone", "+01:00")
    first = next(r for r in rows("out/events.csv") if r["filename"].startswith("2024"))
    assert first["onset_datetime"].endswith("+01:00")
    summary = {row["result"]: row for row in rows("out/summary.csv")}
    assert summary["./20240131_235950.wav"]["begin"] == "2024-01-31T23:59:50.000+01:00"
    assert "'12345678_123456' in its name is no time" in summary["./12345678_123456.wav"]["notes"]
    assert [row["analysed"] for row in rows("out/hours.csv")] == ["10", "15"]
    run(*command, "20240131_235950.wav")
    assert "give --zone" in rows("out/summary.csv")[0]["notes"]
    run(*command, "12345678_123456.wav", "--start", "2024-02-03T04:05:06Z")
    assert rows("out/summary.csv")[0]["begin"] == "2024-02-03T04:05:06.000+00:00"
    run(*command, "12345678_123456.wav", "--name-pattern", "%Y%m%d_%H%M%S", code=1)


def test_silence_and_telephones(export):
    soundfile.write("still.wav", np.full(8000 * 12, 0.25), 8000)
    run(export, "still.wav", "--phrases", *PHRASES, "--out", "out", "--threshold", "0")
    row = rows("out/summary.csv")[0]
    assert (row["events"], row["silent"]) == ("0", "12")
    assert "nothing sounds in it" in row["notes"]
    assert "at 8,000 Hz nothing is above 4,000 Hz" in row["notes"]


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (44_100, 32), (8_000, 1), (11_025, 3)])
def test_any_rate_and_number_of_channels(export, rate, channels):
    noise("a.wav", 3, rate, channels)
    run(export, "a.wav", "--phrases", "rain", "--out", "out", "--threshold", "0", "--median", "0")
    assert rows("out/events.tsv")[-1]["offset"] == "3.000"


def test_shorter_than_a_frame(export):
    soundfile.write("short.wav", np.random.default_rng(0).normal(size=100) * 0.1, 8000)
    run(export, "short.wav", "--phrases", "rain", "--out", "out", "--threshold", "0")
    assert [(r["onset"], r["offset"]) for r in rows("out/events.tsv")] == [("0.000", "0.012")]


ODD = ["x" * 10_000, '=HYPERLINK("x")', "\"quoted\" 'so'", "<script>alert(1)</script>", "чайка 海鸥 🐕", "a, b; c"]


@pytest.mark.parametrize("phrase", ODD, ids=["long", "formula", "quotes", "markup", "scripts", "separators"])
def test_phrases_of_any_kind(export, phrase, capsys):
    noise("a.wav", 5)
    every = ("tsv", "csv", "json", "jsonl", "audacity", "raven", "jams", "textgrid")
    run(export, "a.wav", "--phrases", phrase, phrase, "--out", "out", *LOOSE, "--threshold", "0", "--format", *every)
    with open("out/events.json", encoding="utf-8") as file:
        assert {event["event_label"] for event in json.load(file)["events"]} == {phrase}
    cell = rows("out/events.csv")[0]["event_label"]
    assert cell == (f"'{phrase}" if phrase.startswith("=") else phrase)
    assert ("tokens, and the model reads" in capsys.readouterr().err) == (len(phrase) > 100)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.wav", "--phrases", "a\tb"], "has a tab inside"),
        (["a.wav", "--phrases", "a\nb"], "has a newline inside"),
        (["a.wav", "--phrases", " "], "phrase 1 is empty"),
        (["a.wav"], "no phrase: give --phrases or --phrases-file"),
        (["a.wav", "--phrases-file", "none.txt"], "none.txt"),
        (["*.flac", "--phrases", "rain"], "*.flac: matches nothing"),
        (["b.wav", "--phrases", "rain"], "b.wav: is not there"),
        (["a.wav", "--phrases", "rain", "b.wav"], "called like a recording"),
        (["a.wav", "--phrases", "rain", "--to", "1", "--from", "2"], "--to 1 s lies before --from 2 s"),
        (["a.wav", "--phrases", "rain", "--from", "1:99"], "is no time"),
        (["a.wav", "--phrases", "rain", "--threshold", "2"], "threshold"),
        (["a.wav", "--phrases", "rain", "--low", "-1"], "low"),
        (["a.wav", "--phrases", "rain", "--channels", "left"], "no channel"),
        (["a.wav", "--phrases", "rain", "--part", "3/2"], "no part"),
        (["a.wav", "--phrases", "rain", "--format", "xls"], "xls"),
        (["a.wav", "--phrases", "rain", "--device", "cuda:99"], "--device cuda:99: "),
        (["a.wav", "--phrases", "rain", "--device", "gpu"], "--device gpu: "),
        (["a.wav", "--phrases", "rain", "--zone", "Mars"], "'Mars' is no zone"),
        (["a.wav", "a2.wav", "--phrases", "rain", "--start", "2024-01-31T00:00"], "--start is of one recording"),
        (["a.wav", "--phrases", "rain", "--batch-size", "0"], "whole number from 1"),
        (["a.wav", "--phrases", "rain", "--clips", "3", "--margin", "-1"], "is no time"),
        (["a.wav", "--phrases", "rain", "--clips", "3", "--margin", "nan"], "is no time"),
        (["a.wav", "--phrases", "rain", "--name-pattern", "REC%Q"], "pattern 'REC%Q': '%Q' is not known"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(export, arguments, said, capsys):
    for name in ("a.wav", "a2.wav"):
        noise(name, 1)
    run(export, *arguments, "--out", "out", code=2)
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not Path("out").exists()


def test_an_export_that_was_altered(export, tmp_path, capsys):
    altered = save_export(load_export(export), tmp_path / "altered", {})
    weights = altered / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    noise("a.wav", 1)
    run(altered, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "copy the export again" in capsys.readouterr().err
    run(tmp_path, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "is not an export" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(export, tmp_path, capsys):
    noise("a.wav", 1)
    Path("file").write_text("")
    run(export, "a.wav", "--phrases", "rain", "--out", "file/out", code=2)
    assert "file is a file" in capsys.readouterr().err


def test_a_disk_that_is_full(export, monkeypatch, capsys):
    noise("rec/a.wav", 1)
    noise("rec/b.wav", 1)
    real = os.replace

    def full(source, target):
        if str(target).endswith("b.wav.tsv"):
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        run(export, "rec", "--phrases", "rain", "--out", "out", code=1)
    assert "b.wav.tsv: No space left on device: make room, and run the same command again" in capsys.readouterr().err
    assert sorted(name for name in files() if "b.wav" in name) == []
    run(export, "rec", "--phrases", "rain", "--out", "out")
    assert capsys.readouterr().err.startswith("2 recordings, 1 of them done before, on the CPU")


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
        "filename": "чайка 🐕.wav", "onset": "0.000", "offset": "0.938", "event_label": "🐕"
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


def test_a_read_only_folder(export, capsys, monkeypatch):
    noise("a.wav", 1)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "out")

    monkeypatch.setattr(tempfile, "mkstemp", refused)  # root may write everywhere
    run(export, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "--out out" in capsys.readouterr().err


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
    stopped = subprocess.run([sys.executable, "-c", STOPPED, by, *command, "out"], capture_output=True, text=True)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on" in stopped.stderr
    assert not [name for name in files() if Path(name).name.startswith(".") and not name.startswith(".lock")]
    assert [row["status"] for row in rows("out/summary.csv")] == ["done", *["not done"] * 3]
    run(*command[1:], "out")
    run(*command[1:], "straight")
    tables = {name: data for name, data in files().items() if name.endswith(".tsv")}
    assert tables == {name: data for name, data in files("straight").items() if name.endswith(".tsv")}


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


def test_a_second_process_is_refused(export, capsys):
    from flam_train.detection.results import Results

    noise("a.wav", 1)
    with Results("out", "", [], {}, {}).held():
        run(export, "a.wav", "--phrases", "rain", "--out", "out", code=2)
    assert "another process does this" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom flam_train.cli import detect\n"
        "try: detect.main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'lightning', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")

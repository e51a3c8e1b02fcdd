"""flam-detect run, as its users type it: what is found and written, and what is done again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from detect_runs import LOOSE, PHRASES, encoded, files, noise, rows, run
from in_process import script

from flam_train.checkpoints.export import load_export
from flam_train.data.shards.corpus import Corpus
from flam_train.detection import job
from flam_train.detection.events import Rules, events_of
from flam_train.detection.scoring import Listening, score
from flam_train.plotting import Overview

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


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
        assert scores["edges"][-2:].tolist() == [20.9375, 21.3]  # of the next frame less than half is there
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
    summary = [(row["channel"], int(row["events"])) for row in rows("each/summary.csv")]
    assert summary == [(c, sum(row["channel"] == c for row in each)) for c in ("1", "2")]
    assert "channel" not in rows("one/summary.csv")[0]
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

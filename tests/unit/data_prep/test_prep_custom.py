"""data_prep/custom.py: own recordings and labels, the report, and shards made of them."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import custom
import numpy as np
import pytest
import soundfile
from label_samples import RAVEN_HEADER, TEXTGRID_LONG

from flam_train.data.labels.attach import attach
from flam_train.data.labels.report import overlaps, positive_frames
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event
from flam_train.frames import FrameGrid


def wav(path: Path, seconds: float, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * rate), 2)), rate)


def run(*args: object) -> int:
    """The exit code."""
    try:
        custom.main([*map(str, args), "--processes", "1", "--quiet"])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def records(folder: Path) -> dict:
    corpus = Corpus(folder, verify=True)
    out = {corpus.key(i): corpus.record(i) for i in range(len(corpus))}
    for i in range(len(corpus)):
        corpus.waveform(i)
    return out


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four recordings in two folders: labels in three formats beside three of them, none beside the last."""
    folder = tmp_path / "My Sounds"
    wav(folder / "a_350.000_360.000.wav", 0.8, 11_025)
    (folder / "a_350.000_360.000.txt").write_text("0.1\t0.3\tdog barking\n0.2\t0.5\tdog barking\n")
    wav(folder / "in" / " b.flac", 21.5, 8000)
    (folder / "in" / " b.TextGrid").write_bytes(TEXTGRID_LONG.encode("utf-16"))
    wav(folder / "c.WAV", 0.5)
    (folder / "c.Table.1.selections.txt").write_bytes(RAVEN_HEADER.encode())
    wav(folder / "d.ogg", 0.4, 44_100)
    (folder / "README.txt").write_text("What I recorded.")
    (folder / "._c.wav").write_bytes(b"a Mac's")
    return folder


def test_labels_beside_recordings(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out", "--test-share", 0, "--licence", "CC0") == 0
    told = capsys.readouterr().out
    assert "1 files as textgrid; in/ b.TextGrid: it begins with ooTextFile" in told
    assert "1 recordings have labels that say they have no event: kept" in told
    assert "1 recordings have no labels: left out; negatives with --complete" in told
    assert "overlaps of one phrase with itself: 1" in told
    found = records(tmp_path / "out" / "train")
    assert set(found) == {"a_350_000_360_000", "in__b-0000", "in__b-0001", "in__b-0002", "c"}
    assert [e.label for e in found["a_350_000_360_000"].events] == ["dog barking"] * 2
    assert found["in__b-0000"].events == (Event(1.5, 2.3, 'a "big" dog ! 3'),)
    assert found["c"].events == ()
    assert found["c"].licence == "CC0"
    assert found["c"].source == "c.WAV"
    corpus = Corpus(tmp_path / "out" / "train")
    assert corpus.name == "my_sounds-train"
    assert corpus.manifest["vocabulary"] is None
    assert corpus.annotates == []
    assert not (tmp_path / "out" / "test").exists()
    assert (tmp_path / "out" / "train" / "report.txt").read_text() in told
    assert str(tmp_path) not in (tmp_path / "out" / "train" / "report.txt").read_text()


def test_complete_keeps_negatives_and_splits_by_recording(folder, tmp_path):
    assert run(folder, tmp_path / "out", "--test-share", 0.5, "--complete", "--name", "mine") == 0
    train, test = (records(tmp_path / "out" / s) for s in ("train", "test"))
    recordings = [{k.split("-")[0] for k in s} for s in (train, test)]
    assert recordings[0]
    assert recordings[1]
    assert not recordings[0] & recordings[1]
    assert recordings[0] | recordings[1] == {"a_350_000_360_000", "in__b", "c", "d"}
    for split in ("train", "test"):
        assert Corpus(tmp_path / "out" / split).annotates == ['a "big" dog ! 3', "dog barking"]


def test_groups_and_validation(tmp_path, capsys):
    """Two recordings of each of eight nights, one phrase in all but one of them."""
    folder = tmp_path / "s"
    for n in range(16):
        wav(folder / f"night{n // 2}" / f"r{n}.wav", 0.3)
        (folder / f"night{n // 2}" / f"r{n}.txt").write_text(f"0\t0.2\t{'owl' if n else 'wren'}\n")
    splits = ("--test-share", 0.2, "--validation-share", 0.3)
    assert run(folder, tmp_path / "out", "--group", "folder", *splits) == 0
    told = capsys.readouterr().out
    assert "splits: drawn 8 groups by folder, each in one split" in told
    assert re.search(r"warning: .*1 \('wren'\)", told)
    nights = [{k.split("_")[0] for k in records(tmp_path / "out" / s)} for s in ("train", "validation", "test")]
    assert all(nights)
    assert sum(map(len, nights)) == len(set.union(*nights)) == 8
    assert run(folder, tmp_path / "same", "--group", r"(night\d)", *splits, "--quiet") == 0
    assert records(tmp_path / "same" / "test").keys() == records(tmp_path / "out" / "test").keys()
    assert run(folder, tmp_path / "o2", "--group", "^.", *splits) == 2
    assert "all 16 recordings are one group, 'n'" in capsys.readouterr().err
    assert run(folder, tmp_path / "o2", "--validation-share", 1) == 2


def test_few_recordings_say_that_nothing_validates(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out", "--report-only") == 0
    assert "validation: none where fewer than 50 recordings or one group train; --validation-share draws it" in (
        capsys.readouterr().out
    )


def test_a_given_list_of_splits(folder, tmp_path, capsys):
    table = tmp_path / "splits.csv"
    table.write_text("file,split\na_350.000_360.000,train\n b.flac,val\nc.WAV,test\nd,test\n")
    assert run(folder, tmp_path / "out", "--splits", table) == 0
    assert "splits: as listed in splits.csv" in capsys.readouterr().out
    kept = {s: set(records(tmp_path / "out" / s)) for s in ("train", "validation", "test")}
    assert kept["train"] == {"a_350_000_360_000"}
    assert {k[:5] for k in kept["validation"]} == {"in__b"}
    assert kept["test"] == {"c"}  # d has no labels
    assert run(folder, tmp_path / "o2", "--splits", table, "--validation-share", 0.1) == 2
    assert "leave out --validation-share" in capsys.readouterr().err
    assert run(folder / "in", tmp_path / "part", "--splits", table) == 0
    assert "  3 of its rows are of recordings that are not in the folder: passed over" in capsys.readouterr().out
    table.write_text("file,split\na_350.000_360.000,train\nb,val\n")
    assert run(folder, tmp_path / "o2", "--splits", table) == 2
    assert "splits.csv: c.WAV (and 1 more) is in no split: add a row for each recording; row 3, 'b', is not" in (
        capsys.readouterr().err
    )


def test_one_table_for_all(tmp_path, capsys):
    folder = tmp_path / "s"
    for name in (" Ambience.wav", "x/b.flac", "c.wav"):
        wav(folder / name, 0.5)
    table = tmp_path / "labels.csv"
    table.write_text("file_name,start,end,label\n Ambience.wav,0,0.2,rain\nx/b.wav,0.1,0.3,dog\nc,,,\n")
    assert run(folder, tmp_path / "out", "--labels", table, "--test-share", 0) == 0
    found = records(tmp_path / "out" / "train")
    assert {k: [e.label for e in r.events] for k, r in found.items()} == {
        "_Ambience": ["rain"],
        "x_b": ["dog"],
        "c": [],
    }
    table.write_text("file_name,start,end,label\n Ambience.wav,0,0.2,rain\ncc.wav,0.1,0.3,dog\n")
    assert run(folder, tmp_path / "out2", "--labels", table) == 2
    assert re.search(
        r"labels\.csv: row 3: 'cc\.wav' is not in the folder, did you mean c\.wav", capsys.readouterr().err
    )
    wav(folder / "y" / "b.wav", 0.5)
    table.write_text("file_name,start,end,label\nb,0,0.2,rain\n")
    assert run(folder, tmp_path / "out2", "--labels", table) == 2
    assert "row 2: 'b' may be any of 2 recordings (x/b.flac, y/b.wav): give its path" in capsys.readouterr().err


RAVEN_HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name"


def test_folders_through_links_and_of_any_kind_of_sound(tmp_path, capsys):
    wav(tmp_path / "real" / "q.wav", 2.0)
    (tmp_path / "real" / "q.txt").write_text("0\t1\tdog\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "siteA").symlink_to("../real")
    (tmp_path / "real" / "again").symlink_to(".")
    (tmp_path / "in" / "IMG_1.MOV").write_bytes((tmp_path / "real" / "q.wav").read_bytes())
    (tmp_path / "in" / "IMG_1.txt").write_text("0\t1\tcat\n")
    assert run(tmp_path / "in", tmp_path / "out", "--test-share", 0) == 0
    found = {key: r.events for key, r in records(tmp_path / "out" / "train").items()}
    assert found == {"siteA_q": (Event(0, 1, "dog"),), "IMG_1": (Event(0, 1, "cat"),)}


def test_a_name_that_is_not_utf8(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 2.0)
    name = os.fsdecode(b"V\xf6gel.wav")
    (folder / "a.wav").rename(folder / name)
    (folder / name.replace("wav", "txt")).write_text("0\t1\tdog\n")
    assert run(folder, tmp_path / "out") == 2
    assert r"s/V\xf6gel.wav: its name is not UTF-8: rename it" in capsys.readouterr().err


def test_events_of_what_could_not_be_decoded_are_not_counted(tmp_path, capsys):
    folder = tmp_path / "s"
    wave = np.full(16_000, 0.1)
    for name, bad in (("ok", 0.1), ("bad", np.nan)):
        wave[5] = bad
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{name}.wav", wave, 8000, subtype="FLOAT")
        (folder / f"{name}.txt").write_text(f"0\t1\t{name}\n0.5\t1.5\t{name}\n")
    assert run(folder, tmp_path / "out", "--test-share", 0, "--max-missing", 1) == 0
    assert "2 events in the clips of 1 labels" in capsys.readouterr().out
    assert Corpus(tmp_path / "out" / "train").manifest["details"]["events"] == 2


def test_rows_outside_the_audio(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 2.0)
    (folder / "a.txt").write_text("0\t2.3\tdog\n2.1\t2.2\tcat\n1\t4\tdog\n")
    assert run(folder, tmp_path / "out", "--test-share", 0) == 2
    io = capsys.readouterr()
    assert "rows outside their recording: 3" in io.out
    assert "a.txt: row 1: 'dog': offset 2.3 s is past the end of the audio, 2.000 s\n" in io.out
    assert "a.txt: row 2: 'cat': onset 2.1 s is after the end" in io.out
    what = r"offset 4 s is past the end of the audio, 2\.000 s: mend it, or cut it with --cut"
    assert re.search(rf"s/a\.txt: row 3: 'dog': {what}", io.err)
    assert not (tmp_path / "out").exists()
    assert run(folder, tmp_path / "out", "--test-share", 0, "--cut") == 0
    (record,) = records(tmp_path / "out" / "train").values()
    assert record.events == (Event(0, 2.0, "dog"), Event(1, 2.0, "dog"))
    (folder / "a.txt").write_text("0\t2.3\tdog\n")
    assert run(folder, tmp_path / "out2", "--test-share", 0) == 0  # within half a second: cut, and told


BIRDNET_HEAD = "Start (s),End (s),Scientific name,Common name,Confidence"


@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("a.BirdNET.results.csv", BIRDNET_HEAD, "{},{},Strix aluco,owl,.9"),
        ("birds.csv", f"{BIRDNET_HEAD},File", "{},{},Strix aluco,owl,.9,a.wav"),
        ("a.BirdNET.selection.table.txt", RAVEN_HEAD, "1\tS\t1\t{}\t{}\t0\t15000\towl"),
    ],
    ids=["own table", "combined", "raven"],
)
def test_birdnets_last_window_is_cut_at_the_end(name, head, row, tmp_path, capsys):
    folder, labels = tmp_path / "s", tmp_path / "labels"
    wav(folder / "a.wav", 8.5)
    labels.mkdir()
    (labels / name).write_text("\n".join([head, row.format(0, 3), row.format(6, 9), ""]))
    assert run(folder, tmp_path / "out", "--labels", labels / name, "--test-share", 0) == 0
    assert "owl': offset 9 s is past the end of the audio, 8.500 s" in capsys.readouterr().out
    found = [e for r in records(tmp_path / "out" / "train").values() for e in r.events]
    assert sum(e.offset - e.onset for e in found) == pytest.approx(5.5)
    (labels / name).write_text("\n".join([head, row.format(0, 3), row.format(9, 12), ""]))
    assert run(folder, tmp_path / "out2", "--labels", labels / name, "--test-share", 0) == 2
    assert "onset 9 s is after the end" in capsys.readouterr().err


def test_columns_of_a_format_that_has_none_are_refused(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 2.0)
    (folder / "a.txt").write_text("0\t1\tdog\n")
    assert run(folder, tmp_path / "out", "--columns", "label=Species") == 2
    assert (
        "--columns label=Species: no label file has it (they were read as audacity): mend it" in capsys.readouterr().err
    )


def test_points_need_a_length(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 2.0)
    (folder / "a.txt").write_text("0.05\t0.05\tclick\n1\t1\tclick\n2\t2\tclick\n")
    assert run(folder, tmp_path / "out") == 2
    assert (
        "a.txt: row 1: 'click' is a point at 0.05 s: say how long points last with --points" in capsys.readouterr().err
    )
    assert run(folder, tmp_path / "out", "--points", 0) == 2
    assert run(folder, tmp_path / "out", "--points", 0.2, "--test-share", 0) == 0
    (record,) = records(tmp_path / "out" / "train").values()
    assert [(round(e.onset, 3), round(e.offset, 3)) for e in record.events] == [(0, 0.15), (0.9, 1.1), (1.9, 2.0)]


def test_vocabulary(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 1.0)
    (folder / "a.txt").write_text("0\t0.5\tdog_bark\n0.5\t0.6\tdog bark\n")
    (tmp_path / "mine.yaml").write_text(
        "corpus: mine\nclasses:\n  dog_bark: {concept: dog barking, phrasings: [a dog barks]}\n  cat: [a cat meows]\n"
    )
    options = (folder, tmp_path / "out", "--vocabulary", tmp_path / "mine.yaml", "--complete", "--test-share", 0)
    assert run(*options) == 2
    assert "a.txt: row 2: 'dog bark' is no class of the vocabulary, did you mean dog_bark?" in capsys.readouterr().err
    (folder / "a.txt").write_text("0\t0.5\tdog_bark\n")
    assert run(*options) == 0
    corpus = Corpus(tmp_path / "out" / "train")
    assert corpus.manifest["vocabulary"] == "mine.yaml"
    assert corpus.annotates == ["dog barking"]
    assert corpus.vocabulary.classes["dog_bark"].phrasings == ("a dog barks",)


def test_captions(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 0.6)
    wav(folder / "b.wav", 12.0, 8000)
    (folder / "captions.csv").write_bytes(
        b'file_name,caption_1,caption_2\r\na.wav,"A dog, barking.",Rain.\r\nb.wav,Wind.,\r\n'
    )
    options = ("--captions", folder / "captions.csv", "--test-share", 0)
    assert run(folder, tmp_path / "out", *options) == 0
    found = records(tmp_path / "out" / "train")
    assert found["a"].captions == ("A dog, barking.", "Rain.")
    assert found["b"].duration == 12.0
    assert found["b"].captions == ("Wind.",)
    (folder / "a.txt").write_text("0\t0.5\tdog\n")
    (folder / "b.json").write_text('{"events": [{"onset": 11, "offset": 11.5, "label": "wind"}]}')
    capsys.readouterr()
    assert run(folder, tmp_path / "both", *options) == 0
    assert "1 recordings are longer than a window: their captions are left out" in capsys.readouterr().out
    found = records(tmp_path / "both" / "train")
    assert found["a"].captions
    assert found["a"].events
    assert found["b-0001"].captions == ()
    assert found["b-0001"].events == (Event(1, 1.5, "wind"),)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("file,when\na.wav,1\n", r"captions\.csv: row 1: no columns filename and caption"),
        ("file,caption\na.wav,A dog\n,Rain\n", "row 3: names no recording"),
        ("file,caption\na.wav, \n", "row 2: has no caption"),
        ("file,caption\na.wav,A dog, barking\n", "row 2: 3 columns, the header has 2: quote texts"),
        ('file,caption\na.wav,"A dog\n', "row 2: unexpected end of data"),
        ("file,caption\nz.wav,A dog\n", r"row 2: 'z\.wav' is not in the folder"),
    ],
)
def test_faults_of_captions(tmp_path, table, match):
    wav(tmp_path / "s" / "a.wav", 0.1)
    (tmp_path / "captions.csv").write_text(table)
    with pytest.raises(ValueError, match=match):
        attach(tmp_path / "s", captions=tmp_path / "captions.csv")


def test_faults_of_folders(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        attach(tmp_path / "none")
    with pytest.raises(ValueError, match="no recordings"):
        attach(tmp_path)
    wav(tmp_path / "a.wav", 0.1)
    with pytest.raises(ValueError, match="no label file is called like a recording"):
        attach(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        attach(tmp_path, tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("file,onset,offset,label\na.wav,0,0.1,dog\n")
    with pytest.raises(ValueError, match=r"give a table with --labels, like .*labels\.csv"):
        attach(tmp_path)
    wav(tmp_path / "a.flac", 0.1)
    (tmp_path / "a.txt").write_text("0\t0.1\tdog\n")
    with pytest.raises(ValueError, match=r"'a' may be any of 2 recordings \(a\.flac, a\.wav\)"):
        attach(tmp_path)


def test_report_only_writes_nothing(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out", "--report-only") == 0
    assert "frames in which a phrase is positive" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_two_label_files_for_a_recording_need_a_choice(tmp_path):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 0.6)
    (folder / "a.txt").write_text("0\t0.5\tsiren\n")
    (folder / "a.jams").write_text(
        '{"annotations": [{"namespace": "tag_open", "data": [{"time": 0, "duration": 0.5, "value": "dog"}]}]}'
    )
    with pytest.raises(ValueError, match=r"a\.txt: a\.wav has labels in a\.jams too, as jams: choose with --format"):
        attach(folder)
    assert [r.label for _, r, _ in attach(folder, format="jams").recordings[0].rows] == ["dog"]
    labels = tmp_path / "labels"
    labels.mkdir()
    (folder / "a.txt").rename(labels / "a.txt")
    assert [r.label for _, r, _ in attach(folder, labels).recordings[0].rows] == ["siren"]
    (labels / "z.txt").write_text("0\t0.5\tsiren\n")
    with pytest.raises(ValueError, match=r"z\.txt: names no recordings and none is called 'z'"):
        attach(folder, labels)


def test_frames_that_would_be_positive():
    rng = np.random.default_rng(0)
    grid = FrameGrid()
    for seconds in (0.4, 9.0, 10.4, 11.0, 25.3, 40.5):
        spans = [sorted(rng.uniform(0, seconds + 0.3, 2)) for _ in range(12)]
        found = [Event(a, b, rng.choice(["dog", "cat"])) for a, b in spans]
        got, valid = positive_frames(found, seconds, "events", grid)
        # The plain way: each window by itself.
        starts = [0.0] if seconds < 11 else [s for s in np.arange(0, seconds, 10.0) if seconds - s >= 1]
        expected = dict.fromkeys(("dog", "cat"), 0)
        for start in starts:
            length = min(10.0, seconds - start)
            for label in expected:
                frames = np.zeros(32, dtype=bool)
                for e in found:
                    a, b = max(e.onset - start, 0), min(e.offset - start, length)
                    if e.label == label and b > a:
                        frames |= grid.labels([a], [b])[0]
                expected[label] += int(frames.sum())
        assert {k: got[k] for k in expected} == expected
        assert valid == sum(int(grid.valid(min(10.0, seconds - s)).sum()) for s in starts)


def test_overlaps():
    a, b, c = Event(0, 5, "dog"), Event(1, 2, "dog"), Event(4, 6, "dog")
    assert overlaps([c, a, b, Event(0, 9, "cat"), Event(6, 7, "dog")]) == [(a, b), (a, c)]


def test_a_table_is_no_wider_than_a_terminal(tmp_path, capsys):
    folder = tmp_path / "s"
    long = " ".join(f"word{n}" for n in range(80)), "x" * 300
    for n in range(3):
        wav(folder / f"{n}.wav", 1.0)
        (folder / f"{n}.txt").write_text("".join(f"0\t0.5\t{label}\n" for label in (*long, "dog")))
    assert run(folder, tmp_path / "out", "--report-only", "--validation-share", 0.3) == 0
    told = capsys.readouterr().out
    table = told[told.index("phrase  ") : told.index("frames in which")]
    assert max(map(len, table.splitlines())) <= 100
    for label in long:
        assert label.replace(" ", "") in re.sub(r"\s+|\d+\.\d+%?", "", re.sub(r"(?m)  +\d.*$", "", table))
    assert re.search(r"(?m)^dog +3 +3 +1\.5 +\d+ +\d+\.\d\d% +1 +1 +1$", table)


def test_names_of_columns_may_hold_commas():
    assert custom.columns("onset=Start, s,label=Call type,filename=a=b") == {
        "onset": "Start, s",
        "label": "Call type",
        "filename": "a=b",
    }
    for text in ("onset", "start=1", "onset=", "onset=a,lable=b"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be one of filename, onset"):
            custom.columns(text)

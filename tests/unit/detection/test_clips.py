"""Clips for a person to judge: which events, what is cut, what is kept, and back to labels."""

from __future__ import annotations

import csv
import math
import os
import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import custom
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import FFMPEG
from recording_files import tone
from sound_files import through_ffmpeg

from flam_train.batch import SAMPLE_RATE
from flam_train.data.labels.judged import read_judged
from flam_train.data.shards.corpus import Corpus
from flam_train.data.sound import ffmpeg
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.reading import read
from flam_train.data.sound.streaming import Stream
from flam_train.detection.clips import CHANNEL, COLUMNS, LONGEST, Chosen, check_clips, choose, cut, write_clips
from flam_train.detection.clips import _names as clip_names
from flam_train.detection.events import Detection
from flam_train.detection.recordings import Recording, recordings_of


def event(peak: float, phrase: str = "a dog", onset: float = 1.0, **more) -> Detection:
    return Detection(onset, onset + 1.0, phrase, peak / 2, peak, **more)


def of(*events: Detection, place: str = "a.wav") -> list[tuple[Recording, list[Detection]]]:
    return [(Recording(Path(place), place, place), list(events))]


def peaks(chosen: list[Chosen]) -> list[float]:
    return [one.event.peak for one in chosen]


def test_the_best_are_those_with_the_highest_peaks_and_of_equal_ones_the_first():
    events = of(event(0.5), event(0.9, onset=7.0), event(0.9), place="b.wav") + of(event(0.9, "z", 8.0), event(0.7))
    found = choose(events, 4)
    assert [(one.recording.place, one.event.onset, one.event.peak) for one in found] == [
        ("a.wav", 8.0, 0.9), ("b.wav", 1.0, 0.9), ("b.wav", 7.0, 0.9), ("a.wav", 1.0, 0.7),
    ]  # fmt: skip
    assert len(choose(events, 99)) == 5
    assert choose([], 3) == []


def test_spread_takes_both_ends_and_what_lies_evenly_between():
    events = of(*(event(k / 100, onset=k) for k in range(101)))
    assert peaks(choose(events, 5, "spread")) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert peaks(choose(events, 2, "spread")) == [1.0, 0.0]
    assert peaks(choose(events, 1, "spread")) == [1.0]


def test_spread_gives_rare_phrases_their_share_and_the_rest_to_the_others():
    events = of(
        *(event(0.5 + k / 100, "often", k) for k in range(40)),
        *(event(0.1 + k / 100, "seldom", k) for k in range(10)),
        *(event(0.3 + k / 100, "twice", k) for k in range(2)),
    )
    counts = Counter(one.event.phrase for one in choose(events, 12, "spread"))
    assert counts == {"often": 5, "seldom": 5, "twice": 2}
    assert Counter(one.event.phrase for one in choose(events, 12)) == {"often": 12}
    assert {one.event.phrase for one in choose(events, 2, "spread")} == {"often", "twice"}  # the best of as many


def test_what_has_no_peak_is_ranked_by_its_score_and_what_has_no_length_is_no_clip():
    without = Detection(1.0, 2.0, "a dog", 0.8)
    nothing = Detection(3.0, 3.0, "a dog", 0.9, 0.9)
    assert [one.event for one in choose(of(event(0.9), without, event(0.7), nothing), 9)] == [
        event(0.9), without, event(0.7),
    ]  # fmt: skip


ONE = st.builds(
    lambda phrase, peak, onset, channel: Detection(onset, onset + 1, phrase, 0.5, peak, channel),
    st.sampled_from(["a", "b", "c"]), st.sampled_from([0.1, 0.5, 0.9, math.nan]), st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([None, 1, 2]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a.wav", "b.wav", "c.wav"]), st.lists(ONE, max_size=12, unique_by=repr)),
    st.integers(1, 40), st.sampled_from(["best", "spread"]), st.randoms(use_true_random=False),
)  # fmt: skip
def test_which_are_chosen_does_not_depend_on_the_order_they_come_in(found, count, by, rng: random.Random):
    events = [(Recording(Path(place), place, place), some) for place, some in found.items()]
    chosen = choose(events, count, by)
    mixed = [(recording, rng.sample(some, len(some))) for recording, some in rng.sample(events, len(events))]
    assert repr(choose(mixed, count, by)) == repr(chosen)
    total = sum(map(len, found.values()))
    assert len(chosen) == len({repr(one) for one in chosen}) == min(count, total)
    if by == "spread":
        have = Counter(e.phrase for some in found.values() for e in some)
        got = Counter(one.event.phrase for one in chosen)
        most = max(got.values(), default=0)
        assert all(got[phrase] in (have[phrase], most, most - 1) for phrase in have)


def test_a_count_or_a_word_that_is_none():
    with pytest.raises(ValueError, match="--clips 0: cut out at least 1"):
        choose(of(event(0.5)), 0)
    with pytest.raises(ValueError, match="clips by 'worst': best or spread"):
        choose(of(event(0.5)), 1, "worst")


@pytest.mark.parametrize("rate", [48_000, 44_100, 8_000])
def test_a_clip_is_its_part_of_the_recording(rate, tmp_path):
    path = tone(tmp_path / "a.wav", 20.0, rate, 2)
    whole = read(path)
    wave, begin = cut(path, 10.0313, 11.25, 1.5)
    first = round(begin * SAMPLE_RATE)
    assert begin == pytest.approx(8.5313, abs=1e-5)
    assert first / SAMPLE_RATE == begin
    assert wave.dtype == np.int16
    assert len(wave) == pytest.approx((1.2187 + 3.0) * SAMPLE_RATE, abs=2)
    assert np.abs(wave.astype(int) - whole[first : first + len(wave)]).max() <= 1
    streamed = np.concatenate(list(Stream(path, begin, len(wave) / SAMPLE_RATE)))
    assert np.array_equal(wave, streamed)


def test_a_clip_ends_where_the_recording_does(tmp_path):
    path = tone(tmp_path / "a.wav", 5.0)
    wave, begin = cut(path, 0.5, 4.75, 3.0)
    assert begin == 0.0
    assert np.array_equal(wave, read(path))
    wave, begin = cut(path, 4.0, 5.0, 0.0)
    assert (begin, len(wave)) == (4.0, SAMPLE_RATE)


def test_a_clip_of_one_channel(tmp_path):
    one, two = np.full(16_000, 0.25), np.full(16_000, -0.5)
    soundfile.write(tmp_path / "a.wav", np.stack([one, two], 1), 16_000)
    means = [cut(tmp_path / "a.wav", 0.2, 0.8, 0.0, channel)[0].mean() / 32768 for channel in ("mean", 1, 2, "first")]
    assert np.allclose(means, [-0.125, 0.25, -0.5, 0.25], atol=1e-3)
    with pytest.raises(Unusable, match=r"a\.wav: has 2 channels, channel 3 is wanted"):
        cut(tmp_path / "a.wav", 0.2, 0.8, 0.0, 3)


def test_a_clip_out_of_twelve_hours_takes_no_more_memory_than_itself(tmp_path):
    path = tmp_path / "a.wav"
    rate, hours = 8_000, 12
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        file.seek(hours * 3600 * rate - rate)  # a hole on the disk
        file.write(np.full(rate, 0.5))
    cut(path, 10.0, 11.0)
    tracemalloc.start()
    wave, begin = cut(path, hours * 3600 - 2.0, hours * 3600.0, 1.0)
    long, at = cut(path, 60.0, hours * 3600.0, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert begin == hours * 3600 - 3.0
    assert np.abs(wave[-SAMPLE_RATE // 2 : -100] / 32768 - 0.5).max() < 0.01
    assert (at, len(long)) == (59.0, round((LONGEST + 1) * SAMPLE_RATE))
    assert peak < 150e6


@pytest.fixture
def recordings(tmp_path) -> list[Recording]:
    tone(tmp_path / "in/a.wav", 30.0)
    tone(tmp_path / "in/=b.flac", 4.0, 44_100, 2)
    tone(tmp_path / "in/s/a.wav", 6.0, 8_000)
    return recordings_of([str(tmp_path / "in")], tmp_path / "out")


def some(recordings: list[Recording]) -> list[Chosen]:
    b, a, s = recordings
    assert [r.path.name for r in (b, a, s)] == ["=b.flac", "a.wav", "a.wav"]
    return [
        Chosen(a, Detection(10.0, 11.5, "A dog, barking!", 0.75, 0.9)),
        Chosen(b, Detection(0.5, 4.0, '=HYPERLINK("x")', 0.5, 0.8)),
        Chosen(s, Detection(3.0, 3.5, "犬が吠える", 0.5)),
        Chosen(a, Detection(0.25, 1.0, "Grüße " * 30, 0.25, 0.6)),
    ]


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "clips/clips.csv").open(encoding="utf-8-sig", newline="")))


def judge(folder: Path, *answers: str) -> None:
    """As a spreadsheet saves it."""
    rows = table(folder)
    with (folder / "clips/clips.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(row | {"heard": said} for row, said in zip(rows, answers, strict=True))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "clips").iterdir())


def test_the_files_and_their_table(recordings, tmp_path):
    out = tmp_path / "out"
    assert write_clips(out, some(recordings), 1.5) == []
    files = ["001_a_dog_barking.wav", "002_hyperlink_x.wav", "003.wav", f"004_{'_'.join(['grue'] * 8)}.wav"]
    assert names(out) == [*files, "clips.csv"]
    for name in files:
        about = soundfile.info(out / "clips" / name)
        assert (about.samplerate, about.channels, about.subtype) == (SAMPLE_RATE, 1, "PCM_16")
    text = (out / "clips/clips.csv").read_bytes().decode()
    assert "\r" not in text
    assert text.splitlines()[:3] == [
        ",".join(COLUMNS),
        '001_a_dog_barking.wav,1.500,3.000,"A dog, barking!",0.7500,0.9000,,in/a.wav,10.000,11.500',
        '002_hyperlink_x.wav,0.500,4.000,"\'=HYPERLINK(""x"")",0.5000,0.8000,,in/=b.flac,0.500,4.000',
    ]
    rows = table(out)
    assert rows[2]["peak"] == ""
    assert rows[3]["onset"] == "0.250"
    wave, _ = soundfile.read(out / "clips/001_a_dog_barking.wav", dtype="int16")
    assert np.array_equal(wave, cut(recordings[1].path, 10.0, 11.5, 1.5)[0])


def test_the_same_twice_is_the_same_to_the_byte(recordings, tmp_path):
    for out in ("one", "two"):
        write_clips(tmp_path / out, some(recordings))
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one/clips" / name).read_bytes() == (tmp_path / "two/clips" / name).read_bytes()


def test_channels_have_a_column_of_their_own_and_a_table_for_excel_its_mark(recordings, tmp_path):
    b = recordings[0]
    chosen = [Chosen(b, event(0.9, channel=2)), Chosen(b, event(0.8, channel=1))]
    write_clips(tmp_path, chosen, excel=True)
    assert (tmp_path / "clips/clips.csv").read_bytes().startswith(b"\xef\xbb\xbffilename,onset")
    assert [row[CHANNEL] for row in table(tmp_path)] == ["2", "1"]
    assert [row["heard"] for row in table(tmp_path)] == ["", ""]


def test_a_source_that_would_be_a_formula(recordings, tmp_path):
    write_clips(tmp_path, [Chosen(Recording(recordings[2].path, "=a;+b.wav", "=a;+b.wav"), event(0.9))])
    assert table(tmp_path)[0]["source"] == "./=a;+b.wav"


def test_names_sort_by_rank_and_are_those_that_every_file_system_takes():
    phrases = ["a", "..", "CON", "a/b\\c:d*e?f", "\x00\n\t", "x" * 10_000, "café", "犬", "🐕", ""] * 200
    found = clip_names([Chosen(Recording(Path("a.wav"), "a.wav", "a.wav"), event(0.5, phrase)) for phrase in phrases])
    assert sorted(found) == found
    assert len({name.casefold() for name in found}) == 2000
    assert all(re.fullmatch(r"[0-9]{4}(_[a-z0-9_]{1,40})?\.wav", name) for name in found)
    assert found[:10] == [
        "0001_a.wav", "0002.wav", "0003_con.wav", "0004_a_b_c_d_e_f.wav", "0005.wav", f"0006_{'x' * 40}.wav",
        "0007_cafe.wav", "0008.wav", "0009.wav", "0010.wav",
    ]  # fmt: skip


def test_an_older_choice_goes_and_nothing_else(recordings, tmp_path):
    write_clips(tmp_path, some(recordings))
    before = names(tmp_path)
    (tmp_path / "clips/notes.txt").write_text("mine")
    (tmp_path / "clips/009_mine.wav").write_text("mine")
    check_clips(tmp_path)
    write_clips(tmp_path, some(recordings)[1:2])
    assert names(tmp_path) == ["001_hyperlink_x.wav", "009_mine.wav", "clips.csv", "notes.txt"]
    assert len(table(tmp_path)) == 1
    assert len(before) == 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("answers", [("yes", "", "", ""), ("", "", "", "?"), ("", "no", "", "")])
def test_a_table_that_a_person_has_begun_to_judge_is_never_overwritten(answers, recordings, tmp_path):
    write_clips(tmp_path, some(recordings))
    judge(tmp_path, *answers)
    before = {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()}
    row = 2 + next(k for k, said in enumerate(answers) if said)
    told = rf"clips\.csv: row {row} is judged \(heard says '.*'\): rename .*clips to keep it, or give another --out"
    for again in (lambda: check_clips(tmp_path), lambda: write_clips(tmp_path, some(recordings)[:1])):
        with pytest.raises(ValueError, match=told):
            again()
    assert {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()} == before


def test_a_table_that_is_judged_meanwhile_is_not_overwritten_either(recordings, tmp_path, monkeypatch):
    write_clips(tmp_path, some(recordings))

    def slow(*args):
        judge(tmp_path, "yes", "no", "", "")
        return cut(*args)

    monkeypatch.setattr("flam_train.detection.clips.cut", slow)
    with pytest.raises(ValueError, match="is judged"):
        write_clips(tmp_path, some(recordings)[:1])
    saved = (tmp_path / "clips/clips.csv").read_text(encoding="utf-8-sig")
    assert [row["heard"] for row in csv.DictReader(saved.splitlines(), delimiter=";")] == ["yes", "no", "", ""]
    assert len(names(tmp_path)) == 5


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("clips.csv", "filename,onset,offset\n001.wav,0,1\n", "has no columns filename and heard, so that it may be"),
        ("clips.csv", 'filename,heard\n001.wav,"yes\n', "is not as it was written, and may be judged"),
        ("clips.csv", "filename,heard\n001.wav,,,x\n", "is not as it was written, and may be judged"),
        (
            "clips judged.xlsx",
            "...",
            r"may be a copy of clips\.csv with the answers to these clips: move it",
        ),
        ("001_a_dog_BARKING.wav", "mine", r"is in the way, and no clip of clips\.csv: move it"),
    ],
)
def test_what_may_be_a_persons_work_is_left_alone(name, text, told, recordings, tmp_path):
    write_clips(tmp_path, some(recordings)[1:])
    (tmp_path / "clips" / name).write_text(text)
    before = {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()}
    with pytest.raises(ValueError, match=told):
        write_clips(tmp_path, some(recordings))
    assert {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()} == before


def test_a_folder_of_other_things(recordings, tmp_path):
    (tmp_path / "clips").mkdir()
    check_clips(tmp_path)
    (tmp_path / "clips/mine.wav").write_text("mine")
    with pytest.raises(ValueError, match=r"clips: holds 'mine\.wav', and no clips\.csv that says what it is: move it"):
        check_clips(tmp_path)


def test_what_stops_it_leaves_what_was_there(recordings, tmp_path, monkeypatch):
    write_clips(tmp_path, some(recordings))
    before = {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()}
    calls = iter(range(9))

    def stops(*args):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return cut(*args)

    monkeypatch.setattr("flam_train.detection.clips.cut", stops)
    with pytest.raises(KeyboardInterrupt):
        write_clips(tmp_path, some(recordings)[::-1])
    assert {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()} == before
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".clips")]


def test_a_recording_that_is_gone_costs_no_other_clip(recordings, tmp_path):
    chosen = some(recordings)
    recordings[0].path.unlink()
    (fault,) = write_clips(tmp_path, chosen)
    assert "=b.flac: unreadable audio (No such file or directory)" in fault
    assert [row["filename"][:3] for row in table(tmp_path)] == ["001", "003", "004"]
    assert names(tmp_path)[0] == "001_a_dog_barking.wav"


@FFMPEG
def test_a_recording_that_cannot_be_read_from_the_middle_on_is_decoded_once(tmp_path, monkeypatch):
    t = np.arange(10 * 44_100) / 44_100
    path = through_ffmpeg(tmp_path / "a.m4a", 0.3 * np.sin(2 * np.pi * (200 + 40 * t) * t))
    recording = Recording(path, "a.m4a", "a.m4a")
    chosen = [Chosen(recording, event(0.9 - k / 10, onset=2.0 + k)) for k in range(4)]
    started, real = [], ffmpeg.decoding
    monkeypatch.setattr(ffmpeg, "decoding", lambda *args, **more: started.append(args) or real(*args, **more))
    write_clips(tmp_path, chosen, 0.5)
    assert len(started) == 1
    for one, row in zip(chosen, table(tmp_path), strict=True):
        wave, _ = soundfile.read(tmp_path / "clips" / row["filename"], dtype="int16")
        assert np.abs(wave.astype(int) - cut(path, one.event.onset, one.event.offset, 0.5)[0]).max() <= 1


def test_from_detection_to_shards(recordings, tmp_path, capsys):
    """Judged as a person with a spreadsheet does, read by custom.py and by calibration."""
    out = tmp_path / "out"
    write_clips(out, some(recordings), 1.0)
    args = [str(out / "clips"), str(tmp_path / "shards"), "--labels", str(out / "clips/clips.csv")]
    args += ["--quiet", "--processes", "1", "--test-share", "0"]
    with pytest.raises(SystemExit):
        custom.main(args)
    assert "clips.csv: no row is judged in column 'heard': write yes or no there" in capsys.readouterr().err
    judge(out, "Yes", "YES", "no", " ")
    custom.main([*args, "--group", "source"])
    told = capsys.readouterr().out
    assert "clips.csv: 4 rows to be judged: 2 yes, 1 no, 1 not judged" in told
    assert "1 recordings have not been listened to, their label files say: left out" in told
    assert "splits: drawn 3 groups by source, each in one split" in told
    corpus = Corpus(tmp_path / "shards/train")
    records = {r.key: r for r in (corpus.record(i) for i in range(len(corpus)))}
    found = {key: [(e.onset, e.offset, e.label) for e in r.events] for key, r in records.items()}
    assert found == {
        "001_a_dog_barking": [(1.0, 2.5, "A dog, barking!")],
        "002_hyperlink_x": [(0.5, 4.0, '=HYPERLINK("x")')],
        "003": [],
    }
    assert {r.source for r in records.values()} == {"in/a.wav", "in/=b.flac", "in/s/a.wav"}
    judged = read_judged(out / "clips/clips.csv")
    assert [(j.filename, j.phrase, j.heard) for j in judged] == [
        ("001_a_dog_barking.wav", "A dog, barking!", True),
        ("002_hyperlink_x.wav", '=HYPERLINK("x")', True),
        ("003.wav", "犬が吠える", False),
    ]
    assert all((out / "clips" / j.filename).is_file() for j in judged)

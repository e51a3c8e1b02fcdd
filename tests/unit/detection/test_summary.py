"""What is made of all recordings: a row each, hours, one table; of all parts, whichever wrote last."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from checkout import ROOT

from flam_train.data.labels.detected import HOURS, SILENT, SUMMARY
from flam_train.detection.events import Detection
from flam_train.detection.recordings import part_of, recordings_of
from flam_train.detection.results import EACH, Dead, Outcome, Results
from flam_train.detection.summary import COLUMNS, HOUR_COLUMNS, SILENT_COLUMNS, join, recorded_of
from flam_train.detection.tables.formats import FORMATS
from flam_train.detection.tables.recorded import Recorded
from flam_train.detection.tables.rows import CHANNEL
from flam_train.detection.tables.separated import to_csv, to_tsv

PHRASES = ["a dog", '=HYPERLINK("x"), "y"']
EACH_PHRASE = [f"events: {phrase}" for phrase in PHRASES]
EVENTS = (Detection(10.5, 11.25, "a dog", 0.75, 0.9), Detection(1805.0, 1806.0, "a dog", 0.5, 0.6, 2))
DEAD = (Dead(10.0, 12.5),)
DONE = Outcome(
    "done",
    "",
    3600.5,
    8000,
    10.0,
    1800.0,
    (Dead(10.0, 12.5),),
    "2024-01-31T23:30:00.000+01:00",
    "",
    ("a note",),
    EVENTS,
)
FAILED = Outcome("failed", "a.wav: truncated\naudio")


@pytest.fixture
def recordings(tmp_path):
    for name in ("a.wav", "b.wav", "=c.wav", "s/a.wav"):
        (tmp_path / "recs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "recs" / name).write_text(name)
    return recordings_of([str(tmp_path / "recs")], tmp_path / "out")


@pytest.fixture
def results(tmp_path) -> Results:
    return Results(tmp_path / "out", "0" * 64, PHRASES, {}, {})


def put(results: Results, recording, outcome: Outcome) -> None:
    results.put(recording, results.finger_print(recording), outcome)


def joined(results: Results, recordings, *formats: str):
    with results.joining():
        return join(results, recordings, {name: FORMATS[name] for name in formats or ("tsv",)})


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8", newline="")))


def test_a_row_a_recording(results, recordings):
    results.folder.mkdir()
    put(results, recordings[0], DONE)
    put(results, recordings[1], FAILED)
    put(results, recordings[2], Outcome("done", "", 0.25, 48000, 0.0, 0.25))
    assert [outcome.status for _, outcome in joined(results, recordings)] == ["done", "failed", "done", "not done"]
    found = rows(results.folder / SUMMARY)
    assert list(found[0]) == [
        *(name for name in COLUMNS if name != CHANNEL),
        "events: a dog",
        'events: =HYPERLINK("x"), "y"',
    ]
    assert list(found[0].values()) == [
        str(recordings[0].path), "./recs/=c.wav", "done", "", "a note", "3600.5", "8000", "1800", "2.5",
        "2024-01-31T23:30:00.000+01:00", "2", "4", "2", "0",
    ]  # fmt: skip
    assert list(found[1].values())[2:] == ["failed", "a.wav: truncated audio", *[""] * 10]
    assert list(found[2].values())[2:] == ["done", "", "", "0.25", "48000", "0.25", "0", "", "0", "0", "0", "0"]
    assert found[3]["status"] == "not done"
    assert b"\r" not in (results.folder / SUMMARY).read_bytes()


def test_no_reason_is_a_formula(results, recordings):
    results.folder.mkdir()
    put(results, recordings[0], Outcome("failed", "=c.wav: truncated\naudio"))
    put(results, recordings[1], Outcome("done", notes=("-1 is no time", "a note")))
    joined(results, recordings)
    found = rows(results.folder / SUMMARY)
    assert (found[0]["reason"], found[1]["notes"]) == ("'=c.wav: truncated audio", "'-1 is no time a note")


def test_names_of_any_bytes(results, tmp_path):
    name = b"\xff.wav".decode(errors="surrogateescape")
    (tmp_path / name).write_text("")
    recordings = recordings_of([str(tmp_path / name)], results.folder)
    results.folder.mkdir()
    put(results, recordings[0], DONE)
    joined(results, recordings, *FORMATS)
    assert rows(results.folder / SUMMARY)[0]["recording"].endswith(r"/\udcff.wav")
    assert "\ufffd.wav" in (results.folder / "events.tsv").read_text("utf-8")


def test_hours_by_the_clock(results, recordings):
    results.folder.mkdir()
    put(results, recordings[0], DONE)
    put(results, recordings[1], Outcome("done", "", 60, 48000, 0.0, 60.0))  # its clock is not known
    joined(results, recordings)
    found = rows(results.folder / HOURS)
    assert list(found[0]) == [
        *(name for name in HOUR_COLUMNS if name != CHANNEL),
        "events: a dog",
        'events: =HYPERLINK("x"), "y"',
    ]
    assert [list(row.values())[1:] for row in found] == [
        ["2024-01-31T23:00:00.000+01:00", "1790", "1", "2.011", "1", "0"],
        ["2024-02-01T00:00:00.000+01:00", "10", "1", "360", "1", "0"],
    ]
    put(results, recordings[0], Outcome("done", "", 60, 48000, 0.0, 60.0))
    joined(results, recordings)
    assert not (results.folder / HOURS).exists()  # of settings that were others


def test_where_nothing_sounds(results, recordings):
    results.folder.mkdir()
    put(results, recordings[0], DONE)
    joined(results, recordings)
    assert [list(row.values()) for row in rows(results.folder / SILENT)] == [[str(recordings[0].path), "10", "12.5"]]
    put(results, recordings[0], Outcome("done", "", 60, 48000, 0.0, 60.0))
    joined(results, recordings)
    assert not (results.folder / SILENT).exists()


def test_channels_one_by_one(recordings, tmp_path):
    results = Results(tmp_path / "out", "0" * 64, PHRASES, {"channel": EACH}, {})
    results.folder.mkdir()
    events = (replace(EVENTS[0], channel=1), EVENTS[1], replace(EVENTS[1], onset=1807.0, offset=1808.0))
    dead = (Dead(10.0, 12.5, 1), Dead(10.0, 20.0, 2), Dead(30.0, 31.0, 2))
    put(results, recordings[0], replace(DONE, events=events, dead=dead, channels=(1, 2, 3)))
    put(results, recordings[1], FAILED)
    joined(results, recordings[:2], "tsv", "audacity")
    summary = rows(results.folder / SUMMARY)
    assert list(summary[0]) == [*COLUMNS, *EACH_PHRASE]
    found = [[row[name] for name in (CHANNEL, "status", "silent", "events", "events_per_hour")] for row in summary]
    assert found == [
        ["1", "done", "2.5", "1", "2"], ["2", "done", "11", "2", "4"], ["3", "done", "0", "0", "0"],
        ["", "failed", "", "", ""],
    ]  # fmt: skip
    hours = rows(results.folder / HOURS)
    assert list(hours[0])[: len(HOUR_COLUMNS)] == list(HOUR_COLUMNS)
    assert [(row[CHANNEL], row["hour"][11:13], row["events"]) for row in hours] == [
        ("1", "23", "1"), ("1", "00", "0"), ("2", "23", "0"), ("2", "00", "2"), ("3", "23", "0"), ("3", "00", "0"),
    ]  # fmt: skip
    silent = rows(results.folder / SILENT)
    assert list(silent[0]) == list(SILENT_COLUMNS)
    assert [row[CHANNEL] for row in silent] == ["1", "2", "2"]
    tracks = {path.name for path in results.folder.glob("events.*.txt")}
    assert tracks == {f"events.channel-{channel}.txt" for channel in (1, 2, 3)}
    joined(results, recordings[:2], "tsv")
    assert not list(results.folder.glob("events.*.txt"))


def test_one_table_over_all(results, recordings):
    results.folder.mkdir()
    for recording in recordings[:2]:
        put(results, recording, DONE)
    joined(results, recordings, "tsv", "raven")
    table = (results.folder / "events.tsv").read_text().splitlines()
    assert table[0] == "filename\tonset\toffset\tevent_label\tchannel"
    assert table[1:3] == ["recs/=c.wav\t10.500\t11.250\ta dog\t", "recs/=c.wav\t1805.000\t1806.000\ta dog\t2"]
    assert len(table) == 5
    joined(results, recordings, "csv")
    there = {path.name for path in results.folder.glob("events.*")}
    assert there == {"events.csv"}, "a table of formats that are no longer wanted would tell of older settings"


def test_where_recordings_lie(results, recordings, tmp_path_factory):
    beside = recorded_of(recordings[1], DONE)
    assert (beside.file, beside.seconds, beside.rate, beside.path) == (
        "recs/a.wav", 3600.5, 8000, recordings[1].path
    )  # fmt: skip
    assert beside.start == datetime.fromisoformat("2024-01-31T23:30:00+01:00")
    other = tmp_path_factory.mktemp("other") / "x.wav"
    other.write_text("")
    (elsewhere,) = recordings_of([str(other)], results.folder)
    assert recorded_of(elsewhere, DONE).file == str(other)


def test_a_zone_s_clocks_change_during_a_recording(results, recordings):
    night = Outcome(
        "done", "", 7200, 8000, 0.0, 7200.0, (), "2024-03-31T01:30:00.000+01:00", "Europe/Berlin", (), EVENTS
    )
    results.folder.mkdir()
    put(results, recordings[0], night)
    joined(results, recordings)
    assert [row["hour"][11:] for row in rows(results.folder / HOURS)] == [
        "01:00:00.000+01:00", "03:00:00.000+02:00", "04:00:00.000+02:00",
    ]  # fmt: skip


def test_a_begin_without_a_zone_is_in_no_table(results, recordings):
    naive = Outcome("done", "", 60, 8000, 0.0, 60.0, (), "2024-03-31T01:30:00.000", "", (), ())
    assert recorded_of(recordings[0], naive).start is None


def test_parts_make_one_summary(results, recordings):
    for number in (1, 2, 3):
        with results.held((number, 3)):
            for recording in part_of(recordings, (number, 3)):
                put(results, recording, DONE)
            outcomes = joined(results, recordings)
    assert {outcome.status for _, outcome in outcomes} == {"done"}
    assert {row["status"] for row in rows(results.folder / SUMMARY)} == {"done"}


def test_documented_columns_are_those_that_are_written():
    """docs/detection.md has a table of those of events, then one of those of the summary."""
    lines = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8").splitlines()
    tables = []
    for line in lines:
        if line == "| column | what it is |":
            tables.append([])
        elif tables and line.startswith("| `"):
            tables[-1] += re.findall(r"`([^`]+)`", line.split("|")[1])
    begins = datetime(2024, 5, 1, tzinfo=UTC)
    one = Recorded("a.wav", 10.0, 8000, (Detection(0.0, 1.0, "rain", 0.5, 0.6, 1),), start=begins, channels=(1,))
    assert tables[0] == to_csv([one]).splitlines()[0].split(",")
    assert [*tables[0][:4], "channel"] == to_tsv([one]).splitlines()[0].split("\t")
    assert tables[1] == [*COLUMNS, "events: PHRASE"]

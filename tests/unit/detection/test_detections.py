"""A list of events that knows its recording."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flam_train.detection import FORMATS, Detection, Detections, Recorded

STREET = Recorded("street.wav", 10.0, 44_100, path=Path("/data/street.wav"), start=datetime(2024, 5, 1, tzinfo=UTC))
FOUND = (Detection(0.5, 1.25, "dog barking", 0.75, 0.9), Detection(2.0, 3.0, "rain\tand wind", 0.6))
WRITERS = {
    "to_audacity": "audacity",
    "to_raven": "raven",
    "to_desed_tsv": "tsv",
    "to_jams": "jams",
    "to_json": "json",
}


@pytest.mark.parametrize("method", WRITERS)
def test_text_and_file_are_those_of_the_format(method, tmp_path):
    events = Detections(FOUND, STREET)
    text = getattr(events, method)()
    assert text == FORMATS[WRITERS[method]].text([replace(STREET, detections=FOUND)])
    path = tmp_path / "new" / "events"
    assert getattr(events, method)(path) == text
    assert path.read_bytes() == text.encode()
    assert [p.name for p in path.parent.iterdir()] == ["events"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "events.json"
    path.write_text("before")
    events = Detections([Detection(0.0, 1.0, " ", 0.5)], STREET)
    with pytest.raises(ValueError, match="has nothing that can be read"):
        events.to_json(path)
    assert path.read_text() == "before"
    with pytest.raises(OSError, match=r"events\.json"):
        Detections(FOUND, STREET).to_json(path / "below")


def test_it_is_a_list():
    events = Detections(FOUND, STREET)
    assert events == list(FOUND)
    assert events[0] is FOUND[0]
    assert events[1:] == [FOUND[1]]
    assert events[1:].recording is STREET
    events.append(Detection(10.0, 11.0, "late", 0.5))
    assert events.recorded.seconds == 11.0
    assert events.recorded.detections == tuple(events)


@pytest.mark.parametrize("same", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_copies_know_the_recording(same):
    events = Detections(FOUND[:1], STREET)  # two NaN are never equal
    other = same(events)
    assert type(other) is Detections
    assert (other, other.recording) == (events, STREET)
    assert other.to_raven() == events.to_raven()


def test_a_data_frame():
    frame = Detections(FOUND, STREET).to_dataframe()
    columns = ["filename", "onset", "offset", "event_label", "score", "peak", "onset_datetime", "offset_datetime"]
    assert list(frame) == columns
    assert list(frame.event_label) == [d.phrase for d in FOUND]
    assert frame[["onset", "offset", "score", "peak"]].dtypes.eq("float64").all()
    assert frame.onset_datetime[0] == datetime(2024, 5, 1, 0, 0, 0, 500_000, UTC)
    assert frame.peak.isna().tolist() == [False, True]


def test_a_data_frame_of_channels_and_one_of_nothing():
    channels = Detections([replace(FOUND[0], channel=2), FOUND[1]], STREET).to_dataframe().channel
    assert channels.dtype == "Int64"
    assert channels.tolist()[0] == 2
    empty = Detections().to_dataframe()
    assert (len(empty), list(empty)) == (0, ["filename", "onset", "offset", "event_label", "score", "peak"])
    assert empty.onset.dtype == "float64"
    assert len(Detections([], STREET).to_dataframe()) == 0


def test_without_pandas_the_message_has_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas: pip install pandas"):
        Detections(FOUND).to_dataframe()

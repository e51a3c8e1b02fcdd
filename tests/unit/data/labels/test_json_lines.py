"""JSON Lines, JSON of several recordings, and labels that a spreadsheet would take for formulas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flam_train.data.labels.formulas import as_meant, harmless
from flam_train.data.labels.recognise import parse
from flam_train.data.labels.rows import Named, Row, Wanted

LINES = b"""\
{"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "dog barking", "score": 0.9}

{"filename": "b.wav", "start": 2, "duration": 0.5, "label": "caf\xc3\xa9"}
"""


def test_json_lines():
    labels, found = parse(LINES, "events.jsonl")
    assert found.format == "json_lines"
    assert labels.rows == [Row("a.wav", 0.5, 1.25, "dog barking", 1), Row("b.wav", 2.0, 2.5, "café", 3)]
    assert labels.unit == "row"


def test_json_lines_without_a_name_are_of_the_recording_they_are_called_like():
    labels, found = parse(b'{"onset": 0, "offset": 1, "label": "x"}', "a.json")
    assert found.format == "json_lines"
    assert labels.rows == [Row(None, 0.0, 1.0, "x", 1)]


def test_no_line_is_no_event():
    labels, found = parse(b"\n", "a.jsonl")
    assert (labels.rows, found.format) == ([], "json_lines")


def test_columns_say_what_names_the_recording():
    data = b'{"wav": "a.wav", "onset": 0, "offset": 1, "label": "x"}'
    assert parse(data, "all.jsonl")[0].rows[0].recording is None
    assert parse(data, "all.jsonl", Wanted({"filename": "wav"}))[0].rows[0].recording == "a.wav"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", "row 2: not JSON .*: mend the row"),
        ("[]", "row 2: is no object"),
        ('{"filename": " ", "onset": 0, "offset": 1, "label": "x"}', "row 2: its filename is not text"),
        ('{"onset": 2, "offset": 1, "label": "x"}', "row 2: the offset 1.0 s lies before"),
        ('{"onset": 0, "label": "x"}', "row 2: no column is an offset"),
    ],
)
def test_faults_name_the_row(second, message):
    with pytest.raises(ValueError, match=f"^all.jsonl: {message}"):
        parse(LINES.split(b"\n")[0] + b"\n" + second.encode(), "all.jsonl")


def test_json_of_several_recordings():
    data = b"""{"recordings": [{"filename": "a.wav"}, {"filename": "b.wav"}],
        "events": [{"filename": "a.wav", "onset": 0, "offset": 1, "label": "x"}]}"""
    labels, found = parse(data, "all.json")
    assert found.format == "clip_json"
    assert labels.rows == [Row("a.wav", 0.0, 1.0, "x", 1)]
    assert labels.without == [Named("b.wav", 0)]


def test_the_name_of_a_clip_goes_before_those_of_its_events():
    data = b'{"filename": "a.wav", "events": [{"filename": "b.wav", "onset": 0, "offset": 1, "label": "x"}]}'
    assert parse(data, "all.json")[0].rows[0].recording == "a.wav"


@pytest.mark.parametrize(
    ("phrase", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("-5 dB", "'-5 dB"),
        ("@home", "'@home"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("a;=1", "a;'=1"),
        ("a; +1", "a; '+1"),
        ("a=1", "a=1"),
        ("'n'", "'n'"),
        ("3-4, -5", "3-4, -5"),
    ],
)
def test_formulas_are_marked_as_text(phrase, cell):
    assert harmless(phrase) == cell
    assert as_meant(cell) == phrase


@given(st.text(st.sampled_from("=+-@＝';, a"), max_size=12))
def test_what_is_marked_is_read_as_it_was_meant(text):
    assert as_meant(harmless(text)) == text
    assert not any(cell.lstrip(" ")[:1] in tuple("=+-@＝") for cell in harmless(" ".join(text.split())).split(";"))


@pytest.mark.parametrize("file", ["all.csv", "a.Table.1.selections.txt"])
def test_tables_drop_the_mark(file):
    csv = b'filename,onset,offset,label\na.wav,0,1,"\'=HYPERLINK(""x"")"\n'
    raven = b'Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n1\t0\t1\t\'=HYPERLINK("x")\n'
    labels, _ = parse(csv if file == "all.csv" else raven, file)
    assert [row.label for row in labels.rows] == ['=HYPERLINK("x")']

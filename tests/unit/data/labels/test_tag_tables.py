"""Tables of tags: what is heard in a recording or in some seconds of it, and not when."""

from __future__ import annotations

import math

import pytest

from flam_train.data.labels.recognise import parse, recognise
from flam_train.data.labels.rows import Wanted

WHOLE = (0.0, math.inf)


def read(text: str, **wanted):
    labels, found = parse(text.encode(), "t.csv", Wanted(**wanted))
    return [(r.recording, r.label, r.onset, r.offset) for r in labels.tags], labels, found


@pytest.mark.parametrize(
    "text",
    [
        "filename\tevent_labels\na.wav\tSpeech,Dog\nb.wav\tCat\n",  # DESED's weak.tsv
        'filename,tags\na.wav,"Speech, Dog"\nb.wav,Cat\n',
        "id;file;weak_labels\n1;a.wav;Speech|Dog\n2;b.wav;Cat\n",
        "filename,label\na.wav,Speech\na.wav,Dog\nb.wav,Cat\n",
        "file,species\r\na.wav,Speech\r\na.wav,Dog\r\nb.wav,Cat\r\n",
    ],
)
def test_labels_of_whole_recordings(text):
    tags, labels, found = read(text)
    assert found.format == "tags"
    assert tags == [("a.wav", "Speech", *WHOLE), ("a.wav", "Dog", *WHOLE), ("b.wav", "Cat", *WHOLE)]
    assert not labels.rows
    assert not labels.without


def test_labels_of_seconds_as_audioset_has_them():
    text = (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2\n"
        '# YTID, start_seconds, end_seconds, positive_labels\n--aE2O5G5WE, 0.000, 10.000, "/m/03fwl,/m/04rlf"\n'
    )
    tags, labels, found = read(text.replace(", ", ","), columns={"filename": "YTID"})
    assert found.format == "tags"
    assert tags == [("--aE2O5G5WE", "/m/03fwl", 0.0, 10.0), ("--aE2O5G5WE", "/m/04rlf", 0.0, 10.0)]
    assert labels.columns["tags"] == "positive_labels"
    assert "somewhere in the seconds of their row" in labels.notes[0]


def test_one_label_is_taken_with_its_commas_and_one_of_several_is_not():
    assert read('filename,label\na.wav,"Male speech, man speaking"\n')[0] == [
        ("a.wav", "Male speech, man speaking", *WHOLE)
    ]
    several = 'filename,labels\na.wav,"Male speech, man speaking;Dog"\nb.wav,"Inside, small room"\n'
    assert [label for _, label, *_ in read(several)[0]] == ["Male speech, man speaking", "Dog", "Inside, small room"]


def test_an_empty_cell_says_that_none_is_heard():
    tags, labels, _ = read("filename,event_labels\na.wav,\nb.wav,nocall\nc.wav,NA\nd.wav,Dog\n")
    assert [r.recording for r in labels.without] == ["a.wav", "b.wav", "c.wav"]
    assert len(tags) == 1


def test_columns_names_any_column():
    text = "clip_id,onset,offset,label,remarks\na,0,5,x,Dog;Cat\n"
    tags, _, found = read(text, columns={"filename": "clip_id", "tags": "remarks"})
    assert found.format == "tags"
    assert tags == [("a", "Dog", 0.0, 5.0), ("a", "Cat", 0.0, 5.0)]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDog\n", "table"),
        ("filename,onset,offset,event_label,tags\na.wav,0,1,Dog,loud\n", "table"),  # a column of labels is one
        ("a.wav\t0\t1\tDog\n", "headerless"),
    ],
)
def test_other_tables_are_read_as_before(text, format):
    labels, found = parse(text.encode(), "t.tsv")
    assert found.format == format
    assert [r.label for r in labels.rows] == ["Dog"]
    assert not labels.tags


@pytest.mark.parametrize("text", ["filename,label,site\na.wav,Dog,north\n", "filename,split\na.wav,train\n"])
def test_tables_of_other_things_are_not_guessed_at(text):
    with pytest.raises(ValueError, match="no label format is recognised"):
        recognise(text.encode(), "t.csv")


def test_a_forced_format_reads_what_is_not_guessed_at():
    labels, _ = parse(b"filename,label,site\na.wav,Dog,north\n", "t.csv", format="tags")
    assert [r.label for r in labels.tags] == ["Dog"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("filename,event_labels\na.wav,Speech,Dog\n", "t.csv: row 2: 3 columns, the header has 2: quote the cell"),
        ("filename,event_labels\n,Dog\n", "t.csv: row 2: names no recording"),
        ("filename,onset,offset,tags\na.wav,1,1,Dog\n", "t.csv: row 2: its tags have no seconds, 1 to 1 s"),
        ("filename,onset,offset,tags\na.wav,2,1,Dog\n", "t.csv: row 2: the offset 1.0 s lies before"),
        ("filename,onset,offset,tags\na.wav,x,1,Dog\n", "t.csv: row 2: onset 'x' is not a number"),
    ],
)
def test_faults_name_file_row_and_fix(text, match):
    with pytest.raises(ValueError, match=match):
        parse(text.encode(), "t.csv")


def test_a_table_without_the_columns_says_how_to_name_them():
    with pytest.raises(ValueError, match=r"t.csv: row 1: no column is the tags; .*say --columns tags=NAME"):
        parse(b"filename,remarks\na.wav,Dog\n", "t.csv", format="tags")


def test_json_of_one_clip():
    labels, found = parse(b'{"tags": ["rain", {"onset": 0, "offset": 5, "label": "wind"}]}', "a.json")
    assert found.format == "clip_json"
    assert [(r.label, r.onset, r.offset) for r in labels.tags] == [("rain", *WHOLE), ("wind", 0.0, 5.0)]
    assert [r.row for r in parse(b'{"tags": []}', "a.json")[0].without] == [0]
    with pytest.raises(ValueError, match=r"a\.json: tag 1: has no seconds"):
        parse(b'{"tags": [{"onset": 1, "offset": 1, "label": "x"}]}', "a.json")
    with pytest.raises(ValueError, match=r"a\.json: `tags` is no list"):
        parse(b'{"tags": "rain"}', "a.json", format="clip_json")

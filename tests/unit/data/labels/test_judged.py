"""A column in which a person says of each row whether it is an event."""

from __future__ import annotations

import pytest
import tool_labels

from flam_train.data.labels.judged import Judged, read_judged
from flam_train.data.labels.recognise import parse
from flam_train.data.labels.rows import Labels, Wanted

HEADER = "filename,onset,offset,event_label,score,heard\n"


def read(text: str, name: str = "t.csv", **columns: str) -> Labels:
    return parse(text.encode(), name, Wanted(columns))[0]


def table(*answers: str) -> str:
    """A row an answer, each of its own recording."""
    return HEADER + "".join(f"{n}.wav,1,2,a dog,.9,{answer}\n" for n, answer in enumerate(answers))


def names(rows) -> list[str]:
    return [row.recording for row in rows]


def test_yes_is_an_event_no_was_listened_to_and_what_is_not_judged_is_neither():
    labels = read(table("yes", "no", "", "skip", "unsure", "?", "NA"))
    assert [(r.recording, r.onset, r.offset, r.label) for r in labels.rows] == [("0.wav", 1, 2, "a dog")]
    assert names(labels.without) == ["1.wav"]
    assert names(labels.unheard) == names(labels.unknown) == ["2.wav", "3.wav", "4.wav", "5.wav", "6.wav"]
    assert labels.columns["heard"] == "heard"
    assert labels.notes == ("7 rows to be judged: 1 yes, 1 no, 5 not judged",)


@pytest.mark.parametrize(
    ("yes", "no"), [("yes", "no"), (" YES ", "No"), ("y", "N"), ("True", "FALSE"), ("1", "0"), ("1.0", "0.0")]
)
def test_the_words(yes, no):
    labels = read(table(yes, no))
    assert (names(labels.rows), names(labels.without)) == (["0.wav"], ["1.wav"])


def test_of_a_recording_that_is_judged_in_part_the_rest_is_unknown():
    text = HEADER + "a.wav,1,2,dog,1,no\na.wav,3,4,cat,1,\nb.wav,1,2,dog,1,\nb.wav,5,6,dog,1,yes\nc.wav,0,1,dog,1,\n"
    labels = read(text)
    assert [(r.recording, r.label, r.onset) for r in labels.unknown] == [
        ("a.wav", "cat", 3), ("b.wav", "dog", 1), ("c.wav", "dog", 0),
    ]  # fmt: skip
    assert names(labels.unheard) == ["c.wav"]
    assert (names(labels.rows), names(labels.without)) == (["b.wav"], ["a.wav"])


def test_a_table_that_nobody_has_judged_is_refused_and_one_without_rows_is_not():
    for answers in (["", ""], ["skip", "?"]):
        with pytest.raises(ValueError, match=r"^t\.csv: no row is judged in column 'heard': write yes or no there"):
            read(table(*answers))
    assert read(HEADER).rows == []


def test_another_word_is_an_error_with_row_and_fix():
    with pytest.raises(ValueError, match=r"^t\.csv: row 3: 'heard' says 'perhaps': write yes, no, or nothing"):
        read(table("yes", "Perhaps", "no"))
    with pytest.raises(ValueError, match=r"^t\.csv: row 2: 'heard' says '2'"):
        read(table("2", "yes"))


@pytest.mark.parametrize("cells", [("near", "far"), ("3", "1", "0"), ("2", "7.5"), ("ja", "nein"), ("12:30", "12:31")])
def test_a_column_that_says_something_else_is_not_used_and_the_notes_say_so(cells):
    labels = read(table(*cells))
    assert len(labels.rows) == len(cells)
    assert not labels.unheard
    assert not labels.unknown
    assert "heard" not in labels.columns
    assert labels.notes == (
        "the numbers of column 'score' are not used: every row counts",
        f"warning: column 'heard' says neither yes nor no, but {next(c for c in cells if c not in '01')!r}: it is not "
        "used (--columns heard=heard would read it)",
    )


@pytest.mark.parametrize("cell", ["correct", "verdict", "valid"])
def test_another_column_is_read_only_if_it_is_named(cell):
    text = table("yes", "no").replace("heard", cell)
    assert len(read(text).rows) == 2
    assert read(text, heard=cell).columns["heard"] == cell
    assert names(read(text, heard=cell).rows) == ["0.wav"]
    with pytest.raises(ValueError, match="no column 'nothing' for heard"):
        read(text, heard="nothing")
    with pytest.raises(ValueError, match="row 2: 'heard' says '3': write yes, no"):  # what is named must hold answers
        read(table("3", "1"), heard="heard")


def test_a_column_that_is_said_to_be_the_label_is_no_answer():
    text = "filename,onset,offset,heard\na.wav,0,1,yes\nb.wav,0,1,a dog\n"
    assert [r.label for r in read(text, label="heard").rows] == ["yes", "a dog"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (table("yes", "no", "").replace(",", "\t"), "t.tsv"),
        (table("yes", "no", "").replace(",", ";").replace(";.9;", ";0,9;"), "t.csv"),  # a spreadsheet's
        ("sep=,\n" + table("yes", "no", ""), "t.csv"),
        ("# a comment\n" + table("yes", "no", "").replace("heard", "Heard?"), "t.csv"),
        (table("yes", "no", "").replace("\n", "\r\n").replace("a dog", '"a ""dog"", barks"'), "t.csv"),
    ],
)
def test_tables_of_all_kinds(text, name):
    labels = read(text, name)
    assert [names(some) for some in (labels.rows, labels.without, labels.unheard)] == [["0.wav"], ["1.wav"], ["2.wav"]]


def test_tags_may_be_judged():
    labels = read("filename,tags,heard\na.wav,dog;cat,yes\nb.wav,dog,no\nc.wav,dog,\n")
    assert [(r.recording, r.label) for r in labels.tags] == [("a.wav", "dog"), ("a.wav", "cat")]
    assert (names(labels.without), names(labels.unheard)) == (["b.wav"], ["c.wav"])


@pytest.mark.parametrize("text", [tool_labels.BIRDNET, tool_labels.KALEIDOSCOPE_CLUSTER])
def test_tables_of_tools_may_be_judged(text):
    plain = read(text)
    first, *rest = text.splitlines()
    answers = ["yes", *["no"] * (len(rest) - 1)]
    labels = read("\n".join([f"{first},heard", *(f"{line},{said}" for line, said in zip(rest, answers, strict=True))]))
    assert labels.rows == [row for row in plain.rows if row.row == 2]
    assert len(plain.rows) > len(labels.rows) == 1
    assert not any("every row counts" in note for note in labels.notes)


def test_raven_selections_may_be_judged():
    text = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\theard\n"
        "1\tSpectrogram 1\t1\t0.5\t1.25\t0.0\t8000.0\trobin\tyes\n"
        "2\tSpectrogram 1\t1\t2.5\t3.0\t0.0\t8000.0\twren\tno\n"
    )
    labels = read(text, "a.Table.1.selections.txt")
    assert [r.label for r in labels.rows] == ["robin"]
    assert labels.without
    assert not labels.unheard


def test_what_is_no_table_with_a_header_says_so():
    with pytest.raises(ValueError, match=r"^t\.jsonl: --columns heard=... is not read of json_lines, only of"):
        read('{"filename": "a.wav", "onset": 0, "offset": 1, "label": "a", "heard": "no"}\n', "t.jsonl", heard="heard")
    with pytest.raises(ValueError, match="is not read of headerless"):
        read("a.wav,0,1,dog,no\n", filename="1", onset="2", offset="3", label="4", heard="5")


def test_judged_rows_for_calibration(tmp_path):
    text = table("yes", "no", "", "skip").replace("0.wav", "./sub/0.wav").replace("a dog", "'=dog")
    (tmp_path / "clips.csv").write_text(text)
    found = read_judged(tmp_path / "clips.csv")
    assert found == [
        Judged("sub/0.wav", 1, 2, "=dog", True, "sub/0.wav"),
        Judged("1.wav", 1, 2, "=dog", False, "1.wav"),
    ]
    (tmp_path / "clips.csv").write_text(text.replace("heard", "ok"))
    assert read_judged(tmp_path / "clips.csv", Wanted({"heard": "ok"})) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (table("", "skip"), "no row is judged in column 'heard'"),
        (table("near", "far"), "it was read as table: a table of events"),
        (table("yes").replace("heard", "correct"), "with a column 'heard' that says yes or no is wanted"),
        (table("yes", "both"), "row 3: 'heard' says 'both'"),
        ("filename,tags,heard\na.wav,dog,yes\n", "it was read as tags"),
        ("onset,offset,event_label,heard\n0,1,dog,yes\n", "row 2: names no file: write a column filename"),
    ],
)
def test_what_calibration_cannot_use(tmp_path, text, told):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=told) as error:
        read_judged(tmp_path / "t.csv")
    assert str(error.value).startswith(str(tmp_path / "t.csv"))


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no such file: check the path"):
        read_judged(tmp_path / "t.csv")

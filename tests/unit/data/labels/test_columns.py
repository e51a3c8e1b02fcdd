"""Which column has which role: told by names and cells, or refused with the lines to choose from."""

from __future__ import annotations

import re

import pytest

from flam_train.data.labels.recognise import parse
from flam_train.data.labels.rows import Labels, Wanted


def read(text: str, file: str = "t.csv", format: str | None = None, **wanted) -> Labels:
    return parse(text.encode(), file, Wanted(**wanted), format)[0]


def labels_of(text: str, **wanted) -> list[str]:
    return [row.label for row in read(text, **wanted).rows]


@pytest.mark.parametrize(
    ("header", "row", "label"),
    [
        ("recording,event,start,end,species", "a.wav,1,1,2,wren", "species"),  # numbers are not what is heard
        ("filename,label,onset,offset,class_name", "a.wav,3,1,2,wren", "class_name"),
        ("filename,onset,offset,label,species", "a.wav,1,2,wren,", "label"),  # nor is an empty column
        ("filename,onset,offset,label,tag", "a.wav,1,2,wren,loud", "label"),  # a tag may be anything
        ("filename,onset,offset,name", "a.wav,1,2,wren", "name"),
        ("filename,onset,offset,label,Label", "a.wav,1,2,wren,Wren", "label"),  # which say the same
        ("filename,onset,offset,class", "a.wav,1,2,7", "class"),  # the only one
    ],
)
def test_the_column_that_says_what_is_heard(header, row, label):
    read_ = read(f"{header}\n{row}\n")
    assert read_.columns["label"] == label
    assert read_.rows[0].label in ("wren", "7")


def test_two_columns_that_fit_are_refused_with_both_lines():
    text = "filename,onset,offset,species,call\na.wav,1,2,wren,song\n".replace("call", "category")
    with pytest.raises(ValueError, match=r"t\.csv: row 1: 'category' and 'species' may both be the label") as caught:
        read(text)
    for line in re.findall(r"--columns (\S+)", str(caught.value)):
        role, _, name = line.partition("=")
        assert labels_of(text, columns={role: name}) == [{"category": "song", "species": "wren"}[name]]
    twice = "filename,onset,offset,label,label\na.wav,1,2,wren,owl\n"
    with pytest.raises(ValueError, match="two columns are called 'label' and differ: rename one"):
        read(twice)
    with pytest.raises(
        ValueError, match="'start' and 'begin' may both be the onset: say --columns id=n,onset=start or"
    ):
        read("n,file,start,begin,end,label\n1,a.wav,1,2,3,x\n", columns={"id": "n"})


def test_a_column_has_one_role():
    table = "INDIR,FILE,OFFSET,DURATION,ID\nx,a.wav,1.5,2.0,owl\n"
    (row,) = read(table, columns={"onset": "OFFSET", "label": "ID"}, format="table").rows
    assert (row.onset, row.offset) == (1.5, 3.5)
    # Unless the user says so: labels without length.
    points = "file,at,label\na.wav,1.5,owl\n"
    (row,) = read(points, columns={"onset": "at", "offset": "at"}).rows
    assert (row.onset, row.offset) == (1.5, 1.5)


def test_an_offset_and_a_duration_must_agree():
    agree = "file,onset,offset,duration,label\na.wav,1,2.5,1.5,owl\nb.wav,,,,\n"
    assert read(agree).columns == {"filename": "file", "onset": "onset", "offset": "offset", "label": "label"}
    differ = agree.replace("2.5,1.5", "2.5,3")
    with pytest.raises(ValueError, match="'offset' is not 'onset' plus 'duration': say --columns offset=offset or --"):
        read(differ)
    assert read(differ, columns={"duration": "duration"}).rows[0].offset == 4.0
    assert read(differ, columns={"offset": "offset"}).rows[0].offset == 2.5


def test_of_two_file_names_that_agree_the_one_with_folders():
    text = "filename,filepath,onset,offset,label\na.wav,siteA/a.wav,1,2,x\na.wav,siteB/a.wav,1,2,x\n"
    assert [row.recording for row in read(text).rows] == ["siteA/a.wav", "siteB/a.wav"]
    with pytest.raises(ValueError, match="'filename' and 'filepath' may both be the filename"):
        read(text.replace("siteB/a.wav", "siteB/b.wav"))


def test_units_are_said_and_never_guessed():
    for header in (
        "onset_ms,offset_ms,label",
        "start (ms),end (ms),label",
        "Start_Milliseconds,End_Milliseconds,Label",
    ):
        (row,) = read(f"{header}\n1500,2250,owl\n").rows
        assert (row.onset, row.offset) == (1.5, 2.25)
    assert read("onset,offset,label\n1500,2250,owl\n").rows[0].onset == 1500.0
    assert read("onset,offset,label\n1500,2250,owl\n", unit="ms").rows[0].onset == 1.5
    assert read("onset_s,duration_ms,label\n1.5,250,owl\n", unit="ms").rows[0][1:3] == (1.5, 1.75)
    for text in (
        "1500\t2250\towl\n",
        "a.wav,1500,2250,owl\n",
        '{"events": [{"onset": 1500, "offset": 2250, "label": "x"}]}',
    ):
        assert read(text, unit="ms").rows[0][1:3] == (1.5, 2.25)


def test_clock_times():
    rows = read('file,start,end,label\na.wav,1:02:03.5,1:02:04,owl\na.wav,02:03,"02:03,25",owl\n').rows
    assert [row[1:3] for row in rows] == [(3723.5, 3724.0), (123.0, 123.25)]
    assert read("a.wav\t00:00:01\t00:00:02.5\towl\n").rows[0][1:3] == (1.0, 2.5)
    assert read("0:01\t0:02\towl\n").rows[0][1:3] == (1.0, 2.0)
    assert read("file,start,end,label\na.wav,0:01,0:02,owl\n", unit="ms").rows[0].onset == 1.0
    with pytest.raises(ValueError, match=r"row 2: onset '1:2:3:4' is not a number of seconds"):
        read("file,start,end,label\na.wav,1:2:3:4,9,owl\nb.wav,1,2,owl\n")


def test_first_rows_that_are_no_comments():
    assert read("#1 yard.wav\t0.5\t1.0\tdog\nb.wav\t1\t2\tcat\n").rows[0].recording == "#1 yard.wav"
    assert [n.recording for n in read("#1 yard.wav,,,\nb.wav,1,2,cat\n", format="headerless").without] == [
        "#1 yard.wav"
    ]
    assert labels_of("# made by hand\n# on Monday\nfile,onset,offset,label\na.wav,1,2,owl\n") == ["owl"]
    assert labels_of("#filename\tonset\toffset\tlabel\na.wav\t1\t2\towl\n") == ["owl"]
    assert labels_of("# a comment, with a comma\n0,1,owl\n") == ["owl"]
    assert labels_of("sep=;\nfilename;onset;offset;label\na.wav;0,5;1;owl\n") == ["owl"]
    assert labels_of('"sep=,"\n0,1,owl\n', format="headerless") == ["owl"]


@pytest.mark.parametrize("rows", ["5\t2\tdog\n", "a.wav,5,2,dog\n", "5,2,dog\n", "a.wav\tpark\t5\t2\tdog\n"])
def test_durations_without_a_header_are_refused_with_the_line_for_both(rows):
    with pytest.raises(ValueError, match="if the second number is an offset") as caught:
        read(rows)
    lines = re.findall(r"--columns (\S+)", str(caught.value))
    assert len(lines) == 2
    columns = dict(pair.split("=") for pair in lines[1].split(","))
    assert "duration" in columns
    (row,) = read(rows, columns=columns).rows
    assert (row.onset, row.offset, row.label) == (5.0, 7.0, "dog")


@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_seamless_row_of_durations_is_refused(separator):
    def table(rows) -> str:
        return "".join(separator.join(map(str, row)) + "\n" for row in rows)

    with pytest.raises(
        ValueError, match="each row begins where the one before ends if the second number is a duration"
    ):
        read(table([(0, 2, "a"), (2, 3.5, "b"), (5.5, 9, "c"), (14.5, 15, "d")]))
    assert len(read(table([(0, 0.5, "a"), (0.5, 1, "b"), (1.5, 2, "c")])).rows) == 3  # by chance
    assert len(read(table([(0, 2, "a"), (2, 3.5, "b"), (3.5, 9, "c")])).rows) == 3
    assert len(read(table([(0, 2, "a"), (2, 3.5, "b")])).rows) == 2


def test_what_rows_say_of_their_recordings():
    text = "id,filename,onset,offset,label,recordist,license,url,site\n"
    text += (
        "7,a.wav,1,2,owl,Ann,CC0,https://x/7,north\n7,a.wav,3,4,owl,Ann,CC0,https://x/7,north\n8,b.wav,,,,Bob,,,south\n"
    )
    about = [(a.recording, a.field, a.text) for a in read(text, keep="Site").about]
    assert about == [
        *(
            ("a.wav", "id", "7"),
            ("a.wav", "author", "Ann"),
            ("a.wav", "licence", "CC0"),
            ("a.wav", "source", "https://x/7"),
        ),
        *(("a.wav", "Site", "north"), ("b.wav", "id", "8"), ("b.wav", "author", "Bob"), ("b.wav", "Site", "south")),
    ]


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"no column 'x' for label; there are 'file', 'onset', 'offset', 'label'"):
        read("file,onset,offset,label\na.wav,1,2,owl\n", columns={"label": "x"})
    with pytest.raises(ValueError, match="channel '0' is none: channels are counted from 1"):
        read("file,onset,offset,label,ch\na.wav,1,2,owl,0\n", columns={"channel": "ch"})
    assert read("file,onset,offset,label,ch\na.wav,1,2,owl,2\n", columns={"channel": "ch"}).rows[0].channel == 2

"""Which column has which role: told by names and cells, or refused with the lines to choose from."""

from __future__ import annotations

import re

import pytest

from flam_train.data.labels import captions
from flam_train.data.labels.columns import kept, plain, scale_of
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
    with pytest.raises(
        ValueError, match=r"say --columns 'label=Event label' or --columns label=species"
    ):  # for a shell
        read("filename,onset,offset,Event label,species\na.wav,1,2,wren,song\n")
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
    text = text.replace("filepath", "path")
    assert [row.recording for row in read(text).rows] == ["siteA/a.wav", "siteB/a.wav"]
    folders = text.replace("/a.wav", "")  # no names at all
    assert [row.recording for row in read(folders).rows] == ["a.wav", "a.wav"]
    text = text.replace("path", "filepath")
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


ASKED = {
    "raven": "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tSpecies\tNight No.\n1\t0\t1\ta.wav\twren\tN 1\n",
    "birdnet": "Start (s),End (s),Scientific name,Common name,Confidence,File,Night No.\n0,3,S,Owl,1,a.wav,N 1\n",
    "kaleidoscope": "IN FILE,OFFSET,DURATION,AUTO ID,Night No.\na.wav,1,2,owl,N 1\n",
    "few_shot": "Audiofilename,Starttime,Endtime,POSITIVE,Night No.\na.wav,1,2,NEG,POS\n",
    "clip_json": '{"audio": "a.wav", "Night No.": "N 1", "events": [{"onset": 1, "offset": 2, "label": "x"}]}',
    "event": '{"audio": "a.wav", "events": [{"onset": 1, "offset": 2, "label": "x", "Night No.": "N 1"}]}',
    "label_studio": '[{"data": {"audio": "a.wav", "Night No.": "N 1"}, "annotations": []}]',
    "captions": "filename,caption,Night No.\na.wav,an owl,N 1\n",
    "sonic_visualiser": "TIME,VALUE,LABEL\n1,N 1,owl\n",
}


@pytest.mark.parametrize("format", ASKED)
@pytest.mark.parametrize("asked", ["Night No.", "night_no", " NIGHT NO"])
def test_a_column_that_is_asked_for_is_found_in_every_format(format, asked):
    if format == "sonic_visualiser":
        asked = asked.replace("Night No.", "VALUE").replace("night_no", "value").replace("NIGHT NO", "Value")
    data, wanted = ASKED[format].encode(), Wanted(keep=asked)
    labels = captions.parse(data, "t.csv", wanted) if format == "captions" else parse(data, "t.csv", wanted)[0]
    (about,) = [a for a in labels.about if a.field == asked]
    assert about.text == ("POS" if format == "few_shot" else "N 1")
    assert about.recording == (None if format == "sonic_visualiser" else "a.wav")
    assert {"VALUE", "Night No."} & set(labels.header)


def test_a_regular_expression_is_no_columns_name():
    assert kept(["x", "Site"], Wanted(keep="site")) == 1
    for pattern in ("(site)", "^site", "site.*"):
        assert kept(["x", "Site"], Wanted(keep=pattern)) is None
    assert kept(["SITE", "Site*"], Wanted(keep="Site*")) == 1
    assert kept(["SITE", "site"], Wanted(keep="site")) == 1
    assert kept(["*"], Wanted(keep=" ")) is kept(["x"], Wanted()) is None


def test_names_of_columns():
    for name in ("AUTO ID*", "AUTO.ID.", "auto_id", " Auto-Id ", "auto id (ms)"):
        assert plain(name) == "auto_id"
    for name in ("Start (ms)", "start_ms", "start [msec]", "start.milliseconds", "START MS"):
        assert (plain(name), scale_of(name, Wanted())) == ("start", 0.001)
    assert (plain("ms"), scale_of("ms", Wanted())) == ("ms", 1.0)
    assert scale_of("ms", Wanted(unit="ms")) == 0.001
    assert scale_of("start_s", Wanted(unit="ms")) == 1.0


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("IN FILE,OFFSET,DURATION,AUTO ID\na.wav,1500,500,owl\n", (1.5, 2.0)),
        ("IN FILE,OFFSET,DURATION,AUTO ID\na.wav,0:01.5,500,owl\n", (1.5, 2.0)),
        ("start,end,scientific_name,common_name\n1500,2000,S,owl\n", (1.5, 2.0)),
        ("Start (s),End (s),Scientific name,Common name\n1.5,2,S,owl\n", (1.5, 2.0)),
        ("Start (ms),End (ms),Scientific name,Common name\n1500,2000,S,owl\n", (1.5, 2.0)),
        ("Audiofilename,Starttime,Endtime,owl\na.wav,1500,2000,POS\n", (1.5, 2.0)),
        ("TIME,DURATION,LABEL\n1500,500,owl\n", (1.5, 2.0)),
        ("Begin Time (s)\tEnd Time (s)\tSpecies\n1.5\t2\towl\n", (1.5, 2.0)),
        ("1.5 2.0 owl\n", (1.5, 2.0)),
        ("15000000 20000000 owl\n", (1.5, 2.0)),
    ],
)
def test_unit_is_that_of_numbers_whose_unit_nothing_says(text, times):
    assert tuple(read(text, unit="ms").rows[0][1:3]) == times


def test_tables_of_tools_are_no_exception():
    """A column has one role, two that fit are refused, an offset and a duration must agree."""
    birdnet = "start,end,scientific_name,common_name,filename,recording\n0,3,S,owl,a.wav,b.wav\n"
    with pytest.raises(ValueError, match="'filename' and 'recording' may both be the filename"):
        read(birdnet)
    assert read(birdnet.replace("b.wav", "x/a.wav")).rows[0].recording == "x/a.wav"
    with pytest.raises(ValueError, match="2 columns are called 'OFFSET' for onset"):
        read("IN FILE,OFFSET,DURATION,OFFSET,AUTO ID\na.wav,1,2,3,owl\n", columns={"onset": "OFFSET"})


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"no column 'x' for label; there are 'file', 'onset', 'offset', 'label'"):
        read("file,onset,offset,label\na.wav,1,2,owl\n", columns={"label": "x"})
    with pytest.raises(ValueError, match="channel '0' is none: channels are counted from 1"):
        read("file,onset,offset,label,ch\na.wav,1,2,owl,0\n", columns={"channel": "ch"})
    assert read("file,onset,offset,label,ch\na.wav,1,2,owl,2\n", columns={"channel": "ch"}).rows[0].channel == 2

"""Label files of every format as its tool writes it, recognised by its content; faults name file, row and fix."""

from __future__ import annotations

import json
import math
import re
import time
import unicodedata

import pytest
from label_samples import ALIGNED, RAVEN_HEADER, REFERRING, SLOTS, TEXTGRID_LONG, TEXTGRID_SHORT, eaf

from flam_train.data.labels import tables
from flam_train.data.labels.matching import recording_of
from flam_train.data.labels.recognise import parse as parse_any
from flam_train.data.labels.recognise import recognise
from flam_train.data.labels.rows import Wanted


def events(text: str | bytes, file: str = "a.txt", format: str | None = None, **wanted) -> list[tuple]:
    data = text if isinstance(text, bytes) else text.encode()
    return [tuple(r[:5]) for r in parse_any(data, file, Wanted(**wanted), format)[0].rows]


def format_of(text: str | bytes, file: str = "a.txt") -> str:
    return recognise(text if isinstance(text, bytes) else text.encode(), file).format


def test_desed_table_keeps_names_and_recordings_without_events():
    text = "filename\tonset\toffset\tevent_label\nY-1_350.000_360.000.wav\t0.000\t9.971\tVacuum_cleaner\nb.wav\t\t\t\n"
    labels, found = parse_any(text.encode(), "validation.tsv")
    assert found.format == "table"
    assert [tuple(r[:5]) for r in labels.rows] == [("Y-1_350.000_360.000.wav", 0.0, 9.971, "Vacuum_cleaner", 2)]
    assert [tuple(r) for r in labels.without] == [("b.wav", 3)]


def test_tables_of_many_makes():
    quoted = '\ufefffile,Start (s),Duration,Phrase\r\n" a, b.wav",0.5,1.25,"dog ""Rex"" barking"\r\n'
    assert events(quoted) == [(" a, b.wav", 0.5, 1.75, 'dog "Rex" barking', 2)]
    assert events("filename;onset;offset;label\nx.wav;0,5;1,25;dog\n") == [("x.wav", 0.5, 1.25, "dog", 2)]
    assert events("begin\tend\tclass\r1\t2\tdog\r") == [(None, 1.0, 2.0, "dog", 2)]  # lines that end with CR
    over_lines = 'onset,offset,label\n0,1,"dog\nbarking"\n1,2,cat\n'
    assert events(over_lines) == [(None, 0.0, 1.0, "dog barking", 2), (None, 1.0, 2.0, "cat", 4)]
    mapped = events("who,a,b,c\nx,1,2,dog\n", columns={"filename": "who", "onset": "a", "offset": "b", "label": "c"})
    assert mapped == [("x", 1.0, 2.0, "dog", 2)]
    numbered = events("dog,1,x,2\n", columns={"label": "1", "onset": "2", "filename": "3", "offset": "4"})
    assert numbered == [("x", 1.0, 2.0, "dog", 1)]
    assert events("onset,offset,label\n1,2,caf\u00e9\n".encode("cp1252"), encoding="cp1252")[0][3] == "caf\u00e9"
    assert events("onset,offset,label\n1,2,dog\n".encode("utf-16")) == [(None, 1.0, 2.0, "dog", 2)]


def test_headerless_tables_are_told_by_their_numbers():
    assert events("a.wav\t0.5\t1.0\tdog\nb.wav\t1.5\t2.0\tcat\n")[1] == ("b.wav", 1.5, 2.0, "cat", 2)
    assert events("a.wav\tpark\t0.5\t1.0\tdog\n") == [("a.wav", 0.5, 1.0, "dog", 1)]
    assert events("a.wav,0.5,1.0,dog\n") == [("a.wav", 0.5, 1.0, "dog", 1)]
    assert events("0.5,1.0,dog\n") == [(None, 0.5, 1.0, "dog", 1)]
    assert events("0.5\t1.0\n", unlabelled="speech") == [(None, 0.5, 1.0, "speech", 1)]
    assert format_of("123\t0.5\t1.0\tdog\n") == "headerless"
    urban_sed = "1.265813\t1.6759810000000002\tgun_shot\r\n9.5\t10.000000000000002\tsiren\r\n"
    assert format_of(urban_sed) == "audacity"
    assert events(urban_sed)[1] == (None, 9.5, 10.000000000000002, "siren", 2)


def test_long_numbers_take_no_time():
    # A careless pattern takes time that grows with the square of the digits: half an hour.
    start = time.monotonic()
    with pytest.raises(ValueError, match="no label format"):
        events(("9" * 400_000 + "x\t") * 3 + "\n")
    assert time.monotonic() - start < 60


def test_soft_labels_are_joined_above_the_threshold():
    dishes, car = [0.5, 0.51, 0.9, 0.1, 0.6], [0.1, 1.0, 0.2, 0.0, 0.5]
    rows = [(n, n + 1, label, v[n]) for n in range(5) for label, v in (("cutlery and dishes", dishes), ("car", car))]
    text = "".join(f"{a}.0\t{b}.0\t{label}\t{value}\n" for a, b, label, value in rows)
    assert format_of(text) == "soft"
    expected = [(None, 1.0, 3.0, "cutlery and dishes", 3), (None, 1.0, 2.0, "car", 4)]
    assert events(text) == [*expected, (None, 4.0, 5.0, "cutlery and dishes", 9)]
    labels, _ = parse_any(text.encode(), "a.txt")
    assert labels.notes == ("soft labels: 6 of 10 segments are not above 0.5, and no events",)
    assert len(events(text, format="headerless")) == 10
    semicolons = text.replace("\t", ";").replace(".", ",")
    assert format_of(semicolons) == "soft"
    assert events(semicolons) == events(text.replace("\t", ",")) == events(text)
    assert events(text.replace(".0\t", "000\t"), format="soft", unit="ms") == events(text)
    with pytest.raises(ValueError, match=r"a\.txt: row 4: the value 2 is no soft label, they go from 0 to 1"):
        events(text.replace("\t1.0\n", "\t2\n"), format="soft")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("BirdNET's confidences", "0.0\t3.0\tStrix aluco, Tawny Owl\t0.43\n3.0\t6.0\tStrix aluco, Tawny Owl\t0.9\n"
                                  "6.0\t8.0\ta wren\t0.3\n"),
        ("classes", "0.0\t3.0\tdog\t0\n3.0\t6.0\tcat\t1\n6.0\t8.0\tbird\t2\n"),
        ("per cent", "0.0,1.0,dog,43\n1.0,2.0,dog,97.5\n"),
        ("with gaps", "0\t1\tdog\t0.1\n2\t3\tdog\t0.9\n"),
        ("of several lengths", "0\t1\tdog\t0.1\n1\t3\tdog\t0.9\n"),
        ("one of a kind", "0\t1\tdog\t0.1\n1\t2\tcat\t0.9\n"),
    ],
)  # fmt: skip
def test_a_number_behind_the_label_is_no_soft_label(name, rows):
    labels, found = parse_any(rows.encode(), "a.txt")
    assert found.format == "headerless"
    assert len(labels.rows) == len(rows.splitlines()), name
    assert "column 4 are not used: every row counts" in labels.notes[0]
    forced, _ = parse_any(rows.encode(), "a.txt", None, "audacity") if "\t" in rows else (labels, None)
    assert [r.label for r in forced.rows] == [r.label for r in labels.rows]
    assert forced.notes


def test_audacity():
    text = "0.5\t1.25\tdog barking\n\\\t-1\t4000.0\n2.5\t2.5\tclick\n"
    assert format_of(text) == "audacity"
    assert events(text) == [(None, 0.5, 1.25, "dog barking", 1), (None, 2.5, 2.5, "click", 3)]
    assert events("0.5\tdog\n2\tcat\n") == [(None, 0.5, 0.5, "dog", 1), (None, 2.0, 2.0, "cat", 2)]  # 1.2
    assert events("") == events("\n\n") == []
    assert events("0,5\t1,5\tdog\n") == [(None, 0.5, 1.5, "dog", 1)]
    with pytest.raises(ValueError, match=r"a\.txt: row 2: has no label: .*--unlabelled"):
        events("0\t1\tdog\n1\t2\t\n")
    assert events("0\t1\tdog\n1\t2\n", unlabelled="sound")[1] == (None, 1.0, 2.0, "sound", 2)


def test_raven():
    rows = "1\tWaveform 1\t1\t0.5\t1.25\t0.0\t8000.0\t\r\n1\tSpectrogram 1\t1\t0.5\t1.25\t2000.0\t8000.0\trobin\r\n"
    text = RAVEN_HEADER + rows + "2\tSpectrogram 1\t1\t2.5\t3.0\t2000.0\t8000.0\twren\r\n"
    assert format_of(text) == "raven"
    assert events(text) == [(None, 0.5, 1.25, "robin", 3), (None, 2.5, 3.0, "wren", 4)]
    own = text.replace("Species", "What I heard")
    assert events(own) == events(text)
    two = RAVEN_HEADER.replace("Species", "Mood\tVoice") + "1\tS\t1\t0.5\t1\t0\t8\tglad\trobin\r\n"
    with pytest.raises(ValueError, match=r"row 1: which column holds the labels\? There are 'Mood', 'Voice'"):
        events(two)
    assert events(two, columns={"label": "Voice"})[0][3] == "robin"
    files = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\r\n"
    files += "1\t1.0\t2.0\ta.wav\t1.0\tdog\r\n2\t11.0\t12.5\tb.wav\t1.0\tcat\r\n"
    assert events(files) == [("a.wav", 1.0, 2.0, "dog", 2), ("b.wav", 1.0, 2.5, "cat", 3)]
    with pytest.raises(ValueError, match="several files in 'Begin File' but no 'File Offset"):
        events(re.sub(r"\tFile Offset \(s\)|(?<=wav)\t1\.0", "", files))
    assert recording_of("x/a.b.Table.1.selections.txt") == "x/a.b"


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_raven_tables_of_spreadsheets(separator, quote):
    table = [
        ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Begin File", "File Offset (s)", "Species"],
        ["1", "Waveform 1", "1", "9.5", "10.5", "b.wav", "1.5", "owl"],
        ["1", "Spectrogram 1", "1", "9.5", "10.5", "b.wav", "1.5", "owl"],
        ["2", "Spectrogram 1", "3", "11", "12", "a.wav", "3", "wren"],
    ]
    text = "\r\n".join(separator.join(quote + cell + quote for cell in row) for row in table)
    labels, found = parse_any(text.encode(), "t.csv")
    assert found.format == "raven"
    assert [tuple(r) for r in labels.rows] == [("b.wav", 1.5, 2.5, "owl", 2, 1), ("a.wav", 3.0, 4.0, "wren", 4, 3)]
    assert labels.columns["onset"] == "File Offset (s)"


def test_raven_paths_come_before_names():
    head = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tCommon Name\tConfidence\n"
    text = head + "1\t0\t3\t/home/x/a.wav\t0\tWren\t1.0\n2\t11\t14\t/home/x/b.wav\t3\tOwl\t.2\n"
    assert events(text) == [("/home/x/a.wav", 0.0, 3.0, "Wren", 2), ("/home/x/b.wav", 3.0, 6.0, "Owl", 3)]
    both = text.replace("Begin Path", "Begin File\tBegin Path").replace("\t/home", "\tb.wav\t/home")
    labels, _ = parse_any(both.encode(), "t.txt")
    assert labels.rows[0].recording == "/home/x/a.wav"
    assert not labels.aliases  # a file of that name in another folder is another one
    with pytest.raises(ValueError, match="several files in 'Begin Path' but no 'File Offset"):
        events(re.sub(r"\tFile Offset \(s\)|(?<=wav)\t[03](?=\t)", "", text))


@pytest.mark.parametrize(
    ("path", "file", "recording"),
    [
        ("/Volumes/site B/x.wav", "x.wav", "/Volumes/site B/x.wav"),
        ("C:\\rec\\siteB\\x.wav", "x.wav", "C:/rec/siteB/x.wav"),
        ("/Volumes/siteB/", "x.wav", "/Volumes/siteB/x.wav"),  # the folder
        ("C:\\rec\\siteB", "x.wav", "C:/rec/siteB/x.wav"),
        ("/rec/2024.05.01", "x.wav", "/rec/2024.05.01/x.wav"),
        ("/rec/x.WAV", "y.wav", "/rec/x.WAV"),  # renamed
        ("/rec/x.wav", "x", "/rec/x.wav"),
        ("/rec/siteB", "x", "/rec/siteB/x"),
        ("", "x.wav", "x.wav"),
        ("/rec/x.wav", "", "/rec/x.wav"),
    ],
)
def test_raven_paths_may_be_folders(path, file, recording):
    head = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tBegin File\tSpecies\n"
    labels, _ = parse_any(f"{head}1\t0\t3\t{path}\t{file}\twren\n".encode(), "t.txt")
    assert labels.rows[0].recording == recording
    assert not labels.aliases


def test_a_raven_selection_that_ends_in_another_file():
    head = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tBegin File\tEnd File\tFile Offset (s)\tSpecies\n"
    over = "1\t7\t9.5\t/r/a.wav\ta.wav\tb.wav\t7\towl\n"

    def read(rows: str, head: str = head):
        labels, _ = parse_any((head + rows).encode(), "t.txt")
        return [tuple(r[:4]) for r in labels.rows], [tuple(r[:4]) for r in labels.unknown], labels.notes

    events, unknown, notes = read(over)
    assert events == [("/r/a.wav", 7.0, 9.5, "owl")]  # past its end, which is told or cut
    assert unknown == [("/r/b.wav", 0.0, 2.5, "owl")]  # no negative
    assert notes == (
        "1 selections end in another file, at a time that the table does not tell: nobody knows what is heard where it "
        "begins",
    )
    # Where b.wav begins is known from what begins in it.
    events, unknown, notes = read(over + "2\t10\t11\t/r/b.wav\tb.wav\tb.wav\t2\twren\n")
    assert events == [("/r/a.wav", 7, 8, "owl"), ("/r/b.wav", 0, 1.5, "owl"), ("/r/b.wav", 2, 3, "wren")]
    assert (unknown, notes) == ([], ())
    # Of two recording sessions in one table nothing is known.
    twice = "2\t10\t11\t/r/b.wav\tb.wav\tb.wav\t2\twren\n3\t50\t51\t/r/b.wav\tb.wav\tb.wav\t4\twren\n"
    assert read(over + twice)[1] == [("/r/b.wav", 0.0, 2.5, "owl")]
    paths = head.replace("End File", "End Path")
    assert read(over.replace("b.wav", "/s/b.wav"), paths)[1] == [("/s/b.wav", 0.0, 2.5, "owl")]
    assert read(over.replace("b.wav", "/r/a.wav"), paths)[1] == []
    assert read(over.replace("\tb.wav", "\t"))[1] == read(over.replace("\tb.wav", "\ta.wav"))[1] == []
    with pytest.raises(ValueError, match="several files in 'Begin Path' but no 'File Offset"):
        read(over.replace("\t7\towl", "\towl"), head.replace("\tFile Offset (s)", ""))


def test_raven_says_of_recordings_what_its_columns_say():
    head = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tSong\tSite\tAuthor\tLicense\n"
    text = head + "1\t0\t1\ta.wav\twren\tnorth\tAnn\tCC0\n1\t0\t1\ta.wav\twren\tnorth\tAnn\tCC0\n"
    labels, _ = parse_any(text.encode(), "t.txt", Wanted(keep="site"))
    assert [tuple(a) for a in labels.about] == [
        ("a.wav", "author", "Ann", 2),
        ("a.wav", "licence", "CC0", 2),
        ("a.wav", "site", "north", 2),
    ]
    assert labels.rows[0].label == "wren"  # who and where is no label
    assert labels.columns["site"] == "Site"
    with pytest.raises(ValueError, match="say --columns label=Song or --columns label=Site"):
        events(text)
    only = "Selection\tBegin Time (s)\tEnd Time (s)\tAuthor\n1\t0\t1\twren\n"
    assert events(only)[0][3] == "wren"


def test_a_raven_table_behind_a_spreadsheets_separator():
    text = "sep=;\nBegin Time (s);End Time (s);Species\n0,5;1,25;robin\n"
    assert format_of(text) == "raven"
    assert events(text) == [(None, 0.5, 1.25, "robin", 3)]


def test_raven_columns_that_fit():
    head = "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\tSpecies\n"
    assert events(head + "1\t0\t1\t\twren\n")[0][3] == "wren"  # the other is empty
    assert events(head + "1\t0\t1\t17\twren\n")[0][3] == "wren"  # the other counts
    with pytest.raises(ValueError, match="say --columns label=Annotation or --columns label=Species"):
        events(head + "1\t0\t1\tsong\twren\n")


def test_rows_without_a_call_are_heard_and_no_events():
    head = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tCommon Name\n"
    labels, _ = parse_any((head + "1\t0\t3\t/x/a.wav\tnocall\n").encode(), "a.txt")
    assert (labels.rows, [n.recording for n in labels.without]) == ([], ["/x/a.wav"])
    assert labels.notes == ("1 rows say that there is no call: heard, no events",)
    labels, _ = parse_any(b"0\t3\tnocall, nocall\t1.0\n3\t6\tWren\t0.5\n", "a.txt")
    assert [row.label for row in labels.rows] == ["Wren"]


def test_jams():
    def jams(namespace: str, data: object) -> str:
        return json.dumps({"annotations": [{"namespace": namespace, "data": data}], "file_metadata": {}})

    value = {"label": "siren", "role": "foreground", "event_duration": 9.0, "event_time": 0.0}
    scaper = [{"time": 0, "duration": 10.0, "value": {"label": "noise", "role": "background"}, "confidence": 1.0}]
    scaper.append({"time": 1.5, "duration": 0.5, "value": value, "confidence": 1.0})
    assert format_of(jams("scaper", scaper), "a.jams") == "jams"
    assert events(jams("scaper", scaper), "a.jams") == [(None, 1.5, 2.0, "siren", 2)]
    plain = [{"time": 1.0, "duration": 2.0, "value": "dog", "confidence": None}]
    assert events(jams("segment_open", plain)) == events(jams("tag_open", plain)) == [(None, 1.0, 3.0, "dog", 1)]
    dense = {"time": [1.0], "duration": [2.0], "value": ["dog"], "confidence": [None]}
    assert events(jams("tag_open", dense)) == [(None, 1.0, 3.0, "dog", 1)]
    with pytest.raises(ValueError, match="no namespace that holds labels, only 'chord'"):
        events(jams("chord", plain))
    assert events(jams("chord", plain), tier="chord")
    with pytest.raises(ValueError, match="observation 1: time 'x' is not a number"):
        events(jams("tag_open", [{"time": "x", "duration": 1, "value": "dog"}]))
    unsure = [{"time": 1.0, "duration": 2.0, "value": "dog", "confidence": math.nan}]
    assert events(jams("tag_open", unsure)) == [(None, 1.0, 3.0, "dog", 1)]  # NaN where nobody reads
    with pytest.raises(ValueError, match="observation 1: duration nan is not a number"):
        events(jams("tag_open", [{"time": 1.0, "duration": math.nan, "value": "dog"}]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_textgrid(encoding, end):
    long = TEXTGRID_LONG.replace("\n", end).encode(encoding)
    assert format_of(long, "a.TextGrid") == "textgrid"
    assert events(long) == [(None, 1.5, 2.3, 'a "big" dog ! 3', 22)]
    short = TEXTGRID_SHORT.replace("\n", end).encode(encoding)
    assert events(short, tier="sounds 7") == [(None, 1.5, 2.3, 'a "big" dog ! 3', 18)]
    assert events(short, tier="clicks") == [(None, 0.5, 0.5, "click", 25)]
    assert len(events(short, tier="all")) == 2
    with pytest.raises(ValueError, match=r"several tiers, 'clicks', 'sounds 7': choose one with --tier"):
        events(short)


def test_textgrid_faults():
    with pytest.raises(ValueError, match=r"a\.txt: row 21: xmax should follow, a number, but string"):
        events(TEXTGRID_LONG.replace("xmin = 1.5\n            xmax = 2.3\n", "xmin = 1.5\n"))
    with pytest.raises(ValueError, match="the file ends"):
        events(TEXTGRID_SHORT[:-9])
    with pytest.raises(ValueError, match="binary TextGrid"):
        events(b"ooBinaryFile\x08TextGrid\0\0")


def test_elan():
    text = eaf(SLOTS, ALIGNED + REFERRING)
    assert format_of(text, "a.eaf") == "elan"
    assert events(eaf(SLOTS, ALIGNED)) == [(None, 0.78, 1.34, "dog", 1)]
    assert events(text, tier="fine") == [(None, 0.78, 1.34, "a big dog", 2)]
    with pytest.raises(ValueError, match="several tiers, 'fine', 'sounds'"):
        events(text)
    with pytest.raises(ValueError, match="annotation 1: its time slot 'ts2' has no time: align it"):
        events(eaf(SLOTS, ALIGNED.replace("ts3", "ts2")))
    with pytest.raises(ValueError, match="annotation 2: refers to 'a2', which is itself"):
        events(text.replace('ANNOTATION_REF="a1"', 'ANNOTATION_REF="a2"'), tier="fine")


def test_elan_times_begin_where_the_head_says():
    def linked(*media: str) -> str:
        return eaf(SLOTS, ALIGNED).replace("/><TIME_ORDER", ">" + "".join(media) + "</HEADER><TIME_ORDER")

    video = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///v/a%20b.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="2000"/>'
    sound = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///v/a%20b.wav" RELATIVE_MEDIA_URL="./a b.wav" MIME_TYPE="audio/x-wav"/>'
    assert events(linked(video)) == [(None, pytest.approx(2.78), pytest.approx(3.34), "dog", 1)]
    assert events(linked(video, sound)) == [(None, 0.78, 1.34, "dog", 1)]  # the sound is labelled
    labels, _ = parse_any(linked(video, sound).encode(), "a.eaf")
    assert labels.of == ("file:///v/a%20b.mp4", "./a b.wav", "file:///v/a%20b.wav")
    with pytest.raises(ValueError, match=r"its recordings have several TIME_ORIGINs \(0 s, 1\.5 s\)"):
        events(linked(sound, sound.replace("MIME", 'TIME_ORIGIN="1500" MIME')))
    with pytest.raises(ValueError, match="medium 1: TIME_ORIGIN 'x' is not a number"):
        events(linked(video.replace("2000", "x")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_elan_refuses_entities(encoding):
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    with pytest.raises(ValueError, match="declares a DOCTYPE"):
        events(eaf(SLOTS, ALIGNED.replace("dog", "&b;"), bomb).encode(encoding), "a.eaf")


def test_clip_json():
    clip = {"captions": ["A dog barks."], "events": [{"start": 0.5, "duration": 0.75, "label": "dog"}]}
    labels, found = parse_any(json.dumps(clip).encode(), "a.json")
    assert found.format == "clip_json"
    assert [tuple(r[:5]) for r in labels.rows] == [(None, 0.5, 1.25, "dog", 1)]
    assert [c.text for c in labels.captions] == ["A dog barks."]
    assert parse_any(b'{"events": []}', "a.json")[0].without
    with pytest.raises(ValueError, match=r"a\.json: event 1: offset True is not a number"):
        events('{"events": [{"onset": 0, "offset": true, "label": "dog"}]}', "a.json")


def test_letters_that_look_alike_are_one_label():
    composed, apart = (unicodedata.normalize(form, "Gr\u00fcnspecht") for form in ("NFC", "NFD"))
    rows = events(f"0\t1\t{composed}\n1\t2\t{apart}\n")
    assert [row[3] for row in rows] == [composed] * 2
    assert events("0\t1\n", format="headerless", unlabelled=apart)[0][3] == composed


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("onset,offset,label\n1,2,dog\n2,1,cat\n", "row 3: the offset 1.0 s lies before the onset"),
        ("onset,offset,label\n1,x,dog\n", "row 2: offset 'x' is not a number"),
        ("onset,offset,label\n1,nan,dog\n", "row 2: offset 'nan' is not a number"),
        ("onset,offset,label\n1,1e999,dog\n", "row 2: offset '1e999'"),
        ("0\t1\tdog\n\x1d1\t" + "9" * 5000 + "\tdog\n", "row 2: end '999"),
        ("onset,offset,label\n1,2,dog,cat\n", "row 2: 4 columns, the header has 3"),
        ("onset,offset,label\n\n1,2,\n", "row 3: has no label"),
        ("filename,onset,offset,label\n,1,2,dog\n", "row 2: names no recording"),
        ('onset,offset,label\n1,2,"dog\n', "row 2: unexpected end of data"),
        (b"onset,offset,label\n1,2,caf\xe9\n", "row 2: not text in utf-8 .*--encoding"),
        ("onset,offset,label\n1,2,d\x00g\n", "row 2: holds a zero byte"),
        ("filename\tsplit\na.wav\ttrain\n", "no label format is recognised"),
        ('{"annotations": 3, "x": ' + "[" * 100_000, "nested too deeply|not JSON"),
        ('{"tags": 1}', "JSON without annotations, events, tags or captions"),
        ("<html></html>", "XML that is not ELAN's"),
    ],
)
def test_faults_name_file_row_and_fix(text, match):
    with pytest.raises(ValueError, match=match) as caught:
        events(text, "folder/a.txt")
    assert str(caught.value).startswith("folder/a.txt: ")


def test_a_header_without_labels_is_told_once_and_not_for_every_row(tmp_path):
    table = b"file,start,end,what\na.wav,0.1,0.5,a dog\n"
    with pytest.raises(ValueError, match=r"x.csv: row 1: no column says what is heard; there are 'file', 'start'"):
        tables.parse(table, "x.csv")

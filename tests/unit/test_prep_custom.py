"""Own labels: each format as its tool writes it, recognised by its content; the report; and custom.py end to end."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flam_train.data.corpus import Corpus
from flam_train.data.labels import tables
from flam_train.data.labels.attach import attach, recording_of
from flam_train.data.labels.recognise import parse as parse_any
from flam_train.data.labels.recognise import recognise
from flam_train.data.labels.report import overlaps, positive_frames
from flam_train.data.labels.rows import Wanted
from flam_train.data.schema import Event
from flam_train.frames import FrameGrid

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "data_prep"))
import custom  # noqa: E402

TEXTGRID_LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.3
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "sounds 7"
        xmin = 0
        xmax = 2.3
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = ""
        intervals [2]:
            xmin = 1.5
            xmax = 2.3
            text = "a ""big"" dog ! 3"
"""
TEXTGRID_SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.3
<exists>
2
"IntervalTier"
"sounds 7"
0
2.3
2
0
1.5
""
1.5
2.3
"a ""big"" dog ! 3"
"TextTier"
"clicks"
0
2.3
1
0.5
"click"
"""


def eaf(slots: str, tiers: str, head: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<ANNOTATION_DOCUMENT FORMAT="3.0"><HEADER '
        f'TIME_UNITS="milliseconds"/><TIME_ORDER>{slots}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>'
    )


SLOTS = (
    '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="780"/><TIME_SLOT TIME_SLOT_ID="ts2"/>'
    '<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1340"/>'
)
ALIGNED = (
    '<TIER TIER_ID="sounds"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" '
    'TIME_SLOT_REF2="ts3"><ANNOTATION_VALUE>dog</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>'
)
REFERRING = (
    '<TIER TIER_ID="fine" PARENT_REF="sounds"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1">'
    "<ANNOTATION_VALUE>a big dog</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>"
)
RAVEN_HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\r\n"


def events(text: str | bytes, file: str = "a.txt", format: str | None = None, **wanted) -> list[tuple]:
    data = text if isinstance(text, bytes) else text.encode()
    return [tuple(r) for r in parse_any(data, file, Wanted(**wanted), format)[0].rows]


def format_of(text: str | bytes, file: str = "a.txt") -> str:
    return recognise(text if isinstance(text, bytes) else text.encode(), file).format


def test_desed_table_keeps_names_and_recordings_without_events():
    text = "filename\tonset\toffset\tevent_label\nY-1_350.000_360.000.wav\t0.000\t9.971\tVacuum_cleaner\nb.wav\t\t\t\n"
    labels, found = parse_any(text.encode(), "validation.tsv")
    assert found.format == "table"
    assert [tuple(r) for r in labels.rows] == [("Y-1_350.000_360.000.wav", 0.0, 9.971, "Vacuum_cleaner", 2)]
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
    # A careless pattern takes time that grows with the square of the digits.
    start = time.monotonic()
    with pytest.raises(ValueError, match="no label format"):
        events(("9" * 40_000 + "x\t") * 3 + "\n")
    assert time.monotonic() - start < 1


def test_soft_labels_are_joined_above_the_threshold():
    rows = [(0, 1, "cutlery and dishes", 0.5), (1, 2, "cutlery and dishes", 0.51), (1, 2, "car", 1.01)]
    rows += [(2, 3, "cutlery and dishes", 0.9), (4, 5, "cutlery and dishes", 0.6)]
    text = "".join(f"{a}.0\t{b}.0\t{label}\t{value}\n" for a, b, label, value in rows)
    assert format_of(text) == "soft"
    expected = [(None, 1.0, 3.0, "cutlery and dishes", 2), (None, 1.0, 2.0, "car", 3)]
    assert events(text) == [*expected, (None, 4.0, 5.0, "cutlery and dishes", 5)]
    assert events(text, format="headerless") == events(text)


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_elan_refuses_entities(encoding):
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    with pytest.raises(ValueError, match="declares a DOCTYPE"):
        events(eaf(SLOTS, ALIGNED.replace("dog", "&b;"), bomb).encode(encoding), "a.eaf")


def test_clip_json():
    clip = {"captions": ["A dog barks."], "events": [{"start": 0.5, "duration": 0.75, "label": "dog"}]}
    labels, found = parse_any(json.dumps(clip).encode(), "a.json")
    assert found.format == "clip_json"
    assert [tuple(r) for r in labels.rows] == [(None, 0.5, 1.25, "dog", 1)]
    assert [c.text for c in labels.captions] == ["A dog barks."]
    assert parse_any(b'{"events": []}', "a.json")[0].without
    with pytest.raises(ValueError, match=r"a\.json: event 1: offset True is not a number"):
        events('{"events": [{"onset": 0, "offset": true, "label": "dog"}]}', "a.json")


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
        ("start_ms\tend_ms\tlabel\n1\t2\tdog\n", r"no label format is recognised in .*--columns"),
        (b"onset,offset,label\n1,2,caf\xe9\n", "row 2: not text in utf-8 .*--encoding"),
        ("onset,offset,label\n1,2,d\x00g\n", "row 2: holds a zero byte"),
        ("filename\tevent_labels\na.wav\tdog,cat\n", "no label format is recognised"),
        ('{"annotations": 3, "x": ' + "[" * 100_000, "nested too deeply|not JSON"),
        ('{"tags": 1}', "JSON without annotations, events or captions"),
        ("<html></html>", "XML that is not ELAN's"),
    ],
)
def test_faults_name_file_row_and_fix(text, match):
    with pytest.raises(ValueError, match=match) as caught:
        events(text, "folder/a.txt")
    assert str(caught.value).startswith("folder/a.txt: ")


# Recordings and labels together.


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


def test_a_split_stays_as_recordings_come():
    keys = [f"r{n}" for n in range(500)]
    some, more = custom.split_of(keys[:300], 0.1, 3), custom.split_of(keys, 0.1, 3)
    assert all(more[k] == some[k] for k in some)
    assert 0.06 < list(more.values()).count("test") / 500 < 0.14
    assert more != custom.split_of(keys, 0.1, 4)
    assert sorted(custom.split_of(["a", "b"], 0.01, 0).values()) == ["test", "train"]
    assert set(custom.split_of(["a", "b"], 1, 0).values()) == {"test"}


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


def test_rows_outside_the_audio(tmp_path, capsys):
    folder = tmp_path / "s"
    wav(folder / "a.wav", 2.0)
    (folder / "a.txt").write_text("0\t2.3\tdog\n2.1\t2.2\tcat\n1\t4\tdog\n")
    assert run(folder, tmp_path / "out", "--test-share", 0) == 2
    io = capsys.readouterr()
    assert "rows outside their recording: 3" in io.out
    assert "a.txt: row 1: 'dog': offset 2.3 s is past the end of the audio, 2.000 s: mend it" in io.out
    assert "a.txt: row 2: 'cat': onset 2.1 s is after the end" in io.out
    assert re.search(r"s/a\.txt: row 3: 'dog': offset 4 s is past the end", io.err)
    assert not (tmp_path / "out").exists()
    assert run(folder, tmp_path / "out", "--test-share", 0, "--cut") == 0
    (record,) = records(tmp_path / "out" / "train").values()
    assert record.events == (Event(0, 2.0, "dog"), Event(1, 2.0, "dog"))
    (folder / "a.txt").write_text("0\t2.3\tdog\n")
    assert run(folder, tmp_path / "out2", "--test-share", 0) == 0  # within half a second: cut, and told


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
    with pytest.raises(ValueError, match=r"a\.txt: a\.wav has labels in a\.jams too: choose with --format"):
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


def test_a_header_without_labels_is_told_once_and_not_for_every_row(tmp_path):
    table = b"file,start,end,what\na.wav,0.1,0.5,a dog\n"
    with pytest.raises(ValueError, match=r"x.csv: row 1: no column says what is heard; there are 'file', 'start'"):
        tables.parse(table, "x.csv")

"""Label files of annotation tools and detectors: recognised by content, read to the event, faults by file and row."""

from __future__ import annotations

import json
import re

import pytest
import tool_labels as samples

from flam_train.data.labels import birdnet
from flam_train.data.labels.attach import attach
from flam_train.data.labels.locations import in_label_studio, joined, path_of
from flam_train.data.labels.recognise import parse as parse_any
from flam_train.data.labels.recognise import recognise
from flam_train.data.labels.rows import Labels, Wanted


def read(text: str, file: str = "a.txt", format: str | None = None, **wanted) -> Labels:
    return parse_any(text.encode(), file, Wanted(**wanted), format)[0]


def events(text: str, file: str = "a.txt", format: str | None = None, **wanted) -> list[tuple]:
    return [tuple(r) for r in read(text, file, format, **wanted).rows]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *((n, "birdnet") for n in ("BIRDNET", "BIRDNET_LITE", "BIRDNET_R", "BIRDNET_PACKAGE")),
        *((f"KALEIDOSCOPE_{n}", "kaleidoscope") for n in ("CLUSTER", "ID", "BIRDNET", "BIRDNET_3")),
        ("FEW_SHOT", "few_shot"),
        *((f"SONIC_{n}", "sonic_visualiser") for n in ("VISUALISER", "BOXES", "LAYER")),
        ("SUBRIP", "subrip"),
        ("WEBVTT", "subrip"),
        *((f"HTK{n}", "htk") for n in ("", "_SECONDS", "_MLF")),
        ("LABEL_STUDIO", "label_studio"),
        ("LABEL_STUDIO_MIN", "label_studio"),
        *((f"VIA{n}", "via") for n in ("", "_CSV", "_SEGMENTS")),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_is_told_by_its_content_and_reads_the_same_when_forced(name, format, end, encoding):
    data = getattr(samples, name).replace("\n", end).encode(encoding)
    found = recognise(data, "a.txt")
    assert found.format == format
    assert found.why
    wanted = Wanted(tier="all")
    assert parse_any(data, "a.txt", wanted)[0] == parse_any(data, "a.txt", wanted, format)[0]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("start,end,species\n0,1,dog\n", "table"),
        ("filename,start_time,end_time,species_name,confidence\na.wav,0,1,dog,1\n", "table"),
        ("start,end,common_name\n0,1,dog\n", "table"),
        ("START,END,LABEL\n0,1,dog\n", "table"),
        ("[x].wav\t0\t1\tdog\n", "headerless"),
        ("0\t1\ta --> b\n", "audacity"),
        ("0\t10000000\tdog\n", "audacity"),
        ('{"annotations": [], "file_metadata": {}}', "jams"),
        ('{"events": [], "metadata": {}}', "clip_json"),
        ('{"events": [], "metadata": {}, "annotation_id": 1, "lead_time": 2}', "clip_json"),
    ],
)
def test_nothing_is_taken_from_other_formats(text, format):
    assert recognise(text.encode(), "a.txt").format == format


def test_birdnet():
    first = ("/data/site1/rec 1.wav", 0.0, 3.0, "Eurasian Blackbird", 2, None)
    labels = read(samples.BIRDNET)
    assert [tuple(r) for r in labels.rows] == [first, ("/data/site1/rec, 2.wav", 3.0, 6.0, "Engine", 4, None)]
    assert [tuple(w) for w in labels.without] == [("/data/site1/rec 1.wav", 3)]
    assert labels.notes[0] == "the numbers of column 'Confidence' are not used: every row counts"
    assert labels.columns["label"] == "Common name"
    assert events(samples.BIRDNET, columns={"label": "Scientific name"})[0][3] == "Turdus merula"
    assert events(samples.BIRDNET_LITE) == [(None, 3.0, 6.0, "Swainson's Thrush", 2, None)]
    assert events(samples.BIRDNET_R) == [("/data/rec1.wav", 0.0, 3.0, "Eurasian Blackbird", 2, None)]
    whole = [
        ("/data/rec_001.wav", 0.0, 3.0, "Common Blackbird", 2, None),
        ("/data/rec_001.wav", 63, 66.5, "Engine", 3, None),
    ]
    assert events(samples.BIRDNET_PACKAGE) == whole
    early = "Start (s),End (s),Scientific name,;Common name,Confidence\n0,3,Turdus merula,Blackbird,0.8\n"
    assert events(early) == [(None, 0.0, 3.0, "Blackbird", 2, None)]  # what it wrote in early 2022
    assert read(samples.BIRDNET.splitlines()[0]) == Labels(columns=labels.columns, header=labels.header)
    kept = read(samples.BIRDNET, keep="Scientific name").about
    assert tuple(kept[0])[1:] == ("Scientific name", "Turdus merula", 2)
    for ending in ("BirdNET.selection.table.txt", "BirdNET.results.csv", "BirdNET.results.txt"):
        assert f".{ending}" in birdnet.NAMES


def test_kaleidoscope():
    name = "D:/birds/site1/may/SM4_20240501_053000.wav"
    labels = read(samples.KALEIDOSCOPE_CLUSTER)
    last = ("D:/birds/a.wav", 62.5, 63.5, "Robin, song", 4, None)
    assert [tuple(r) for r in labels.rows] == [(name, 12.345, 13.845, "Wren", 2, 1), last]
    # INDIR may be called otherwise by now; a bare name could be that of any folder.
    assert labels.aliases == {name: ("site1/may/SM4_20240501_053000.wav",)}
    assert [tuple(r) for r in labels.unknown] == [(name, 20, 20.75, "cluster.02", 3, 2)]
    assert labels.notes == ("1 rows have no MANUAL ID, and others have one: nobody knows what is heard in them",)
    own = events(samples.KALEIDOSCOPE_CLUSTER, columns={"label": "TOP1MATCH*"})
    assert [r[3:] for r in own] == [("cluster.01", 2, 1), ("cluster.02", 3, 2), ("cluster.02", 4, None)]
    bats = read(samples.KALEIDOSCOPE_ID)
    assert [tuple(r) for r in bats.rows] == [("D:/bats/night1/S4U_20240701_213000.wav", 0.0, 5.0, "PIPPIP", 2, 1)]
    assert [tuple(r)[1:4] for r in bats.unknown] == [(2.5, 5.0, "NoID")]
    assert "whatever their score" in bats.notes[0]
    expected = [("/data/site1/rec1.wav", 3.0, 6.0, "Eurasian Blackbird", 2, None)]
    assert events(samples.KALEIDOSCOPE_BIRDNET) == events(samples.KALEIDOSCOPE_BIRDNET_3) == expected


def test_recordings_of_one_name_below_several_folders_of_kaleidoscope_stay_apart():
    rows = "D:\\a,,x.wav,0,1,1,dog\nD:\\b,,x.wav,0,1,1,cat\n"
    labels = read("INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,MANUAL ID\n" + rows)
    assert [r.recording for r in labels.rows] == ["D:/a/x.wav", "D:/b/x.wav"]
    assert not labels.aliases
    for indir, folder, recording in (
        ("", "siteB", "siteB/x.wav"),
        (".", ".", "x.wav"),
        ("D:\\b", ".", "D:/b/x.wav"),
        ("", "", "x.wav"),
    ):
        labels = read(f"INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID\n{indir},{folder},x.wav,1,1,dog\n")
        assert (labels.rows[0].recording, labels.aliases) == (recording, {})


def test_what_nobody_looked_at_in_kaleidoscope_is_unknown():
    head = "IN FILE,OFFSET,DURATION,MANUAL ID"
    labels = read(f"{head}\nx.wav,1,1,dog\nx.wav,3,1,\ny.wav,5,1,\n")
    assert [tuple(r[:4]) for r in labels.unknown] == [("x.wav", 3.0, 4.0, "NoID"), ("y.wav", 5.0, 6.0, "NoID")]
    labels = read(f"{head},AUTO ID*\nx.wav,1,1,dog,cat\nx.wav,3,1,,owl\n")
    assert [r.label for r in (*labels.rows, *labels.unknown)] == ["dog", "owl"]
    assert labels.columns["label"] == "MANUAL ID"


OF_SITE_B = {
    "raven": "Begin Time (s)\tEnd Time (s)\tBegin Path\tBegin File\tSpecies\n0\t1\t/r/siteB/x.wav\tx.wav\ta\n",
    "raven folder": "Begin Time (s)\tEnd Time (s)\tBegin Path\tBegin File\tSpecies\n0\t1\t/r/siteB\tx.wav\ta\n",
    "kaleidoscope": "INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID\nC:\\r,siteB,x.wav,0,1,a\n",
    "kaleidoscope root": "INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID\nC:\\siteB,,x.wav,0,1,a\n",
    "birdnet": "start,end,scientific_name,common_name,filepath\n0,1,a,a,/r/siteB/x.wav\n",
    "few_shot": "Audiofilename,Starttime,Endtime,a\nsiteB/x.wav,0,1,POS\n",
    "mlf": '#!MLF!#\n"*/siteB/x.lab"\n0.0 1.0 a\n.\n',
    "label studio": json.dumps(
        [
            {
                "data": {"audio": "/data/local-files/?d=siteB/0a1b2c3d-x.wav"},
                "annotations": [{"result": [{"from_name": "l", "value": {"start": 0, "end": 1, "labels": ["a"]}}]}],
            }
        ]
    ),
    "via": json.dumps(
        {
            "attribute": {"1": {"aname": "l", "type": 1}},
            "file": {"1": {"fname": "x.wav", "src": "https://h/siteB/x.wav"}},
            "view": {"1": {"fid_list": ["1"]}},
            "metadata": {"m": {"vid": "1", "z": [0, 1], "av": {"1": "a"}}},
        }
    ),
}


@pytest.mark.parametrize("tool", OF_SITE_B)
def test_a_recording_in_another_folder_is_not_meant(tool, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text(OF_SITE_B[tool])
    (tmp_path / "in/siteA").mkdir(parents=True)
    (tmp_path / "in/siteA/x.wav").touch()
    with pytest.raises(ValueError, match=r"siteB/.*x.* is not in the folder"):
        attach(tmp_path / "in", labels)
    (tmp_path / "in/siteB").mkdir()
    (tmp_path / "in/siteB/x.wav").touch()
    found = {r.name: [row.label for _, row, _ in r.rows] for r in attach(tmp_path / "in", labels).recordings}
    assert found == {"siteA/x.wav": [], "siteB/x.wav": ["a"]}


def test_few_shot():
    labels = read(samples.FEW_SHOT)
    assert [tuple(r)[:5] for r in labels.rows] == [("a1.wav", 1.1, 2.2, "AGGM", 2), ("a1.wav", 15, 20.5, "SNMK", 3)]
    assert [tuple(r)[:5] for r in labels.unknown] == [("a1.wav", 15, 20.5, "AGGM", 3)]
    assert [tuple(w) for w in labels.without] == [("a2.wav", 4)]
    query = read("Audiofilename,Starttime,Endtime,Q\na.wav,1,2,UNK\n")
    assert (query.rows, query.without, len(query.unknown)) == ([], [], 1)
    assert query.notes == ("a class is called 'Q', whatever it is: rename the column",)


def test_sonic_visualiser():
    assert events(samples.SONIC_VISUALISER) == [
        (None, 0.5, 1.75, "dog, barking", 2, None),
        (None, 10, 10.5, "cat", 3, None),
    ]
    assert events(samples.SONIC_BOXES) == [(None, 0.5, 1.75, "wren", 2, None)]
    assert events("TIME\tLABEL\n0.5\tclick\n") == [(None, 0.5, 0.5, "click", 2, None)]
    notes = "TIME,VALUE,DURATION,LEVEL,LABEL\n0.5,60,1,0.8,C4\n"
    assert events(notes)[0][:4] == (None, 0.5, 1.5, "C4")
    assert events("TIME,VALUE,LABEL\n0.5,3\n", columns={"label": "VALUE"}) == [(None, 0.5, 0.5, "3", 2, None)]
    layer = events(samples.SONIC_LAYER, "a.svl")
    assert layer == [(None, 0.5, 1.5, "dog & cat", 1, None), (None, 2.0, 2.5, "siren", 2, None)]
    instants = re.sub(r' (value|duration)="\d+"', "", samples.SONIC_LAYER)
    assert events(instants)[0] == (None, 0.5, 0.5, "dog & cat", 1, None)


def test_subtitles():
    text = [(None, 1.0, 3.5, "A dog barks. Twice, loudly.", 2, None), (None, 3604.0, 3605.25, "(door)", 7, None)]
    assert events(samples.SUBRIP, "a.srt") == text
    vtt = [(None, 1.0, 3.5, "Rock & roll", 10, None), (None, 3604.0, 3605.25, "door <laughter>", 13, None)]
    assert events(samples.WEBVTT, "a.vtt") == vtt


def test_htk():
    assert events(samples.HTK) == [(None, 0.0, 0.36, "ice", 1, None), (None, 0.36, 0.82, "cream", 2, None)]
    assert read(samples.HTK).notes == ("1 rows have a score behind the label: it is not used",)
    seconds = [(None, 0.0, 2.612267, "N", 1, None), (None, 2.612267, 11.45907, "a big dog", 2, None)]
    assert events(samples.HTK_SECONDS, "a.lab") == seconds
    assert events("0:01 1:02:03.5 dog\n") == [(None, 1.0, 3723.5, "dog", 1, None)]
    assert events("0\t3600000\tice\n", format="htk") == [(None, 0.0, 0.36, "ice", 1, None)]
    labels = read(samples.HTK_MLF)
    named = [("night 1/a", 0.0, 0.36, "ice", 3, None), ("night 1/a", 0.36, 0.82, "Ger\u00e4usch", 4, None)]
    assert [tuple(r) for r in labels.rows] == named
    assert [tuple(w) for w in labels.without] == [("b", 6)]


def test_numbers_behind_labels_between_spaces():
    labels = read("0.0 1.0 owl 0.9\n1.0 3.0 big owl 1\n")
    assert [r.label for r in labels.rows] == ["owl", "big owl"]
    assert labels.notes == ("2 rows have a number behind the label: it is not used",)
    for text in ("0.0 1.0 owl\n1.0 3.0 gate 3\n", "0.0 1.0 3\n1.0 3.0 gate 3\n"):
        assert [r.label for r in read(text).rows][1] == "gate 3"  # not behind every label
    assert read("0 20000000 gate 3\n").rows[0].label == "gate 3"  # HTK's scores have a point


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "0.5 1.5 wren\n1.5 0.3 owl\n",
            r"row 2: the offset 0\.3 s lies before the onset 1\.5 s: swap or mend them, or",
        ),
        (
            "0.0 2.0 a\n2.0 3.5 b\n5.5 9.0 c\n14.5 15.0 d\n",
            "each row begins where the one before ends if the second number is a",
        ),
    ],
    ids=["reversed", "seamless"],
)
def test_durations_between_spaces_are_refused_with_the_line_for_both(text, match):
    with pytest.raises(ValueError, match=match) as caught:
        read(text)
    offset, duration = (
        dict(pair.split("=") for pair in line.split(",")) for line in re.findall(r"--columns (\S+)", str(caught.value))
    )
    row = read(text, columns=duration).rows[-1]
    assert row.offset == row.onset + float(text.split()[-2])
    if "each" in match:
        assert read(text, columns=offset).rows[-1].offset == 15.0


def test_numbers_in_columns_say_what_stands_where_between_spaces():
    columns = {"onset": "1", "offset": "2", "label": "3"}
    assert events("0 1000 big owl\n", columns=columns) == [(None, 0, 1000, "big owl", 1, None)]
    assert events("0 1000 big owl\n", columns=columns, unit="ms") == [(None, 0, 1, "big owl", 1, None)]
    mixed = {"filename": "4", "onset": "1", "duration": "2", "channel": "3", "label": "5"}
    assert events("1 2 1 a.wav big owl\n", columns=mixed) == [("a.wav", 1, 3, "big owl", 1, 1)]
    assert events("1 2 owl x\n", columns={"onset": "1", "offset": "2"}, unlabelled="a") == [(None, 1, 2, "a", 1, None)]
    assert read("0 1000 owl\n", columns=columns).columns == columns
    mlf = '#!MLF!#\n"*/a.lab"\n1 2 owl\n.\n'
    assert events(mlf, columns=columns) == [("a", 1, 2, "owl", 3, None)]
    with pytest.raises(ValueError, match="--columns must name onset, and offset or duration"):
        events("1 2 owl\n", columns={"onset": "1", "label": "3"}, format="htk")
    with pytest.raises(ValueError, match=r"row 1: column 2 'owl' is not a number"):
        events("1 owl 2\n", columns=columns, format="htk")


def test_label_studio():
    labels = read(samples.LABEL_STUDIO, "a.json")
    second = "site1/may/rec 2.wav"
    assert [tuple(r) for r in labels.rows] == [
        ("1a2b3c4d-rec 1.wav", 0.5, 1.25, "dog", 1, 1),
        ("1a2b3c4d-rec 1.wav", 0.5, 1.25, "indoors", 1, 1),
        (second, 2.0, 3.5, "cat", 2, 2),
    ]
    assert labels.aliases == {"1a2b3c4d-rec 1.wav": ("rec 1.wav",)}
    assert [tuple(w) for w in labels.without] == [("site1/rec3.wav", 3)]
    assert [tuple(w) for w in labels.unheard] == [("a/rec4.flac", 4)]
    assert set(labels.notes) == {
        "1 results are no labels of a stretch of time: left out",
        "1 annotations were cancelled: left out",
        "1 tasks were not annotated: left out",
    }
    one = json.dumps(samples.TASKS[1])
    assert recognise(one.encode(), "a.json").format == "label_studio"
    assert events(one, "a.json") == [(second, 2.0, 3.5, "cat", 1, 2)]
    assert read(samples.LABEL_STUDIO, keep="audio").about[2].text == "s3://bucket/site1/rec3.wav?x=1"


def test_a_first_channel_in_label_studio_may_be_all():
    """It writes 0 of a recording whose channels are not shown apart, too."""
    value = {"start": 0, "end": 1, "labels": ["dog"], "channel": 0}
    result = {"from_name": "label", "value": value}
    one = {"result": [result]}
    assert [r.channel for r in label_studio(("a.wav", [one]), ("b.wav", [one])).rows] == [None, None]
    other = {"result": [{"from_name": "label", "value": value | {"channel": 1}}]}
    assert [r.channel for r in label_studio(("a.wav", [one]), ("b.wav", [other])).rows] == [1, 2]


def test_label_studio_min():
    labels = read(samples.LABEL_STUDIO_MIN, "a.json")
    assert [tuple(r)[1:] for r in labels.rows] == [
        (0.5, 1.25, "dog", 1, 1),
        (0.5, 1.25, "indoors", 1, 1),
        (61.0, 62.5, "cat", 1, 2),
    ]
    assert [tuple(w) for w in labels.without] == [("rec2.wav", 2)]
    assert [tuple(w) for w in labels.unheard] == [("rec3.wav", 3)]
    assert labels.notes == ("1 tasks were not annotated: left out",)
    two = json.loads(samples.LABEL_STUDIO_MIN)
    two[0]["other"] = [{"start": 1, "end": 2, "labels": ["x"]}]
    with pytest.raises(ValueError, match=r"a\.json: has several tiers, 'other', 'sound': choose one with --tier"):
        read(json.dumps(two), "a.json")
    assert len(events(json.dumps(two), tier="other")) == 1
    del two[0]["other"]
    two[0] |= {"video": "b.mp4", "sound_file": two[0].pop("audio")}
    with pytest.raises(ValueError, match=r"task 1: which is its audio.*'sound_file', 'video': say --columns filename="):
        read(json.dumps(two), "a.json")
    assert events(json.dumps(two[:1]), columns={"filename": "video"})[0][0] == "b.mp4"


def label_studio(*tasks: tuple[str, list], **data: str) -> Labels:
    export = [{"data": {"audio": audio, **data}, "annotations": annotations} for audio, annotations in tasks]
    return read(json.dumps(export), "a.json", tier="label")


def test_of_what_is_no_stretch_in_label_studio_nothing_is_known():
    """Neither that something is heard nor that nothing is: no negatives."""

    def said(control: str = "label", **value: object) -> dict:
        return {"from_name": control, "value": value}

    dog = said(start=1, end=2, labels=["dog"])
    labels = label_studio(
        ("choice.wav", [{"result": [said(choices=["owl"])]}]),
        ("text.wav", [{"result": [said(start=1, end=2, text=["?"])]}]),
        ("none.wav", []),
        ("cancelled.wav", [{"result": [dog], "was_cancelled": True}]),
        ("both.wav", [{"result": [said(choices=["owl"])]}, {"result": [dog]}]),
        ("nothing.wav", [{"result": []}]),
        ("other.wav", [{"result": [said("quality", start=1, end=2, labels=["loud"])]}]),
        ("none.wav", [{"result": [dog]}]),  # twice: one knew
    )
    assert [n.recording for n in labels.unheard] == ["choice.wav", "text.wav", "cancelled.wav"]
    assert [n.recording for n in labels.without] == ["nothing.wav", "other.wav"]
    assert [r.recording for r in labels.rows] == ["both.wav", "none.wav"]


def test_what_json_min_does_not_tell_is_not_known():
    done = {"annotator": 1, "annotation_id": 7, "lead_time": 1.0}
    tasks = [
        {"audio": "a.wav", "sound": [{"start": 1, "end": 2, "labels": ["dog"]}], "site": "north", **done},
        {"audio": "b.wav", "site": "north", **done},
        {"audio": "c.wav", "species": {"choices": ["owl", "wren"]}, **done},
        {"audio": "d.wav", **done},
    ]
    labels = read(json.dumps(tasks), "a.json")
    assert [n.recording for n in labels.unheard] == ["b.wav", "c.wav"]
    assert [n.recording for n in labels.without] == ["d.wav"]
    assert any("data or choices, which only JSON tells apart" in note for note in labels.notes)


def test_label_studio_says_of_recordings_what_its_data_say():
    about = label_studio(("a.wav", []), url="x", author="Ann", license="CC0", id="7").about
    assert {a.field: a.text for a in about} == {"id": "7", "author": "Ann", "licence": "CC0", "source": "x"}
    by_url = [{"data": {"url": "s3://b/a.wav", "note": "x"}, "annotations": []}]
    assert not read(json.dumps(by_url), "a.json").about  # where it lies is no source


def test_what_was_uploaded_keeps_its_folder():
    labels = label_studio(("/data/local-files/?d=siteB/deadbeef-x.wav", []), ("/data/upload/1/deadbeef-x.wav", []))
    assert labels.aliases == {"siteB/deadbeef-x.wav": ("siteB/x.wav",), "deadbeef-x.wav": ("x.wav",)}


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/data/upload/1/bc171829-a%20b.wav", "bc171829-a b.wav"),
        ("/data/a%20b.wav", "/data/a%20b.wav"),
        ("/data/local-files/?d=x%2Fa+b.wav", "x/a+b.wav"),
        ("http://localhost:8080/data/local-files/?d=x/a.wav&y=1", "x/a.wav"),
        ("azure-blob://box/x/a.wav#t=1", "x/a.wav"),
        ("https://host/a%23b.wav?token=1", "a#b.wav"),
        ("C:\\sounds\\100%25 #1?.wav", "C:/sounds/100%25 #1?.wav"),
        ("file:///home/a%20b.wav", "home/a b.wav"),
    ],
)
def test_locations(location, path):
    assert in_label_studio(location) == path
    if "/data/" not in location:
        assert path_of(location) == path


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/data/upload/1/a.wav", "/data/upload/1/a.wav"),  # a folder like any other
        ("file:/home/a%20b.wav", "home/a b.wav"),
        ("FILE:///D:/rec/#1%20a?.wav", "D:/rec/#1 a?.wav"),
        ("C://rec/a%20b.wav", "C://rec/a%20b.wav"),
        (" a: b.wav", " a: b.wav"),
        ("file: x.wav", "file: x.wav"),
    ],
)
def test_paths(location, path):
    assert path_of(location) == path


def test_joined_paths():
    assert joined("D:\\a\\", "b\\x.wav") == "D:/a/b/x.wav"
    assert joined("", "x.wav") == joined(" . ", " x.wav") == "x.wav"
    assert joined("/", "x.wav") == "/x.wav"


def test_via():
    labels = read(samples.VIA, "a.json", tier="TEMPORAL-SEGMENTS")
    assert [tuple(r) for r in labels.rows] == [
        ("rec 1.mp3", 1.349, 2.741, "dog barking", 1, None),
        ("site1/rec 2.mp3", 0.0, 0.5, "Default", 3, None),
    ]
    assert not labels.aliases
    assert [n.recording for n in labels.unheard] == ["rec3.mp3"]
    notes = ("1 files have no entry: VIA does not say whether they were heard, left out",)
    assert labels.notes == (*notes, "1 entries are no segments in time: left out")
    assert [r[3] for r in events(samples.VIA, tier="where")] == ["near", "indoors"]
    unfilled = samples.VIA.replace('"av": {"1": "1"}', '"av": {"1": "1", "2": ""}')
    assert [r[3] for r in events(unfilled, tier="all")] == ["dog barking", "Default", "near", "indoors"]
    with pytest.raises(ValueError, match="several tiers, 'TEMPORAL-SEGMENTS', 'where': choose one"):
        read(samples.VIA, "a.json")


def test_a_file_of_via_is_the_path_of_its_source():
    """Its name is without folders: it may be that of another file."""
    for source, recording in (
        ("https://h/siteB/x%20y.wav?a=1", "siteB/x y.wav"),
        ("siteB/x.wav", "siteB/x.wav"),
        ("", "rec 1.mp3"),
        ("blob:http://h/1-2", "rec 1.mp3"),
        ("data:audio/wav;base64,x", "rec 1.mp3"),
    ):
        project = json.loads(samples.VIA)
        project["file"]["1"]["src"] = source
        labels = read(json.dumps(project), "a.json", tier="TEMPORAL-SEGMENTS")
        assert (labels.rows[0].recording, labels.aliases) == (recording, {})


def test_of_a_file_of_via_without_a_segment_nothing_is_known():
    project = json.loads(samples.VIA)
    del project["metadata"]["1_mR8ks-Aa"]  # a point is left
    project["metadata"]["3_z"] = {"vid": "3", "flg": 0, "z": [1, 2], "xy": [], "av": {"2": "1"}}
    labels = read(json.dumps(project), "a.json", tier="TEMPORAL-SEGMENTS")
    assert [n.recording for n in labels.unheard] == ["rec 1.mp3"]
    assert [n.recording for n in labels.without] == ["rec3.mp3"]  # a segment of another attribute was listened to
    point = samples.VIA_CSV.replace('"[1.349,2.741]"', '"[1.349]"')
    labels = read(point, "a.csv")
    assert ([n.recording for n in labels.unheard], labels.without) == (["rec 1.mp3"], [])


def test_via_csv():
    labels = read(samples.VIA_CSV, "a.csv")
    assert [tuple(r) for r in labels.rows] == [("rec 1.mp3", 1.349, 2.741, "dog barking", 6, None)]
    assert labels.notes == ("1 entries are no segments in time: left out",)
    segments = read(samples.VIA_SEGMENTS, "a.csv")
    assert [tuple(r) for r in segments.rows] == [("rec 1.mp3", 1.349, 2.741, "dog, near", 3, None)]
    assert "options may be written as their keys" in segments.notes[0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (samples.BIRDNET.replace("3.0,6.0,E", "x,6.0,E"), "row 4: Start .s. 'x' is not a number of seconds"),
        (samples.BIRDNET.replace('"', ""), "row 4: 7 columns, the header has 6: quote the cell"),
        (samples.BIRDNET.replace(",/data/site1/rec 1.wav", ","), "row 2: names no recording"),
        (samples.KALEIDOSCOPE_ID.replace(",0,2.5,", ",L,2.5,"), "row 3: CHANNEL 'L' is not 0, 1"),
        (samples.KALEIDOSCOPE_ID.replace("PIPPIP", ""), "row 2: has no label: .*--unlabelled"),
        (samples.KALEIDOSCOPE_ID.replace("S4U_20240701_213005.wav", ""), "row 3: names no recording"),
        (samples.FEW_SHOT.replace("UNK", "MAYBE"), "row 3: 'AGGM' is 'MAYBE': write POS, NEG or UNK"),
        ("Audiofilename,Starttime,Endtime\na.wav,1,2\n", "row 1: the header must be .* and a column a class"),
        (samples.FEW_SHOT.replace("20.5", "2"), "row 3: the offset 2.0 s lies before the onset 15.0 s"),
        ("FRAME,LABEL\n22050,dog\n", "row 1: its times are frames, .*: export it again with times in seconds"),
        ("TIME,LABEL\n1,dog\n2\n", "row 3: has no label"),
        (samples.SONIC_LAYER.replace("88200", "x"), "point 2: frame 'x' is not a number"),
        (samples.SONIC_LAYER.replace(' sampleRate="44100"', ""), "model 1: sampleRate None is not a number"),
        (samples.SONIC_LAYER.replace("-visualiser>", '-visualiser [<!ENTITY a "b">]>'), "declares a DOCTYPE"),
        (samples.SUBRIP.replace("05,250", "03,250"), "row 7: the offset 3603.25 s lies before the onset"),
        (samples.SUBRIP.replace("05,250", "five"), "row 7: .* is not hh:mm:ss,ms --> hh:mm:ss,ms: mend it"),
        (samples.SUBRIP.replace("Twice", "\nTwice"), "row 5: 'Twice, .* stands outside of a subtitle"),
        (samples.SUBRIP.replace("\n\n", "\n"), "row 6: another subtitle begins: write a blank line"),
        (samples.SUBRIP.replace("(door)", ""), "row 7: has no label"),
        ("0 5 dog\n5 30 cat\n", r"row 2: whole numbers up to 30 would be 3e-06 s in HTK's units of 100 ns: .* 30\.0"),
        ("0 61440 h#\n", "row 1: whole numbers up to 61440 .* if samples, divide them by the rate"),
        (samples.HTK + "x\n", "row 3: 'x' is not start end label"),
        (samples.HTK + "///\n", "row 3: begins another reading"),
        (samples.HTK_MLF.replace(".\n", "", 1), "row 5: another entry begins: end the one above"),
        (samples.HTK_MLF.replace('"*/b.rec"', "b"), "row 6: 'b' is not a name like"),
        (samples.HTK_MLF.replace('"*/b.rec"', '"*" -> "labels"'), "row 6: points to label files elsewhere"),
        (samples.HTK_MLF.replace('"*/b.rec"', '"*/b?.rec"'), "row 6: .* is not the name of one recording"),
        (samples.LABEL_STUDIO.replace('"start": 2', '"start": "x"'), "task 2: start 'x' is not a number"),
        (samples.LABEL_STUDIO.replace('"channel": 1', '"channel": "L"'), "task 2: channel 'L' is not 0, 1"),
        (samples.LABEL_STUDIO.replace('"cat"', "7"), "task 2: the label 7 is not text"),
        (samples.LABEL_STUDIO.replace("s3://bucket/site1/rec3.wav?x=1", "data:audio/wav;base64,x.wav"), "task 3: its"),
        (samples.VIA.replace("2.741", '"x"'), "entry 1: z 'x' is not a number"),
        (samples.VIA.replace('"vid": "2"', '"vid": "9"'), "entry 3: its view '9' is not of one file"),
        (samples.VIA.replace('"av": {"1": "1"}', '"av": {}'), "entry 1: has no label"),
        (samples.VIA_CSV.replace("2.741]", "2.741"), r"row 6: temporal_coordinates '\[1.349,2.741' is not JSON"),
        (samples.VIA_CSV.replace(",0,", ","), "row 6: 5 columns, the header has 6"),
        ('[{"events": [{"start": 1, "end": 2, "label": "dog"}]}]', "JSON that is a list, but not of Label Studio's"),
        ('[{"a": 1}]', "JSON that is a list, but not of Label Studio's tasks"),
        ('{"file": {}, "view": {}}', r"JSON without annotations, events, tags or captions \(it has 'file', 'view'\)"),
    ],
)
def test_faults_name_file_row_and_fix(text, match):
    with pytest.raises(ValueError, match=match) as caught:
        read(text, "folder/a.txt", tier="TEMPORAL-SEGMENTS" if text.startswith('{"project"') else None)
    assert str(caught.value).startswith("folder/a.txt: ")


@pytest.mark.parametrize("arrow", ["->", "- >", "=>", "--"])
@pytest.mark.parametrize("blank", ["\n", ""], ids=["apart", "joined"])
def test_mistyped_arrows_of_subtitles(arrow, blank):
    second = f"2\n00:00:05.000 {arrow} 00:00:07,000\nrain\n"
    text = "1\n00:00:01,000 --> 00:00:02,000\na dog barks\n" + blank + second
    row = 4 + len(blank) + 1
    with pytest.raises(ValueError, match=rf"a\.srt: row {row}: .* are two times without an arrow: write --> between"):
        read(text, "a.srt")
    with pytest.raises(ValueError, match=r"a\.srt: row 2: .* are two times without an arrow"):
        read(second, "a.srt")

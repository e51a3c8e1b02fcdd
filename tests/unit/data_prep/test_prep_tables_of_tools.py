"""Tables as R, spreadsheets and annotation tools leave them, through `data_prep/custom.py`: each label at its place, or
refused with a way out that works."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest

R_SELECTIONS = (
    '"Selection","View","Channel","Begin.Time..s.","End.Time..s.","Low.Freq..Hz.","Species","Begin.File","File.Offset..s."\n'
    '1,"W",1,1,2,0,"owl","a.wav",1\n2,"S",1,3,4,0,"wren","b.wav",0.5\n'
)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("Begin.Time..s.", "begin_time_s").replace("End.Time..s.", "end_time_s"),
        lambda text: re.sub(r"(\w+)\.(\w+)\.\.s\.", r"\1 \2 (s)", text).lower(),
        lambda text: text.replace("Begin.File", "Begin.Path").replace('"b.wav"', '"/far/b.wav"'),
    ],
    ids=["R", "snake", "lower", "path"],
)
@pytest.mark.parametrize("place", ["L/t.csv", "in/a.csv"])
def test_selections_through_other_programs_keep_file_and_offset(change, place, run):
    run.recordings("a.wav", "b.wav")
    table = run.write(place, change(R_SELECTIONS))
    run(*(["--labels", table] if place[0] == "L" else []))
    assert run.events == {"a": [(1, 2, "owl")], "b": [(0.5, 1.5, "wren")]}


def test_paths_alone_name_recordings(run):
    """As the Python package of BirdNET wrote them."""
    run.recordings("a.wav", "b.wav")
    text = "begin_time_s,end_time_s,common_name,begin_path\n1,2,Wren,/x/a.wav\n3,4,Owl,/x/b.wav\n"
    run("--labels", run.write("L/t.csv", text))
    assert run.events == {"a": [(1, 2, "Wren")], "b": [(3, 4, "Owl")]}


BARE = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\n1\tS\t1\t1\t2\t0\t100\n"


def test_selections_without_an_own_column(run):
    run.recordings("a.wav")
    run.write("in/a.Table.1.selections.txt", BARE)
    told = run(code=2)
    assert (
        "no column holds labels of the user's own: name one with --columns label=NAME, or all selections with" in told
    )
    run("--unlabelled", "call")
    assert run.events == {"a": [(1, 2, "call")]}
    head, row = BARE.splitlines()
    run.write("in/a.Table.1.selections.txt", f"{head}\tNotes\n{row}\towl\n")
    assert "labels of the user's own but 'Notes': name one" in run(code=2)
    run("--columns", "label=Notes")
    assert run.events == {"a": [(1, 2, "owl")]}
    run.write("in/a.Table.1.selections.txt", f"{head}\tCode (4-letter)\n{row}\tTAAL\n")
    run()
    assert run.events == {"a": [(1, 2, "TAAL")]}


def test_chosen_columns_of_a_selection_table_are_read_as_they_are_chosen(run):
    run.recordings("a.wav")
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tPeak Time (s)\tRecording\tAnnotation\n"
    table = run.write("L/t.txt", header + "1\t1\t2\t1.5\ta.wav\towl\n")
    run("--labels", table, "--columns", "filename=Recording,label=Annotation")
    assert run.events == {"a": [(1, 2, "owl")]}
    run("--labels", table, "--columns", "filename=Recording,onset=Peak Time (s)")
    assert run.events == {"a": [(1.5, 2, "owl")]}
    assert "no column 'Nope' for filename" in run("--labels", table, "--columns", "filename=Nope", code=2)


@pytest.mark.parametrize(
    ("name", "text", "option"),
    [
        ("a.csv", "Audiofilename,Starttime,Endtime,Q\na.wav,1,2,POS\n", "onset=Nope"),
        ("a.json", json.dumps([{"data": {"audio": "/a.wav"}, "annotations": [{"result": []}]}]), "label=Nope"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nowl\n", "label=Nope"),
    ],
)
def test_columns_that_no_label_file_has_are_refused(name, text, option, run):
    run.recordings("a.wav")
    told = run("--labels", run.write(f"L/{name}", text), "--columns", option, code=2)
    assert f"--columns {option}: no label file has it (they were read as" in told


def test_letters_that_look_alike_in_names_of_files_and_rows(run):
    """A label file of another site, its name as a Mac writes it and the row's as others do."""
    composed, apart = (unicodedata.normalize(form, "Gr\u00fcn.wav") for form in ("NFC", "NFD"))
    run.recordings(f"siteA/{composed}")
    row = f"Audiofilename,Starttime,Endtime,owl\n{composed},5,6,POS\n"
    run.write(f"L/siteB/{apart.removesuffix('.wav')}.csv", row)
    assert "is not in the folder" in run("--labels", run.at / "L", code=2)


@pytest.mark.parametrize("tool", ["raven", "few shot"])
def test_a_table_called_like_its_recording_lies_where_it_does(tool, run):
    """Recorders name files by the clock: each site has a file of that name."""
    if tool == "raven":
        name, row = "x.Table.1.selections.txt", "Begin Time (s)\tEnd Time (s)\tBegin File\tSpecies\n{}\t{}\tx.WAV\t{}\n"
    else:
        name, row = "x.csv", "Audiofilename,Starttime,Endtime,{2}\nx.WAV,{0},{1},POS\n"
    run.recordings("siteA/x.WAV")
    run.write(f"L/siteA/{name}", row.format(1, 2, "wren"))
    run("--labels", run.at / "L")
    assert run.events == {"siteA_x": [(1, 2, "wren")]}
    run.write(f"L/siteB/{name}", row.format(5, 6, "owl"))
    assert f"siteB/{name}: row 2: 'x.WAV' is not in the folder" in run("--labels", run.at / "L", code=2)


def test_a_table_among_recordings_speaks_of_those(run):
    run.recordings("siteA/x.WAV", "siteB/y.WAV")
    table = run.write("in/siteB/labels.csv", "filename,onset,offset,label\nx.WAV,1,2,owl\n")
    told = run("--labels", table, code=2)
    assert "row 2: 'x.WAV' is not in the folder, did you mean siteA/x.WAV?" in told
    run.write("in/siteB/labels.csv", "filename,onset,offset,label\nsiteA/x.WAV,1,2,owl\ny.WAV,3,4,wren\n")
    run("--labels", table)
    assert run.events == {"siteA_x": [(1, 2, "owl")], "siteB_y": [(3, 4, "wren")]}


@pytest.mark.parametrize("column", ["folder", "Directory", "subdir"])
def test_a_folder_beside_a_bare_name_belongs_to_it(column, run):
    run.recordings("siteA/x.wav")
    text = f"{column},filename,onset,offset,label\nsiteA,x.wav,1,2,dog\nsiteB,x.wav,3,4,owl\n"
    table = run.write("t.csv", text)
    assert "row 3: 'siteB/x.wav' is not in the folder" in run("--labels", table, code=2)
    run.recordings("siteB/x.wav")
    run("--labels", table)
    assert run.events == {"siteA_x": [(1, 2, "dog")], "siteB_x": [(3, 4, "owl")]}


@pytest.mark.parametrize("unit", ["ss.msec", "ss.ms", "hh:mm:ss.ms", "msec"])
def test_decimals_of_seconds_in_a_header_are_no_milliseconds(unit, run):
    """ELAN's export of annotations between tabs."""
    run.recordings("a.wav")
    times = {"hh:mm:ss.ms": "00:00:01.000\t00:00:02.500", "msec": "1000\t2500"}.get(unit, "1.000\t2.500")
    run.write("in/a.txt", f"Begin Time - {unit}\tEnd Time - {unit}\tAnnotation\n{times}\tdog\n")
    run()
    assert run.events == {"a": [(1, 2.5, "dog")]}


def test_an_offset_in_the_head_of_elans_export_is_told(run):
    run.recordings("a.wav")
    head = (
        "#file:///far/a.eaf\n#file:///far/a.wav -- offset: {}\n\nBegin Time - ss.msec\tEnd Time - ss.msec\tAnnotation\n"
    )
    for offset, said in ((500, True), (0, False)):
        run.write("in/a.txt", head.format(offset) + "1.000\t2.000\tdog\n")
        assert ("begins at 0.5 s of ELAN's time, which ELAN adds when it is asked to" in run()) is said
        assert run.events == {"a": [(1, 2, "dog")]}


def test_what_r_and_pandas_write_into_empty_cells_is_nothing(run):
    run.recordings("a.wav", "b.wav")
    header = '"FOLDER","IN.FILE","CHANNEL","OFFSET","DURATION","AUTO.ID.","MANUAL.ID"\n'
    run("--labels", run.write("k.csv", header + '"",a.wav,0,0.5,5.0,"EPTFUS",NA\n'))
    assert run.events == {"a": [(0.5, 5.5, "EPTFUS")]}
    for nothing in ("NA", "NaN"):
        rows = f"filename,onset,offset,label\na.wav,1,2,dog\nb.wav,{nothing},{nothing},{nothing}\n"
        run("--labels", run.write("t.csv", rows))
        assert run.events == {"a": [(1, 2, "dog")], "b": []}
    told = run("--labels", run.write("t.csv", "filename,onset,offset,label\na.wav,1,2,NA\n"), code=2)
    assert "row 2: has no label: write what is heard" in told


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ("labels_train/a.txt", "labels_test/b.txt"),
        ("train_strong/a.csv", "test_strong/b.csv"),
        ("train/strong/a.csv", "test/strong/b.csv"),
        ("fold1/a.txt", "fold2/b.txt"),
    ],
)
def test_folders_of_other_splits_under_any_name_are_looked_through(given, other, run):
    run.recordings("a.wav", "b.wav")
    for name in (given, other):
        run.write(name, "1\t2\tdog\n" if name.endswith("txt") else "onset,offset,label\n1,2,dog\n")
    told = run("--labels", (run.at / given).parent, "--complete", code=2)
    assert re.search(r"b\.\w+: speaks of 1 recordings that .* does not, like b\.wav: with --complete", told)
    run("--labels", (run.at / given).parent)
    assert run.events == {"a": [(1, 2, "dog")]}


def test_folders_that_only_count_are_no_splits(run):
    run.recordings("a.wav", "b.wav")
    run.write("study1/a.txt", "1\t2\tdog\n")
    run.write("study2/b.txt", "1\t2\tdog\n")
    run("--labels", run.at / "study1", "--complete")
    assert run.events == {"a": [(1, 2, "dog")], "b": []}


def test_tables_of_other_things_are_no_labels(run):
    run.recordings("a.wav")
    run.write("in/a.txt", "1\t2\tdog\n")
    run.write("in/deploy.csv", "site,start,end\nA,2024-05-01,2024-06-01\n")
    run.write("in/recordings.csv", "filename,start_time,end_time,site\na.wav,2024-05-01 05:00,2024-05-01 06:00,A\n")
    run.write("in/config.json", '{"events": 3}')
    told = run("--complete")
    assert "not read" not in told
    run.write("in/others.csv", "onset,offset,label\n1,2,dog\n")
    assert "move away what is of other sounds, or leave out --complete" in run("--complete", code=2)


def test_htk_units_between_tabs(run):
    run.recordings("a.wav")
    run.write("in/a.lab", "10000000\t20000000\tdog\n20000000\t35000000\told cat\n")
    run()
    assert run.events == {"a": [(1, 2, "dog"), (2, 3.5, "old cat")]}
    run.write("in/a.lab", "1\t2\tdog\n")  # seconds, as Audacity writes them
    run()
    assert run.events == {"a": [(1, 2, "dog")]}


def test_uploads_are_called_as_servers_keep_names(run):
    run.recordings("my rec.wav", "rec (1).wav")
    value = {"start": 1, "end": 2, "labels": ["owl"]}
    tasks = [
        {"data": {"audio": f"/data/upload/1/0a1b2c3d-{name}"}, "annotations": [{"result": [{"value": value}]}]}
        for name in ("my_rec.wav", "rec_1.wav")
    ]
    run("--labels", run.write("export.json", json.dumps(tasks)))
    assert sorted(run.events.values()) == [[(1, 2, "owl")], [(1, 2, "owl")]]


def test_a_label_file_with_the_whole_name_of_one_of_two(run):
    run.recordings("a.wav", "a.flac")
    run.write("in/a.wav.txt", "1\t2\tdog\n")
    run.write("in/a.flac.txt", "3\t4\tcat\n")
    run()
    assert sorted(run.events.values()) == [[(1, 2, "dog")], [(3, 4, "cat")]]


def test_label_files_elsewhere_with_the_whole_names(run):
    run.recordings("a.wav", "a.flac", "b/a.wav")
    for name, label in {"a.wav": "dog", "a.flac": "cat", "b/a.wav": "owl"}.items():
        path = run.write(f"labels/{name}.txt", f"1\t2\t{label}\n")
    run("--labels", path.parents[1])
    assert sorted(run.events.values()) == [[(1, 2, "cat")], [(1, 2, "dog")], [(1, 2, "owl")]]


def test_times_of_a_format_in_seconds_are_not_made_milliseconds(run):
    run.recordings("a.wav")
    run.write("in/a.Table.1.selections.txt", "Begin Time (s)\tEnd Time (s)\tSpecies\n1000\t2000\towl\n")
    told = run(code=2)
    assert "would all lie inside as milliseconds: write them in seconds, as this format has them" in told


def test_an_export_in_which_nobody_has_listened_yet(run):
    run.recordings("a.wav")
    tasks = [{"data": {"audio": "/data/upload/1/0a1b2c3d-a.wav"}, "annotations": []}]
    told = run("--labels", run.write("export.json", json.dumps(tasks)), code=2)
    assert "no recording has labels: their label files say that nobody has listened to 1 of them" in told


def test_numbers_behind_labels_of_a_table_are_told(run):
    run.recordings("a.wav")
    told = run("--labels", run.write("t.csv", "filename,onset,offset,label,confidence\na.wav,1,2,dog,.2\n"))
    assert "the numbers of column 'confidence' are not used: every row counts" in told
    told = run("--labels", run.write("t.csv", "filename,onset,offset,label\nA.WAV,1,2,dog\n"), code=2)
    assert "did you mean a.wav?" in told

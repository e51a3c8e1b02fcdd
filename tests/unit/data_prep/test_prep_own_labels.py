"""Labels of one's own that went to the wrong place, or vanished, in tools like this one: what public reports describe,
each with the right outcome."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import merge
import numpy as np
import pytest
import soundfile
from checkout import ROOT

from flam_train.data.shards.corpus import Corpus

RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tSpecies\n1\tSpectrogram 1\t1\t1\t2\t{}\t{}\n"
)
NIGHT = "20240501_050000"


def test_a_row_of_another_folder_is_not_written_onto_a_recording_of_the_same_name(run):
    run.recordings(f"siteA/{NIGHT}.WAV")
    rows = f"filename,onset,offset,label\nsiteA/{NIGHT}.WAV,1,2,wren\nsiteB/{NIGHT}.WAV,5,6,owl\n"
    told = run("--labels", run.write("t.csv", rows), code=2)
    assert re.search(rf"t\.csv: row 3: 'siteB/{NIGHT}\.WAV' is not in the folder", told)
    run.folder = run.folder / "siteA"  # where nothing says whose the name is but the other row
    told = run("--labels", run.at / "t.csv", code=2)
    assert f"row 3: 'siteB/{NIGHT}.WAV' and 'siteA/{NIGHT}.WAV' would both be {NIGHT}.WAV" in told


def test_a_label_file_of_another_folder_is_not_that_of_a_recording_of_the_same_name(run):
    run.recordings(f"siteA/{NIGHT}.WAV", "siteA/other.wav")
    run.write(f"in/siteB/{NIGHT}.txt", "5\t6\towl\n")
    assert f"siteB/{NIGHT}.txt may be of siteA/{NIGHT}.WAV, in another folder" in run(code=2)
    run.write("in/siteA/other.txt", "1\t2\twren\n")
    assert f"label files that were not read: 1, siteB/{NIGHT}.txt" in run()
    assert run.events == {"siteA_other": [(1, 2, "wren")]}


def test_a_raven_table_means_the_recording_beside_it(run):
    run.recordings(f"siteA/{NIGHT}.WAV", f"siteB/{NIGHT}.WAV")
    for site, label in (("siteA", "wren"), ("siteB", "owl")):
        run.write(f"in/{site}/{NIGHT}.Table.1.selections.txt", RAVEN.format(f"{NIGHT}.WAV", label))
    run()
    assert run.events == {f"siteA_{NIGHT}": [(1, 2, "wren")], f"siteB_{NIGHT}": [(1, 2, "owl")]}


def test_paths_of_the_machine_where_it_was_labelled(run):
    run.recordings("siteA/a.wav", "siteA/b.wav")
    path = RAVEN.replace("Begin File", "Begin Path")
    run.write("in/siteA/a.selections.txt", path.format("/home/ann/desk/a.wav", "wren"))
    run.write("in/siteA/b.selections.txt", path.format("/data/siteA/a.wav", "owl"))
    run()
    assert run.events["siteA_a"] == [(1, 2, "wren"), (1, 2, "owl")]


def test_an_elan_file_elsewhere_means_the_recording_that_it_links_to(run):
    from label_samples import ALIGNED, SLOTS, eaf

    run.recordings("siteA/a.wav")
    link = '><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/siteA/a.wav" TIME_ORIGIN="1000"/></HEADER><TIME_ORDER'
    run.write("labels/session 1.eaf", eaf(SLOTS, ALIGNED).replace("/><TIME_ORDER", link))
    run("--labels", run.at / "labels")
    assert run.events == {"siteA_a": [(1.78, 2.34, "dog")]}


def test_files_that_were_not_read_are_named_and_no_negatives_are_made_of_them(run):
    run.recordings("a.wav", "b.wav", "c.wav")
    run.write("in/b.txt", "0.5\t1\tdog\n")
    run.write("in/a_labels.txt", "1\t2\tcat\n")
    run.write("in/more.csv", "filename,onset,offset,label\nc.wav,1,2,owl\n")
    for name, text in (("README.txt", "What I recorded.\n"), ("list.csv", "a.wav,b.wav\n"), ("x.json", '{"a": 1}')):
        run.write(f"in/{name}", text)
    told = run()
    assert "were not read: 2, a_labels.txt, more.csv (names 1 recordings: give it with --labels)" in told
    assert set(run.events) == {"b"}
    told = run("--complete", code=2)
    assert "2, a_labels.txt, more.csv" in told
    assert "with --complete" in told
    assert not run.out.exists()


def test_birdnets_files_beside_the_audio_are_the_recordings(run):
    run.recordings("a.wav", "b.wav")
    run.write("in/a.BirdNET.selection.table.txt", RAVEN.replace("Species", "Common Name").format("a.wav", "Wren"))
    run.write(
        "in/b.BirdNET.results.txt", "0.0\t3.0\tStrix aluco, Tawny Owl\t0.43\n3.0\t6.0\tStrix aluco, Tawny Owl\t0.31\n"
    )
    run("--complete")
    assert run.events == {
        "a": [(1, 2, "Wren")],
        "b": [(0, 3, "Strix aluco, Tawny Owl"), (3, 6, "Strix aluco, Tawny Owl")],
    }


def test_complete_labels_of_one_split_make_no_negatives_of_the_other(run):
    run.recordings("a.wav", "b.wav", "c.wav")
    head = "filename,onset,offset,label\n"
    train = run.write("L/train.csv", head + "a.wav,1,2,wren\n")
    run.write("L/test.csv", head + "b.wav,1,2,owl\n")
    told = run("--labels", train, "--complete", code=2)
    assert re.search(
        r"L/test\.csv: speaks of 1 recordings that train\.csv does not, like b\.wav: with --complete", told
    )
    run("--labels", train)
    assert set(run.events) == {"a"}
    run("--labels", train.parent, "--complete")
    assert run.events == {"a": [(1, 2, "wren")], "b": [(1, 2, "owl")], "c": []}


def test_tables_that_overlap_are_not_summed(run):
    run.recordings("a.wav", "b.wav")
    head = "filename,onset,offset,label\n"
    run.write("L/all.csv", head + "a.wav,1,2,wren\na.wav,1.0002,2,wren\nb.wav,3,4,owl\n")
    run.write("L/part.csv", head + "a.wav,1,2,Wren\na.wav,5,6,owl\n")
    told = run("--labels", run.at / "L")
    assert "all.csv and part.csv both speak of 1 recordings" in told
    assert "2 events are there more than once, equal in recording, phrase and times: each counts once" in told
    assert run.events == {"a": [(1, 2, "wren"), (5, 6, "owl")], "b": [(3, 4, "owl")]}


def test_one_spelling_of_a_phrase(run):
    run.recordings("a.wav")
    run.write(
        "in/a.txt",
        "0\t1\tDog barking\n1\t2\tdog_barking\n2\t3\tdog barking\n3\t4\tdog barking\n4\t5\tK1\n5\t6\tk1\n"
        "6\t7\tchain saw\n7\t8\tchainsaw\n",
    )
    told = run()
    assert (
        "one spelling of a phrase, --keep-spelling keeps all: 'Dog barking' is 'dog barking', 'dog_barking' is" in told
    )
    assert "perhaps one phrase, kept apart: 'K1' and 'k1'; 'chain saw' and 'chainsaw'" in told
    assert [e[2] for e in run.events["a"]] == [*["dog barking"] * 4, "K1", "k1", "chain saw", "chainsaw"]
    run("--keep-spelling")
    assert [e[2] for e in run.events["a"]][:3] == ["Dog barking", "dog_barking", "dog barking"]


def test_the_report_says_why_the_shards_hold_more_events(run):
    run.recordings("a.wav", seconds=25)
    run.write("in/a.txt", "9\t11\tdog\n1\t2\tdog\n")
    told = run()
    assert "3 clips, 2 events (3 in the clips: 1 reach into several)" in told
    assert sum(map(len, run.events.values())) == 3
    run.recordings("a.wav", seconds=30.5)  # the last half second is no clip
    run.write("in/a.txt", "8\t12\towl\n30.2\t30.4\twren\n")
    assert "3 clips, 2 events (2 in the clips: 1 reach into several, 1 lie in none)" in run()
    assert sum(map(len, run.events.values())) == 2


def test_which_column_has_which_role_is_always_said(run):
    run.recordings("a.wav", "b.wav")
    rows = "recording,event,start,end,species\na.wav,1,1,2,wren\nb.wav,2,3,4,owl\n"
    assert "t.csv: filename=recording, onset=start, offset=end, label=species" in run(
        "--labels", run.write("t.csv", rows)
    )
    assert run.events == {"a": [(1, 2, "wren")], "b": [(3, 4, "owl")]}


def test_milliseconds_are_refused_by_name(run):
    run.recordings("a.wav")
    run.write("in/a.csv", "onset,offset,label\n500,1500,dog\n2000,3000,dog\n")
    for options in ((), ("--cut",)):
        told = run(*options, code=2)
        assert re.search(r"a\.csv: 2 of 2 rows end after their recording, .* as milliseconds: say --unit ms", told)
    run("--unit", "ms")
    assert run.events == {"a": [(0.5, 1.5, "dog"), (2, 3, "dog")]}
    run.write("in/a.csv", "onset,offset,label\n5,60,dog\n2,3,dog\n")  # a slip is no unit
    assert "offset 60 s is past the end" in run(code=2)


def test_a_part_that_kept_the_times_of_the_whole(run):
    from label_samples import TEXTGRID_LONG

    later = TEXTGRID_LONG.replace("xmin = 0\n", "xmin = 20\n").replace("xmax = 2.3", "xmax = 28").replace("1.5", "23.5")
    run.recordings("a.wav", "b.wav")
    run.write("in/a.TextGrid", later)
    assert "1 files begin later than their recording: their times are moved, a.TextGrid" in run()
    assert run.events == {"a": [(3.5, 8, 'a "big" dog ! 3')]}
    run.recordings("a.wav", seconds=28)  # the whole: its times are its own
    assert "are moved" not in run()
    assert [e for events in run.events.values() for e in events] == [(3.5, 8, 'a "big" dog ! 3')]


def test_what_is_said_of_recordings_goes_into_records(run):
    run.recordings("a.wav", "b.wav")
    rows = "id,filename,onset,offset,label,author,licence,source\n"
    rows += "7,a.wav,1,2,owl,Ann,CC0,https://x/7\n7,a.wav,3,4,owl,Ann,CC0,https://x/7\n"
    rows += "1,b.wav,1,2,owl,Bob,,https://x/8\n2,b.wav,3,4,owl,Bob,,https://x/8\n"
    told = run("--labels", run.write("t.csv", rows), "--licence", "CC BY 4.0")
    assert "id: differs from row to row in b.wav: left out" in told
    corpus = Corpus(run.out / "train")
    found = {r.key: (r.source, r.licence, r.details) for r in map(corpus.record, range(2))}
    assert found["a"] == ("https://x/7", "CC0", {"id": "7", "author": "Ann"})
    assert found["b"] == ("https://x/8", "CC BY 4.0", {"author": "Bob"})


def test_nobody_knows_whether_a_class_is_heard_in_a_stretch(run):
    """No clip is made in which it would be called absent there: those with an event of the class, those without any
    event, and, where absence means absence, all."""
    run.recordings("a.wav", seconds=55)
    rows = ["1,2,POS,NEG", "8,9,UNK,NEG", "12,21,UNK,NEG", "31,32,POS,NEG", "41,42,NEG,POS", "45,46,UNK,NEG"]
    head = "Audiofilename,Starttime,Endtime,wren,owl\n"
    run.write("in/a.csv", head + "".join(f"a.wav,{row}\n" for row in rows))
    assert "3 clips, 3 events (2 in the clips: 1 lie in none), 3 left out: nobody knows what is heard" in run()
    assert run.events == {"a-0003": [(1, 2, "wren")], "a-0004": [(1, 2, "owl")], "a-0005": []}
    run("--complete")
    assert run.events == {"a-0003": [(1, 2, "wren")], "a-0005": []}


@pytest.mark.parametrize(
    "names",
    [("siteA/x.wav", "siteA_x.wav"), ("a b.wav", "a_b.wav"), ("a.wav", "a.flac"), ("a.b.wav", "a/b.wav", "a_b.wav")],
)
def test_recordings_whose_names_would_make_one_key(run, names):
    run.recordings(*names, "else.wav")
    rows = "filename,onset,offset,label\nelse.wav,1,2,z\n"
    rows += "".join(f"{name},1,2,{n}\n" for n, name in enumerate(names))
    run("--labels", run.write("t.csv", rows))
    found = {events[0][2]: key for key, events in run.events.items()}
    assert found.pop("z") == "else"
    assert sorted(found) == [str(n) for n in range(len(names))]
    before = run.events
    run.recordings("new.wav")
    run("--labels", run.write("t.csv", rows + "new.wav,1,2,new\n"))
    assert run.events == before | {"new": [(1, 2, "new")]}


def test_a_recording_that_is_called_like_a_window_of_another(run):
    run.recordings("a.wav", seconds=25)
    run.recordings("a-0001.wav", "b.wav", "b-0001.wav")
    for name in ("a", "a-0001", "b", "b-0001"):
        run.write(f"in/{name}.txt", f"1\t2\t{name}\n")
    run()
    keys = set(run.events)
    assert len(keys) == 6
    assert {"b", "b-0001"} < keys  # a short recording has no windows
    assert {e[2] for events in run.events.values() for e in events} == {"a", "a-0001", "b", "b-0001"}


def test_a_rerun_leaves_no_split_of_the_run_before(run):
    run.recordings(*(f"{n:02d}.wav" for n in range(12)), seconds=0.5)
    table = run.write("t.csv", "filename,onset,offset,label\n" + "".join(f"{n:02d}.wav,0,0.5,owl\n" for n in range(12)))
    out = run.at / "same"

    def rerun(*options, code=0):
        return run("--labels", table, *options, code=code, out=out)

    def made():
        return {p.parent.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.glob("**/manifest.json"))}

    refused = (
        r"same holds splits made in another way, .* \((\w+(?:, \w+)*)\): delete all of them first, or name another"
    )
    for first, second in (((), ("--test-share", 1)), (("--test-share", 1), ())):
        rerun(*first)
        before = made()
        assert re.search(refused, rerun(*second, code=2))[1] == next(iter(before))
        assert made() == before
        rerun(*first)
        assert made() == before
        rerun("--test-share", 1, "--report-only")
        shutil.rmtree(out)
    rerun("--test-share", 0.3, "--validation-share", 0.3)
    shutil.rmtree(out / "train")
    assert re.search(refused, rerun(code=2))[1] == "validation, test"
    assert list(made()) == ["test", "validation"]
    rerun("--test-share", 0.3, "--validation-share", 0.3)
    assert list(made()) == ["test", "train", "validation"]
    shutil.rmtree(out)
    for part in ("1/2", "2/2"):
        rerun("--test-share", 0.3, "--part", part)
    merge.main([str(out)])
    before = made()
    rerun("--test-share", 0.3, "--part", "1/2")
    assert "(train, test)" in rerun("--part", "2/2", code=2)
    assert made() == before


def test_where_nobody_knows_what_is_heard_in_any_window(run):
    run.recordings("a.wav", "b.wav", seconds=15)
    rows = "Audiofilename,Starttime,Endtime,Q\n{0}.wav,1,2,POS\n{0}.wav,3,4,UNK\n{0}.wav,12,13,UNK\n"
    run.write("in/a.csv", rows.format("a"))
    told = run(code=2)
    assert "nothing to write: in every window of 1 recordings there is a stretch of which nobody knows what is" in told
    run.write("in/b.csv", rows.format("b").replace("13,UNK", "13,NEG"))
    run()
    assert run.events == {"b-0001": []}


def test_overlaps_are_told_by_the_recordings_path(run):
    run.recordings("in/a.wav")
    rows = "filename,onset,offset,label,url\nin/a.wav,1,3,owl,https://x/7\nin/a.wav,2,4,owl,https://x/7\n"
    assert "  in/a.wav: 'owl' 1-3 s and 2-4 s\n" in run("--labels", run.write("t.csv", rows))


def test_a_group_is_a_column_of_the_table(run):
    run.recordings(*(f"{n}.wav" for n in range(12)), seconds=0.5)
    rows = "filename,onset,offset,label,Night\n" + "".join(f"{n}.wav,0,0.5,wren,{n // 3}\n" for n in range(12))
    run("--labels", run.write("t.csv", rows), "--group", "Night", "--test-share", 0.4)
    nights = {
        s: {int(Corpus(run.out / s).key(i)) // 3 for i in range(len(Corpus(run.out / s)))} for s in ("train", "test")
    }
    assert nights["train"]
    assert nights["test"]
    assert not nights["train"] & nights["test"]
    rows = rows.replace("0.wav,0,0.5,wren,0\n", "0.wav,0,0.5,wren,0\n0.wav,0,0.4,wren,1\n")
    told = run("--labels", run.write("t.csv", rows), "--group", "Night", code=2)
    assert "0.wav: its rows say several things in column 'Night' (0, 1): mend them" in told


def test_a_warning_where_the_mean_of_the_channels_is_faint(run):
    wave = np.sin(np.arange(8 * 8000) / 8)
    channels = {"opposite": [wave, -wave], "one of eight": [wave, *[0 * wave] * 7], "alike": [wave, wave]}
    for name, every in channels.items():
        run.folder.mkdir(exist_ok=True)
        soundfile.write(run.folder / f"{name}.wav", 0.5 * np.stack(every, axis=1), 8000)
        run.write(f"in/{name}.txt", "1\t2\ttone\n")
    told = run()
    faint = re.search(r"warning: the mean of the channels of 2 recordings lies 10 dB or more below .*", told)
    assert faint
    assert re.search(r"one of eight\.wav \(18 dB\), opposite\.wav \(\d+ dB\)", faint[0])
    assert "lies 10 dB" not in run("--channel", "first")
    corpus = Corpus(run.out / "train")
    assert min(np.abs(corpus.waveform(n)).max() for n in range(len(corpus))) > 15_000


def test_ravens_channel_column_chooses(run):
    t = np.arange(8 * 8000) / 8000
    run.folder.mkdir(exist_ok=True)
    soundfile.write(run.folder / "a.wav", np.stack([a * np.sin(2 * np.pi * 440 * t) for a in (0.1, 0.2, 0.4)], 1), 8000)
    run.recordings("b.wav")
    head = RAVEN.splitlines()[0].replace("Begin File", "Begin File\tFile Offset (s)") + "\n"
    rows = [
        (1, 1, "a.wav", 1, "wren"),
        (2, 3, "a.wav", 1, "wren"),
        (3, 3, "a.wav", 4, "owl"),
        (4, 1, "b.wav", 1, "owl"),
    ]
    table = head + "".join(f"{n}\tS\t{c}\t0\t1\t{file}\t{at}\t{label}\n" for n, c, file, at, label in rows)
    path = run.write("t.txt", table)
    assert "rows name channels, a.wav: --channel raven stores" in run("--labels", path)
    assert run.events["a"] == [(1, 2, "wren"), (4, 5, "owl")]  # once, whichever channels it was seen in
    run("--labels", path, "--channel", "raven")
    assert run.events == {"a-ch1": [(1, 2, "wren")], "a-ch3": [(1, 2, "wren"), (4, 5, "owl")], "b-ch1": [(1, 2, "owl")]}
    corpus = Corpus(run.out / "train")
    loud = {corpus.key(n): np.abs(corpus.waveform(n)).max() / 32768 for n in range(3)}
    assert loud["a-ch1"] == pytest.approx(0.1, abs=0.01)
    assert loud["a-ch3"] == pytest.approx(0.4, abs=0.01)
    run.write("in/b.txt", "1\t2\towl\n")
    assert "no row of a label file says a channel" in run("--channel", "raven", code=2)


TABLE = "filename,onset,offset,label\n"


def test_a_label_file_elsewhere_is_no_witness_for_another_folder(run):
    run.recordings("siteA/x.wav")
    told = run("--labels", run.write("L/x.csv", TABLE + "siteB/x.wav,1,2,owl\n"), code=2)
    assert "row 2: 'siteB/x.wav' is not in the folder, did you mean siteA/x.wav?" in told


def test_a_link_comes_before_a_name(run):
    from label_samples import ALIGNED, SLOTS, eaf

    def linked(url: str) -> str:
        return eaf(SLOTS, ALIGNED).replace(
            "/><TIME_ORDER", f'><MEDIA_DESCRIPTOR MEDIA_URL="{url}"/></HEADER><TIME_ORDER'
        )

    run.recordings("siteA/x.wav", "siteB/x.wav")
    run("--labels", run.write("L/x.eaf", linked("file:///data/siteB/x.wav")))
    assert list(run.events) == ["siteB_x"]
    told = run("--labels", run.write("L/x.eaf", linked("file:///data/siteC/x.wav")), code=2)
    assert "links to 'file:///data/siteC/x.wav', which is not in the folder, and is called like siteA/x.wav" in told
    (run.at / "L" / "x.eaf").unlink()
    run.write("L/siteA/x.eaf", linked("file:///Users/ann/x.wav"))  # a folder like that of the recordings
    run("--labels", run.at / "L")
    assert list(run.events) == ["siteA_x"]


def test_rows_with_paths_need_no_name_of_the_file(run):
    run.recordings("siteA/x.wav", "siteB/x.wav")
    run("--labels", run.write("x.csv", TABLE + "siteA/x.wav,1,2,owl\nsiteB/x.wav,3,4,wren\n"))
    assert run.events == {"siteA_x": [(1, 2, "owl")], "siteB_x": [(3, 4, "wren")]}
    run.write("L/siteB/t.csv", TABLE + "x.wav,1,2,owl\n")
    run("--labels", run.at / "L")
    assert run.events == {"siteB_x": [(1, 2, "owl")]}


def test_two_paths_for_one_recording_in_two_files(run):
    run.recordings("x.wav")
    run.write("L/a.csv", TABLE + "siteA/x.wav,1,2,owl\n")
    run.write("L/b.csv", TABLE + "siteB/x.wav,1,2,wren\n")
    told = run("--labels", run.at / "L", code=2)
    assert "b.csv: row 2: 'siteB/x.wav' and 'siteA/x.wav' would both be x.wav" in told


@pytest.mark.parametrize("given", ["L/train", "L/train/labels.csv"])
def test_sibling_folders_of_splits_are_looked_through(run, given):
    run.recordings("a.wav", "b.wav")
    run.write("L/train/labels.csv", TABLE + "a.wav,1,2,owl\n")
    other = run.write("L/test/labels.csv", TABLE + "b.wav,1,2,wren\n")
    told = run("--labels", run.at / given, "--complete", code=2)
    assert re.search(r"L/test/labels\.csv: speaks of 1 recordings that .* does not, like b\.wav", told)
    other.unlink()
    run.write("in/b.txt", "1\t2\twren\n")  # beside its recording, while the labels are elsewhere
    assert "in/b.txt: speaks of 1 recordings" in run("--labels", run.at / given, "--complete", code=2)


def test_what_a_format_leaves_out_and_what_cannot_be_read_is_no_absence(run):
    run.recordings("a.wav", "b.wav", "c.wav")
    run.write("in/a.txt", "1\t2\tdog\n")
    run.write("in/b.json", '{"events": [{"onset": 1, "offset": 2, "label": "cat"}]}')
    run.write("in/c_labels.txt", "1\t2\tdog\n5\t4\tdog\n")
    told = run("--format", "audacity")
    assert "label files that were not read: 2, b.json, c_labels.txt (row 2: the offset 4.0 s lies before" in told
    told = run("--format", "audacity", "--complete", code=2)
    assert "b.json, c_labels.txt" in told
    run.write("in/a.jams", "{}")
    assert "a.jams" not in run("--format", "audacity")  # a's labels were read; the user chose which


def test_a_folder_of_label_files_may_hold_other_things(run):
    run.recordings(*(f"{n}.wav" for n in range(3)), seconds=1)
    for n in range(3):
        run.write(f"L/{n}.txt", "0\t1\tdog\n")
    run.write("L/README.txt", "What I heard.\n")
    splits = run.write("L/splits.csv", "filename,split\n0.wav,train\n1.wav,train\n2.wav,test\n")
    assert "no label files, passed over: 1, README.txt" in run("--labels", run.at / "L", "--splits", splits)
    run.write("L/2.txt", "What I heard.\n")  # called like a recording: a fault, not a note
    assert "2.txt: row 1: no label format is recognised" in run("--labels", run.at / "L", code=2)


def test_two_tables_of_one_recording_are_joined(run):
    run.recordings("a.wav")
    run.write("in/a.Table.1.selections.txt", RAVEN.format("a.wav", "wren"))
    run.write("in/a.Table.2.selections.txt", RAVEN.format("a.wav", "wren") + "2\tS 1\t1\t4\t5\ta.wav\towl\n")
    told = run()
    assert "both speak of 1 recordings" in told
    assert run.events == {"a": [(1, 2, "wren"), (4, 5, "owl")]}


def test_what_nobody_listened_to_is_no_negative(run, monkeypatch):
    tasks = [
        {"id": 1, "data": {"audio": "/a.wav"}, "annotations": [{"result": [{
            "type": "labels", "value": {"start": 1, "end": 2, "labels": ["owl"]}}]}]},
        {"id": 2, "data": {"audio": "/b.wav"}, "annotations": []},
        {"id": 3, "data": {"audio": "/c.wav"}, "annotations": [{"result": []}]},
    ]  # fmt: skip
    run.recordings("a.wav", "b.wav", "c.wav")
    told = run("--labels", run.write("export.json", json.dumps(tasks)), "--complete")
    assert "1 recordings have not been listened to, their label files say: left out" in told
    assert run.events == {"a": [(1, 2, "owl")], "c": []}


def test_a_caption_says_nothing_of_events(run):
    run.recordings("a.wav", "b.wav")
    run.write("in/a.json", '{"captions": ["A dog."]}')
    run.write("in/b.txt", "1\t2\tdog\n")
    assert "1 recordings have no labels: left out" in run()
    assert set(run.events) == {"b"}


@pytest.mark.parametrize(
    ("name", "text", "events"),
    [
        ("a.csv", "0,1,owl,\n1,2,owl,0.9\n", [(0, 1, "owl"), (1, 2, "owl")]),
        ("a.txt", "0\t1\towl\t\n", [(0, 1, "owl")]),
        ("a.csv", "0,1,owl,91%\n2,3,owl,20%\n", [(0, 1, "owl"), (2, 3, "owl")]),
        ("a.txt", "# by hand\n0\t1\towl\n", [(0, 1, "owl")]),
        ("a.csv", "onset,offset,label\n,,nocall\n1,2,owl\n", [(1, 2, "owl")]),
        ("a.txt", "0\t0.5\tcat\n0.5\t1\towl\n1.5\t2\tcat\n", [(0, 0.5, "cat"), (0.5, 1, "owl"), (1.5, 2, "cat")]),
    ],
)
def test_correct_input_is_read(run, name, text, events):
    run.recordings("a.wav")
    run.write(f"in/{name}", text)
    run()
    assert run.events == {"a": events}


def test_a_first_row_that_is_nothing_but_a_name(run):
    run.recordings("#1 yard.wav", "b.wav")
    run("--labels", run.write("t.csv", "#1 yard.wav\nb.wav,1,2,owl\n"))
    assert run.events == {"#1_yard": [], "b": [(1, 2, "owl")]}


def test_the_hints_lead_on(run):
    run.recordings("a.wav", "b.wav")
    run.write("in/a_results.txt", "1\t2\towl\n")
    assert "call a_results.txt like its recording, or give them with --labels" in run(code=2)
    table = run.write("in/z.csv", TABLE + "a.wav,1,2,owl\n")
    assert f"give a table with --labels, like {table}" in run(code=2)
    run("--labels", table)


def test_a_label_file_with_a_slip_in_its_name(run):
    run.recordings("field02.wav", "field03.wav")
    run.write("in/feild03.txt", "1\t2\towl\n")
    run.write("in/field02.txt", "1\t2\towl\n")
    assert re.search(r"warning: label files that were not read: 1, feild03\.txt \(did you mean field03\.wav", run())


def test_whoever_has_seen_enough_of_the_report(run):
    run.recordings("a.wav")
    run.write("in/a.txt", "1\t2\towl\n")
    command = [
        sys.executable,
        str(ROOT / "data_prep" / "custom.py"),
        str(run.folder),
        str(run.at / "out"),
        "--report-only",
    ]
    with subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read().decode()
    assert "Traceback" not in told
    assert "Broken pipe" not in told


def test_an_export_in_which_nothing_was_listened_to(run):
    tasks = [{"id": n, "data": {"audio": f"/{name}.wav"}, "annotations": []} for n, name in enumerate("ab")]
    run.recordings("a.wav", "b.wav", "c.wav")
    export = run.write("L/c.json", json.dumps(tasks))  # called like a recording, and about others
    run.write("L/a.txt", "1\t2\towl\n")
    run("--labels", export.parent, "--complete")
    assert run.events == {"a": [(1, 2, "owl")], "c": []}  # c has no labels; b nobody heard
    (run.at / "L" / "a.txt").unlink()
    export.rename(export.parent / "export.json")
    told = run("--labels", export.parent, code=2)
    assert "no recording has" in told

"""Judged tables through data_prep/custom.py: nothing that nobody has judged becomes a negative."""

from __future__ import annotations

HEADER = "filename,onset,offset,event_label,heard\n"


def test_shards_of_what_was_judged(run):
    run.recordings("a.wav", "b.wav", "c.wav", "d.wav")
    table = run.write("t.csv", HEADER + "a.wav,1,2,dog,yes\nb.wav,1,2,dog,no\nc.wav,1,2,dog,\nd.wav,3,4,cat,y\n")
    told = run("--labels", table)
    assert run.events == {"a": [(1, 2, "dog")], "b": [], "d": [(3, 4, "cat")]}
    assert "t.csv: 4 rows to be judged: 2 yes, 1 no, 1 not judged" in told
    assert "label=event_label, heard=heard" in told
    assert "1 recordings have labels that say they have no event: kept" in told
    assert "1 recordings have not been listened to, their label files say: left out" in told
    assert "every row counts" not in told


def test_complete_or_not_what_is_not_judged_is_left_out(run):
    run.recordings("a.wav", "b.wav", "c.wav", "e.wav")
    table = run.write("t.csv", HEADER + "a.wav,1,2,dog,yes\nb.wav,1,2,dog,no\nb.wav,3,4,cat,\nc.wav,1,2,dog,skip\n")
    told = run("--labels", table)
    assert run.events == {"a": [(1, 2, "dog")]}  # nobody knows of the cat in b
    assert "1 left out: nobody knows what is heard" in told
    run("--labels", table, "--complete")
    assert run.events == {"a": [(1, 2, "dog")], "e": []}


def test_another_file_may_speak_of_what_one_has_not_judged(run):
    run.recordings("a.wav", "b.wav")
    run.write("L/one.csv", HEADER + "a.wav,1,2,dog,yes\nb.wav,1,2,dog,\n")
    run.write("L/two.csv", "filename,onset,offset,event_label\nb.wav,5,6,cat\n")
    run("--labels", run.at / "L")
    assert run.events == {"a": [(1, 2, "dog")], "b": [(5, 6, "cat")]}


def test_long_recordings_lose_the_clips_that_nobody_has_judged(run):
    run.recordings("a.wav", seconds=30.0)
    table = run.write("t.csv", HEADER + "a.wav,1,2,dog,yes\na.wav,12,13,dog,no\na.wav,25,26,dog,unsure\n")
    run("--labels", table)
    assert run.events == {"a-0000": [(1, 2, "dog")], "a-0001": []}


def test_unjudged_tags(run):
    run.recordings("a.wav", "b.wav", "c.wav")
    run("--labels", run.write("t.csv", "filename,tags,heard\na.wav,dog,yes\na.wav,cat,\nb.wav,dog,\nc.wav,dog,no\n"))
    assert run.events == {"c": []}  # the cat may be anywhere in a, which has no event


def test_nothing_judged(run):
    run.recordings("a.wav")
    told = run("--labels", run.write("t.csv", HEADER + "a.wav,1,2,dog,\n"), code=2)
    assert "t.csv: no row is judged in column 'heard': write yes or no there, or remove the column" in told


def test_columns_says_which_column_was_judged(run):
    run.recordings("a.wav", "b.wav")
    table = run.write("t.csv", HEADER.replace("heard", "verdict") + "a.wav,1,2,dog,yes\nb.wav,1,2,dog,no\n")
    run("--labels", table, "--columns", "heard=verdict")
    assert run.events == {"a": [(1, 2, "dog")], "b": []}
    run("--labels", table)
    assert run.events == {"a": [(1, 2, "dog")], "b": [(1, 2, "dog")]}

"""Tags through data_prep/custom.py: in the shards beside events, cut into windows, counted in the report."""

from __future__ import annotations

import pytest
from own_recordings import Run

from flam_train.data.shards.corpus import Corpus


@pytest.fixture
def run(tmp_path, capsys) -> Run:
    return Run(tmp_path, capsys)


def tags_of(run: Run) -> dict[str, list[tuple]]:
    corpus = Corpus(run.out / "train")
    records = [corpus.record(i) for i in range(len(corpus))]
    return {r.key: [(round(t.onset, 3), round(t.offset, 3), t.label) for t in r.tags] for r in records}


def test_a_table_of_tags(run):
    run.recordings("a.wav", "b.wav", "c.wav")
    table = run.write("weak.tsv", "filename\tevent_labels\na.wav\train,owl\nb.wav\tRain\nc.wav\t\n")
    told = run("--labels", table)
    assert tags_of(run) == {"a": [(0, 8, "rain"), (0, 8, "owl")], "b": [(0, 8, "rain")], "c": []}
    assert run.events == {"a": [], "b": [], "c": []}
    assert "labels: 1 files as tags; weak.tsv: its header has 'event_labels'" in told
    assert "one spelling of a phrase, --keep-spelling keeps all: 'Rain' is 'rain'" in told
    assert "3 clips, 0 events, 3 tags" in told
    assert "1 recordings have labels that say they have no event: kept" in told
    (row,) = [line.split() for line in told.splitlines() if line.startswith("rain ")]
    assert row == ["rain", "0", "2", "2", "0.0", "0", "0.00%", "2"]
    assert "(" not in told.partition(" tags")[2].partition("\n")[0]


def test_tags_of_a_long_recording_are_moved_into_its_clips_and_those_that_reach_over_edges_are_counted(run):
    run.recordings("a.wav", seconds=30.0)
    run.recordings("b.wav", seconds=10.5)
    rows = "a.wav,0,30,rain\na.wav,12,15,owl\na.wav,5,15,wind\nb.wav,0,10.5,rain\n"
    told = run("--labels", run.write("weak.csv", "filename,onset,offset,tags\n" + rows))
    assert tags_of(run) == {
        "a-0000": [(0, 30, "rain"), (5, 15, "wind")],
        "a-0001": [(-10, 20, "rain"), (2, 5, "owl"), (-5, 5, "wind")],
        "a-0002": [(-20, 10, "rain")],
        "b": [(0, 10.5, "rain")],
    }
    assert "4 tags (2 in no clip: their seconds reach over the edges of clips: cut the recordings to 10 s" in told


def test_events_and_tags_in_one_corpus(run):
    run.recordings("a.wav", "b.wav")
    run.write("L/a.txt", "1\t2\towl\n")
    run.write("L/weak.csv", "filename,tags\na.wav,rain\nb.wav,rain;owl\n")
    told = run("--labels", run.at / "L")
    assert run.events == {"a": [(1, 2, "owl")], "b": []}
    assert tags_of(run) == {"a": [(0, 8, "rain")], "b": [(0, 8, "rain"), (0, 8, "owl")]}
    assert "1 events, 3 tags" in told
    assert "1 events in the clips of 1 labels, 3 tags in the clips of 2 labels" in told


def test_with_a_vocabulary_and_complete(run):
    run.recordings("a.wav", "b.wav", "c.wav")
    vocabulary = run.write("v.yaml", "corpus: v\nclasses:\n  owl: [an owl]\n  rain: [rain]\n  wind: [wind]\n")
    table = run.write("weak.csv", "filename,labels\na.wav,owl;rain\nb.wav,owl\n")
    run("--labels", table, "--vocabulary", vocabulary, "--complete")
    assert Corpus(run.out / "train").annotates == ["owl", "rain"]
    assert tags_of(run)["c"] == []  # nothing said of it: a negative
    wrong = run.write("wrong.csv", "filename,labels\na.wav,owl;snow\n")
    assert "'snow' is no class of the vocabulary" in run("--labels", wrong, "--vocabulary", vocabulary, code=2)


def test_seconds_that_lie_outside_are_told(run):
    run.recordings("a.wav")
    table = run.write("weak.csv", "filename,onset,offset,tags\na.wav,5,12,owl\na.wav,9,12,rain\n")
    assert "weak.csv: row 2: 'owl': offset 12 s is past the end of the audio" in run("--labels", table, code=2)
    run("--labels", table, "--cut")
    assert tags_of(run) == {"a": [(5, 12, "owl")]}

"""Labelled recordings: what shards and judged tables say of which frames, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from shard_samples import corpus, sample
from tiny_runs import write_corpus

from flam_train.data.labels.judged import Judged
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Tag
from flam_train.data.sound.waveforms import Waveform
from flam_train.detection.labelled import frames_of, read_labelled
from flam_train.detection.scoring import Listening, Scores, Time, score
from flam_train.evaluation.result import describe_data
from flam_train.models.flam import FLAM
from flam_train.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(3)
    model = FLAM(small_config).eval()
    model.provenance = {"sha256": "ab" * 32}
    return model


def test_shards_of_a_vocabulary_are_asked_for_in_all_trained_words(model, tmp_path):
    folder = write_corpus(tmp_path / "toy", 4, classes=["siren", "engine"])
    data = read_labelled(model, folder)
    classes = Vocabulary.load("synthetic").classes
    assert data.phrases == (*classes["siren"].phrasings, *classes["engine"].phrasings)
    assert set(data.concepts) == {classes["siren"].id, classes["engine"].id}
    assert (len(data.recordings), data.judged) == (4, False)
    assert (data.weights, data.method, data.about["name"]) == ("ab" * 32, "unbiased", "toy")
    made = Corpus(folder)
    assert data.about["sha256"] == describe_data(made)["sha256"]
    for number, one in enumerate(data.recordings):
        record = made.record(number)
        (event,) = record.events
        assert {e[:2] for e in one.events} == {(event.onset, event.offset)}
        assert {e[2] for e in one.events} == set(classes[event.label].phrasings)
        want = score(Listening(model, Waveform(made.waveform(number), 48_000)), data.phrases)
        assert np.abs(one.scores.score_CT - want.score_CT).max() < 1e-6
        assert one.known_CT.all()
        middle = int((event.onset + event.offset) / 2 / 0.3125)
        heard = {phrase for phrase, row in zip(data.phrases, one.label_CT, strict=True) if row[middle]}
        assert heard == set(classes[event.label].phrasings)
        assert one.label_CT.sum() == pytest.approx(len(heard) * (event.offset - event.onset) / 0.3125, abs=len(heard))


def test_only_some_phrases_may_be_asked_for(model, tmp_path):
    folder = write_corpus(tmp_path / "toy", 4, classes=["siren", "engine"])
    siren = Vocabulary.load("synthetic").classes["siren"]
    held_out = siren.held_out[0]
    data = read_labelled(model, folder, [held_out])
    assert (data.phrases, data.concepts) == ((held_out,), (siren.id,))
    assert sum(len(one.events) for one in data.recordings) == 2
    with pytest.raises(ValueError, match=r"--phrases: 'sirens' is nothing that .*toy labels: did you mean"):
        read_labelled(model, folder, ["sirens"])


def test_labels_of_open_shards_are_phrases(model, tmp_path):
    def make(key):
        return sample(key, 3.0, events=[(0.5, 2.0, "a dog barks"), (1.0, 2.5, "rain")] if key.endswith("0") else [])

    corpus(tmp_path, (2,), make=make)
    seen = []
    data = read_labelled(model, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert data.phrases == data.concepts == ("a dog barks", "rain")
    assert [one.events for one in data.recordings] == [((0.5, 2.0, "a dog barks"), (1.0, 2.5, "rain")), ()]
    assert [one.source for one in data.recordings] == ["toy-0-0", "toy-0-1"]
    assert seen == [(1, 2), (2, 2)]


def test_a_phrase_that_is_tagged_without_times_is_not_known(model, tmp_path):
    def make(key):
        record, wave = sample(key, 3.0, events=[(0.5, 2.0, "rain")] if key.endswith("0") else [])
        return (record if key.endswith("0") else replace(record, tags=(Tag("rain"),))), wave

    corpus(tmp_path, (2,), make=make)
    first, second = read_labelled(model, tmp_path).recordings
    assert first.known_CT.all()
    assert first.label_CT.any()
    assert not second.known_CT.any()


def test_shards_without_strong_labels_are_refused(model, tmp_path):
    tagged = write_corpus(tmp_path / "tagged", 2, tagged=True)
    with pytest.raises(ValueError, match="tagged: not one timed event of these phrases: give shards with strong"):
        read_labelled(model, tagged)
    captioned = corpus(tmp_path / "captioned", (2,)).folder
    with pytest.raises(ValueError, match="captioned: not one timed event of these phrases: give shards with strong"):
        read_labelled(model, captioned)
    one = write_corpus(tmp_path / "one", 2, classes=["siren"])
    with pytest.raises(ValueError, match=r"--phrases: 'engine humming' is nothing that .*one labels"):
        read_labelled(model, one, ["engine humming"])
    two = write_corpus(tmp_path / "two", 2, classes=["siren", "engine"])
    engine = write_corpus(tmp_path / "without", 2, classes=["siren"], name="without")
    manifest = json.loads((engine / "manifest.json").read_text())
    manifest["annotates"] = json.loads((two / "manifest.json").read_text())["annotates"]
    (engine / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="phrase 'engine humming' is in none of its events: leave it out of --phr"):
        read_labelled(model, engine, ["siren wailing", "engine humming"])


def test_a_model_without_a_sha256_and_a_label_without_a_class_are_refused(model, small_config, tmp_path):
    folder = write_corpus(tmp_path / "toy", 2, classes=["siren"])
    with pytest.raises(ValueError, match="has no sha256 to know it by: calibrate an export"):
        read_labelled(FLAM(small_config).eval(), folder)

    def make(key):
        return sample(key, 1.0, events=[(0.1, 0.6, "moo")])

    corpus(tmp_path / "moo", (1,), vocabulary="synthetic", make=make)
    with pytest.raises(ValueError, match=r"toy-0-0.*class 'moo' is not in vocabulary 'synthetic': add it there"):
        read_labelled(model, tmp_path / "moo")


@pytest.fixture
def clips(tmp_path):
    """A table of two clips."""
    rows = [
        Judged("a/one.wav", 1.0, 2.5, "rain", True, "a/one.wav"),
        Judged("a/one.wav", 3.0, 4.0, "a dog", False, "a/one.wav"),
        Judged("two.flac", 0.0, 1.25, "rain", False, "two.flac"),
    ]
    (tmp_path / "a").mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in (("a/one.wav", 5.0), ("two.flac", 2.0)):
        soundfile.write(tmp_path / name, rng.normal(size=round(seconds * 16_000)) * 0.1, 16_000)
    lines = [f"{r.filename},{r.onset},{r.offset},{r.phrase},{'yes' if r.heard else 'no'}" for r in rows]
    (tmp_path / "clips.csv").write_text("\n".join(["filename,onset,offset,event_label,heard", *lines]) + "\n")
    return tmp_path / "clips.csv", rows


def test_of_judged_clips_single_spans_are_known(clips, model):
    table, _ = clips
    data = read_labelled(model, table)
    assert (data.phrases, data.concepts, data.judged) == (("rain", "a dog"), ("rain", "a dog"), True)
    one, two = data.recordings
    assert (one.source, two.source) == ("a/one.wav", "two.flac")
    assert one.events == ((1.0, 2.5, "rain"),)
    assert one.judged == (((1.0, 2.5, "rain"), True), ((3.0, 4.0, "a dog"), False))
    assert one.scores.score_CT.shape == (2, 16)
    assert np.flatnonzero(one.known_CT[0]).tolist() == [3, 4, 5, 6, 7]
    assert np.array_equal(one.label_CT[0], one.known_CT[0])
    assert not one.label_CT[1].any()
    assert np.flatnonzero(one.known_CT[1]).tolist() == [10, 11, 12]
    assert np.flatnonzero(two.known_CT[0]).tolist() == [0, 1, 2, 3]
    assert (two.events, two.label_CT.any()) == ((), False)


def test_other_clips_are_other_data(clips, model):
    table, _ = clips
    first = read_labelled(model, table).about
    assert first == read_labelled(model, table).about
    soundfile.write(table.parent / "two.flac", np.random.default_rng(1).normal(size=40_000) * 0.1, 16_000)
    assert read_labelled(model, table).about["sha256"] != first["sha256"]


def test_judged_tables_that_say_too_little_are_refused(clips, model):
    table, _ = clips
    with pytest.raises(ValueError, match=r"clips.csv: no event is judged to be one: judge more clips"):
        read_labelled(model, table, ["a dog"])
    with pytest.raises(ValueError, match=r"--phrases: 'a cat' is not judged in .*clips.csv: there are rain, a dog"):
        read_labelled(model, table, ["a cat"])
    (table.parent / "two.flac").unlink()
    with pytest.raises(ValueError, match=r"clips.csv: clip two.flac is not there: put it back, or take its rows out"):
        read_labelled(model, table)
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(ValueError, match=r"clips.csv: no event is judged not to be one: judge more clips"):
        read_labelled(model, table)


def test_frames_are_those_of_the_grid():
    scores = Scores(("a", "b"), np.zeros((2, 4), np.float32), Time(0, 4, 0.5, 0.0, 1.9))
    assert frames_of(scores, []).sum() == 0
    got = frames_of(scores, [(0.2, 1.0, "b"), (1.4, 1.9, "b"), (0.9, 0.95, "a")])
    assert got.astype(int).tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]

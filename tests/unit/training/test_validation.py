"""Streamed validation: its numbers are those of evaluation on the same shards; what is not known counts in nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tone_corpus import Ear, tone, vocabulary_file

from flam_train.data import Corpus, Event, Record, write_manifest, write_shard
from flam_train.data.shards.schema import Tag
from flam_train.data.stream.dataset import ClipsDataset
from flam_train.evaluation.frame_embeddings import embed_frames
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, result_of
from flam_train.metrics import auroc
from flam_train.metrics.detection import PSDS
from flam_train.models.flam import cosines, frame_score
from flam_train.training.validation import CorpusValidation, asked, check_monitor

LOW, HIGH, SILENCE = "a low tone", "a high tone", "silence, they say"
EVENTS = [
    (Event(0.0, 1.0, LOW),),
    (Event(0.5, 1.5, HIGH), Event(0.0, 0.5, LOW)),
    (Event(0.25, 2.0, SILENCE),),  # the ear hears none
    (Event(1.25, 2.0, HIGH), Event(0.25, 0.75, HIGH)),
    (Event(0.0, 1.25, LOW), Event(1.0, 1.5, SILENCE)),
    (),
]
DURATIONS = [2.0, 2.0, 2.0, 2.0, 1.6, 2.0]
TAGS = [(), (Tag(LOW), Tag(SILENCE)), (Tag(LOW),), (Tag(HIGH),), (), (Tag(HIGH), Tag(LOW))]
PITCH = {LOW: "low", HIGH: "high"}
NAMES = {
    "auroc/macro": "auroc_macro",
    "auroc/micro": "auroc_micro",
    "event_f1/macro": "event_f1",
    f"PSDS1[{PSDS['PSDS1']}]": "psds1",
}
CHOSEN = SedMetrics(metrics=("auroc", "event_f1", "psds"), psds={"PSDS1": PSDS["PSDS1"]})


def written(folder, kind: str, tags: bool = False) -> Corpus:
    """kind: classes of a vocabulary, or phrases that are annotated throughout (complete), or where they stand."""
    samples = []
    for n, (events, seconds) in enumerate(zip(EVENTS, DURATIONS, strict=True)):
        heard = [Event(e.onset, e.offset, PITCH[e.label]) for e in events if e.label in PITCH]
        names = dict(PITCH) | {SILENCE: "silent"} if kind == "classes" else {x: x for x in (LOW, HIGH, SILENCE)}
        said = {"events": tuple(Event(e.onset, e.offset, names[e.label]) for e in events)}
        if tags:
            said["tags"] = tuple(Tag(names[tag.label]) for tag in TAGS[n])
        samples.append((Record(f"clip-{n}", seconds, **said), tone(seconds, heard)))
    vocabulary = vocabulary_file(folder) if kind == "classes" else None
    annotates = [LOW, HIGH, SILENCE] if kind == "complete" else []
    entries = [write_shard(folder / "shard-000000.tar", samples)]
    write_manifest(folder, "tones", entries, vocabulary=vocabulary, annotates=annotates)
    return Corpus(folder)


class Listener(Ear):
    """Hears noise beside the tones, the same in a clip whatever batch it comes in."""

    def embed_audio(self, waveform_BS):
        heard = super().embed_audio(waveform_BS)
        for row, waveform_S in enumerate(waveform_BS):
            g = torch.Generator().manual_seed(int(waveform_S.long().abs().sum()) % 1000)
            heard.frame_BTD[row] += 0.4 * torch.randn(heard.frame_BTD[row].shape, generator=g)
        frame_BTD = torch.nn.functional.normalize(heard.frame_BTD, dim=-1)
        return type(heard)(torch.nn.functional.normalize(frame_BTD.mean(1), dim=-1), frame_BTD)


def validated(corpus: Corpus, batch: int = 4, width: int = 3) -> dict[str, float]:
    ear = Listener()
    metric = CorpusValidation(corpus, ear.grid, width)
    clips = ClipsDataset(corpus, 2.0, batch)
    for n in range(len(clips)):
        metric.update(ear, ear.embed_audio(clips[n].waveform_BS), clips[n])
    return metric.compute()


def evaluated(corpus: Corpus, unannotated: str = "mask", **asked) -> dict[str, float]:
    found = result_of(Scores(embed_frames(Listener(), corpus, **asked), unannotated=unannotated), CHOSEN).metrics
    return {NAMES[name]: value for name, value in found.items() if name in NAMES}


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("kind", ["classes", "complete", "listed"])
def test_numbers_are_those_of_evaluation(kind, tags, tmp_path):
    corpus = written(tmp_path / "shards", kind, tags)
    got = validated(corpus)
    assert got == pytest.approx(evaluated(corpus), abs=1e-6)
    assert got == pytest.approx(validated(corpus, batch=1), abs=1e-6)
    assert set(got) == set(NAMES.values()) - ({"psds1"} if kind == "listed" else set())
    assert 0.3 < got["auroc_macro"] < 1
    assert 0 < got["event_f1"] < 1
    if kind == "complete" and not tags:  # then nothing depends on how absence is read
        assert evaluated(corpus, "negative") == pytest.approx(got, abs=1e-6)


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("kind", ["complete", "listed"])
def test_what_is_not_known_counts_in_nothing(kind, tags, tmp_path):
    """Beside the areas of the classes one by one, of the clips alone that count."""
    corpus, ear = written(tmp_path / "shards", kind, tags), Listener()
    areas, scores, labels = [], [], []
    for label in (LOW, HIGH, SILENCE):
        score, truth = [], []
        for n, events in enumerate(EVENTS):
            mine = [e for e in events if e.label == label]
            if not mine and (kind == "listed" or (tags and Tag(label) in TAGS[n])):
                continue
            wave = np.zeros(96_000, np.int16)
            wave[: len(corpus.waveform(n))] = corpus.waveform(n)
            inside_T = torch.from_numpy(ear.grid.valid(DURATIONS[n]))
            heard = ear.embed_audio(torch.from_numpy(wave)[None])
            score.append(ear_scores(heard.frame_BTD, label)[inside_T])
            label_ET = ear.grid.labels([e.onset for e in mine], [e.offset for e in mine])
            truth.append(torch.from_numpy(np.any(label_ET, axis=0))[inside_T])
        scores.append(torch.cat(score))
        labels.append(torch.cat(truth))
        areas.append(auroc(scores[-1][:, None], labels[-1][:, None]).macro)
    got = validated(corpus)
    assert got["auroc_macro"] == pytest.approx(np.mean(areas), abs=1e-6)
    pooled = auroc(torch.cat(scores)[:, None], torch.cat(labels)[:, None])
    assert got["auroc_micro"] == pytest.approx(pooled.macro, abs=1e-6)


def ear_scores(frame_BTD, label: str):
    text = Ear().embed_text([label])
    return frame_score(cosines(frame_BTD, text.text_CD), text.scale_C, text.bias_C, "unbiased")[0, 0]


def test_of_too_many_labels_the_most_frequent_are_scored(tmp_path, monkeypatch):
    corpus = written(tmp_path / "shards", "complete")
    monkeypatch.setattr(asked, "MOST_LABELS", 2)
    found = asked.Asked.of(corpus, Listener().grid)
    assert (found.words.classes, found.left_out) == ([HIGH, LOW], 1)  # three clips each; two have the other
    assert found.told() == ["the 2 most frequent labels are scored, 1 others are not"]
    assert validated(corpus) == pytest.approx(evaluated(corpus, classes=[HIGH, LOW]), abs=1e-6)


def test_where_scores_would_not_fit_auroc_alone_is_computed(tmp_path, monkeypatch):
    corpus = written(tmp_path / "shards", "classes")
    whole = validated(corpus)
    monkeypatch.setattr(asked, "MOST_PAIRS", 6 * 8 * 3 * 2 - 1)
    assert validated(corpus) == {name: whole[name] for name in ("auroc_macro", "auroc_micro")}
    found = asked.Asked.of(corpus, Listener().grid)
    assert "AUROC alone is computed" in found.told()[0]
    with pytest.raises(ValueError, match=r"monitor=val/x/psds1: is not computed, 288 pairs of a frame and a phrase"):
        check_monitor("val/x/psds1", {"x": found})


def test_what_may_be_monitored(tmp_path):
    listed = asked.Asked.of(written(tmp_path / "listed", "listed"), Listener().grid)
    assert "labels are not complete: each of 3 is scored in the clips that list it" in listed.told()[0]
    for name in ("auroc_macro", "auroc_micro", "event_f1"):
        check_monitor(f"val/x/{name}", {"x": listed})
    with pytest.raises(ValueError, match=r"val/x/text_to_audio_R@1: is not computed, no clip .* has a caption"):
        check_monitor("val/x/text_to_audio_R@1", {"x": listed})
    check_monitor("val/x/text_to_audio_R@1", {"x": replace(listed, captioned=True)})
    with pytest.raises(ValueError, match=r"val/x/psds1: is not computed, the validation shards are not labelled compl"):
        check_monitor("val/x/psds1", {"x": listed})
    complete = asked.Asked.of(written(tmp_path / "complete", "complete"), Listener().grid)
    assert complete.told() == []
    check_monitor("val/x/psds1", {"x": complete})
    with pytest.raises(ValueError, match=r"'val/y/psds1' is not known.*val/x/psds1"):
        check_monitor("val/y/psds1", {"x": complete})


def test_labels_without_a_beginning_or_an_end_cannot_be_monitored_by_auroc(tmp_path):
    """Each clip is heard from end to end of what it lists: no frame is known to be without it."""
    samples = [(Record(f"k{n}", 2.0, (), (Event(0.0, 2.0, label),)), tone(2.0, [])) for n, label in enumerate("ab")]
    for name, annotates in (("listed", []), ("complete", ["a", "b"])):
        entries = [write_shard(tmp_path / name / "a.tar", samples)]
        write_manifest(tmp_path / name, "x", entries, vocabulary=None, annotates=annotates)
    found = {name: asked.Asked.of(Corpus(tmp_path / name), Listener().grid) for name in ("listed", "complete")}
    check_monitor("val/complete/auroc_macro", found)
    check_monitor("val/listed/event_f1", found)
    with pytest.raises(ValueError, match=r"val/listed/auroc_macro: .* in no clip a label begins or ends.*--complete"):
        check_monitor("val/listed/auroc_macro", found)


def test_a_class_that_the_vocabulary_does_not_know_is_told_before_the_run(tmp_path):
    folder, samples = tmp_path / "x", [(Record("k", 2.0, (), (Event(0.0, 2.0, "frog"),)), tone(2.0, []))]
    write_manifest(
        folder, "x", [write_shard(folder / "a.tar", samples)], vocabulary=vocabulary_file(folder), annotates=[]
    )
    with pytest.raises(ValueError, match=r"a.tar: sample 0 .*class 'frog' is not among"):
        CorpusValidation(Corpus(folder), Listener().grid, 3)


def test_clips_that_are_longer_are_validated_by_their_beginning(tmp_path):
    """Their events and tags are those of it."""
    tags = (Tag(LOW, 2.5, 4.0), Tag(SILENCE, 1.0, 3.0))
    record = Record("long", 4.0, (), (Event(0.5, 2.5, LOW), Event(3.0, 4.0, HIGH)), tags=tags)
    write_manifest(
        tmp_path, "x", [write_shard(tmp_path / "a.tar", [(record, tone(4.0, []))])], vocabulary=None, annotates=[]
    )
    (found,) = ClipsDataset(Corpus(tmp_path), 2.0, 4)[0].records
    assert (found.duration, found.events, found.tags) == (2.0, (Event(0.5, 2.0, LOW),), (Tag(SILENCE, 1.0, 3.0),))

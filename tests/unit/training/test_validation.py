"""Streamed validation: the classes of a closed vocabulary, and the labels of an open corpus."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tone_corpus import Ear, tone

from flam_train.data import Corpus, Event, Record, write_manifest, write_shard
from flam_train.data.stream.dataset import ClipsDataset
from flam_train.metrics import auroc
from flam_train.training import validation
from flam_train.training.validation import CorpusValidation

EVENTS = [
    (Event(0.0, 1.0, "a low tone"),),
    (Event(0.5, 1.5, "a high tone"), Event(0.0, 0.5, "a low tone")),
    (Event(0.25, 2.0, "silence, they say"),),  # the ear hears none
    (),
]


def open_corpus(folder) -> Corpus:
    pitch = {"a low tone": "low", "a high tone": "high", "silence, they say": "low"}
    samples = []
    for n, events in enumerate(EVENTS):
        heard = [Event(e.onset, e.offset, pitch[e.label]) for e in events if e.label != "silence, they say"]
        samples.append((Record(f"clip-{n}", 2.0, (), events), tone(2.0, heard)))
    write_manifest(folder, "open", [write_shard(folder / "shard-000000.tar", samples)], vocabulary=None, annotates=[])
    return Corpus(folder)


class Listener(Ear):
    """Scores are cosines."""

    def localize(self, frame_BTD, text):
        return torch.einsum("btd,cd->bct", frame_BTD, text.text_CD)


def validated(corpus: Corpus, batch: int) -> dict[str, float]:
    ear = Listener()
    metric = CorpusValidation(corpus, ear.grid, 3)
    for clips in ClipsDataset(corpus, 2.0, batch, 0, 1):
        metric.update(ear, ear.embed_audio(clips.waveform_BS), clips)
    return metric.compute()


@pytest.mark.parametrize("batch", [1, 3])
def test_labels_of_an_open_corpus_are_its_classes(batch, tmp_path):
    corpus = open_corpus(tmp_path / "shards")
    got = validated(corpus, batch)
    ear, labels = Listener(), sorted({e.label for events in EVENTS for e in events})
    waveform = torch.from_numpy(np.stack([corpus.waveform(n) for n in range(len(corpus))]))
    score_BCT = ear.localize(ear.embed_audio(waveform).frame_BTD, ear.embed_text(labels))
    label_BCT = torch.zeros(score_BCT.shape, dtype=torch.bool)
    for b, events in enumerate(EVENTS):
        for e in events:
            label_BCT[b, labels.index(e.label)] |= torch.from_numpy(ear.grid.labels(e.onset, e.offset)[0])
    want = auroc(score_BCT.transpose(1, 2).flatten(0, 1), label_BCT.transpose(1, 2).flatten(0, 1))
    assert got == pytest.approx({"auroc_macro": want.macro, "auroc_micro": want.micro})
    assert 0.5 < want.macro < 1


def test_of_too_many_labels_only_captions_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "MOST_LABELS", 2)
    assert validated(open_corpus(tmp_path / "shards"), 2) == {}

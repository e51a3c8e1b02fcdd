"""Which clips and captions a validation shows, and what it says of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from shard_samples import corpus, sample
from tiny_runs import write_corpus

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream.dataset import ClipsDataset
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.training import pictures
from flam_train.training.pictures import Chosen, draw, find, locate, spread
from flam_train.training.validation import CorpusValidation


@pytest.mark.parametrize(
    ("labels", "count", "rows"),
    [
        ({0: {"a"}, 1: {"a"}, 2: {"b"}, 3: {"a", "c"}}, 3, [0, 2, 3]),
        ({0: {"a"}, 1: {"a"}, 2: {"b"}, 3: {"a"}}, 3, [0, 1, 2]),
        ({4: {"a"}}, 3, [4]),
        ({}, 3, []),
    ],
)
def test_the_first_that_have_something_new(labels, count, rows):
    assert spread(labels, count) == rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(corpus, model, what its validation keeps until it ends)"""
    shards = Corpus(write_corpus(tmp_path_factory.mktemp("shards") / "test", 8, 1))
    torch.manual_seed(0)
    audio = {"width": 8, "depths": [1, 2, 1, 1], "heads": [1, 2, 2, 2]}
    config = FLAMConfig.from_dict({"audio": audio, "text": {"tower": "bytes"}, "embedding": 16})
    model = FLAM(config).eval()
    validation = CorpusValidation(shards, model.grid, config.embedding)
    batches = ClipsDataset(shards, model.grid.seconds, 3)
    with torch.no_grad():
        for batch in (batches[n] for n in range(len(batches))):
            validation.update(model, model.embed_audio(batch.waveform_BS), batch)
    validation.compute()
    return shards, model, validation


def test_scores_are_those_of_the_validation(tiny):
    shards, model, validation = tiny
    chosen = Chosen(shards, model.grid, 3)
    assert chosen.rows == [0, 1, 2]  # a siren, a bird, an engine
    located, words = locate(chosen, model, validation), validation.asked.words
    said = dict(zip(words.classes, words.phrases[0], strict=True))
    for row, clip in zip(chosen.rows, located, strict=True):
        record = shards.record(row)
        (event,) = record.events
        assert clip.key == record.key
        assert clip.phrases[0] == said[event.label]
        assert len(clip.phrases) == 1 + pictures.OTHERS
        np.testing.assert_array_equal(clip.waveform_S, shards.waveform(row))
        with torch.no_grad():
            frame_BTD = model.embed_audio(torch.from_numpy(clip.waveform_S)[None]).frame_BTD
            score_KT = model.localize(frame_BTD, model.embed_text(clip.phrases))[0]
        np.testing.assert_allclose(clip.score_KT, score_KT, atol=1e-5)
        np.testing.assert_array_equal(clip.label_KT[:1], model.grid.labels(event.onset, event.offset))
        assert not clip.label_KT[1:].any()
        highest = clip.score_KT.max(1)[1:]
        assert (np.diff(highest) <= 0).all()
        with torch.no_grad():
            every = model.localize(frame_BTD, model.embed_text(list(said.values())))[0].amax(1)
        assert highest[-1] >= every.sort(descending=True).values[pictures.OTHERS].item() - 1e-6


def test_captions_find_what_their_vectors_are_nearest_to(tiny):
    shards, model, validation = tiny
    chosen = Chosen(shards, model.grid, 3)
    # Each text once: of eight clips with four captions.
    assert chosen.captions == [("a siren", 0), ("a bird_chirp", 1), ("a engine", 2)]
    rankings = find(chosen, model, validation.retrieval.joined)
    every = ClipsDataset(shards, model.grid.seconds, 8)[0]
    with torch.no_grad():
        clip_ND = model.embed_audio(every.waveform_BS).clip_BD
        text_CD = model.embed_text([caption for caption, _ in chosen.captions]).text_CD
    for (caption, own), text_D, ranking in zip(chosen.captions, text_CD, rankings, strict=True):
        order = (clip_ND @ text_D).argsort(descending=True).tolist()
        assert ranking.query == caption
        assert [clip.partition(":")[0] for clip, _, _ in ranking.found] == [every.keys[n] for n in order[:5]]
        assert [right for _, _, right in ranking.found] == [n == own for n in order[:5]]
        assert ranking.right_rank == 1 + order.index(own)


def test_what_is_written(tiny, tmp_path):
    shards, model, validation = tiny
    chosen = Chosen(shards, model.grid, 2)
    located, rankings = locate(chosen, model, validation), find(chosen, model, validation.retrieval.joined)
    paths = list(draw(tmp_path, "mine", 1000, model.grid, located, rankings))
    assert [path.name for path in paths] == ["mine-clip-1.png", "mine-clip-2.png", "mine-retrieval.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)
    told = json.loads((tmp_path / "mine.json").read_text())
    assert told["step"] == 1000
    assert [clip["key"] for clip in told["clips"]] == ["clip-000", "clip-001"]
    assert len(told["clips"][0]["phrases"][0]["annotated"]) == 1
    assert [one["right_rank"] for one in told["captions"]] == [ranking.right_rank for ranking in rankings]


def test_open_labels_short_clips_and_nothing_to_show(tiny, tmp_path):
    """Labels that are no class are their own phrase; a clip is as long as it is, and what lies behind
    the seconds that the model takes is left out."""
    _, model, _ = tiny
    events = [(0.5, 1.0, "my own sound"), (1.5, 2.0, "my own sound")]
    shards = corpus(tmp_path / "open", (1,), make=lambda key: sample(key, 2.0, (), events))
    validation = CorpusValidation(shards, model.grid, 16)
    validation.asked = replace(validation.asked, words=None)  # as of a corpus whose labels are too many
    chosen = Chosen(shards, model.grid, 3)
    (clip,) = locate(chosen, model, validation)
    assert clip.phrases == ["my own sound"]
    assert len(clip.waveform_S) == 2 * SAMPLE_RATE
    assert clip.label_KT.sum() == model.grid.labels([0.5, 1.5], [1.0, 2.0]).sum()
    assert find(chosen, model, None) == []
    late = [(0.5, 1.0, "my own sound"), (11.0, 11.5, "late")]
    shards = corpus(tmp_path / "long", (2,), make=lambda key: sample(key, 12.0, (), late[int(key[-1]) :]))
    chosen = Chosen(shards, model.grid, 3)
    (clip,) = locate(chosen, model, validation)
    assert (chosen.rows, clip.phrases) == ([0], ["my own sound"])
    silent = corpus(tmp_path / "silent", (1,), make=lambda key: sample(key, 2.0, ()))
    chosen = Chosen(silent, model.grid, 3)
    assert (chosen.rows, chosen.captions) == ([], [])
    assert list(draw(tmp_path / "none", "silent", 1, model.grid, locate(chosen, model, validation), [])) == []
    assert not (tmp_path / "none").exists()

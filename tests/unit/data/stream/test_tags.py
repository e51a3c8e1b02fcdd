"""Tags in a batch: which frames they are heard in somewhere, and which pairs nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from shard_samples import corpus, sample
from test_collate import CONCEPTS, OPEN, bad, clip, column, frame_batch

from flam_train.data.shards.schema import Tag
from flam_train.data.stream.clips import ShardSource
from flam_train.data.stream.collate import Concepts
from flam_train.data.stream.order import Place
from flam_train.data.stream.tags import moved, of_clip
from flam_train.vocabulary import phrase_id


def tagged(key, *tags, events=(), corpus=2, **more):
    return replace(clip(key, *events, corpus=corpus), tags=moved([Tag(*t) for t in tags], 2.0, 0.0, 2.0), **more)


def test_a_tag_is_positive_in_all_its_seconds_and_what_it_leaves_open_does_not_count():
    clips = [
        tagged("a", ("storm", 0.0, 2.0), ("owl", 0.5, 1.0)),
        tagged("b", ("storm", -30.0, 30.0)),  # somewhere in a minute
        tagged("c", ("storm", 0.0, 0.25), ("storm", 1.75, 2.0), ("storm", -9.0, 9.0)),
        tagged("d", events=((1.0, 1.5, "owl"),)),
        tagged("e"),
    ]
    batch, texts = frame_batch(clips, weak=True)
    assert batch.phrase_ids_C.tolist() == sorted(map(phrase_id, ("storm", "owl")))
    storm, owl = column(batch, "storm"), column(batch, "owl")
    assert sorted(texts) == ["owl", "storm"]
    frames = {(0, storm): range(8), (0, owl): (2, 3), (2, storm): (0, 7), (3, owl): (4, 5)}
    expected = torch.zeros(5, 2, 8, dtype=torch.bool)
    for pair, positive in frames.items():
        expected[*pair, list(positive)] = True
    assert torch.equal(batch.label_BCT, expected)
    assert batch.unknown_BC.nonzero().tolist() == [[1, storm]]
    assert batch.phrase_valid_C.all()
    assert {int(bits) for bits in batch.annotated_in_C} == {0b100}  # open, and there are clips of it


def test_strongly_a_tag_says_only_that_nobody_knows():
    clips = [
        tagged("a", ("storm",), ("owl", 0.0, 1.0), events=((0.5, 1.0, "owl"),)),
        clip("b", (0, 1, "storm"), corpus=2),
    ]
    batch, _ = frame_batch(clips)
    storm, owl = column(batch, "storm"), column(batch, "owl")
    assert batch.unknown_BC.nonzero().tolist() == [[0, storm]]
    assert not batch.label_BCT[0, storm].any()
    assert batch.label_BCT[0, owl].nonzero().flatten().tolist() == [2, 3]  # where there are events, they are trusted
    assert frame_batch([clip("a", (0, 1, "storm"), corpus=2)])[0].unknown_BC is None


def test_a_batch_without_tags_is_drawn_as_before():
    """Only what is positive is drawn: of a clip of which nobody knows anything, nothing."""
    batch, _ = frame_batch([tagged("a", ("storm", -9.0, 9.0)), bad("b", corpus=2)], weak=True)
    assert batch.phrase_ids_C.tolist() == [phrase_id("storm")]
    assert not batch.phrase_valid_C.any()
    assert batch.audio_valid_B.tolist() == [True, False]
    assert batch.unknown_BC.tolist() == [[True], [False]]


def test_classes_and_faults():
    batch, _ = frame_batch([tagged("a", ("dog_bark",), corpus=0), tagged("b", ("trumpet",), corpus=0)], weak=True)
    assert batch.phrase_ids_C.tolist() == [phrase_id("dog")]
    assert batch.errors[0].startswith("b: class 'trumpet' is not in the vocabulary of 'closed'")
    assert CONCEPTS.said(["owl"])["owl"] == ["owl"]
    assert Concepts([OPEN], [[]]).said() == {}


@pytest.mark.parametrize(
    ("tag", "duration", "inside"),
    [
        (Tag("x", 0.0, 10.0), 10.0, True),
        (Tag("x", 0.0, 10.4), 10.0, True),
        (Tag("x", -0.5, 10.5), 10.0, True),
        (Tag("x", 0.0, 12.0), 10.0, False),
        (Tag("x", 9.0, 11.0), 10.0, False),
        (Tag("x", -5.0, 5.0), 10.0, False),
        (Tag("x", 2.0, 3.0), 10.0, True),
        (Tag("x", 2.0, 4.0), 3.0, False),
    ],
)
def test_of_which_clip_a_tag_is(tag, duration, inside):
    assert of_clip(tag, duration) == inside


def test_tags_move_with_the_crop_and_are_never_cut(tmp_path):
    tags = (Tag("rain"), Tag("owl", 0.1, 0.2), Tag("dog", 0.8, 0.9))
    assert moved(tags, 1.0, 0.5, 0.25) == (Tag("rain", -0.5, 0.5),)

    def make(key):
        record, waveform = sample(key, seconds=1.0)
        return replace(record, tags=tags), waveform

    shards = corpus(tmp_path, (2,), make=make)
    source = ShardSource(shards, 0.25)
    starts = set()
    for pass_ in range(8):
        clip = source.clip(Place(0, pass_, 0, 0), seed=3)
        (rain, *_) = clip.tags
        assert rain.offset - rain.onset == pytest.approx(1.0)
        starts.add(round(rain.onset, 3))
        for tag in clip.tags[1:]:  # still where it was beside the rain
            assert tag.onset - rain.onset == pytest.approx({"owl": 0.1, "dog": 0.8}[tag.label])
            assert tag.onset < 0.25
            assert tag.offset > 0
    assert len(starts) > 4
    assert source.open_labels(10) == {"rain", "owl", "dog"}
    assert source.open_labels(1) == {"rain", "owl", "dog"}

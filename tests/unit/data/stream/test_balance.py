"""Sampling by class: the plan beside a plain walk, and the classes as they are read."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from http_folder import serve
from shard_samples import corpus, sample

from flam_train.data.shards.cache import ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import Kept
from flam_train.data.shards.schema import Tag
from flam_train.data.stream import classes
from flam_train.data.stream.classes import ByClass, clips_of_labels
from flam_train.data.stream.order import Order, Place, cycle_counts, interleave, permutation, stable_seed

SIZES = [np.array([5, 0, 3, 4]), np.array([6])]
MEMBERS = [[0, 1, 2, 3, 4, 5, 6], [1, 7], [11], [2, 8, 9]]
"""The clips of the first corpus' classes: some have two, number 10 has none."""


def by_class(share: float) -> ByClass:
    return ByClass(share, np.cumsum([0, *map(len, MEMBERS)]), np.concatenate(MEMBERS))


def make(share: float, seed: int = 3) -> Order:
    return Order(SIZES, [2, 1], seed, 2, by_class=[by_class(share), None])


def plain(share: float, seed: int, count: int) -> list[Place]:
    """The same plan, walked through from its beginning with queues."""
    unbalanced = iter(Order(SIZES, [2, 1], seed, 2).range(0, 3 * count))
    lying = [place for place in unbalanced if place.corpus == 0]
    others = [place for place in Order(SIZES, [2, 1], seed, 2).range(0, 3 * count) if place.corpus == 1]
    turns = interleave(cycle_counts([1 - share, share], ["", ""])).tolist()
    queues: list[list[int]] = [[] for _ in MEMBERS]
    passes, round_, drawn = [-1] * len(MEMBERS), -1, 0
    waiting: list[int] = []
    places, cursor = [], 0
    for which in (interleave(np.array([2, 1])).tolist() * count)[:count]:
        if which == 1:
            places.append(others.pop(0))
            continue
        if turns[cursor % len(turns)] == 0:
            found = lying.pop(0)
            places.append(Place(0, found.pass_, found.index, cursor))
        else:
            if not waiting:
                round_ += 1
                waiting = permutation(len(MEMBERS), stable_seed(seed, 0, "class", round_)).tolist()
            k = waiting.pop(0)
            if not queues[k]:
                passes[k] += 1
                shuffled = permutation(len(MEMBERS[k]), stable_seed(seed, 0, "class", k, passes[k]))
                queues[k] = [MEMBERS[k][n] for n in shuffled]
            places.append(Place(0, -1 - drawn, queues[k].pop(0), cursor))
            drawn += 1
        cursor += 1
    return places


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7, 1.0])
def test_the_closed_form_is_the_plain_walk(share):
    assert make(share).range(0, 400) == plain(share, 3, 400)


def test_every_class_comes_once_a_round_and_every_clip_of_it_once_a_pass():
    drawn = [p.index for p in make(1.0).range(0, 720) if p.corpus == 0]
    assert len(drawn) == 480
    rounds = [drawn[n : n + 4] for n in range(0, 480, 4)]
    orders = set()
    for found in rounds:
        ways = [[k for k in range(4) if index in MEMBERS[k]] for index in found]
        assert {k for some in ways for k in some} == {0, 1, 2, 3}
        orders.add(tuple(index == 11 for index in found))
    assert len(orders) == 4  # the class of one clip comes first, second, third and last
    rare, common = Counter(drawn)[11], Counter(drawn)[0]
    assert (rare, common) == (120, pytest.approx(120 / 7, abs=1))


def test_a_share_is_drawn_by_class_and_the_rest_is_gone_through():
    places = [p for p in make(0.25).range(0, 720) if p.corpus == 0]
    rest = [p for p in places if p.pass_ >= 0]
    assert len(rest) == 360
    for pass_ in range(30):
        assert sorted(p.index for p in rest if p.pass_ == pass_) == list(range(12))
    pairs = [(p.pass_, p.index) for p in places]
    assert len(set(pairs)) == len(pairs)  # whatever is drawn from them is drawn anew
    assert [p.cursor for p in places] == list(range(480))


def test_a_position_is_a_pure_function_of_the_seed():
    places = make(0.5, 5).range(0, 300)
    again = make(0.5, 5)
    for p in [299, 17, 250, 18, 0, 299]:
        assert again.at(p) == places[p] == make(0.5, 5).at(p)
    assert pickle.loads(pickle.dumps(again)).range(100, 200) == places[100:200]
    assert make(0.5, 6).range(0, 300) != places
    assert [p for p in places if p.corpus == 1] == [
        p for p in Order(SIZES, [2, 1], 5, 2).range(0, 300) if p.corpus == 1
    ]


def test_the_plan_stays_what_it_is():
    assert [(p.corpus, p.pass_, p.index) for p in make(0.5, 7).range(40, 46)] == PINNED


PINNED = [(1, 2, 3), (0, -14, 1), (0, 1, 3), (1, 2, 2), (0, -15, 7), (0, 1, 4)]


def test_what_comes_further_in_the_same_corpus():
    order = make(0.5)
    mine = [p for p in order.range(0, 300) if p.corpus == 0]
    assert order.beside(mine[3], 5) == mine[8]
    assert all(b == order.beside(a, 1) for a, b in pairwise(mine))


VOCABULARY = """corpus: toy
classes:
  dog_bark: {concept: dog, phrasings: [a dog]}
  DOG: {concept: dog, phrasings: [a dog barks]}
  rain: {phrasings: [rain]}
"""
LABELS = {"0-0": ["dog_bark"], "0-1": ["rain", "DOG"], "0-2": [], "1-0": ["DOG", "dog_bark"], "1-1": ["what"]}


def labelled(key: str):
    found = LABELS[key.removeprefix("toy-")]
    return sample(key, events=[(0.0, 0.05, label) for label in [*found, *found]])


def with_tags(pair, *labels: str):
    record, waveform = pair
    return replace(record, tags=tuple(Tag(label) for label in labels)), waveform


def rows_of(found: ByClass) -> list[list[int]]:
    return [part.tolist() for part in np.split(found.rows, found.starts[1:-1])]


def test_classes_are_concepts_of_a_vocabulary_or_phrases(tmp_path):
    (tmp_path / "toy.yaml").write_text(VOCABULARY)
    closed = corpus(tmp_path / "closed", vocabulary=str(tmp_path / "toy.yaml"), make=labelled)
    assert rows_of(ByClass.of(0.5, closed, tmp_path)) == [[0, 1, 3], [1]]  # dog, rain; "what" is no class
    phrases = corpus(tmp_path / "open", make=labelled)
    assert rows_of(ByClass.of(0.5, phrases, tmp_path)) == [[1, 3], [0, 3], [1], [4]]  # DOG, dog_bark, rain, what
    kept = Kept(phrases.shard_sizes, np.array([1, 2]))
    assert rows_of(ByClass.of(0.5, phrases, tmp_path, kept)) == [[1], [0, 1], [2]]  # rain has gone
    assert [kept.row(n) for n in range(3)] == [0, 3, 4]
    tagged = corpus(tmp_path / "tagged", make=lambda key: with_tags(labelled(key), "wind"))
    assert rows_of(ByClass.of(0.5, tagged, tmp_path)) == rows_of(ByClass.of(0.5, phrases, tmp_path))
    assert rows_of(ByClass.of(0.5, tagged, tmp_path, tags_in=10.0)) == [[1, 3], [0, 3], [1], [4], [0, 1, 2, 3, 4]]
    silent = corpus(tmp_path / "silent")
    with pytest.raises(ValueError, match="silent: no clip has an event, and none can be drawn by class: set"):
        ByClass.of(0.5, silent, tmp_path)
    with pytest.raises(ValueError, match="silent: no clip has a tag, and none"):
        ByClass.of(0.5, silent, tmp_path, tags_in=10.0)


def test_a_tag_that_teaches_nothing_is_no_class_of_its_clip(tmp_path):
    """Where nobody knows whether it is heard in a clip (`collate.heard`) it would be drawn without a positive."""
    tags = {
        "0-0": Tag("whole"), "0-1": Tag("cut", -20.0, 1.0), "0-2": Tag("cut", 0.0, 30.0),
        "1-0": Tag("edge", -0.05, 1.0), "1-1": Tag("later", 0.5, 0.9),
    }  # fmt: skip

    def make(key: str):
        record, waveform = sample(key, 1.0)
        return replace(record, tags=(tags[key.removeprefix("toy-")],)), waveform

    found = corpus(tmp_path / "tagged", make=make)
    assert list(clips_of_labels(found, tmp_path, 10.0)) == ["edge", "later", "whole"]
    assert list(clips_of_labels(found, tmp_path, 0.5)) == ["later"]  # others fit in no clip of half a second
    assert list(clips_of_labels(found, tmp_path)) == []


def test_classes_of_a_large_corpus_are_read_once(tmp_path, monkeypatch):
    found = corpus(tmp_path / "open", make=labelled)
    want = rows_of(ByClass.of(0.5, found, tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(classes, "LARGE", 4)
    assert rows_of(ByClass.of(0.5, found, tmp_path / "cache")) == want
    (file,) = (tmp_path / "cache").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(Corpus, "record", lambda *_: pytest.fail("read again"))
        assert rows_of(ByClass.of(0.5, found, tmp_path / "cache")) == want
    other = corpus(tmp_path / "other", make=lambda key: sample(key, events=[(0.0, 0.05, "wind")]))
    assert rows_of(ByClass.of(0.5, other, tmp_path / "cache")) == [[0, 1, 2, 3, 4]]
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert file.is_file()


def test_classes_of_a_corpus_behind_a_url(tmp_path):
    local = corpus(tmp_path / "a", make=labelled)
    with serve(tmp_path / "a") as server:
        remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
        assert rows_of(ByClass.of(1.0, remote, tmp_path)) == rows_of(ByClass.of(1.0, local, tmp_path))

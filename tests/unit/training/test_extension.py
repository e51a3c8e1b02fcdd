"""What `resume=extend` makes of a checkpoint's facts, and what it refuses."""

from __future__ import annotations

import copy

import pytest
from tiny_runs import TINY, on_shards

from flam_train.cli.train import compose_conf
from flam_train.training.configuration import changes
from flam_train.training.extension import extend
from flam_train.training.saved import RunFacts, Saved


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    plain = compose_conf([*TINY, *on_shards(folder / "a"), "global_batch=4", "frame_batch=6", "steps=10"])
    return lambda **other: copy.deepcopy(plain) | other


def extended(saved: Saved, conf: dict) -> Saved:
    return extend(saved, changes(saved.facts.conf, conf), conf)


def test_streams_go_on_at_the_position_reached_whatever_the_batches_were(conf, tmp_path):
    begun = Saved(
        tmp_path, 10, RunFacts(conf()), {"content": {}, "since": {"global": [0, 0], "frame": [0, 0]}}, stale=3
    )
    first = extended(begun, conf(steps=30, global_batch=8))
    assert first.since == {"global": (10, 40), "frame": (10, 60)}
    assert first.stale == 0
    second = extended(Saved(tmp_path, 25, first.facts, first.data), conf(steps=50, global_batch=2, frame_batch=2))
    assert second.since == {"global": (25, 40 + 15 * 8), "frame": (25, 60 + 15 * 6)}
    assert second.facts.extended == [
        {"step": 10, "changed": {"global_batch": [4, 8], "steps": [10, 30]}},
        {"step": 25, "changed": {"frame_batch": [6, 2], "global_batch": [8, 2], "steps": [30, 50]}},
    ]
    assert not changes(second.facts.conf, conf(steps=50, global_batch=2, frame_batch=2, resume="exact"))
    assert begun.facts.extended == []


def test_the_stream_of_tags_goes_on_likewise(tmp_path):
    tags = ["data/weak=[custom]", "data.weak.custom.path=x", "weak_batch=4"]
    was = compose_conf([*TINY, *on_shards(tmp_path / "a"), *tags, "global_batch=4", "frame_batch=6", "steps=10"])
    now = was | {"weak_batch": 2, "steps": 20}
    begun = Saved(tmp_path, 10, RunFacts(was), {"content": {}, "since": {}})
    assert extended(begun, now).since["weak"] == (10, 40)


@pytest.mark.parametrize(
    ("section", "key", "value", "what"),
    [
        ("model", "embedding", 32, r"the architecture .*\(model\.embedding was 16, is 32\)"),
        ("text", "max_tokens", 9, r"the text tower .*text\.max_tokens was 77, is 9"),
        ("optim", "freeze", ["text"], r"which parts learn .*optim\.freeze was \(\), is \('text',\)"),
        ("data", "block_shards", 9, r"the corpora and their order .*data\.block_shards was 4, is 9"),
        ("augment", "mix_share", 0.5, r"what is done to clips .*augment\.mix_share was 0\.0, is 0\.5"),
        ("", "seed", 1, r"the seed .*seed was 0, is 1"),
        ("", "init", "x", r"what the run started from .*init was None, is 'x'"),
        ("", "name", "x", r"name .*name was 'flam', is 'x'"),
        ("", "frame_batch", 0, r"frame_batch was 6, is 0: a batch cannot be switched on or off"),
        ("", "steps", 9, r"steps=9, but 10 are done"),
        ("optim", "lr", 0.1, r"steps=10, but 10 are done"),  # nothing would be trained by it
    ],
)
def test_what_cannot_change_is_refused_by_name(section, key, value, what, conf, tmp_path):
    saved, other = Saved(tmp_path, 10, RunFacts(conf()), {"content": {}}), conf()
    (other[section] if section else other)[key] = value
    with pytest.raises(ValueError, match=f"resume=extend: {what}"):
        extended(saved, other)


def test_corpora_and_their_weights_cannot_change(conf, tmp_path):
    saved, other = Saved(tmp_path, 10, RunFacts(conf()), {"content": {}}), conf()
    other["data"]["frame"]["synthetic"]["weight"] = 2.0
    other["data"]["global"]["more"] = other["data"]["global"]["synthetic"]
    with pytest.raises(ValueError, match=r"synthetic\.weight was 1\.0, is 2\.0; data\.global\.more\..*was"):
        extended(saved, other)

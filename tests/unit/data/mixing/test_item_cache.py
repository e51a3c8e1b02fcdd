"""A bank that is not in memory gives the same mixtures, through a cache that keeps to its size."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from shard_samples import sample

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.item_cache import ItemCache
from flam_train.data.mixing.levels import describe
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.mixing.source import MixtureSource, render
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.data.stream.collate import Concepts, collate_events
from flam_train.data.stream.dataset import Stream
from flam_train.data.stream.order import Place
from flam_train.frames import FrameGrid
from flam_train.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    samples = []
    for label, seconds in [("siren", 1.0), ("bell", 2.0), ("engine", 3.0), ("bell", 12.0)]:
        key = f"{label}-{seconds:.0f}"
        _, wave = sample(key, seconds)
        record = Record(key, seconds, events=(Event(0.0, seconds, label),), details=describe(wave, "event"))
        samples.append((record, wave))
    _, noise = sample("noise", 13.0)
    samples.append((Record("noise", 13.0, details=describe(noise // 20, "background")), noise // 20))
    annotates = [Vocabulary.load("synthetic").concept(c).id for c in ("siren", "bell", "engine")]
    entries = [write_shard(folder / "shard-000000.tar", samples)]
    write_manifest(folder, "toy", entries, vocabulary="synthetic", annotates=annotates)
    return Bank(folder)


def test_the_cache_reads_what_the_bank_holds_and_keeps_to_its_size(bank):
    limit = round(3.5 * SAMPLE_RATE) * 2  # bytes: the siren and the bell, or the engine
    cache = ItemCache(bank, limit)
    rng = np.random.default_rng(0)
    for item in rng.integers(len(bank), size=60):
        length = int(rng.integers(1, bank.samples[item] + 1))
        start = int(rng.integers(0, bank.samples[item] - length + 1))
        found = cache.read(int(item), start, length)
        assert np.array_equal(found, bank.waveform(int(item))[start : start + length])
        assert cache.held == sum(x.nbytes for x in cache._kept.values()) <= limit
    assert cache.held > 0
    assert pickle.loads(pickle.dumps(cache)).held == 0
    with pytest.raises(ValueError, match="holds nothing"):
        ItemCache(bank, 0)


def test_the_mixtures_are_those_of_the_bank_in_memory(bank):
    recipe = MixRecipe.load("demo")
    batches = []
    for cache in (None, 400_000):
        stream = Stream("frame", [MixtureSource("online", bank, recipe, 100, 3, cache=cache)], [1.0], 6, 0)
        collate = partial(
            collate_events,
            tokenizer=lambda texts: (torch.zeros(len(texts), 1), torch.ones(len(texts), 1)),
            grid=FrameGrid(32, 10.0),
            concepts=Concepts.of(stream.sources),
            seed=0,
        )
        batch = collate(*stream.clips(0, 6), 0)
        memory = bank.load() if cache is None else batch.mixture.audio_N
        batches.append((batch, render(batch.mixture, memory, batch.waveform_BS)))
    (whole, audio), (streamed, same) = batches
    assert whole.mixture.audio_N is None
    assert audio.abs().max() > 0
    assert torch.equal(audio, same)
    assert torch.equal(whole.label_BCT, streamed.label_BCT)
    assert whole.keys == streamed.keys
    moved = streamed.to("meta")
    assert moved.mixture.audio_N.device.type == "meta"
    assert moved.mixture.start_P.device.type == "cpu"


def test_a_sound_that_cannot_be_read_makes_a_bad_sample(bank, monkeypatch):
    source = MixtureSource("online", bank, MixRecipe.load("demo"), 100, 3, cache=400_000)

    def damaged(*args):
        raise ValueError("the shard is damaged")

    monkeypatch.setattr(ItemCache, "read", damaged)
    clip = source.clip(Place(0, 0, 0, 5), 1)
    assert clip.error == "online: the shard is damaged"
    assert clip.pieces is None
    assert not clip.waveform_S.any()


def test_a_bank_leaves_out_the_sounds_of_test_sets(bank):
    excluded = {"toy": {"bell-2", "unknown"}, "another": {"siren-1"}}
    fewer = Bank([corpus.folder for corpus in bank.corpora], excluded=excluded)
    assert set(bank.key) - set(fewer.key) == {"bell-2"}
    assert fewer.provenance()[0]["items"] == len(bank) - 1
    for item, key in enumerate(fewer.key):
        assert np.array_equal(fewer.waveform(item), bank.waveform(bank.key.index(key)))
    recipe = MixRecipe.load("demo")
    used = {p.key for n in range(40) for p in MixtureSource("online", fewer, recipe, 100, 3).spec(n).pieces}
    assert "bell-12" in used
    assert "bell-2" not in used

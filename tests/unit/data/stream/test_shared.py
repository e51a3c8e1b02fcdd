"""Batches of loader workers lie in memory that is used again: what is in use is never written, nothing else changes."""

from __future__ import annotations

import pickle
import time
from functools import partial

import numpy as np
import pytest
import torch
from shard_samples import corpus, sample
from torch.utils.data import DataLoader

from flam_train.batch import SMALL, Pieces, StepBatch
from flam_train.data.stream.clips import ShardSource
from flam_train.data.stream.collate import Concepts, collate_captions, collate_events
from flam_train.data.stream.dataset import Steps, StepSampler, Stream
from flam_train.data.stream.shared import Ring
from flam_train.data.stream.workers import start_worker
from flam_train.frames import FrameGrid
from flam_train.training.micro_batches import MicroBatches


def tokenizer(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.tensor([[len(text), sum(map(ord, text)) % 97] for text in texts])
    return tokens, torch.ones_like(tokens)


@pytest.fixture
def steps(tmp_path) -> Steps:
    def make(key: str):
        return sample(key, 0.8, events=[(0.1, 0.5, "a dog barks")])

    source = ShardSource(corpus(tmp_path / "toy", (6, 6), make=make), 0.8)
    captions, events = (Stream(kind, [source], [1.0], 2, 0) for kind in ("global", "frame"))
    return Steps(
        24,
        captions,
        events,
        partial(collate_captions, tokenizer=tokenizer, seed=captions.seed),
        partial(
            collate_events,
            tokenizer=tokenizer,
            grid=FrameGrid(4, 0.8),
            concepts=Concepts.of(events.sources),
            seed=events.seed,
        ),
    )


def same(a: StepBatch, b: StepBatch) -> bool:
    return all(
        torch.equal(x, y) if torch.is_tensor(x) else x == y
        for one, two in ((a.captions, b.captions), (a.events, b.events))
        for x, y in zip(vars(one).values(), vars(two).values(), strict=True)
    )


@pytest.mark.parametrize(("workers", "prefetch", "together"), [(1, 1, 1), (1, 2, 1), (2, 2, 1), (1, 2, 3), (2, 1, 3)])
def test_what_is_in_use_is_never_written(workers, prefetch, together, steps):
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=StepSampler(0, len(steps)),
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context="forkserver",
        worker_init_fn=partial(start_worker, prefetch=prefetch, in_use=-(-together // workers)),
    )
    before: list[StepBatch] = []
    for n, batches in enumerate(MicroBatches(loader, together, len(steps) // together)):
        assert all(batch.events.waveform_BS.is_shared() for batch in batches)
        time.sleep(0.02)  # the workers fill all that they may meanwhile
        assert all(map(same, batches, (steps[n * together + k] for k in range(together))))
        # The last one before is not used any more, but must not be torn either: there is a block to spare.
        assert all(same(batch, steps[n * together - 1]) for batch in before[-1:])
        before = batches
    assert (n + 1) * together == len(steps)


def test_a_ring_turns_and_grows():
    ring = Ring(2)
    first, second = ring.take(10), ring.take(20)
    assert first.is_shared()
    first.fill_(1)
    second.fill_(2)
    assert (first == 1).all()
    again = ring.take(5)
    assert again.data_ptr() == first.data_ptr()
    assert ring.take(30).numel() == 30


def test_small_tensors_are_sent_and_large_ones_shared():
    large = torch.arange(SMALL, dtype=torch.int16)
    pieces = Pieces.of([(0, 1, 2, 3, 0.5), (1, 4, 5, 6, 0.25)], 7, large)
    values, names = pieces.__reduce__()[1][1:]
    assert set(names) == {"clip_P", "start_P", "length_P", "onset_P", "gain_P"}
    assert all(isinstance(values[name], np.ndarray) for name in names)
    assert values["audio_N"] is large
    again = pickle.loads(pickle.dumps(pieces))
    assert all(torch.equal(getattr(again, n), getattr(pieces, n)) for n in (*names, "audio_N"))
    assert again.fade == 7

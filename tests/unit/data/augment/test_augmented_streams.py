"""Augmented streams: the same clips on any number of ranks and after a stop, mixed within their corpus."""

from __future__ import annotations

import pickle
from functools import partial

import pytest
import torch
from augment_samples import ALL, GRID, SAMPLES, SECONDS
from shard_samples import corpus, sample
from torch.utils.data import DataLoader

from flam_train.data.augment.apply import augmented
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.augment.draw import Augmentation
from flam_train.data.stream.clips import ShardSource
from flam_train.data.stream.collate import Concepts, collate_captions, collate_events
from flam_train.data.stream.dataset import Steps, StepSampler, Stream


def tokenizer(texts: list[str]):
    rows = [list(text.encode()) for text in texts]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return tokens, (tokens > 0).long()


def sounds(key: str):
    """0.08 to 0.12 s: some are padded, some are cropped."""
    which = sum(key.encode())
    return sample(key, 0.08 + 0.01 * (which % 5), events=[(0.01, 0.05, f"{key[0]} {which % 3}")])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return corpus(folder / "a", (4, 3, 5), "wav", "a", make=sounds), corpus(folder / "b", (7,), "wav", "b", make=sounds)


def steps_of(corpora, backgrounds, config=ALL, rank=0, world=1, accumulate=1, steps=6) -> Steps:
    sources = [ShardSource(c, SECONDS) for c in corpora]
    streams = []
    for kind in ("global", "frame"):
        augmentation = Augmentation(config, SECONDS, backgrounds, mix=kind == "frame") if config.on else None
        streams.append(Stream(kind, sources, [1, 1], 12, 0, augmenter=augmentation))
    captions, events = streams
    return Steps(
        steps,
        captions,
        events,
        partial(collate_captions, tokenizer=tokenizer, seed=captions.seed),
        partial(collate_events, tokenizer=tokenizer, grid=GRID, concepts=Concepts.of(sources), seed=events.seed),
        rank,
        world,
        accumulate,
    )


def rows_of(part) -> list[tuple[str, bytes, dict[int, bytes]]]:
    """Key, waveform and labels of each clip: all that the model is given of it, and what it should find."""
    wave_BS = augmented(part.augment, part.waveform_BS) if part.augment is not None else part.waveform_BS
    labels = getattr(part, "label_BCT", torch.zeros(len(part.keys), 0, 1))
    ids = part.phrase_ids_C.tolist() if hasattr(part, "phrase_ids_C") else []
    return [
        (
            key,
            wave_S.numpy().tobytes(),
            {i: l_T.numpy().tobytes() for i, l_T in zip(ids, l_CT, strict=True) if l_T.any()},
        )
        for key, wave_S, l_CT in zip(part.keys, wave_BS, labels, strict=True)
    ]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 3), (3, 2)])
def test_the_same_samples_bit_for_bit_on_any_number_of_ranks(corpora, backgrounds, world, accumulate):
    whole = steps_of(corpora, backgrounds)
    parts = [steps_of(corpora, backgrounds, ALL, rank, world, accumulate) for rank in range(world)]
    for step in range(6):
        one = whole[step]
        several = [r[step * accumulate + m] for m in range(accumulate) for r in parts]
        for kind in ("captions", "events"):
            assert [row for p in several for row in rows_of(getattr(p, kind))] == rows_of(getattr(one, kind))


def test_resuming_and_workers_change_nothing(corpora, backgrounds):
    dataset = steps_of(corpora, backgrounds)
    want = [[*rows_of(dataset[n].captions), *rows_of(dataset[n].events)] for n in range(6)]
    again = pickle.loads(pickle.dumps(steps_of(corpora, backgrounds)))
    loader = DataLoader(again, None, sampler=StepSampler(2, 6), num_workers=1, multiprocessing_context="forkserver")
    assert [[*rows_of(item.captions), *rows_of(item.events)] for item in loader] == want[2:]


def test_off_is_what_was_without_it(corpora, backgrounds):
    """Bit for bit; and on, the clips themselves are those."""
    off, on = steps_of(corpora, None, AugmentConfig()), steps_of(corpora, backgrounds)
    for step in range(6):
        a, b = off[step].events, on[step].events
        assert a.augment is None
        assert torch.equal(a.waveform_BS, b.waveform_BS)
        assert a.keys == b.keys
        assert torch.equal(a.seed_B, b.seed_B)


def test_clips_are_mixed_within_their_corpus_and_captions_are_not(corpora, backgrounds):
    config = AugmentConfig(mix_share=1.0)
    dataset = steps_of(corpora, None, config)
    owners = {}
    for found in corpora:
        for n in range(len(found)):
            wave = found.waveform(n)
            owners[wave[:50].tobytes()] = found.name
            owners |= {wave[s : s + 50].tobytes(): found.name for s in range(max(0, len(wave) - SAMPLES) + 1)}
    clips, mixed = 0, set()
    for step in range(6):
        assert not len(dataset[step].captions.augment.added_PS)
        events = dataset[step].events
        assert len(events.augment.added_PS) == 12
        for key, sound_S in zip(events.keys, events.augment.added_PS, strict=True):
            assert owners[sound_S[:50].numpy().tobytes()] == key[0]
            clips += 1
        # What is annotated of either is what its corpus annotates: labels of the other corpus never stand in a clip.
        for key, label_CT in zip(events.keys, events.label_BCT, strict=True):
            found = {
                bytes(t for t in events.tokens_CL[c].tolist() if t).decode() for c in label_CT.any(1).nonzero()[:, 0]
            }
            assert {text[0] for text in found} == {key[0]}
            mixed.add(len(found))
    assert clips == 72
    assert mixed == {1, 2}


def test_what_is_read_is_known_before(corpora):
    stream = steps_of(corpora, None, AugmentConfig(mix_share=0.5)).events
    read: list[tuple[int, int, int]] = []
    for k, source in enumerate(stream.sources):
        clip = source.clip
        source.clip = lambda place, seed, clip=clip, k=k: (
            read.append((k, place.pass_, place.index)),
            clip(place, seed),
        )[1]
    known = stream.reads(24, 36)
    assert len(known) > 12
    stream.clips(24, 36)
    assert sorted(read) == sorted((p.corpus, p.pass_, p.index) for p in known)

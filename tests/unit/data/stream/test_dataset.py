from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from shard_samples import audio_bytes, corpus, sample, tar_of
from torch.utils.data import DataLoader

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import index_folder
from flam_train.data.stream.clips import Clip, ShardSource, cut, padded
from flam_train.data.stream.collate import Concepts, collate_captions, collate_events
from flam_train.data.stream.dataset import ClipsDataset, Steps, StepSampler, Stream
from flam_train.data.stream.order import Place
from flam_train.frames import FrameGrid
from flam_train.vocabulary import Vocabulary

SECONDS = 0.05
GRID = FrameGrid(4, SECONDS)


def tokenizer(texts: list[str]):
    rows = [list(text.encode()) for text in texts]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return tokens, (tokens > 0).long()


def sounds(key: str):
    """0.04 to 0.08 s: some are padded, some are cropped."""
    return sample(key, 0.04 + 0.01 * (sum(key.encode()) % 5), events=[(0.0, 0.03, f"noise {sum(key.encode()) % 3}")])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    a = corpus(folder / "a", (4, 3, 5), "flac", "a", make=sounds)
    return a, corpus(folder / "b", (7,), "wav", "b", make=sounds)


def steps_of(corpora, rank=0, world=1, steps=8, batch=12, seed=0, accumulate=1) -> Steps:
    sources = [ShardSource(c, SECONDS) for c in corpora]
    captions = Stream("global", sources, [1, 1], batch, seed)
    events = Stream("frame", sources, [2, 1], batch, seed)
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


def loaded(dataset: Steps, workers=0, first=0):
    sampler = StepSampler(first, len(dataset))
    options = {"multiprocessing_context": "forkserver"} if workers else {}
    return list(DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=workers, **options))


def same(a, b) -> bool:
    """Two step batches, field by field."""
    for x, y in ((a.captions, b.captions), (a.events, b.events)):
        for name, value in vars(x).items():
            other = getattr(y, name)
            if not (torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other):
                return False
    return a.step == b.step


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_are_disjoint_complete_and_the_plan_does_not_depend_on_their_number(corpora, world):
    whole = [steps_of(corpora)[s] for s in range(8)]
    ranks = [steps_of(corpora, rank, world) for rank in range(world)]
    for s in range(8):
        parts = [r[s] for r in ranks]
        for kind in ("captions", "events"):
            joined, one = [getattr(p, kind) for p in parts], getattr(whole[s], kind)
            assert [k for p in joined for k in p.keys] == one.keys
            assert torch.equal(torch.cat([p.waveform_BS for p in joined]), one.waveform_BS)
            assert torch.equal(torch.cat([p.seed_B for p in joined]), one.seed_B)
            assert {len(p.keys) for p in joined} == {12 // world}
        assert torch.equal(torch.cat([p.captions.caption_ids_C for p in parts]), whole[s].captions.caption_ids_C)
        # What is valid on any rank is what is valid in one process, and a phrase reads the same on all ranks.
        valid = {int(i) for p in parts for i in p.events.phrase_ids_C[p.events.phrase_valid_C]}
        assert valid == {int(i) for i in whole[s].events.phrase_ids_C[whole[s].events.phrase_valid_C]}
        texts: dict[int, set[bytes]] = {}
        for p in [*parts, whole[s]]:
            for i, tokens in zip(p.events.phrase_ids_C.tolist(), p.events.tokens_CL.tolist(), strict=True):
                texts.setdefault(i, set()).add(bytes(t for t in tokens if t))
        assert all(len(t) == 1 for t in texts.values())


def test_every_sample_comes_once_a_pass_through_the_batches(corpora):
    dataset = steps_of(corpora, steps=14, batch=6)
    keys = [k for batch in loaded(dataset) for k in batch.captions.keys]
    passes = {}
    for name, size in (("a", 12), ("b", 7)):
        mine = [k for k in keys if k.startswith(name)]
        assert len(mine) == 42
        passes[name] = [mine[i : i + size] for i in range(0, len(mine) - size + 1, size)]
        assert all(len(set(p)) == size for p in passes[name])
        assert passes[name][0] != passes[name][1]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(corpora, workers):
    plain = loaded(steps_of(corpora, 1, 2))
    assert [b.step for b in plain] == list(range(8))
    through = loaded(steps_of(corpora, 1, 2), workers)
    assert all(same(a, b) for a, b in zip(plain, through, strict=True))


def test_resuming_gives_the_rest_exactly(corpora):
    whole = loaded(steps_of(corpora))
    rest = loaded(pickle.loads(pickle.dumps(steps_of(corpora))), first=5)
    assert all(same(a, b) for a, b in zip(whole[5:], rest, strict=True))
    assert not same(whole[0], loaded(steps_of(corpora, seed=1))[0])
    sampler = StepSampler(lambda: 6, 8)
    assert (len(sampler), list(sampler)) == (8, [6, 7])


def test_the_two_streams_draw_apart(corpora):
    batch = steps_of(corpora)[0]
    assert batch.captions.keys != batch.events.keys
    both = set(batch.captions.keys) & set(batch.events.keys)
    assert both
    assert not set(batch.captions.seed_B.tolist()) & set(batch.events.seed_B.tolist())


def test_micro_batches_cut_a_step_further(corpora):
    whole = steps_of(corpora)[3].events
    parts = [steps_of(corpora, rank, 2, accumulate=3)[3 * 3 + micro] for micro in range(3) for rank in range(2)]
    assert {p.step for p in parts} == {3}
    assert [k for p in parts for k in p.events.keys] == whole.keys
    assert len(steps_of(corpora, accumulate=3)) == 24


def test_batches_that_do_not_divide(corpora):
    with pytest.raises(ValueError, match=r"global_batch=12 does not divide by 5 ranks x 1 .*multiple of 5"):
        steps_of(corpora, 0, 5)
    with pytest.raises(ValueError, match="12 does not divide by 2 ranks x 5"):
        steps_of(corpora, 0, 2, accumulate=5)
    with pytest.raises(ValueError, match="switched off"):
        Steps(1, None, None)
    with pytest.raises(IndexError):
        steps_of(corpora)[8]


def test_one_stream_alone(corpora):
    both = steps_of(corpora)
    only = Steps(8, None, both.events, None, both.collate_events)
    assert only[2].captions is None
    assert only[2].events.keys == both[2].events.keys
    assert Steps(8, both.captions, None, both.collate_captions)[2].events is None


def test_cropping_and_padding(corpora):
    source, samples = ShardSource(corpora[0], SECONDS), round(SECONDS * SAMPLE_RATE)
    starts = set()
    for index in range(12):
        record, stored = sounds(corpora[0].key(index))
        for pass_ in range(6):
            clip = source.clip(Place(0, pass_, index, 0), 7)
            assert clip.error is None
            assert clip.waveform_S.dtype == np.int16
            assert clip.waveform_S.shape == (samples,)
            if len(stored) <= samples:
                np.testing.assert_array_equal(clip.waveform_S, padded(stored, samples))
                assert clip.duration == pytest.approx(record.duration)
                assert clip.events == cut(record.events, 0.0, record.duration)
            else:
                where = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(stored, 32)[:, 0] == clip.waveform_S[0])
                start = next(s for s in where if (stored[s : s + samples] == clip.waveform_S).all())
                assert clip.duration == pytest.approx(SECONDS)
                assert clip.events == cut(record.events, start / SAMPLE_RATE, SECONDS)
                starts.add((index, int(start)))
            assert clip == replace(source.clip(Place(0, pass_, index, 99), 7), waveform_S=clip.waveform_S)
    assert len(starts) > 6  # each pass elsewhere


def test_events_are_cut_to_the_crop():
    events = (Event(0.0, 1.0, "before"), Event(0.5, 2.0, "into"), Event(2.5, 9.0, "out"), Event(4.0, 5.0, "after"))
    assert cut(events, 1.0, 3.0) == (Event(0.0, 1.0, "into"), Event(1.5, 3.0, "out"))


def test_bad_samples_keep_their_rows(tmp_path):
    wav = audio_bytes(sample("x")[1])
    tar_of(
        tmp_path / "t.tar",
        {
            "good.wav": wav,
            "good.json": b'{"text": "rain", "events": [{"onset": 0, "offset": 0.05, "label": "rain"}]}',
            "cut.wav": wav[:900],
            "cut.json": b'{"text": "rain"}',
            "rate.wav": audio_bytes(sample("x")[1], 44100),
            "rate.json": b'{"text": "rain"}',
            "order.wav": wav,
            "order.json": b'{"text": "rain", "events": [{"onset": 0.05, "offset": 0.01, "label": "rain"}]}',
            "end.wav": wav,
            "end.json": b'{"text": "rain", "events": [{"onset": 0.05, "offset": 3.01, "label": "rain"}]}',
            "nan.wav": wav,
            "nan.json": b'{"text": "rain", "events": [{"onset": NaN, "offset": 3.01, "label": "rain"}]}',
            "empty.wav": wav,
            "empty.json": b'{"text": " "}',
        },
    )
    source = ShardSource(Corpus(index_folder(tmp_path, "theirs", check=False)), SECONDS)
    stream = Stream("frame", [source], [1], 7, 0)
    concepts = Concepts.of([source])
    collate = partial(collate_events, tokenizer=tokenizer, grid=GRID, concepts=concepts, seed=stream.seed)
    batch = Steps(1, None, stream, None, collate)[0].events
    valid = dict(zip(batch.keys, batch.audio_valid_B.tolist(), strict=True))
    assert valid == {key: key == "good" for key in ("good", "cut", "rate", "order", "end", "nan", "empty")}
    assert batch.waveform_BS[~batch.audio_valid_B].abs().sum() == 0
    assert not batch.label_BCT[~batch.audio_valid_B].any()
    assert len(batch.errors) == 6
    for key, fix in {
        "cut": "fetch or prepare",
        "rate": "resample",
        "order": "mend or remove",
        "end": "cut it to the clip",
        "nan": "mend or remove",
        "empty": "remove it or write one",
    }.items():
        assert any(f"('{key}')" in e and fix in e for e in batch.errors), key


@dataclass
class Mixtures:
    """A source whose clips are still to be mixed."""

    name: str = "online"
    vocabulary: Vocabulary = Vocabulary("online", {})  # noqa: RUF009
    annotates: tuple = ()
    shard_sizes: tuple = (5,)

    def clips(self, places: list[Place], seed: int) -> list[Clip]:
        silence, caption = np.zeros(2400, np.int16), ("x",)
        return [Clip(f"mix-{p.cursor}", silence, SECONDS, caption, pieces=[(p.cursor, 9, 0, 0.5)]) for p in places]


def test_an_online_source_counts_on_over_its_passes():
    stream = Stream("global", [Mixtures()], [1], 4, 0)
    collate = partial(collate_captions, tokenizer=tokenizer, seed=stream.seed)
    batch = Steps(9, stream, None, collate)[3].captions
    assert batch.keys == ["mix-12", "mix-13", "mix-14", "mix-15"]
    assert batch.mixture.start_P.tolist() == [12, 13, 14, 15]
    assert len(set(batch.seed_B.tolist())) == 4


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_validation_visits_every_key_once_on_any_number_of_ranks(corpora, world):
    seen = []
    for rank in range(world):
        dataset = ClipsDataset(corpora[0], SECONDS, batch=2, rank=rank, world=world)
        for batch in DataLoader(dataset, batch_size=None):
            assert batch.waveform_BS.dtype == torch.int16
            assert batch.waveform_BS.shape == (len(batch.keys), 2400)
            for row, key in enumerate(batch.keys):
                record, stored = sounds(key)
                np.testing.assert_array_equal(batch.waveform_BS[row].numpy(), padded(stored, 2400))
                assert batch.durations[row] == pytest.approx(min(record.duration, SECONDS))
                assert batch.records[row].events == record.events
            seen += batch.keys
    assert sorted(seen) == sorted(corpora[0].key(i) for i in range(12))


def test_validation_raises_on_a_bad_sample(tmp_path):
    tar_of(tmp_path / "t.tar", {"bad.wav": audio_bytes(sample("x")[1])[:900], "bad.json": b"{}"})
    dataset = ClipsDataset(Corpus(index_folder(tmp_path, "theirs", check=False)), SECONDS, 4)
    with pytest.raises(ValueError, match=r"t\.tar: sample 0 \('bad'\): truncated"):
        dataset[0]
    with pytest.raises(IndexError):
        dataset[1]


def test_to_a_device_and_pinned(corpora):
    batch = ClipsDataset(corpora[0], SECONDS, 4)[0]
    assert batch.to("cpu").records == batch.records
    assert isinstance(batch.records[0], Record)

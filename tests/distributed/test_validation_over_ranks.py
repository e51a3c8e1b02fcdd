"""Validation on several ranks: the numbers of one, each clip once, also where a rank has no clip; faults end all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ranks import on_ranks
from tone_corpus import Ear, tone

from flam_train.data import Corpus, Event, Record, write_manifest, write_shard
from flam_train.data.stream.dataset import ClipsDataset
from flam_train.training.validation import CorpusValidation

PITCH = {"a low tone": "low", "a high tone": "high"}


def written(folder: Path, clips: int) -> Path:
    g, samples = torch.Generator().manual_seed(clips), []
    for n in range(clips):
        events = []
        for label in PITCH:
            onset = float(torch.randint(4, (1,), generator=g)) / 4  # on the edge of a frame
            events.append(Event(onset, onset + float(torch.randint(2, 5, (1,), generator=g)) / 4, label))
        heard = [Event(e.onset, e.offset, PITCH[e.label]) for e in (events if n % 3 else events[:1])]
        record = Record(f"clip-{n}", 2.0, (f"{'low' if n % 2 else 'high'} tone {n}",), tuple(events))
        samples.append((record, tone(2.0, heard)))
    write_manifest(folder, "tones", [write_shard(folder / "a.tar", samples)], vocabulary=None, annotates=sorted(PITCH))
    return folder


def validated(rank: int, world: int, folder: str, batch: int, broken: int = -1) -> dict | str:
    """broken: the rank whose embeddings are not numbers."""
    corpus, ear = Corpus(folder), Ear()
    metric, clips = CorpusValidation(corpus, ear.grid, 3), ClipsDataset(corpus, 2.0, batch, rank, world)
    out: list = []
    for _ in range(2):  # a second validation knows nothing of the first
        for n in range(len(clips)):
            if clips[n].keys:
                heard = ear.embed_audio(clips[n].waveform_BS)
                if rank == broken:
                    heard.frame_BTD[0] = torch.nan
                metric.update(ear, heard, clips[n])
        try:
            out.append(metric.compute())
        except ValueError as error:
            return str(error)
        metric.reset()
    assert out[0] == out[1]
    return {"batches": len(clips)} | out[0]


@pytest.mark.parametrize(("world", "clips", "batch"), [(2, 1, 4), (2, 7, 2), (3, 4, 1)])
def test_the_numbers_of_one_rank(world, clips, batch, tmp_path):
    folder = str(written(tmp_path / "shards", clips))
    want = validated(0, 1, folder, batch)
    found = on_ranks(world, validated, folder, batch)
    assert len({rank.pop("batches") for rank in found}) == 1
    want.pop("batches")
    assert set(want) == {"auroc_macro", "auroc_micro", "event_f1", "psds1", "text_to_audio_R@1", "audio_to_text_R@1"}
    for rank in found:
        assert rank == pytest.approx(want, abs=1e-9)
    if clips == 7:
        assert 0.5 < want["auroc_macro"] < 1
        assert 0 < want["psds1"] < 1


def test_what_one_rank_cannot_compute_stops_all(tmp_path):
    folder = str(written(tmp_path / "shards", 4))
    for said in on_ranks(2, validated, folder, 2, 1):
        assert said.startswith(f"validation corpus {folder}: recording 'clip-1': a frame's embedding is not a number")

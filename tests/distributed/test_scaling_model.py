"""What the model of docs/scaling.md says of messages, bytes and memory is what the code does."""

from __future__ import annotations

from collections import Counter

import pytest
import scaling_model as model
import torch
from accounting import counted_traffic
from bench_losses import measure, problem
from ranks import on_ranks

from flam_train.losses.contrastive import contrastive_loss
from flam_train.losses.framewise import framewise_terms
from flam_train.losses.phrases import Pairs, join_phrases
from flam_train.losses.prior import prior_loss_of
from flam_train.models.frontend import MelNorm

CLIPS, PHRASES, WIDTH, BINS = 3, 5, 16, 4


def traffic(rank: int, world: int) -> dict[str, list]:
    """[name, bytes] of what each part of a step sends from this rank."""
    values = problem(rank, CLIPS, PHRASES, WIDTH)
    pairs = {k: v for k, v in values.items() if k not in ("frame_BTD", "text_CD", "scale_C", "bias_C")}
    clip_BD = torch.ones(CLIPS, WIDTH, requires_grad=True)
    valid_B, ids_B = pairs["audio_valid_B"], torch.arange(CLIPS)
    phrases = join_phrases(Pairs(**pairs))
    given = [values[k] for k in ("frame_BTD", "text_CD", "scale_C", "bias_C")]
    calls = {
        "join": lambda: join_phrases(Pairs(**pairs)),
        "gather": lambda: framewise_terms(phrases, *given, exchange="gather").mean().backward(),
        "ring": lambda: framewise_terms(phrases, *given, exchange="ring").mean().backward(),
        "prior": lambda: prior_loss_of(phrases, values["bias_C"].clone().requires_grad_()).backward(),
        "contrastive": lambda: contrastive_loss(clip_BD, 2 * clip_BD, torch.tensor(1.0), valid_B, ids_B).backward(),
        "bn0": lambda: MelNorm(BINS).train()(torch.ones(CLIPS, 7, BINS)),
    }
    out = {}
    for name, call in calls.items():
        with counted_traffic() as sent:
            call()
        out[name] = [list(message) for message in sent]
    return out


def measured(rank: int, world: int) -> dict:
    return {"traffic": traffic(rank, world), "losses": measure(rank, world, 8, 128, WIDTH, 1)}


@pytest.fixture(scope="module")
def found() -> dict[int, list[dict]]:
    return {world: on_ranks(world, measured) for world in (2, 4)}


@pytest.mark.parametrize("world", [2, 4])
def test_messages_and_bytes(found, world):
    want = {
        "join": model.join_messages(world, PHRASES, world * PHRASES),
        "gather": model.framewise_messages(world, PHRASES, WIDTH, "gather"),
        "ring": model.framewise_messages(world, PHRASES, WIDTH, "ring"),
        "prior": model.prior_messages(world, PHRASES),
        "contrastive": model.contrastive_messages(world, CLIPS, WIDTH),
        "bn0": model.bn0_messages(world, BINS),
    }
    for rank in found[world]:
        for name, messages in want.items():
            assert Counter(map(tuple, rank["traffic"][name])) == Counter(messages), name


def test_the_rings_memory_does_not_grow_with_the_ranks(found):
    peak = {world: [rank["losses"] for rank in ranks] for world, ranks in found.items()}
    for few, many in zip(peak[2], peak[4][:2], strict=True):
        assert many["ring"]["peak"] <= 1.2 * few["ring"]["peak"]
        assert many["gather"]["peak"] >= 1.6 * few["gather"]["peak"]

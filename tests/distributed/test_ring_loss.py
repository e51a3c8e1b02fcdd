"""The ring beside the gather: precision, frozen towers, ranks of which some learn and some do not."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from ranks import on_ranks

from flam_train import distributed
from flam_train.losses import framewise, framewise_loss, prior_loss
from flam_train.losses.phrases import Pairs, join_phrases

B, C, T, D = 3, 7, 5, 8


def problem(seed: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    frame_BTD, text_CD = torch.randn(B, T, D, generator=g), torch.randn(C, D, generator=g)
    scale_C, bias_C = torch.rand(C, generator=g) + 1, torch.randn(C, generator=g)
    label_BCT = torch.rand(B, C, T, generator=g) < 0.3
    valid_B, valid_C = torch.rand(B, generator=g) < 0.7, torch.rand(C, generator=g) < 0.7
    return [frame_BTD, text_CD, scale_C, bias_C, label_BCT, valid_B, valid_C]


def gradients(values: list[torch.Tensor], learns: tuple[int, ...], **options) -> list[torch.Tensor]:
    """The loss, and its gradients by those of the values that learn."""
    values = [x.clone().requires_grad_() if n in learns else x for n, x in enumerate(values)]
    loss = framewise_loss(*values, **options)
    loss.backward()
    return [loss.detach(), *(values[n].grad for n in learns)]


@pytest.mark.parametrize("learns", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_what_is_frozen_has_no_gradient(learns, monkeypatch):
    monkeypatch.setattr(framewise, "BLOCK_TERMS", 2 * B * T)
    want = gradients([x.double() if x.is_floating_point() else x for x in problem(0)], learns, exchange="gather")
    for got, exact in zip(gradients(problem(0), learns, exchange="ring"), want, strict=True):
        assert torch.allclose(got, exact.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("exchange", ["gather", "ring"])
def test_autocast_changes_nothing(exchange):
    """bf16 would: by thousandths of the loss."""
    want = gradients(problem(0), (0, 1, 2), exchange=exchange)
    with torch.autocast("cpu", torch.bfloat16):
        got = gradients(problem(0), (0, 1, 2), exchange=exchange)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_bfloat16_frames_are_scored_in_float32():
    values = problem(0)
    values[0] = values[0].bfloat16()
    found = [gradients(values, (0,), exchange=exchange) for exchange in ("gather", "ring")]
    for loss, grad in found:
        assert (loss.dtype, grad.dtype) == (torch.float32, torch.bfloat16)
    assert torch.allclose(found[0][0], found[1][0])


def test_without_gradients():
    with torch.no_grad():
        gather, ring = (framewise_loss(*problem(0), exchange=exchange) for exchange in ("gather", "ring"))
    assert not ring.requires_grad
    assert torch.allclose(gather, ring)


def test_auto_takes_the_ring_where_the_joined_logits_are_large(monkeypatch):
    taken = []
    real = framewise.round_the_ring
    monkeypatch.setattr(framewise, "round_the_ring", lambda *given: (taken.append(1), real(*given))[1])
    phrases = int(problem(0)[6].sum())
    size = B * phrases * T * 4
    for limit, count in ((size + 1, 0), (size, 1)):
        monkeypatch.setattr(framewise, "RING_FROM", limit)
        framewise_loss(*problem(0))
        assert len(taken) == count


@pytest.mark.parametrize("wrong", [{"exchange": "rings"}, {"remote_norm": "release"}])
def test_a_mistyped_option_is_named(wrong):
    (key, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"{key}: '{value}' is not known: did you mean"):
        framewise_loss(*problem(0), **wrong)


LEARNS = (0, 1, 2), (), (1,)
"""By rank: everything, nothing, the phrases' embeddings."""


class Noted:
    """Transfers under way, of which is noted when they are waited for."""

    def __init__(self, works: list, done: list[str], what: str) -> None:
        self.works, self.done, self.what = works, done, what

    def wait(self) -> None:
        self.done.append(f"{self.what} waits")
        for work in self.works:
            work.wait()


def order() -> list[str]:
    """What this rank does in turn, on a way round the ring whose sums travel home."""
    done: list[str] = []
    pass_on = distributed._pass_on

    def noted(rows, into, tag=0):
        what = "home" if tag else "fetch"
        done.append(f"{what} begins")
        return [Noted(pass_on(rows, into, tag), done, what)]

    with mock.patch.object(distributed, "_pass_on", noted):
        counts = [2] * len(LEARNS)
        homeward = distributed.Homeward(counts)
        for owner, block in distributed.round_the_ring(torch.ones(2, 3), counts):
            done.append("work")
            homeward.add(owner, block.clone())
        homeward.home()
    return done


def of_rank(rank: int, world: int) -> dict[str, list[torch.Tensor]]:
    values = [x.double() if x.is_floating_point() else x for x in problem(rank)]
    out = {exchange: gradients(values, LEARNS[rank], exchange=exchange) for exchange in ("gather", "ring")}
    *pairs, valid_C = values[4:]
    for exchange in ("gather", "ring"):
        nothing = gradients([*values[:6], torch.zeros_like(valid_C)], LEARNS[rank], exchange=exchange)
        out[f"{exchange}, no phrase"] = nothing
    bias_C = values[3].clone().requires_grad_()
    prior = prior_loss(bias_C, *pairs, torch.zeros_like(valid_C))
    prior.backward()
    closed = join_phrases(Pairs(torch.zeros(B, 9, T), values[5], torch.ones(9, dtype=torch.bool), torch.arange(9) - 4))
    out["order"] = order()
    return out | {"prior, no phrase": [prior.detach(), bias_C.grad], "closed": [closed.sizes, closed.mine.tolist()]}


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    return on_ranks(len(LEARNS), of_rank)


def test_ranks_need_not_all_learn(ranks):
    for rank in ranks:
        for gather, ring in zip(rank["gather"], rank["ring"], strict=True):
            assert torch.allclose(gather, ring, rtol=1e-12, atol=1e-15)


def test_blocks_and_sums_travel_while_a_rank_works(ranks):
    first = ["fetch begins", "work", "home begins", "fetch waits"]
    between = ["fetch begins", "work", "home waits", "home begins", "fetch waits"]
    last = ["work", "home waits", "home begins", "home waits"]
    assert [rank["order"] for rank in ranks] == [first + between + last] * 3


def test_ranks_share_a_closed_vocabulary_evenly(ranks):
    """Each of 9 phrases that all ranks list is one rank's."""
    assert all(rank["closed"][0] == [3, 3, 3] for rank in ranks)
    assert sorted(place for rank in ranks for place in rank["closed"][1]) == list(range(9))


@pytest.mark.parametrize("loss", ["gather", "ring", "prior"])
def test_a_step_without_a_valid_phrase_on_any_rank_is_zero(ranks, loss):
    for rank in ranks:
        assert not any(x.any() for x in rank[f"{loss}, no phrase"])

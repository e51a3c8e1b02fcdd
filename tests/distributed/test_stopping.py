"""What one rank meets stops all, at the same step: a request, bad samples, a loss or a gradient that is not finite."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
import torch
from ranks import on_ranks

from flam_train.batch import StepBatch
from flam_train.training.health import Health


def steps(rank: int, world: int) -> list[int]:
    health = Health(0.01, 100)
    batch = StepBatch(0, None, SimpleNamespace(errors=[], keys=["a"]))
    out = []
    for step in range(3):
        if step == 1 and rank == 1:
            health.requests.asked = 2
        health.begin({"sed": torch.zeros(())}, batch)
        health.judge()
        out.append(health.stopping)
    return out


def broken(rank: int, world: int, what: str) -> list[str]:
    """(step: message) where this rank stopped; rank 1 alone meets the fault, at step 1."""
    health = Health(0.01, 1)
    for step in range(3):
        mine = rank == 1 and step == 1
        errors = ["a: it is damaged"] if mine and what == "bad" else []
        batch = StepBatch(step, None, SimpleNamespace(errors=errors, keys=["a", "b"]))
        loss = torch.tensor(float("nan") if mine and what == "nan" else 1.0)
        try:
            health.begin({"sed": loss}, batch, loss[None])
            health.judge(torch.tensor(float("inf") if what == "norm" and step == 1 else 2.0))
        except ValueError as error:
            return [str(step), str(error), str(health.bad), str(health.seen)]
    return []


def everything(rank: int, world: int) -> dict:
    return {"asked": steps(rank, world)} | {what: broken(rank, world, what) for what in ("bad", "nan", "norm")}


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    return on_ranks(2, everything)


def test_all_ranks_stop_at_the_step_in_which_one_was_asked(ranks):
    assert [found["asked"] for found in ranks] == [[0, 2, 2]] * 2


def test_bad_samples_are_counted_over_all_ranks_and_stop_all_at_the_same_step(ranks):
    for found in ranks:
        step, message, bad, seen = found["bad"]
        assert (step, bad, seen) == ("1", "1", "8")
        assert "1 of 8 samples are bad, over 1%" in message
        assert message.endswith(f"{socket.gethostname()}: a: it is damaged")  # on the rank that has none, too


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_of_them(ranks):
    for found in ranks:
        step, message, *_ = found["nan"]
        assert step == "1"
        assert "a loss is not finite" in message
        assert message.endswith("embeddings that are not: of rank 1")


def test_a_gradient_that_is_not_finite_stops_all_of_them(ranks):
    """Its norm is the same on all ranks."""
    for found in ranks:
        assert found["norm"][:2] == ["1", "step 1: the gradient's norm is inf"]

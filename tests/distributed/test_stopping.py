"""What one rank meets stops all, at the same step: a request, too many bad samples, a loss that is not finite."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
import torch
from ranks import on_ranks

from flam_train.batch import StepBatch
from flam_train.training.module import FLAMModule
from flam_train.training.objective import LossConfig
from flam_train.training.optim import OptimConfig


def steps(rank: int, world: int) -> list[int]:
    module = FLAMModule(torch.nn.Identity(), LossConfig(), OptimConfig(), 3, 0)
    batch = StepBatch(0, None, SimpleNamespace(errors=[], keys=["a"]))
    out = []
    for step in range(3):
        if step == 1 and rank == 1:
            module.requests.asked = 2
        module.check_health({"sed": torch.zeros(())}, batch)
        out.append(module.stopping)
    return out


def broken(rank: int, world: int, what: str) -> list[str]:
    """(step: message) where this rank stopped; rank 1 alone meets the fault, at step 1."""
    module = FLAMModule(torch.nn.Identity(), LossConfig(bad_grace=1), OptimConfig(), 3, 0)
    for step in range(3):
        mine = rank == 1 and step == 1
        errors = ["a: it is damaged"] if mine and what == "bad" else []
        batch = StepBatch(step, None, SimpleNamespace(errors=errors, keys=["a", "b"]))
        loss = torch.tensor(float("nan") if mine and what == "nan" else 1.0)
        try:
            module.check_health({"sed": loss}, batch, loss[None])
        except ValueError as error:
            return [str(step), str(error), str(module.bad), str(module.seen)]
    return []


def everything(rank: int, world: int) -> dict:
    return {"asked": steps(rank, world), "bad": broken(rank, world, "bad"), "nan": broken(rank, world, "nan")}


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

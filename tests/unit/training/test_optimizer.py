"""The fused AdamW beside the plain one, and a state that the other of them left."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from flam_train.models.flam import FLAM
from flam_train.training import optim
from flam_train.training.optim import OptimConfig, build_optimizer, hold_to

CONFIG = OptimConfig(lr=1e-2, weight_decay=0.1)


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(0)
    return FLAM(small_config)


def stepped(model: FLAM, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        r = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=r)
        optimizer.step()


def with_schedule(optimizer):
    """(schedule, groups as they were built): what a run has."""
    schedule = LambdaLR(optimizer, lambda step: 1.0)
    return schedule, [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def test_fused_beside_plain(model):
    one, other = copy.deepcopy(model), copy.deepcopy(model)
    fused, plain = build_optimizer(one, CONFIG), build_optimizer(other, CONFIG, scaled=True)
    assert all(group["fused"] for group in fused.param_groups)
    assert {(group["fused"], group["foreach"]) for group in plain.param_groups} == {(None, None)}  # torch chooses
    for m, optimizer in ((one, fused), (other, plain)):
        stepped(m, optimizer, range(20))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("scaled", [False, True])
def test_the_state_of_the_other_kind_goes_on(model, scaled):
    """A last.ckpt of before is of the plain kind."""
    whole, again = copy.deepcopy(model), copy.deepcopy(model)
    first, second = build_optimizer(again, CONFIG, scaled=not scaled), build_optimizer(whole, CONFIG, scaled=scaled)
    stepped(whole, second, range(10))
    stepped(again, first, range(5))
    goes_on = build_optimizer(again, CONFIG, scaled=scaled)
    schedule, groups = with_schedule(goes_on)
    goes_on.load_state_dict(copy.deepcopy(first.state_dict()))
    hold_to(goes_on, schedule, groups)
    assert all(bool(group["fused"]) is not scaled for group in goes_on.param_groups)
    stepped(again, goes_on, range(5, 10))
    for (name, a), b in zip(again.named_parameters(), whole.named_parameters(), strict=True):
        assert torch.allclose(a, b[1], rtol=1e-5, atol=1e-6), name


def test_a_device_without_it_has_the_plain_one(model, monkeypatch):
    monkeypatch.setattr(optim, "FUSED", ())
    assert not any(group["fused"] for group in build_optimizer(model, CONFIG).param_groups)

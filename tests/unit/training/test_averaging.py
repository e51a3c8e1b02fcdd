"""The running mean of the weights beside a plain one, and how it changes places with them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from flam_train.checkpoints.run_checkpoint import AVERAGE, weights_of
from flam_train.training.averaging import WeightAverage


def stepped(model: nn.Module, step: int) -> None:
    with torch.no_grad():
        for n, p in enumerate(model.parameters()):
            p += torch.randn(p.shape, generator=torch.Generator().manual_seed(97 * step + n))


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_the_plain_running_mean(decay):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    average = WeightAverage(model.named_parameters(), decay)
    want = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(40):
        stepped(model, step)
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))
        want = {name: d * mean + (1 - d) * model.get_parameter(name).detach() for name, mean in want.items()}
    assert average.state_dict().keys() == want.keys()
    for name, mean in average.state_dict().items():
        torch.testing.assert_close(mean, want[name], rtol=1e-12, atol=1e-12)


def test_it_changes_places_with_the_weights_and_back():
    model = nn.Linear(3, 4)
    average = WeightAverage(model.named_parameters(), 0.9)
    stepped(model, 0)
    average.update(0)
    weights, means = copy.deepcopy(model.state_dict()), copy.deepcopy(average.state_dict())
    assert not torch.equal(weights["weight"], means["weight"])
    with torch.inference_mode():  # as a validation does
        average.swap()
        assert all(torch.equal(value, means[name]) for name, value in model.state_dict().items())
        average.swap()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, means[name]) for name, value in average.state_dict().items())
    average.update(1)
    model(torch.ones(1, 3)).sum().backward()


def test_it_goes_on_from_its_state_bit_for_bit():
    models = [nn.Linear(3, 4) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    one, two = (WeightAverage(model.named_parameters(), 0.9) for model in models)
    for step in range(9):
        if step == 4:
            kept = copy.deepcopy(two.state_dict())
            two = WeightAverage(models[1].named_parameters(), 0.9)
            two.load_state_dict(kept)
        for model, average in zip(models, (one, two), strict=True):
            stepped(model, step)
            average.update(step)
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_what_a_checkpoint_exports():
    state = {"model.a": torch.zeros(1), "model.buffer": torch.ones(1), "validation_metrics.x": torch.ones(1)}
    assert weights_of({"state_dict": state}) == {"a": torch.zeros(1), "buffer": torch.ones(1)}
    found = weights_of({"state_dict": state, AVERAGE: {"model.a": torch.full((1,), 2.0)}})
    assert found == {"a": torch.full((1,), 2.0), "buffer": torch.ones(1)}

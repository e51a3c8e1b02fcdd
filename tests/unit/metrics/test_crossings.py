"""Components of sequences, beside a plain loop: sequences that rise, fall, stand still, and are random."""

import math

import pytest
import torch

from flam_train.metrics import crossings
from flam_train.metrics.crossings import nearest_lower, nearest_not_higher


def sequences() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    steps = torch.arange(200.0)
    return {
        "random": torch.rand(300, generator=g),
        "ties": torch.randint(0, 4, (300,), generator=g).float(),
        "rising then one low": torch.cat((steps, torch.tensor([-1.0]), steps)),
        "falling": -steps,
        "constant": torch.zeros(200),
        "teeth": torch.cat([torch.cat((steps[:n], torch.tensor([0.5]))) for n in range(1, 30)]),
        "nothing": torch.full((5,), -math.inf),
        "gaps": torch.where(torch.rand(200, generator=g) < 0.2, -math.inf, torch.rand(200, generator=g)),
        "empty": torch.zeros(0),
    }


@pytest.mark.parametrize("name", sequences())
@pytest.mark.parametrize("rounds", [0, 1, 3, 32])
def test_the_nearest_before_that_is_lower(name, rounds, monkeypatch):
    """However soon the rest is looked up in windows."""
    monkeypatch.setattr(crossings, "ROUNDS", rounds)
    score = torch.cat((torch.tensor([-math.inf]), sequences()[name]))
    found = nearest_not_higher(score)
    lower = nearest_lower(score, found)
    values = score.tolist()
    for y, value in enumerate(values):
        if value > -math.inf:
            assert int(found[y]) == max(z for z in range(y) if values[z] <= value), y
            assert int(lower[y]) == max(z for z in range(y) if values[z] < value), y

"""A request to stop that reaches one rank stops all of them, at the same step."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from ranks import on_ranks

from flam_train.training.module import FLAMModule, LossConfig
from flam_train.training.optim import OptimConfig


def steps(rank: int, world: int) -> list[bool]:
    module = FLAMModule(torch.nn.Identity(), LossConfig(), OptimConfig(), 3, 0)
    batch = SimpleNamespace(step=0, captions=None, events=SimpleNamespace(errors=[], keys=["a"]))
    out = []
    for step in range(3):
        module.stop_requested = module.stop_requested or (step == 1 and rank == 1)
        module.check_health({"sed": torch.zeros(())}, batch)
        out.append(module.stopping)
    return out


def test_all_ranks_stop_at_the_step_in_which_one_was_asked():
    assert on_ranks(2, steps) == [[False, True, True]] * 2

"""Runs that stop on the way, and whether two runs are the same one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tiny_runs import metrics

from flam_train.training import run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def of_the_run(folder: Path) -> dict[tuple[int, str], str]:
    """What was logged, without speeds: the machine's say when they are logged, and what they are."""
    return {key: value for key, value in metrics(folder).items() if not key[1].startswith("speed/")}


def assert_same_run(folder: Path, finished: Path) -> None:
    """Weights and logged values, bit for bit."""
    want, got = weights(finished), weights(folder)
    assert want.keys() == got.keys()
    for name in want:
        assert torch.equal(want[name], got[name]), name
    assert of_the_run(folder) == of_the_run(finished)


@contextmanager
def stopped_after(steps: int, monkeypatch) -> Iterator[None]:
    """Runs stop there; their schedule and plan are those of the whole run."""
    build_trainer = run.build_trainer

    def stopped(*arguments):
        trainer = build_trainer(*arguments)
        trainer.fit_loop.epoch_loop.max_steps = steps
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(run, "build_trainer", stopped)
        yield

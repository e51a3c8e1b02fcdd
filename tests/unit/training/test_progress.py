"""How long a run goes on, told by a clock that the tests set."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from flam_train.training import progress
from flam_train.training.progress import WARM_UP, Progress, clock


class Run:
    """Steps and validations of known length, as the trainer tells a `Progress` of them."""

    def __init__(self, monkeypatch, capsys, total: int, validate_every: int, first: int = 0):
        self.now, self.capsys, self.every = 1000.0, capsys, validate_every
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)
        self.callback = Progress(4, total, validate_every, seconds=0.0)
        self.trainer = SimpleNamespace(global_step=first, is_global_zero=True, callback_metrics={}, loggers=[])
        self.module = SimpleNamespace(device=torch.device("cpu"), curves={"loss/total": 1.0})
        self.callback.on_train_start(self.trainer, self.module)

    def steps(self, count: int, seconds: float, validation: float = 0.0) -> str:
        """What the last of them says was left, before its validation."""
        for _ in range(count):
            self.callback.on_train_batch_start(self.trainer, self.module, None, 0)
            self.now += seconds
            self.trainer.global_step += 1
            self.callback.on_train_batch_end(self.trainer, self.module, None, None, 0)
            left = re.search(r"left (\S+)$", self.capsys.readouterr().err.strip())[1]
            if validation and self.trainer.global_step % self.every == 0:
                self.callback.on_validation_start(self.trainer, self.module)
                self.now += validation
                self.callback.on_validation_end(self.trainer, self.module)
        return left


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments, **more: Run(monkeypatch, capsys, *arguments, **more)


@pytest.mark.parametrize("first", [0, 40])
def test_the_first_steps_do_not_count(run, first):
    """Of a new run, and of one that goes on."""
    one = run(100 + first, 1000, first=first)
    assert one.steps(1, 4000.0) == "?"
    assert one.steps(WARM_UP - 1, 60.0) == "?"
    assert one.steps(1, 2.0) == clock(2.0 * (100 - WARM_UP - 1))
    assert one.steps(1, 4.0) == clock(3.0 * (100 - WARM_UP - 2))
    assert one.steps(100 - WARM_UP - 2, 3.0) == "0:00"


def test_validations_are_part_of_the_time_left(run):
    one = run(40, 10)
    assert one.steps(9, 2.0, 50.0) == clock(31 * 2.0)
    assert one.steps(1, 2.0, 50.0) == clock(30 * 2.0)  # how long one takes is not known before it
    assert one.steps(1, 2.0, 50.0) == clock(29 * 2.0 + 3 * 50.0)
    assert one.steps(9, 2.0, 70.0) == clock(20 * 2.0 + 3 * 50.0)
    assert one.steps(1, 2.0, 70.0) == clock(19 * 2.0 + 2 * 60.0)
    assert one.steps(19, 2.0, 60.0) == clock(60.0)  # all steps are done, the last validation is not


def test_a_validation_among_the_first_steps(run):
    one = run(40, 2)
    assert one.steps(WARM_UP, 5.0, 100.0) == "?"
    assert one.steps(1, 2.0, 100.0) == clock(34 * 2.0 + 18 * 100.0)


def test_a_run_shorter_than_its_first_steps(run):
    assert run(3, 1000).steps(2, 5.0) == "?"
    assert run(3, 1000).steps(3, 5.0) == "0:00"


def test_clock():
    assert [clock(seconds) for seconds in (None, 59.9, 61, 3600 * 30 + 5)] == ["?", "0:59", "1:01", "30:00:05"]

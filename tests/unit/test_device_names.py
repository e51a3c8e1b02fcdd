"""A device that was asked for is taken, or refused: never another."""

from __future__ import annotations

import pytest
import torch

from flam_train.devices import device_of, name_of


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of() == device_of("auto") == device_of("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto") == "cuda"


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "mps:7", ""])
def test_others_are_refused(name):
    with pytest.raises(ValueError, match=rf"^--device {name}: .*give auto, cpu, cuda, cuda:N or mps"):
        device_of(name)


def test_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"H100 of {device}")
    assert [name_of(device) for device in ("cpu", "mps", "cuda:1")] == ["the CPU", "mps", "cuda:1, H100 of cuda:1"]

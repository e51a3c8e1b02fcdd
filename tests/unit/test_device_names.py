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


@pytest.mark.parametrize("name", ["gpu", "mps:7", "", "cuda:x", "meta", "CPU", "cpu:0", "0"])
def test_no_device_is_called_so(name):
    with pytest.raises(ValueError, match=rf"^--device {name}: no device is called so: give auto, cpu, cuda:N or mps$"):
        device_of(name)


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("cuda", 0, "torch finds no GPU that it can use"),
        ("cuda:2", 2, "the last GPU that torch finds is cuda:1"),
        ("cuda:9999", 1, "the last GPU that torch finds is cuda:0"),
        ("mps", 0, "torch finds no Apple GPU"),
        ("cuda:0", 1, "it is taken"),
    ],
)
def test_what_is_not_there_is_refused_in_a_line(name, count, said, monkeypatch):
    def taken(*_, **__):
        raise RuntimeError("it is taken\nand a long list")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "empty", taken)
    with pytest.raises(ValueError, match=rf"^--device {name}: {said}: give auto, cpu, cuda:N or mps$"):
        device_of(name)


def test_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"H100 of {device}")
    assert [name_of(device) for device in ("cpu", "mps", "cuda:1")] == ["the CPU", "mps", "cuda:1, H100 of cuda:1"]

"""Which device is meant by its name: never another one than was asked for."""

from __future__ import annotations

import re

NAMES = "auto, cpu, cuda:N or mps"

_NAME = re.compile(r"auto|cpu|mps|cuda(?::([0-9]{1,4}))?")


def device_of(name: str = "auto") -> str:
    """auto, cpu, cuda, cuda:N or mps -> a device that is there. auto: CUDA where there is a GPU for it, else the CPU;
    mps only where it is asked for: it is untried.

    Raises ValueError that names the device and the fix, in a line.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"--device {name}: no device is called so: give {NAMES}")
    import torch  # here and not above: --help, and a mistyped option, need no torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    lacking = ""
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match[1] or 0) >= count:
            lacking = (
                f"the last GPU that torch finds is cuda:{count - 1}" if count else "torch finds no GPU that it can use"
            )
    elif name == "mps" and not torch.backends.mps.is_available():
        lacking = "torch finds no Apple GPU"
    try:
        if not lacking:
            torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a GPU that another process has for itself
        lacking = str(error).splitlines()[0]
    if lacking:
        raise ValueError(f"--device {name}: {lacking}: give {NAMES}")
    return name


def name_of(device: str) -> str:
    """As people know it: the GPU's own name."""
    import torch

    if device.startswith("cuda"):
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return "the CPU" if device == "cpu" else device

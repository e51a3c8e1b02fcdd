"""Which device is meant by its name: never another one than was asked for."""

from __future__ import annotations


def device_of(name: str = "auto") -> str:
    """auto, cpu, cuda, cuda:N or mps -> a device that is there. auto: CUDA where there is a GPU for it, else the CPU;
    mps only where it is asked for: it is untried.

    Raises ValueError that names the device and the fix.
    """
    import torch  # here and not above: --help, and a mistyped option, need no torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        what = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: {what}: give auto, cpu, cuda, cuda:N or mps") from error
    return name


def name_of(device: str) -> str:
    """As people know it: the GPU's own name."""
    import torch

    if device.startswith("cuda"):
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return "the CPU" if device == "cpu" else device

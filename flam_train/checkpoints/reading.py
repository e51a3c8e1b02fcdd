"""State dicts from files of others: names and tensors are read, nothing that could run code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

DDP = "module."
"""What torch's DistributedDataParallel puts before each name."""

FOLDER_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Where Hugging Face's folders have their weights, the first that is there."""


class NamedOnly:
    """In the place of a class that an old checkpoint only names: Lightning's, as a key of its callbacks."""


_SCALAR: Any = np.float64(0).__reduce__()[0]  # what numpy's scalars are pickled with
SAFE: list[Any] = [
    np.dtype,
    *sorted({type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}, key=str),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # numpy 1
    (_SCALAR, "numpy._core.multiarray.scalar"),  # numpy 2
    (NamedOnly, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
]
"""Beside torch's own list: numbers of numpy, which old checkpoints keep beside the weights, as the best score."""


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint file (`read_file`, `state_of`)."""
    return state_of(read_file(path), path)


def read_file(path: str | Path) -> Any:
    """What a checkpoint file holds; tensors on the CPU, mapped from the file where its format allows.

    Raises ValueError for a file that holds anything but plain data.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(SAFE):
            # What is not used (an optimiser's state) is then not read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises whatever the pickle makes it raise, in many lines
        why = "nothing is read that could run code" if path.is_file() else "no such file"
        raise ValueError(f"{path}: not a checkpoint of plain tensors ({why})") from error


def state_of(state: Any, path: str | Path) -> dict[str, Tensor]:
    """The state dict in what a file holds: bare or under `state_dict`, without DDP's `module.`.

    Raises ValueError, with the file's path, where there is none.
    """
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: not a state dict: names and tensors are expected")
    return {k.removeprefix(DDP): v for k, v in state.items()}


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The state dict of a Hugging Face folder: safetensors, whole or in parts, or pytorch_model.bin.

    Raises ValueError that names what is missing or damaged.
    """
    file = next((folder / name for name in FOLDER_FILES if (folder / name).is_file()), None)
    if file is None:
        raise ValueError(f"{folder}: no weights there: one of {', '.join(FOLDER_FILES)} is expected")
    if file.suffix != ".json":
        return read_state(file)
    state: dict[str, Tensor] = {}
    for part in sorted(set(read_json(file).get("weight_map", {}).values())):
        try:
            state |= load_file(folder / part)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{folder / part}: missing or damaged, and {file.name} names it: {error}") from error
    return state


def read_json(file: Path) -> dict[str, Any]:
    """Raises ValueError that names the file."""
    try:
        raw = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{file}: one JSON object is expected")
    return raw

"""The checkpoint of a run, as far as there is a model in it: what resumes a run is read by `training`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flam_train.checkpoints.conversion import Conversion, Table
from flam_train.checkpoints.export import TOKENIZER
from flam_train.models.flam import FLAMConfig

RUN = "run"
"""The key of what a run is; its `architecture` is `FLAMConfig.to_dict`."""

AVERAGE = "average"
"""The key of a checkpoint's running means: {name as in `state_dict`: tensor}."""

DIGEST = "sha256"
"""The key of a checkpoint's digest in itself."""

MODEL = "model."
"""Before each name of the model in `state_dict`."""


def is_run(checkpoint: Any) -> bool:
    """Whether a file holds the checkpoint of a run."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        return False
    return any(str(name).startswith((f"{MODEL}audio.", f"{MODEL}frontend.")) for name in checkpoint["state_dict"])


def convert_run(checkpoint: dict[str, Any], path: Path) -> Conversion:
    """The model that was validated at the checkpoint's step, with the tokenizer that its run folder keeps.

    path: of its file. Raises ValueError for one that was altered, or that does not say what it is the model of.
    """
    if DIGEST in checkpoint and checkpoint[DIGEST] != digest({k: v for k, v in checkpoint.items() if k != DIGEST}):
        raise ValueError("altered since it was written: take another checkpoint of the run, or its export")
    architecture = checkpoint.get(RUN, {}).get("architecture")
    if not architecture:
        raise ValueError(
            "a run's checkpoint of an older version, which does not say its architecture: give the run's export, or "
            f"make one: flam-convert checkpoint {path} OUT"
        )
    state = {k: v.float() if v.is_floating_point() else v for k, v in weights_of(checkpoint).items()}
    weights = "the running mean of its weights" if AVERAGE in checkpoint else "its weights"
    tokenizer = path.parent / TOKENIZER
    source = f"a run's checkpoint, {weights} after {checkpoint['global_step']} steps"
    found = str(tokenizer) if tokenizer.is_dir() else ""
    return Conversion(FLAMConfig.from_dict(architecture), state, Table(source, tuple(state)), found, built_here=True)


def weights_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict of the model in a run's checkpoint: the averages where there are some."""
    state = checkpoint["state_dict"] | checkpoint.get(AVERAGE, {})
    return {k.removeprefix(MODEL): v for k, v in state.items() if k.startswith(MODEL)}


def digest(node: Any) -> str:
    """sha256 of plain data: of every number, text and tensor, and of how they lie in one another."""
    found = hashlib.sha256()

    def add(x: Any) -> None:
        if isinstance(x, Tensor):
            x = x.detach().cpu().contiguous()
            found.update(f"tensor {x.dtype} {tuple(x.shape)} ".encode())
            found.update(x.view(-1).view(torch.uint8).numpy().data)
        elif isinstance(x, dict):
            found.update(f"dict {len(x)} ".encode())
            for key, value in x.items():
                add(key)
                add(value)
        elif isinstance(x, (list, tuple)):
            found.update(f"{len(x)} in order ".encode())
            for value in x:
                add(value)
        else:
            text = repr(x).encode()
            found.update(f"{type(x).__name__} {len(text)} ".encode() + text)

    add(node)
    return found.hexdigest()

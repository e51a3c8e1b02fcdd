"""Shared by all tests: one thread a process, no network, and the small model that stands for every model."""

from __future__ import annotations

import os
from multiprocessing import forkserver

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

# Ranks and workers of the tests are forked from a process that has imported all that is slow to import.
PRELOADED = ["flam_train.training.run", "flam_train.data.mixing.source", "flam_train.data.preparation.verification"]
forkserver.set_forkserver_preload(PRELOADED)
forkserver.ensure_running()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small_config():
    """The smallest FLAM the architecture allows, with the byte text tower."""
    from flam_train.models.flam import FLAMConfig
    from flam_train.models.htsat import HTSATConfig
    from flam_train.models.text import TextConfig

    audio = HTSATConfig(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2))
    return FLAMConfig(audio=audio, text=TextConfig("bytes"), embedding=16)

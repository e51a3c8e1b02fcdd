"""Shared by all tests: the CPU, one thread a process, no network, and the small model that stands for every model."""

from __future__ import annotations

import gc
import os
from multiprocessing import forkserver

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is imported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

import pytest
import torch
from gpu_tests import pytest_pyfunc_call, pytest_runtest_setup  # noqa: F401 - hooks
from preloaded import PRELOADED
from readable_ids import pytest_make_parametrize_id  # noqa: F401 - a hook

for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # `make test` runs in a make; what tests call is one of its own
    os.environ.pop(name, None)


def pytest_addoption(parser):
    parser.addoption("--reverse", action="store_true", help="the last test first")


def pytest_collection_modifyitems(config, items):
    if config.option.reverse:
        items.reverse()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Files that earlier tests left open, for the garbage collector, are no warnings of one that allows none."""
    if item.get_closest_marker("filterwarnings"):
        gc.collect()
    return (yield)


@pytest.fixture(scope="session", autouse=True)
def _server():
    """Started before any test has changed what it inherits."""
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

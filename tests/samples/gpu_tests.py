"""On a machine with GPUs no test sees one, nor does what it starts: whatever leaves its device open takes the CPU.

A test marked `gpu`, or `gpu(2)` if it needs two, is run by a pytest of its own, which sees them. conftest.py has its
hooks from here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

OWN = "FLAM_TESTS_ON_GPUS"
"""Set for the pytest that runs one test marked `gpu`."""

SEEN = "FLAM_TESTS_SEEN"
"""What the first process saw: the workers of pytest-xdist are started by one that has hidden them already."""

if SEEN not in os.environ:
    visible = {name: text for name, text in os.environ.items() if name == "CUDA_VISIBLE_DEVICES"}
    # device_count asks the driver; CUDA itself reads the environment later, and once.
    os.environ[SEEN] = json.dumps({"gpus": torch.cuda.device_count(), "visible": visible})
GPUS: int = json.loads(os.environ[SEEN])["gpus"]
VISIBLE: dict[str, str] = json.loads(os.environ[SEEN])["visible"]
if OWN not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if marker := item.get_closest_marker("gpu"):
        wanted = marker.args[0] if marker.args else 1
        if wanted > GPUS:
            pytest.skip(f"needs {wanted} GPUs" if wanted > 1 else "needs a GPU")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if OWN in os.environ or not pyfuncitem.get_closest_marker("gpu"):
        return None  # as always
    root = pyfuncitem.config.rootpath
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", root, pyfuncitem.nodeid]
    env = {name: text for name, text in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"} | VISIBLE | {OWN: "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout, done.stdout  # not skipped
    return True

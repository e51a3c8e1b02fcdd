"""The tests mean the same on every machine: their names, and what they see of it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import every_machine
import gpu_tests
import pytest
import torch
from checkout import ROOT

LONGEST = 160
"""Characters of a test's name, its file included."""


def test_names_are_short_and_printable(request):
    names = [item.nodeid for item in request.session.items]
    assert [name for name in names if len(name) > LONGEST or not (name.isascii() and name.isprintable())] == []


@pytest.mark.slow
@pytest.mark.ci
def test_names_are_the_same_in_every_process(tmp_path):
    """pytest-xdist wants it, and so do tables that compare runs. None needs wandb before it runs."""
    (tmp_path / "wandb.py").write_text("raise ImportError('wandb is not here')")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "--collect-only"]
    found = []
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run([*command, "tests"], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append([line for line in done.stdout.splitlines() if "::" in line])
    assert found[0] == found[1]
    assert len(set(found[0])) == len(found[0]) > 1000


def test_no_test_sees_a_gpu_nor_what_it_starts():
    code = "import os, torch; print(repr(os.environ['CUDA_VISIBLE_DEVICES']), torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "'' False\n", done.stderr
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        assert pool.apply(os.getenv, ("CUDA_VISIBLE_DEVICES",)) == ""
    assert not torch.cuda.is_available()


SEES = """
import os

def test_that_sees_them():
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == {seen!r}

def test_that_fails():
    assert not os.environ
"""


class Item:
    """What pytest gives to hooks, for a test marked gpu(2)."""

    def __init__(self, nodeid, config):
        self.nodeid, self.config = str(nodeid), config

    def get_closest_marker(self, name):
        return pytest.mark.gpu(2).mark if name == "gpu" else None


@pytest.mark.parametrize("seen", [None, "0,1"])
def test_a_test_marked_gpu_sees_them_in_a_process_of_its_own(seen, tmp_path, request, monkeypatch):
    monkeypatch.delenv(gpu_tests.OWN, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # starts sooner
    monkeypatch.setattr(gpu_tests, "VISIBLE", {"CUDA_VISIBLE_DEVICES": seen} if seen else {})
    (tmp_path / "test_it.py").write_text(SEES.format(seen=seen))
    item = Item(tmp_path / "test_it.py::test_that_sees_them", request.config)
    monkeypatch.setattr(gpu_tests, "GPUS", 1)
    with pytest.raises(pytest.skip.Exception, match="needs 2 GPUs"):
        gpu_tests.pytest_runtest_setup(item)
    monkeypatch.setattr(gpu_tests, "GPUS", 2)
    gpu_tests.pytest_runtest_setup(item)
    assert gpu_tests.pytest_pyfunc_call(item)
    with pytest.raises(AssertionError, match="1 failed"):
        gpu_tests.pytest_pyfunc_call(Item(tmp_path / "test_it.py::test_that_fails", request.config))


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_know_what_the_first_process_saw(workers, tmp_path):
    (tmp_path / "conftest.py").write_text("import gpu_tests\n")
    (tmp_path / "test_it.py").write_text(
        "import gpu_tests\n\ndef test_it():\n    assert gpu_tests.VISIBLE == {'CUDA_VISIBLE_DEVICES': '0,1'}\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST") and k != gpu_tests.SEEN}
    env |= {"CUDA_VISIBLE_DEVICES": "0,1", "PYTHONPATH": f"{ROOT}/tests/samples:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", str(workers), tmp_path / "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


DIFFERS = """
import os
import pytest

def test_that_passes_everywhere():
    pass

def test_that_is_skipped_everywhere():
    pytest.skip("so it is")

def test_that_depends_on_the_processor():
    assert os.environ.get("ATEN_CPU_CAPABILITY") != "avx2"
"""


def test_a_test_that_depends_on_the_machine_is_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "test_it.py").write_text(DIFFERS)
    arguments = [str(tmp_path / "test_it.py"), "--workers", "0", "--logs", str(tmp_path / "logs"), "--only", "own"]
    assert every_machine.main(arguments) == 0
    assert "every test has the same outcome" in capsys.readouterr().out
    assert every_machine.main([*arguments, "avx2"]) == 1
    found = capsys.readouterr().out
    assert found.count("::test_") == 1
    assert "::test_that_depends_on_the_processor: own: passed, avx2: failed" in found
    assert every_machine.main([str(tmp_path / "nowhere.py"), *arguments[1:]]) == 1
    assert "own: pytest ran no test" in capsys.readouterr().out

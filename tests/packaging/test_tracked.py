"""What lies at the top of the repository, and nothing that a run has left there."""

from __future__ import annotations

import subprocess

import pytest
from checkout import ROOT

TOP = {
    ".ci", ".gitignore", "LICENSE", "Makefile", "README.md", "conf", "constraints.txt", "data_prep", "docs", "eval",
    "flam_train", "pyproject.toml", "slurm", "tests",
}  # fmt: skip


def test_no_results_are_tracked():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no checkout of git")
    assert {name.partition("/")[0] for name in done.stdout.split("\0") if name} == TOP

"""The benchmark of a step runs, at a tiny size: its parts, a real run, and another checkout in turn."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from checkout import ROOT
from tiny_runs import TINY, on_shards


@pytest.mark.slow
@pytest.mark.ci
def test_parts_and_a_run_of_two_checkouts(corpora, tmp_path):
    overrides = [*TINY, *on_shards(*corpora), "global_batch=2", "frame_batch=2"]
    options = ["--against", ROOT, "--rounds", "1", "--steps", "14", "--out", tmp_path / "bench.json"]
    command = [sys.executable, ROOT / "tests/bench/bench_step.py", *overrides, *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ms", "here", "against", "ratio"]
    names = ["mixing", "front end", "encoder", "text", "losses", "clipping and AdamW"]
    names += ["a step without data", "inference"]
    assert [row[:22].strip() for row in rows] == [*names, "a run, ms a step", "waits for data, %"]
    rounds = json.loads((tmp_path / "bench.json").read_text())["rounds"]
    for checkout in ("here", "against"):
        (found,) = rounds[checkout]
        assert all(found[name] > 0 for name in names if name != "mixing"), found
        assert 0 <= found["waits for data, %"] <= 100

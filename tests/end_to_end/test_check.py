"""flam-train --check: what is looked for, how nodes are told apart, and that no process waits for ever."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkout import ROOT
from tiny_runs import conf, on_shards

from flam_train.cli.train import main
from flam_train.training.launch import check as checking
from flam_train.training.launch import meeting, node
from flam_train.training.launch.check import check, report
from flam_train.training.launch.meeting import Launch, meet
from flam_train.training.launch.node import Findings
from flam_train.training.run import build
from flam_train.training.trainer import TrainerConfig


def lines(text: str, head: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(head)]


def test_one_process_writes_nothing(corpora, tmp_path, capsys):
    folder = tmp_path / "run"
    assert check(conf(corpora, folder)) == 0
    said = capsys.readouterr().out
    (line,) = lines(said, meeting.node_name())
    for part in ("gloo all-reduce", "run folder", "/dev/shm", "2 of 2 shard folders read", torch.__version__):
        assert part in line
    assert lines(said, "check")[-1] == "check    all is well"
    assert not folder.exists()


def test_all_problems_are_told_at_once(corpora, tmp_path, capsys):
    cut = tmp_path / "cut"
    shutil.copytree(corpora[0], cut)
    with (cut / "shard-000001.tar").open("r+b") as tar:
        tar.truncate(1000)
    overrides = [*on_shards(cut, tmp_path / "none"), "accumulate=3", f"init={tmp_path}/no.pt"]
    overrides += [f"data.exclude=[{tmp_path}/gone.csv]"]
    arguments = ["--check", *(f"{o}" for o in overrides), "model=test", "text=bytes", f"run_dir={tmp_path}/run"]
    assert main([*arguments, "text.name=x", "trainer.accelerator=cpu"]) == 2
    problems = "\n".join(lines(capsys.readouterr().out, "problem"))
    for part in ("global_batch=32 does not divide", "shard-000001.tar: 1000 bytes", "none: is not there", "gone.csv"):
        assert part in problems
    assert problems.count("no.pt") == 1


def test_a_damaged_sample_is_found(corpora, tmp_path, capsys):
    from tiny_runs import damage

    folder = tmp_path / "damaged"
    shutil.copytree(corpora[0], folder)
    damage(folder, 0.1)
    assert check(conf((folder, None), tmp_path / "run")) == 2
    assert "shard-000000.tar: sample 0" in capsys.readouterr().out


def test_of_shards_behind_a_url_only_the_manifest_is_fetched(corpora, tmp_path, capsys):
    cache = tmp_path / "cache"
    wanted = conf(corpora, tmp_path / "run", *on_shards(f"file://{corpora[0]}"), f"data.cache_folder={cache}")
    assert check(wanted) == 0
    assert "shard cache" in capsys.readouterr().out
    assert not cache.exists()


def test_too_small_disks_are_problems(corpora, tmp_path, monkeypatch, capsys):
    small = SimpleNamespace(total=1 << 20, used=0, free=1 << 20)
    monkeypatch.setattr(node.shutil, "disk_usage", lambda path: small)
    overrides = [*on_shards(f"file://{corpora[0]}"), f"data.cache_folder={tmp_path}", "data.workers=2"]
    assert check(conf(corpora, tmp_path / "run", *overrides)) == 2
    problems = lines(capsys.readouterr().out, "problem")
    assert [p for p in problems if "/dev/shm" in p and "data.workers" in p]
    assert [p for p in problems if "data.cache_gib" in p]
    assert [p for p in problems if "checkpoints and export take" in p]


def test_the_loader_holds_no_more_than_was_said(corpora, tmp_path):
    """What a real loader worker has mapped of /dev/shm, once its rings are full."""
    plain = conf(corpora, tmp_path, "data.workers=1", "data.prefetch=2", "steps=12")
    run = build(plain)
    loader = run.data._loader(run.data.steps_of(0, 1), range(12))
    batches = iter(loader)
    for _ in range(8):
        next(batches)
    (worker,) = batches._workers
    maps = Path(f"/proc/{worker.pid}/maps").read_text().splitlines()
    ranges = {line.split()[-2]: line.split()[0] for line in maps if "/dev/shm/torch_" in line}  # by inode
    held = sum(int(b, 16) - int(a, 16) for a, b in (r.split("-") for r in ranges.values()))
    said = node.loader_bytes(run.config, 1, 1)
    del batches
    assert loader.num_workers == node.workers_of_rank(run.config.data.workers) == 1
    assert said / node.BESIDE_AUDIO**2 <= held <= said


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n", "535.129.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.2.0", "580.65.06"),
    ],
)
def test_a_driver_that_torch_cannot_use_is_a_problem(text, version, tmp_path, monkeypatch):
    monkeypatch.setattr(node, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    none = Findings()
    node.find_gpu(none, 0, "auto")
    assert none.problems == []
    (tmp_path / "version").write_text(text)
    found = Findings()
    node.find_gpu(found, 0, "auto")
    assert version in found.problems[0]
    chosen = Findings()
    node.find_gpu(chosen, 0, "cpu")
    assert chosen.problems == []


def test_what_is_wrong_with_a_gpu(tmp_path, monkeypatch):
    gib = 1 << 30
    monkeypatch.setattr(node, "DRIVER", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((79, 30)[device] * gib, 80 * gib))
    free, taken, missing = Findings(), Findings(), Findings()
    for local_rank, found in enumerate((free, taken, missing)):
        node.find_gpu(found, local_rank, "auto")
    assert (free.shown["gpu"], free.problems, free.warnings) == ("H100, 80.0 GiB, driver unknown", [], [])
    assert "50.0 of 80.0 GiB are in use" in taken.warnings[0]
    assert "process 2 of this node has no GPU: 2 can be seen" in missing.problems[0]
    unused = Findings()
    node.find_gpu(unused, 2, "cpu")
    assert (unused.shown["gpu"], unused.problems) == ("no GPU", [])
    assert (free.alike, unused.alike) == ({"what trains": "a GPU"}, {"what trains": "the CPU"})
    assert checking.shown([{"shown": free.shown}] * 2) == ["2 x H100, 80.0 GiB, driver unknown"]


def process(name: str, clock: float = 0.0, **of: object) -> dict:
    return {"node": name, "clock": clock, "shown": {}, "alike": {}, "similar": {}, "problems": [], "warnings": []} | of


def test_nodes_that_differ_are_named(monkeypatch, capsys):
    monkeypatch.setattr(checking, "launch_shape", lambda config: (1, 3))
    launch = Launch("srun", 0, 3)
    alike = [process(n, 1000.0, alike={"torch": "2.14"}) for n in ("a", "b")]
    assert report(launch, TrainerConfig(), [*alike, process("c", 1000.0, alike={"torch": "2.14"})], "runs/x") == 0
    capsys.readouterr()
    odd = process("c", 1060.0, alike={"torch": "2.8"}, similar={"inode": "7"}, problems=["the disk is full"])
    assert report(launch, TrainerConfig(), [*alike, odd], "runs/x") == 2
    said = capsys.readouterr().out
    assert lines(said, "problem") == [
        "problem  c: the disk is full",
        "problem  c: torch is 2.8, elsewhere 2.14: all nodes must see the same files and programs",
    ]
    assert lines(said, "warning") == ["warning  c: its clock is +60 s off: let it be set (NTP)"]


def test_processes_that_training_does_not_want_are_a_problem(monkeypatch, capsys):
    monkeypatch.setattr(checking, "launch_shape", lambda config: (2, 2))
    uneven = [process("a"), process("a"), process("a"), process("b")]
    assert report(Launch("srun", 0, 4), TrainerConfig(), uneven, "runs/x") == 2
    assert "2 nodes of 2 processes, here are 3 on a, 1 on b" in capsys.readouterr().out


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_process_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(meeting, "JOIN", timedelta(seconds=1))
    with pytest.raises(ValueError, match=r"1 of 2 processes did not come within 1 s.*1 of n1.*rank 1 is missing"):
        meet(Launch("srun", 0, 2, "127.0.0.1", free_port()), {"node": "n1"})


def test_a_first_process_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(meeting, "JOIN", timedelta(seconds=1))
    port = free_port()
    with pytest.raises(ValueError, match=rf"not reached at 127.0.0.1:{port} within 1 s"):
        meet(Launch("srun", 1, 2, "127.0.0.1", port), {"node": "n2"})
    with pytest.raises(ValueError, match=r"'no-such-node\.invalid'.*MASTER_ADDR"):
        meet(Launch("srun", 1, 2, "no-such-node.invalid", port), {"node": "n2"})


@pytest.mark.slow
@pytest.mark.ci
def test_a_node_with_other_shards_is_named_and_all_processes_end_with_2(corpora, tmp_path):
    """Two processes as on two nodes: each sees its own folder under the same name."""
    for name, train in (("n1", corpora[0]), ("n2", corpora[1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train").symlink_to(train)
    (tmp_path / "n1" / "test").symlink_to(corpora[1])
    overrides = [*on_shards("train", "test"), "model=test", "text=bytes", "run_dir=run", "trainer.accelerator=cpu"]
    launch = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    launch |= {"MASTER_PORT": str(free_port()), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "flam_train.cli.train", "--check", *overrides],
            cwd=tmp_path / name,
            env=os.environ | launch | {"RANK": str(rank), "SLURMD_NODENAME": name},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, name in enumerate(("n1", "n2"))
    ]
    said = [one.communicate(timeout=200)[0] for one in started]
    assert [one.returncode for one in started] == [2, 2]
    assert said[1] == ""
    assert [bool(re.match(rf"{n} +1 process .*gloo all-reduce", lines(said[0], n)[0])) for n in ("n1", "n2")] == [
        True
    ] * 2
    problems = lines(said[0], "problem")
    assert len(problems) == 2
    assert "n2: data.frame.synthetic.validation: test: is not there" in problems[0]
    assert "n2: the manifest (sha256) of train is" in problems[1]


def test_ways_to_start_that_training_does_not_take(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(ValueError, match="--ntasks-per-node"):
        meeting.launched()
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ValueError, match="'interactive'"):
        meeting.launched()


def test_a_mistyped_key_is_answered_before_anything_is_looked_for(capsys):
    assert main(["--check", "optim.lrr=1"]) == 2
    assert "did you mean optim.lr" in capsys.readouterr().err

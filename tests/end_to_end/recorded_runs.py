"""Runs in processes of their own that are disturbed from outside, and what they noted (`recorded_train.py`)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from checkout import ROOT
from tiny_runs import TINY, metrics, on_shards

SCRIPT = Path(__file__).with_name("recorded_train.py")
SPEEDS = ("speed/clips_per_s", "speed/data_wait")


class RecordedRun:
    """The same command again and again, in one run folder below `folder`."""

    def __init__(self, folder: Path, corpora: tuple[Path, Path], *overrides: str, ranks: int = 1) -> None:
        self.folder, self.notes, self.run = folder, folder / "notes", folder / "run"
        self.ranks = ranks
        common = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=4", "trainer.progress_seconds=0"]
        self.overrides = [*common, f"run_dir={self.run}", *overrides]

    def start(self, ranks: int | None = None, **env: str) -> subprocess.Popen:
        """In a session of its own; what it says goes to a file."""
        ranks = ranks or self.ranks
        launch = [sys.executable]
        if ranks > 1:
            launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # of the tests' process
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launch, str(SCRIPT), str(self.notes), *self.overrides],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=own | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)} | env,
            )

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.is_file() else ""

    def finish(self, timeout: float = 300, **env: str) -> int:
        """The exit code of the command, undisturbed."""
        return self.wait(self.start(**env), timeout)

    def wait(self, process: subprocess.Popen, timeout: float = 300) -> int:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill(process)
            raise AssertionError(f"no end within {timeout} s:\n{self.said[-3000:]}") from None

    def lines(self) -> int:
        return sum(len(path.read_text().splitlines()) for path in self.notes.glob("rank-*.jsonl"))

    def until_lines(self, process: subprocess.Popen, more: int, timeout: float = 200) -> None:
        """Returns when that many steps more were taken, or the run has ended."""
        goal, end = self.lines() + more, time.monotonic() + timeout
        while self.lines() < goal and process.poll() is None:
            assert time.monotonic() < end, f"nothing was trained:\n{self.said[-3000:]}"
            time.sleep(0.02)

    def kill_at_random(self, chance: random.Random) -> bool:
        """kill -9 of its ranks: while it starts (one time of four), or up to 1.5 s into the training. What serves them
        must then leave by itself. Whether it was still running."""
        process = self.start()
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0.1, 6))
        else:
            self.until_lines(process, self.ranks)
            time.sleep(chance.uniform(0, 1.5))
        running = process.poll() is None
        served = self.workers_alive()
        for pid in (process.pid, *self.ranks_alive()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        until_gone(served)
        return running

    def ranks_alive(self) -> list[int]:
        """torchrun gives each a session of its own, so they are known by their command."""
        out = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                command = path.read_bytes().decode(errors="replace").split("\0")
                if str(self.notes) in command and "torch.distributed.run" not in command:
                    out.append(int(path.parent.name))
        return out

    def workers_alive(self) -> list[int]:
        """Whatever the ranks have started: data workers and the server they are forked from, wandb."""
        parent = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        found = set(self.ranks_alive())
        while more := {pid for pid, above in parent.items() if above in found} - found:
            found |= more
        return sorted(found - set(self.ranks_alive()))

    def kill(self, process: subprocess.Popen) -> None:
        """kill -9 of all its processes."""
        everyone = [process.pid, *self.ranks_alive(), *self.workers_alive()]
        for pid in everyone:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def steps(self, rank: int = 0) -> dict[int, dict]:
        """What each step of a rank took and gave. Fails where a step that was taken twice was another one."""
        out: dict[int, dict] = {}
        for text in (self.notes / f"rank-{rank}.jsonl").read_text().splitlines():
            line = json.loads(text)
            assert out.setdefault(line["step"], line) == line, f"step {line['step']} was not the same again"
        return out


def until_gone(served: list[int]) -> None:
    end = time.monotonic() + 30
    while left := [pid for pid in served if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, f"processes {left} outlive the run that they serve"
        time.sleep(0.1)


def assert_same(got: RecordedRun, want: RecordedRun) -> None:
    """Keys, losses, curves and weights, bit for bit."""
    for rank in range(want.ranks):
        assert got.steps(rank) == want.steps(rank)
    a, b = ({k: v for k, v in metrics(one.run).items() if k[1] not in SPEEDS} for one in (got, want))
    assert a == b
    a, b = (torch.load(one.run / "last.ckpt", weights_only=True) for one in (got, want))
    assert a["global_step"] == b["global_step"]
    for name, weight in b["state_dict"].items():
        assert torch.equal(a["state_dict"][name], weight), name
    assert_equal(a["optimizer_states"], b["optimizer_states"])
    assert (got.run / "export/model.safetensors").read_bytes() == (want.run / "export/model.safetensors").read_bytes()


def assert_equal(a: object, b: object) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b

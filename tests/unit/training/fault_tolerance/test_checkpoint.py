"""Checkpoints: plain data, whole or not at all, which ones stay, and what happens where the disk is full."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
from contextlib import redirect_stderr
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from flam_train.checkpoints.run_checkpoint import digest
from flam_train.training.fault_tolerance.checkpoint import LAST, AtomicCheckpointIO, Checkpoints

PLAIN = {
    "global_step": 3,
    "state_dict": {
        "a": torch.arange(6.0).view(2, 3).T,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(True),
    },
    "loops": [{"done": True}, (1, None, 0.1 + 0.2, float("nan"), "ä")],
}


@pytest.fixture
def saved(tmp_path) -> Path:
    AtomicCheckpointIO().save_checkpoint(PLAIN, tmp_path / LAST)
    return tmp_path / LAST


def test_what_is_saved_is_what_is_loaded(saved):
    found = AtomicCheckpointIO().load_checkpoint(saved)
    assert found.keys() == PLAIN.keys()
    assert digest(found) == digest(PLAIN)
    assert torch.equal(found["state_dict"]["a"], PLAIN["state_dict"]["a"])
    assert AtomicCheckpointIO().load_checkpoint(saved, mmap=True)["global_step"] == 3
    assert [p.name for p in saved.parent.iterdir()] == [LAST]


@pytest.mark.parametrize(
    "change",
    [
        {"global_step": 4},
        {"global_step": True},
        {"global_step": "3"},
        {"more": None},
        {"loops": [{"done": True}, (1, None, 0.3, float("nan"), "ä")]},
        {"state_dict": PLAIN["state_dict"] | {"a": torch.arange(6.0).view(2, 3)}},
        {"state_dict": PLAIN["state_dict"] | {"half": torch.ones(3, dtype=torch.float16)}},
        {"state_dict": PLAIN["state_dict"] | {"none": torch.zeros(4, 0)}},
        {"state_dict": PLAIN["state_dict"] | {"one": torch.tensor(False)}},
    ],
)
def test_the_digest_tells_any_two_apart(change):
    assert digest(PLAIN | change) != digest(PLAIN)


def test_altered_files_are_refused(saved):
    data = saved.read_bytes()
    refused = 0
    for at in range(0, len(data), 97):
        saved.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            found = AtomicCheckpointIO().load_checkpoint(saved)
        except ValueError:
            refused += 1
        else:
            assert digest(found) == digest(PLAIN)  # a byte that means nothing: padding, a time stamp
    assert refused > 5
    numbers = data.index(torch.arange(6.0).numpy().tobytes())
    saved.write_bytes(data[: numbers + 5] + bytes([data[numbers + 5] ^ 1]) + data[numbers + 6 :])
    with pytest.raises(ValueError, match=r"last\.ckpt: (altered since it was written|not a readable checkpoint)"):
        AtomicCheckpointIO().load_checkpoint(saved)
    saved.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        AtomicCheckpointIO().load_checkpoint(saved)


def test_code_is_never_run(tmp_path):
    path = tmp_path / LAST
    for content in ({"run": os.system}, {"run": Path("x")}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=r"last\.ckpt"):
            AtomicCheckpointIO().load_checkpoint(path)
        torch.save(content, path)
        with pytest.raises(ValueError, match="holds more than plain data and is not loaded"):
            AtomicCheckpointIO().load_checkpoint(path)
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match="not a checkpoint of flam-train"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_what_cannot_be_written_leaves_the_older_one(saved):
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"a": lambda: 0}, saved)
    assert digest(AtomicCheckpointIO().load_checkpoint(saved)) == digest(PLAIN)
    assert [p.name for p in saved.parent.iterdir()] == [LAST]


def _on_a_full_disk(path: Path) -> tuple[str, str, str]:
    """The limit on the size of a file stands for the disk's end: the kernel refuses the write in the same place."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    io = AtomicCheckpointIO()
    with redirect_stderr(StringIO()) as said:
        io.save_checkpoint({"a": torch.zeros(1 << 20)}, path)
    failed = io.failed
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    io.save_checkpoint({"a": 2}, path.with_name(f"{LAST}.2"))
    return str(failed), said.getvalue(), str(io.failed or "written")


def test_a_full_disk(saved):
    with get_context("forkserver").Pool(1) as pool:
        failed, said, then = pool.apply(_on_a_full_disk, (saved,))
    assert f"{saved}: not written (" in failed
    assert "the older one stays; make room" in failed
    assert "not written" in said
    assert then == "written"
    assert digest(AtomicCheckpointIO().load_checkpoint(saved)) == digest(PLAIN)
    assert sorted(p.name for p in saved.parent.iterdir()) == [LAST, f"{LAST}.2"]


class Steps:
    """As much of a Trainer as `Checkpoints` asks for; a step lasts half an hour."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.global_step, self.is_global_zero, self.clock = 0, True, 0.0
        self.strategy = SimpleNamespace(checkpoint_io=AtomicCheckpointIO(), broadcast=lambda x: x)
        monkeypatch.setattr("flam_train.training.fault_tolerance.checkpoint.time.monotonic", lambda: self.clock)

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        self.strategy.checkpoint_io.save_checkpoint({"global_step": self.global_step} | self.state(), path)

    def take(self, checkpoints: Checkpoints, steps: int) -> None:
        self.state = checkpoints.state_dict
        module = SimpleNamespace(stopping=0, device=torch.device("cpu"), validation_metrics={})
        checkpoints.on_train_start(self, module)
        for _ in range(steps):
            self.global_step += 1
            self.clock += 1800
            checkpoints.on_train_batch_end(self, module, None, None, 0)


def test_the_best_that_found_no_room_is_not_the_best(tmp_path, monkeypatch):
    run, checkpoints = Steps(tmp_path, monkeypatch), Checkpoints(tmp_path, 1000, monitor="val/auroc")
    run.state = checkpoints.state_dict

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for value, save in ((0.5, torch.save), (0.9, full), (0.8, torch.save), (0.7, torch.save)):
        run.global_step += 1
        run.callback_metrics = {"val/auroc": value}
        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", save)
            checkpoints.on_validation_end(run, SimpleNamespace())
    assert checkpoints.best == 0.8
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "best.ckpt")["global_step"] == 3


def test_of_every_few_hours_one_stays(tmp_path, monkeypatch):
    run = Steps(tmp_path, monkeypatch)
    run.take(Checkpoints(tmp_path, 1, hours=2, keep=2), 11)
    names = ["last.ckpt", "step-00000004.ckpt", "step-00000008.ckpt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    io = AtomicCheckpointIO()
    assert [io.load_checkpoint(tmp_path / name)["global_step"] for name in names] == [11, 4, 8]
    # A run that goes on counts on, whatever the clock of its machine says.
    again = Checkpoints(tmp_path, 1, hours=2, keep=2)
    again.load_state_dict(io.load_checkpoint(tmp_path / LAST))
    run.clock = -1e6
    run.take(again, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "step-00000008.ckpt", "step-00000012.ckpt"]
    everything = Checkpoints(tmp_path, 1, hours=0, keep=0)
    run.take(everything, 4)
    assert len(list(tmp_path.glob("step-*.ckpt"))) == 6

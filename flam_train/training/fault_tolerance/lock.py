"""A run folder belongs to one job at a time; a second one refuses.

The lock is a file that its owner touches every few seconds, which takes no room on a full disk. A job that was killed
leaves it behind: whoever finds it asks the machine, if the owner was a process here, or else watches whether it is
still touched. So no clock is compared with another, and a host may change its name.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

LOCK = ".lock"

REFRESH, PATIENCE = 10.0, 35.0
"""Seconds between two touches of the owner; and for how long a lock is watched before it counts as left behind."""


class RunLock:
    """Taken with `with`; raises ValueError that names the owner where the folder is in use.

    lost: whether another job has taken the folder while this process stood still (it may have left again), or somebody
    the lock."""

    def __init__(self, folder: Path, refresh: float = REFRESH, patience: float = PATIENCE):
        self.path, self.refresh, self.patience = folder / LOCK, refresh, patience
        self.me = {"id": uuid.uuid4().hex, **whoami()}
        self.lost = False
        self._claim: Path | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lock")

    def __enter__(self) -> RunLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            while not self._create():
                self._clear()
        finally:
            if self._claim is not None:
                self._claim.unlink()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        found = _read(self.path)
        if found is not None and found["id"] == self.me["id"]:
            self.path.unlink()

    def _create(self, path: Path | None = None) -> bool:
        draft = self.path.with_name(f"{LOCK}-{self.me['id']}")
        draft.write_text(json.dumps(self.me))
        try:
            os.link(draft, path or self.path)  # whole or not at all, and only where there is none
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with (path or self.path).open("x") as file:
                    file.write(draft.read_text())
            except FileExistsError:
                return False
        finally:
            draft.unlink()
        return True

    def _clear(self) -> None:
        """Takes away a lock that was left behind. Raises ValueError for one that is held."""
        owner = _read(self.path)
        if owner is None:
            return
        if alive(owner, self.me) is None:
            print(f"{self.path}: left by {_name(owner)}? watching it for {self.patience:g} s", file=sys.stderr)
            end = time.monotonic() + self.patience
            while (found := _read(self.path)) == owner and time.monotonic() < end:
                time.sleep(min(0.5, self.refresh))
            held = found is not None and found != owner
        else:
            held = bool(alive(owner, self.me))
        if held:
            raise ValueError(
                f"{self.path.parent}: {_name(owner)} is training in this folder: wait for it, stop it, or give another "
                "run_dir or name"
            )
        # Of several that find the same old lock one may take it away: another might take the new one in its place.
        claim = self.path.with_name(f"{LOCK}-after-{owner['id']}")
        if not self._create(claim):
            time.sleep(self.refresh)
            if (found := _read(self.path)) is not None and found["id"] == owner["id"]:
                raise ValueError(f"{claim}: another process is taking this folder; if there is none, remove the file")
            return
        if (found := _read(self.path)) is not None and found["id"] == owner["id"]:
            self.path.unlink()
        self._claim = claim

    def _keep(self) -> None:
        while not self._ended.wait(self.refresh):
            try:
                found = _read(self.path)
                if found is None or found["id"] != self.me["id"]:  # it may even have ended since
                    self.lost = True
                    return
                os.utime(self.path)
            except (OSError, ValueError) as error:
                print(f"{self.path}: not kept ({error}); tried again", file=sys.stderr)


class OwnFolder(Callback):
    """Stops a run whose folder another job has taken, before it writes anything more. lock: of the first rank."""

    def __init__(self, lock: RunLock):
        self.lock = lock

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._check()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check()

    def _check(self) -> None:
        if self.lock.lost:
            raise ValueError(
                f"{self.lock.path}: gone, or another job's: this one stood still for long and another job has taken "
                "this folder, or somebody removed the file; the same command goes on, if no other job does"
            )


def whoami() -> dict[str, Any]:
    """host and pid for people; machine, started and job tell whether a process is still the one that it was."""
    pid = os.getpid()
    env = os.environ
    job = env.get("SLURM_JOB_ID", "")
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "machine": _machine(),
        "started": _started(pid),
        "job": job,
        "restart": env.get("SLURM_RESTART_COUNT", "0") if job else "",
    }


def alive(owner: dict[str, Any], me: dict[str, Any]) -> bool | None:
    """Whether the lock's owner lives; None where that cannot be seen from here."""
    if owner["job"] and owner["job"] == me["job"] and owner["restart"] != me["restart"]:
        return False  # this job, before it was requeued
    if not owner["machine"] or owner["machine"] != me["machine"]:
        return None
    return _started(owner["pid"]) == owner["started"]


def _machine() -> str:
    """This boot of this machine, and the processes that are seen from here: containers number theirs anew."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where none lives: pids are used again."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else facts[18]


def _read(path: Path) -> dict[str, Any] | None:
    """What the owner wrote, and when it last touched it, by the file system's clock; None without a lock."""
    try:
        with path.open() as file:  # on NFS only opening it shows what others did
            found, touched = json.loads(file.read()), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: not a lock ({error}): if no run uses this folder, remove the file") from error
    if not isinstance(found, dict) or not {"id", "host", "pid", "machine", "started", "job", "restart"} <= set(found):
        raise ValueError(f"{path}: not a lock of flam-train: if no run uses this folder, remove the file")
    return found | {"touched": touched}


def _name(owner: dict[str, Any]) -> str:
    job = f"job {owner['job']}, " if owner["job"] else ""
    return f"{job}process {owner['pid']} on {owner['host']}"

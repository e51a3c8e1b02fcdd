"""Each process of a run looks after the others: one that dies or hangs is named, and all stop.

Without this the others wait in a collective until its time is up, half an hour later, and then all of them complain of
one another. A thread of each process tells a store, once a second, where its process stands; the first rank's thread
reads what all have told, and gives the verdict. Durations only are compared, each measured by one clock: hosts whose
clocks or names differ do not disturb it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from flam_train import distributed
from flam_train.training.fault_tolerance.checkpoint import LAST
from flam_train.training.fault_tolerance.interrupt import AGAIN, StopRequested
from flam_train.training.health import Requests, StepFailed

SILENT, SUSPECTED = 40.0, 8.0
"""Seconds without a word after which a process counts as dead; and where others already miss it in a collective."""

VERDICT = "verdict"


@dataclass
class Told:
    """What a rank has told last, and when that was, by the reader's clock."""

    text: str = ""
    at: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.text) if self.text else {}


class Watch(Callback):
    """hang_seconds: after so long without any progress of any rank the run stops; 0: never. interval: seconds between
    two words of a process."""

    def __init__(self, folder: Path, hang_seconds: float, interval: float = 1.0):
        self.folder, self.hang_seconds, self.interval = folder, hang_seconds, interval
        self.at: dict[str, Any] = {"step": 0, "phase": "starting", "moves": 0}
        self.since = time.monotonic()
        self.requests = Requests()
        self.suspects = False  # that another rank has ended
        self.error = ""
        self.resumable = False
        self.leaving = False  # without fault: what the others do then is theirs
        self.answered = time.monotonic()  # when the store last did
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    # -- where this process stands

    def moved(self, trainer: Trainer, phase: str) -> None:
        self.at = {"step": trainer.global_step, "phase": phase, "moves": self.at["moves"] + 1}
        self.since = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.resumable = trainer.global_step > 0
        self.moved(trainer, "waiting for data")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.moved(trainer, "in a step")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        self.moved(trainer, "waiting for data")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.moved(trainer, "in validation")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.moved(trainer, "in validation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.moved(trainer, "waiting for data")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.moved(trainer, "writing a checkpoint")
        self.resumable = True

    # -- beginning and end

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        self.requests = pl_module.health.requests  # type: ignore[union-attr, assignment]
        rank, world, host = trainer.global_rank, trainer.world_size, os.environ["MASTER_ADDR"]
        wait = timedelta(seconds=60)
        server = dist.TCPStore(host, 0, world, True, wait, wait_for_workers=False) if rank == 0 else None
        port = trainer.strategy.broadcast(server.port if server else 0)
        store = server or dist.TCPStore(host, port, world, False, wait, wait_for_workers=False)
        me = {"host": socket.gethostname(), "pid": os.getpid()}
        # When the first rank dies, one of the second node tells it too: its own node may be gone with it.
        speaks = rank in (0, 1, trainer.num_devices)
        self._ended.clear()
        self.leaving, self.answered = False, time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(store, rank, world, me, speaks), daemon=True, name="watch"
        )
        self._thread.start()
        if rank:
            threading.Thread(target=self._wait_for_answers, args=(speaks,), daemon=True, name="answers").start()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.leave_together(trainer)

    def leave_together(self, trainer: Trainer) -> None:
        """The first rank has the store: it is the last to let it go."""
        self.leaving = True
        if trainer.global_rank:
            self.stop()
        trainer.strategy.barrier()
        self.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """What all ranks stop for is told by its own message. Else this rank is the cause, and the others are told; or
        it misses another one in a collective: then the verdict ends this process."""
        if self._thread is None:
            return
        if isinstance(exception, (StopRequested, StepFailed)):
            self.leave_together(trainer)
        elif isinstance(exception, Exception):
            if of_a_collective(exception):
                self.suspects = True
            else:
                self.error = f"{type(exception).__name__}: {exception}".splitlines()[0]
            self._thread.join(SUSPECTED + 10)
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(10)
        self._thread = None

    # -- the thread

    def _run(self, store: dist.TCPStore, rank: int, world: int, me: dict[str, Any], speaks: bool) -> None:
        told = [Told(at=time.monotonic()) for _ in range(world)]
        while not self._ended.is_set():
            try:
                now = time.monotonic()
                # A launcher that misses a rank sends SIGTERM to the others.
                suspects = self.suspects or self.requests.asked > 0
                facts = me | self.at | {"idle": now - self.since, "suspects": suspects, "error": self.error}
                facts |= dict(zip(("where", "waits"), main_thread(), strict=True))
                facts |= {"leaving": self.leaving, "collectives": distributed.begun}
                store.set(str(rank), json.dumps(facts))
                if rank == 0:
                    self._listen(store, told, now)
                    if said := verdict(told, now, self.hang_seconds):
                        store.set(VERDICT, said)
                        self._leave(said, 3 * self.interval)
                        return
                elif store.check([VERDICT]):
                    self._leave("")
                    return
            except (RuntimeError, ConnectionError) as error:  # the store was the first rank's
                if not self._ended.is_set():
                    self._leave(f"rank 0 cannot be reached any more ({type(error).__name__})" if speaks else "")
                return
            self.answered = time.monotonic()
            self._ended.wait(self.interval)
        if rank and self.leaving:
            with suppress(RuntimeError):  # the first rank has died meanwhile: nobody is left to be told
                store.set(str(rank), json.dumps(me | self.at | {"leaving": True}))

    def _wait_for_answers(self, speaks: bool) -> None:
        """A store that stands still answers nothing and refuses nothing: `_run` waits in it, for ever."""
        while not self._ended.wait(self.interval):
            silent = time.monotonic() - self.answered
            if silent > SILENT:
                self._leave(f"rank 0 has not answered for {silent:.0f} s (stopped? off the network?)" if speaks else "")

    def _listen(self, store: dist.TCPStore, told: list[Told], now: float) -> None:
        names = [str(rank) for rank in range(len(told))]
        there = [rank for rank, name in enumerate(names) if store.check([name])]
        for rank, value in zip(there, store.multi_get([names[r] for r in there]), strict=True):
            if value.decode() != told[rank].text:
                told[rank] = Told(value.decode(), now)

    def _leave(self, said: str, wait: float = 0.0) -> None:
        """Ends the process, but for one that has an error of its own to tell."""
        try:
            if said and not self.error:
                last = f"the same command goes on from {self.folder / LAST}"
                again = last if self.resumable else "start the same command again"
                print(f"\nflam-train: {said}; all processes stop, {again}", file=sys.stderr, flush=True)
            time.sleep(wait)  # the others are still to hear of it
        finally:
            if not self.error:
                os._exit(AGAIN)  # the main thread may be inside a collective that never ends


def verdict(told: list[Told], now: float, hang_seconds: float) -> str:
    """What is wrong, in a line that names the rank; empty where nothing is. Ranks that leave as they
    should say no more."""
    facts = [one.facts for one in told]
    here = [(rank, fact) for rank, fact in enumerate(facts) if not fact.get("leaving")]
    for rank, fact in here:
        if fact.get("error"):
            return f"{_name(rank, fact)} stopped at step {fact['step']}: {fact['error']}"
    suspected = any(fact.get("suspects") for _, fact in here)
    for rank, fact in here:
        silent = now - told[rank].at
        if silent > (SUSPECTED if suspected else SILENT):
            where = f"at step {fact['step']}, {fact['phase']}" if fact else "before its first step"
            return f"{_name(rank, fact)} has ended: no word for {silent:.0f} s, {where} (killed? out of memory?)"
    if hang_seconds and here and all(facts) and min(fact["idle"] for _, fact in here) > hang_seconds:
        behind = min((fact["moves"], fact["collectives"]) for _, fact in here)
        late = [(r, fact) for r, fact in here if (fact["moves"], fact["collectives"]) == behind]
        late = [(r, fact) for r, fact in late if not fact["waits"]] or late
        more = f" and {len(late) - 3} more" if len(late) > 3 else ""
        names = ", ".join(f"{_name(r, f)} at step {f['step']}, {f['phase']}, {f['where']}" for r, f in late[:3])
        return f"nothing has moved for {hang_seconds:g} s: {names}{more}"
    return ""


def main_thread() -> tuple[str, bool]:
    """Where it is, in a line; and whether it waits for other ranks."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "", False
    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
    waits = False
    while frame is not None:
        waits |= "torch/distributed/" in frame.f_code.co_filename
        frame = frame.f_back
    return where, waits


def _name(rank: int, fact: dict[str, Any]) -> str:
    return f"rank {rank} ({fact['host']}, process {fact['pid']})" if fact else f"rank {rank}"


def of_a_collective(error: BaseException) -> bool:
    """Whether another process is what is wrong: gloo says so in plain RuntimeErrors."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))

"""Signals as requests: the step is finished, the checkpoint written, and then the run stops.

An exception raised wherever the signal happens to arrive can be lost (Python drops what is raised in a destructor) and
leaves ranks at different steps. So a handler raises nothing: it notes the request, the ranks agree in the
step's own collective (`health.Health`), `Checkpoints` saves that step, and `StopOnRequest` ends it.

A scheduler signals every process of a job, so those that serve this one must not die of it: the processes of data
workers and of wandb are started while the signals are ignored, and inherit that.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer

from flam_train.training.health import REQUEST_KINDS, Requests

SCHEDULERS = (signal.SIGTERM, signal.SIGUSR1)
REQUESTS = (*SCHEDULERS, signal.SIGINT)
"""The end of a job or its cancelling; a while before the end (`sbatch --signal=SIGUSR1@180`); Ctrl-C. Where ranks were
asked for different ones, the last of these counts."""
assert len(REQUESTS) == REQUEST_KINDS

AGAIN = 75
"""Exit code of a run that is to be started again (EX_TEMPFAIL of sysexits.h)."""


class StopRequested(Exception):
    """The run has stopped because it was asked to; `last.ckpt` holds all of it, or `lost` says why not. request: what
    all ranks agreed on."""

    def __init__(self, request: signal.Signals):
        self.request, self.lost = request, ""
        super().__init__(f"stopped by {request.name}")

    @property
    def exit_code(self) -> int:
        if self.lost:
            return 1
        return 130 if self.request is signal.SIGINT else AGAIN


@contextmanager
def signals_are_requests(requests: Requests, *kinds: signal.Signals) -> Iterator[None]:
    """A second Ctrl-C stops at once, as Python does by itself. A process that was stopped by a scheduler stays deaf to
    it, and so leaves with its own exit code."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals and may have handlers
        return

    def request(number: int, frame: FrameType | None) -> None:
        kind = signal.Signals(number)
        # Not `print`: the signal may have come in the midst of one.
        said = "Ctrl-C again stops at once" if kind is signal.SIGINT else kind.name
        if not requests.asked:
            os.write(2, f"\nstopping after this step; {said}\n".encode())
        requests.asked = max(requests.asked, 1 + REQUESTS.index(kind))
        if kind is signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {kind: signal.signal(kind, request) for kind in kinds}
    try:
        yield
    except StopRequested as stop:
        if stop.request in SCHEDULERS:
            before = dict.fromkeys(before, signal.SIG_IGN)
        raise
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def start_deaf(*starts: Callable[[], object]) -> None:
    """Calls what starts processes while this thread blocks the schedulers' signals, which the processes inherit: they
    do not hear them. One that comes meanwhile waits, or wakes another thread: the handler is called all the same."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SCHEDULERS)
    try:
        for start in (resource_tracker.ensure_running, *starts):
            signal.pthread_sigmask(signal.SIG_BLOCK, SCHEDULERS)  # Python's tracker has unblocked SIGTERM as it started
            start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopOnRequest(Callback):
    """Ends the run with `StopRequested` after a step in which any rank was asked to stop."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch, batch_idx) -> None:
        # Only as the next step begins are the last one's values logged and its validation done: nothing is left out.
        if stopping := pl_module.health.stopping:  # type: ignore[union-attr]
            raise StopRequested(REQUESTS[int(stopping) - 1])  # type: ignore[arg-type]

"""Ctrl-C as a request: the step is finished, the checkpoint written, and then the run stops.

An exception raised wherever the signal happens to arrive can be lost (Python drops what is raised in a destructor) and
leaves ranks at different steps. So the handler raises nothing: it sets `stop_requested` on the module, the ranks agree
in the step's own collective (`FLAMModule.check_health`), `Checkpoints` saves that step, and `StopOnRequest` ends it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer

from flam_train.training.module import FLAMModule


@contextmanager
def ctrl_c_is_a_request(module: FLAMModule) -> Iterator[None]:
    """The first Ctrl-C is a request to `module`; a second one stops at once, as Python does by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals and may have handlers
        return

    def request(number: int, frame: FrameType | None) -> None:
        module.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not `print`: the signal may have come in the midst of one.
        os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    before = signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class StopOnRequest(Callback):
    """Ends the run with KeyboardInterrupt after a step in which any rank was asked to stop."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch, batch_idx) -> None:
        # Only as the next step begins are the last one's values logged and its validation done: nothing is left out.
        if pl_module.stopping:
            raise KeyboardInterrupt

"""How a command is stopped: by Ctrl-C, or by SIGTERM, which a job gets whose time is up."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def stoppable() -> Iterator[None]:
    """Either signal is a KeyboardInterrupt within, once, so that files are left whole and it is told what was done.

    Whoever sends another while that goes on wants no more than an end: the process, and those that it started, end at
    once, without a word, with exit code 130. Files are whole then, too: what was being written has another name yet.
    A Ctrl-C that is ignored, as in a shell's background jobs, stays so.
    """
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            for child in multiprocessing.active_children():
                with suppress(OSError):
                    child.kill()
            os._exit(130)
        stopped = True
        raise KeyboardInterrupt

    heard = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        heard.append(signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            # All is told, and the interpreter about to end: a Ctrl-C then would make its exit code another.
            signal.signal(number, signal.SIG_IGN if stopped and number == signal.SIGINT else handler)


@contextmanager
def deaf() -> Iterator[None]:
    """What is started within does not hear a terminal's Ctrl-C, which goes to all processes: while they begin they
    would tell where they were. They end by SIGTERM. This process hears it behind the block."""
    resource_tracker.ensure_running()  # which it would be by the first that is started, and that ends the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

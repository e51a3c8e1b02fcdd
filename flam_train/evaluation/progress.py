"""Progress of an evaluation on the terminal, or in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def progress_line(what: str) -> Callable[[int, int], None]:
    """A callback (done, total) that keeps one line up to date on a terminal; elsewhere a line every tenth."""
    start = time.monotonic()
    last = {"time": 0.0, "tenth": -1}

    def show(done: int, total: int) -> None:
        now, tenth = time.monotonic(), 10 * done // max(total, 1)
        terminal = sys.stderr.isatty()
        if not (done == total or (now - last["time"] > 0.2 if terminal else tenth > last["tenth"])):
            return
        last.update(time=now, tenth=tenth)
        rate = done / max(now - start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if done < total and rate > 0 else ""
        line = f"{what}: {done} of {total} clips, {rate:.1f} clips/s{left}"
        print(f"\r{line:<78}" if terminal else line, end="\n" if done == total or not terminal else "", file=sys.stderr)

    return show

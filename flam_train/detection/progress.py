"""How far a run is, in seconds of audio: one line kept up to date on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

REDRAW, LINE = 0.2, 30.0
"""Seconds between two of them on a terminal, and elsewhere."""

WIDTH = 78


class Progress:
    """Told of what was heard, it shows how much of the whole that is, how fast, and how long the rest will take.

    recordings  how many there are, whose seconds are told as they are known
    quiet       nothing is shown but notes
    name        of this part of the work, before every line
    """

    def __init__(self, recordings: int, quiet: bool = False, name: str = "", file: TextIO | None = None) -> None:
        self._recordings, self._quiet = recordings, quiet
        self._all, self._known = 0.0, 0
        self._name = f"{name}: " if name else ""
        self._file = sys.stderr if file is None else file
        self._terminal = not quiet and not name and self._file is not None and self._file.isatty()
        self._begin = self._shown = time.monotonic()
        self._heard, self._limit, self._done, self._drawn = 0.0, math.inf, 0, False

    def expect(self, seconds: float) -> float:
        """So long is one more of the recordings."""
        self._all += seconds
        self._known += 1
        return seconds

    @contextmanager
    def recording(self, seconds: float) -> Iterator[None]:
        """One of them, of which so many seconds are counted in the whole, however many are heard."""
        self._limit = self._heard + seconds
        yield
        self._heard, self._limit = self._limit, math.inf
        self._done += 1

    def heard(self, seconds: float) -> None:
        """So many seconds more."""
        self._heard = min(self._heard + seconds, self._limit)
        now = time.monotonic()
        if not self._quiet and now - self._shown >= (REDRAW if self._terminal else LINE):
            self._shown = now
            self._show(self._line(now))

    def note(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(f"{self._name}{text}", file=self._file, flush=True)

    def end(self) -> None:
        self._clear()

    def _line(self, now: float) -> str:
        took = max(now - self._begin, 1e-9)
        rate = self._heard / took
        left = ""
        if self._known < self._recordings:
            share = f"{hours(self._heard)} of more than {hours(self._all)}"
        else:
            share = f"{100 * self._heard / self._all:.0f} % of {hours(self._all)}" if self._all else "0 s"
            left = f", {hours((self._all - self._heard) / rate)} left" if rate > 0 else ""
        return f"{self._done} of {self._recordings} recordings, {share}, {rate:.0f} x real time{left}"

    def _show(self, line: str) -> None:
        if self._terminal:
            self._drawn = True
            print(f"\r{line[:WIDTH]:<{WIDTH}}", end="", file=self._file, flush=True)
        else:
            print(f"{self._name}{line}", file=self._file, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            print(f"\r{'':<{WIDTH}}\r", end="", file=self._file, flush=True)
            self._drawn = False


def hours(seconds: float) -> str:
    """12 s, 3:05 min, 1:02:03 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d} h"

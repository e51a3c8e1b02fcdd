"""Ticks of a time axis: seconds, minutes or hours of a recording, and the time of day."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
)
"""Seconds between ticks; above these whole days."""

QUARTER = 900
"""Seconds. Clocks are put forward and back by multiples of it."""

Clock = Callable[[float], datetime]
"""The date and time so many seconds into a recording (`detection.clock.Clock.at`)."""


def tick_step(seconds: float, most: int = 10) -> float:
    """Between ticks, of which there are at most `most` + 1 in so many seconds."""
    fits = (step for step in STEPS if step * most >= seconds)
    return next(fits, DAY * math.ceil(seconds / DAY / most))


def time_ticks(start: float, stop: float, most: int = 10) -> tuple[list[float], list[str], str]:
    """Times in seconds, how they are written, and the name of that: of a recording's part from `start` to `stop`.

    Up to 2 minutes in seconds, up to an hour in minutes, beyond in hours. Seconds are told where ticks need them.
    """
    step = tick_step(stop - start, most)
    numbers = range(math.ceil(start / step - 1e-6), math.floor(stop / step + 1e-6) + 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-6))
    ticks = [round(number * step, decimals) for number in numbers]
    if stop < 2 * MINUTE:
        return ticks, [f"{tick:.{decimals}f}" for tick in ticks], "seconds"
    if stop <= HOUR:
        return ticks, [in_minutes(tick, decimals) for tick in ticks], "minutes:seconds"
    if step < MINUTE:
        return ticks, [in_hours(tick, decimals) for tick in ticks], "hours:minutes:seconds"
    return ticks, [in_hours(tick).rpartition(":")[0] for tick in ticks], "hours:minutes"


def in_minutes(seconds: float, decimals: int = 0) -> str:
    """m:ss"""
    whole, rest = divmod(round(seconds * 10**decimals), MINUTE * 10**decimals)
    return f"{whole}:{_with_decimals(rest, decimals)}"


def in_hours(seconds: float, decimals: int = 0) -> str:
    """h:mm:ss"""
    whole, rest = divmod(round(seconds * 10**decimals), HOUR * 10**decimals)
    minutes, rest = divmod(rest, MINUTE * 10**decimals)
    return f"{whole}:{minutes:02}:{_with_decimals(rest, decimals)}"


def time_text(seconds: float, longest: float) -> str:
    """Of a recording in which `longest` is the last time that is told: "12.5" (seconds), "3:12" or "1:02:12"."""
    if longest < 2 * MINUTE:
        return f"{seconds:.3f}".rstrip("0").rstrip(".")
    return in_minutes(seconds) if longest <= HOUR else in_hours(seconds)


def clock_ticks(clock: Clock, start: float, stop: float, most: int = 10) -> tuple[list[float], list[str]]:
    """Full times of day between two times of a recording: seconds into it, and HH:MM (HH:MM:SS where ticks need them).

    Midnight is written as the date that begins. The same time comes twice, or never, where clocks are changed.
    """
    step = max(1, round(tick_step(stop - start, most)))
    unit = min(step, QUARTER)
    first = start + -_wall(clock(start)) % (unit * 10**6) / 1e6
    form = "%H:%M" if step >= MINUTE else "%H:%M:%S"
    ticks, texts = [], []
    for n in range(math.floor((stop - first) / unit + 1e-6) + 1):
        time = clock(first + n * unit + 0.0005)  # never before the full second by a rounding
        full = _wall(time) // 1000 * 1000
        if full % (step * 10**6) == 0:
            ticks.append(first + n * unit)
            texts.append(time.date().isoformat() if full % (DAY * 10**6) == 0 else time.strftime(form))
    return ticks, texts


def _wall(time: datetime) -> int:
    """Microseconds by the clock on the wall, whatever its zone."""
    seconds = (time.toordinal() * 24 + time.hour) * HOUR + time.minute * MINUTE + time.second
    return seconds * 10**6 + time.microsecond


def _with_decimals(number: int, decimals: int) -> str:
    """Seconds below a minute, counted in units of the last decimal."""
    seconds, rest = divmod(number, 10**decimals)
    return f"{seconds:02}.{rest:0{decimals}}" if decimals else f"{seconds:02}"

"""Ticks of time: at full seconds, minutes and hours, written so that they can be read back; times of day across changes
of the clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from flam_train.plotting.time_axis import (
    DAY,
    STEPS,
    clock_ticks,
    in_hours,
    in_minutes,
    tick_step,
    time_text,
    time_ticks,
)

BERLIN = ZoneInfo("Europe/Berlin")


def clock_from(begin: datetime):
    def clock(seconds: float) -> datetime:
        after = timedelta(microseconds=round(seconds * 1e6))
        return begin + after if begin.tzinfo is None else (begin.astimezone(UTC) + after).astimezone(begin.tzinfo)

    return clock


@pytest.mark.parametrize(
    ("start", "stop", "first", "kind"),
    [
        (0, 1, ["0.0", "0.1", "0.2"], "seconds"),
        (0, 10, ["0", "1", "2"], "seconds"),
        (0, 119.9, ["0", "15", "30"], "seconds"),
        (0, 120, ["0:00", "0:15", "0:30"], "minutes:seconds"),
        (0, 300, ["0:00", "0:30", "1:00"], "minutes:seconds"),
        (130.5, 130.9, ["2:10.50", "2:10.55", "2:10.60"], "minutes:seconds"),
        (0, 3600, ["0:00", "10:00", "20:00"], "minutes:seconds"),
        (0, 3601, ["0:00", "0:10", "0:20"], "hours:minutes"),
        (3720, 3900, ["1:02:00", "1:02:30", "1:03:00"], "hours:minutes:seconds"),
        (0, 8 * 3600, ["0:00", "1:00", "2:00"], "hours:minutes"),
        (0, DAY, ["0:00", "3:00", "6:00"], "hours:minutes"),
        (0, 31 * DAY, ["0:00", "96:00", "192:00"], "hours:minutes"),
    ],
)
def test_ticks_of_a_recording(start, stop, first, kind):
    _, texts, told = time_ticks(start, stop)
    assert (texts[:3], told) == (first, kind)


def read(text: str) -> float:
    parts = [float(part) for part in text.split(":")]
    return sum(part * 60**n for n, part in enumerate(reversed(parts)))


def test_ticks_are_few_even_and_can_be_read_back():
    r = np.random.default_rng(0)
    for _ in range(500):
        start = float(r.choice([0, r.uniform(0, 100), r.uniform(0, DAY)]))
        stop = start + float(np.exp(r.uniform(math.log(0.2), math.log(3 * DAY))))
        ticks, texts, kind = time_ticks(start, stop)
        step = tick_step(stop - start)
        assert step in STEPS or step % DAY == 0
        assert 3 <= len(ticks) <= 11
        assert start - 1e-3 <= ticks[0] <= ticks[-1] <= stop + 1e-3
        np.testing.assert_allclose(np.diff(ticks), step)
        times = [read(text) * (60 if kind == "hours:minutes" else 1) for text in texts]
        np.testing.assert_allclose(times, ticks, atol=1e-9)


def test_a_rounded_second_is_carried():
    assert in_minutes(59.996, 2) == "1:00.00"
    assert in_minutes(59.994, 2) == "0:59.99"
    assert in_hours(3599.6) == "1:00:00"
    assert [time_text(12.5, 20), time_text(0, 20), time_text(12.5, 300), time_text(12.4, 4000)] == [
        "12.5", "0", "0:12", "0:00:12",
    ]  # fmt: skip


def test_midnight_is_a_date():
    ticks, texts = clock_ticks(clock_from(datetime(2024, 5, 1, 22, 30)), 0, 3 * 3600)
    assert texts == ["22:30", "23:00", "23:30", "2024-05-02", "00:30", "01:00", "01:30"]
    assert ticks == [1800 * n for n in range(7)]
    assert clock_ticks(clock_from(datetime(2024, 5, 1, 22, 30, 0, 500_000)), 0, 1) == ([0.5], ["22:30:01"])


@pytest.mark.parametrize(
    ("begin", "want"),
    [
        (datetime(2024, 10, 27, 0, 30, tzinfo=BERLIN), ["01:00", "02:00", "02:00", "03:00", "04:00", "05:00"]),
        (datetime(2024, 3, 31, 0, 30, tzinfo=BERLIN), ["01:00", "03:00", "04:00", "05:00", "06:00", "07:00"]),
    ],
)
def test_clocks_are_changed(begin, want):
    ticks, texts = clock_ticks(clock_from(begin), 0, 6 * 3600)
    assert texts == want
    assert ticks == [1800 + 3600 * n for n in range(6)]


def test_times_of_day_are_full_whenever_a_recording_begins():
    r = np.random.default_rng(0)
    for _ in range(200):
        zone = [None, UTC, BERLIN, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")][r.integers(5)]
        clock = clock_from(datetime(2024, 1, 1, tzinfo=zone) + timedelta(seconds=float(r.uniform(0, 366 * DAY))))
        start, seconds = float(r.uniform(0, 4000)), float(np.exp(r.uniform(math.log(10), math.log(DAY))))
        ticks, texts = clock_ticks(clock, start, start + seconds)
        assert 1 <= len(ticks) <= 13  # two more where clocks are put back
        assert start <= ticks[0]
        assert ticks[-1] <= start + seconds + 1e-3
        for tick, text in zip(ticks, texts, strict=True):
            time = clock(tick + 0.0005)
            assert time.microsecond < 1000
            full = f"{time:%H:%M:%S}"
            assert text == (f"{time:%Y-%m-%d}" if full == "00:00:00" else full[: len(text)])
            assert len(text) != 5 or full.endswith(":00")

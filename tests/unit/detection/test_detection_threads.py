"""Threads that read ahead or share work: their order, their errors, their end."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from flam_train.detection.threads import ahead, in_parallel, threads_for


def test_what_is_read_ahead_ends_with_whoever_reads():
    closed = []

    def numbers(last: int = 10**9):
        try:
            yield from range(last)
            raise OSError("the disk is gone")
        finally:
            closed.append(last)

    with ahead(numbers(), 2) as items:
        assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert closed == [10**9]
    with ahead(numbers(7), 2) as items:
        assert [next(items) for _ in range(7)] == [*range(7)]
        with pytest.raises(OSError, match="the disk is gone"):
            next(items)
    with ahead((number for number in ()), 2) as items:
        assert list(items) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "reads ahead"]


def test_an_interrupt_while_the_thread_begins_leaves_none(monkeypatch):
    """`Thread.start` waits for the thread to run, and Ctrl-C may end that wait."""
    real, items = threading.Thread.start, iter(range(100))

    def interrupted(self):
        real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), ahead((one for one in items), 2):
        pytest.fail("it was interrupted before")
    assert [thread.name for thread in threading.enumerate() if thread.name == "reads ahead"] == []
    assert next(items) < 10, "it has stopped reading"


def test_a_system_without_threads(monkeypatch):
    def full(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(RuntimeError, match="can't start new thread"), ahead((one for one in range(3)), 2):
        pytest.fail("there is none")


def left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("works beside")]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_is_done_in_parallel_keeps_its_order(threads):
    """The first of every three takes longest."""
    started = []

    def doubled(number: int) -> int:
        started.append(number)
        time.sleep(0.01 * (number % 3 == 0))
        return 2 * number

    taken, items = [], iter(range(50))
    for number in in_parallel(doubled, items, threads):
        taken.append(number)
        assert len(started) <= len(taken) - 1 + 2 * threads, "no more is held in memory than is worked on"
    assert taken == [2 * number for number in range(50)]
    assert list(in_parallel(doubled, [], threads)) == []
    assert left() == []


def test_an_error_in_a_thread_comes_in_its_place():
    def sure(number: int) -> int:
        if number == 5:
            raise OSError("window 5")
        return number

    found = in_parallel(sure, iter(range(50)), 3)
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="window 5"):
        next(found)
    assert left() == []


def test_who_stops_early_leaves_no_thread_and_torch_as_it_was():
    cores = torch.get_num_threads()
    found = in_parallel(lambda number: number, iter(range(50)), 2)
    assert next(found) == 0
    found.close()
    assert left() == []
    assert torch.get_num_threads() == cores
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads() if torch.zeros(1) is not None else 0))
    other.start()
    other.join()
    assert seen == [cores], "of threads that others start too"


def test_cores_are_shared_on_the_cpu_alone():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert [threads_for(torch.device("cpu"), most) for most in (1, 2, 8)] == [1, 2, 3]
        assert threads_for(torch.device("cuda"), 8) == threads_for(torch.device("meta"), 8) == 1
    finally:
        torch.set_num_threads(before)

"""Work that threads do beside the one that asks for it, in its order: reading ahead, and several items at once."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Made = TypeVar("Made")

END = StopIteration()
"""What a thread that reads ahead says last."""


def threads_for(device: torch.device, most: int) -> int:
    """How many at once: as torch may use cores, at most `most`; 1 on a device that is none of them."""
    return max(1, min(torch.get_num_threads(), most)) if device.type == "cpu" else 1


def in_parallel(function: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Generator[Made, None, None]:
    """`function` of each item, in their order, by so many threads, among which torch's cores are divided (1: by the
    caller itself). They end with this iterator; what is raised in one is raised here, in its place."""
    if threads == 1:
        yield from map(function, items)
        return
    cores = torch.get_num_threads()
    share = max(1, cores // threads)
    running: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads, "works beside", torch.set_num_threads, (share,))
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) == 2 * threads:
                yield running.popleft().result()
                # The number of a thread is its own, but torch takes the last one for threads that others start.
                torch.set_num_threads(cores)
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


@contextmanager
def ahead(items: Generator[Item, None, None], count: int) -> Iterator[Iterator[Item]]:
    """The same items, of which a thread makes the next `count` early. It ends with this context, and closes `items`;
    what is raised there is raised here, in its place."""
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(count)
    stopped, ended = threading.Event(), threading.Event()

    def put(*what: Any) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                made.put(what, timeout=0.1)
                return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item, None):
                    break
            else:
                put(None, END)
        except BaseException as error:
            put(None, error)
        finally:
            items.close()
            ended.set()

    def taken() -> Iterator[Item]:
        while True:
            item, error = made.get()
            if error is END:
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=make, name="reads ahead", daemon=True)
    try:
        try:
            thread.start()
        except RuntimeError:  # the system has no room for one more
            ended.set()
            raise
        yield taken()
    finally:
        # Ctrl-C may come before `start` returns: a thread that nobody waits for would abort the process at its exit.
        stopped.set()
        ended.wait()
        if thread.is_alive():
            thread.join()

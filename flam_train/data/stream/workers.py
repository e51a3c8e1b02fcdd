"""Loader workers: how many a rank has, how they start, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from functools import partial
from typing import Any

import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from flam_train.data.stream import shared


def own_cores() -> int:
    """Cores that this process has to itself: SLURM gives each task its own, torchrun's processes share a node's."""
    env = os.environ
    if "LOCAL_WORLD_SIZE" in env:
        return len(os.sched_getaffinity(0)) // int(env["LOCAL_WORLD_SIZE"])
    if "SLURM_CPUS_PER_TASK" in env:
        return int(env["SLURM_CPUS_PER_TASK"])
    return len(os.sched_getaffinity(0))


def workers_of_rank(workers: int | None) -> int:
    """Loader processes of each rank, where `workers` is configured."""
    return max(1, min(8, own_cores() - 1)) if workers is None else workers


def batches_in_use(accumulate: int, workers: int) -> int:
    """How many micro-batches of one worker a step uses where they lie. Pinned copies are made as batches arrive."""
    return 1 if torch.cuda.is_available() else -(-accumulate // workers)


def loader_options(workers: int, prefetch: int, accumulate: int) -> dict[str, Any]:
    """For a DataLoader of whose batches a step uses `accumulate`."""
    if not workers:
        return {}
    start = partial(start_worker, prefetch=prefetch, in_use=batches_in_use(accumulate, workers))
    return {"multiprocessing_context": "forkserver", "prefetch_factor": prefetch, "worker_init_fn": start}


def start_worker(worker: int, prefetch: int, in_use: int = 1) -> None:
    # Ctrl-C and a scheduler's signals go to every process: a worker that dies of them first would look like a crash.
    # Torch has just set a handler for SIGTERM. Workers leave when they are told to, and when their parent dies.
    threading.Thread(target=leave_with_parent, daemon=True, name="parent").start()
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(kind, signal.SIG_IGN)
    shared.start(prefetch, in_use)


def end_workers(items: Any) -> None:
    """Ends those of a DataLoader's iterator; others have none.

    Whoever leaves an iteration before its end calls this: an exception that was told of keeps the iterator alive, and
    as the program ends Python sends its children SIGTERM, to which they are deaf, and waits for them."""
    if not isinstance(items, _MultiProcessingDataLoaderIter):
        return
    items._shutdown_workers()
    for worker in items._workers:
        if worker.is_alive():  # in the midst of a file on a disk that does not answer
            worker.kill()


def leave_with_parent() -> None:
    """Ends this process with the one that it works for. Torch watches the process that it was forked from, which is a
    server that lives as long as its workers: after a kill -9 they would wait for one another, for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""Runs a function in several processes on this machine and brings its results back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _worker(rank: int, world: int, folder: str, backend: str, function: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(function(rank, world, *args), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_ranks(world: int, function: Callable, *args: Any, backend: str = "gloo") -> list[Any]:
    """[function(rank, world, *args) of each rank]; results must be plain data and tensors. Over NCCL each
    has a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_worker, (world, folder, backend, function, args), world, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]

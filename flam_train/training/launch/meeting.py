"""How the processes of a launcher meet before a run, without waiting for ever for one that does not come.

They meet in a store at the first one, where each leaves what the others want to know: who is missing there can be
named, where a collective would hang, or fail without a name.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.pytorch.plugins.environments import SLURMEnvironment

from flam_train.training.trainer import under_slurm

JOIN = timedelta(seconds=120)
"""For all processes to come."""


@dataclass(frozen=True)
class Launch:
    """This process among those that were started with it. by: python, torchrun or srun."""

    by: str
    rank: int
    world: int
    address: str = ""
    port: int = 0


def launched() -> Launch:
    """As training will find it. Raises ValueError for a way to start that training does not take."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Launch("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]), env["MASTER_ADDR"], int(env["MASTER_PORT"]))
    if under_slurm():
        if int(env["SLURM_NTASKS"]) > 1 and "SLURM_NTASKS_PER_NODE" not in env:
            raise ValueError(
                "SLURM was asked for --ntasks: ask for --nodes and --ntasks-per-node, as Lightning wants it"
            )
        slurm = SLURMEnvironment(auto_requeue=False)
        return Launch("srun", slurm.global_rank(), slurm.world_size(), slurm.main_address, slurm.main_port)
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        raise ValueError(
            f"the SLURM job is named {env.get('SLURM_JOB_NAME')!r}, for which Lightning takes each task for a run of "
            "its own: export SLURM_JOB_NAME=flam before srun"
        )
    return Launch("python", 0, 1)


def node_name() -> str:
    """SLURM's name for it, which its commands take, else the machine's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def meet(launch: Launch, about: dict[str, Any]) -> tuple[dist.Store, list[dict[str, Any]]]:
    """A store for all processes, and `about`, plain data, of each. Raises ValueError that says who did not come."""
    if launch.world == 1:
        return dist.HashStore(), [about]
    where, seconds = f"{launch.address}:{launch.port}", f"{JOIN.total_seconds():.0f} s"
    try:
        socket.getaddrinfo(launch.address, launch.port)
    except OSError as error:
        raise ValueError(
            f"{node_name()}: {launch.address!r}, where the processes are to meet, is no address here ({error}): export "
            "MASTER_ADDR, the first node's address in the cluster's network"
        ) from error
    # torchrun has a store of its own there.
    serves = launch.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        at_first = dist.TCPStore(launch.address, launch.port, None, serves, JOIN, wait_for_workers=False)
    except dist.DistError as error:
        why = str(error).splitlines()[0]
        if serves:
            raise ValueError(
                f"{node_name()}: cannot listen at {where} ({why}): set MASTER_PORT to a free one"
            ) from error
        raise ValueError(
            f"{node_name()}: the first process was not reached at {where} within {seconds} ({why}): it has ended, or "
            "a firewall is between, or this is not the cluster's network (set MASTER_ADDR)"
        ) from error
    store = dist.PrefixStore(f"check/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", at_first)
    leave(store, f"about/{launch.rank}", about)
    keys = [f"about/{rank}" for rank in range(launch.world)]
    if launch.rank == 0:
        absent = waited(store, keys, JOIN)
        if absent:
            here = Counter(found(store, key)["node"] for key in keys if key not in absent)
            raise ValueError(
                f"{len(absent)} of {launch.world} processes did not come within {seconds}. There are "
                f"{', '.join(f'{n} of {node}' for node, n in here.items())}, and rank "
                f"{', '.join(key.removeprefix('about/') for key in absent)} is missing: start them all (in a job by "
                f"srun), and see whether their nodes reach {where}"
            )
        leave(store, "met", True)
    elif waited(store, ["met"], 2 * JOIN):
        raise ValueError(f"{node_name()}: the first process, at {where}, waits no longer: it says why")
    return store, [found(store, key) for key in keys]


def leave(store: dist.Store, key: str, value: Any) -> None:
    """value: plain data."""
    store.set(key, json.dumps(value))


def found(store: dist.Store, key: str) -> Any:
    return json.loads(store.get(key))


def waited(store: dist.Store, keys: list[str], limit: timedelta) -> list[str]:
    """Waits for all keys together no longer than `limit`; those that did not come, or cannot any more."""
    end, absent = time.monotonic() + limit.total_seconds(), []
    for key in keys:
        try:
            store.wait([key], timedelta(seconds=max(0.1, end - time.monotonic())))
        except dist.DistError:
            absent.append(key)
    return absent

"""What a run needs, looked for on every node before it begins: `flam-train --check`.

All processes of the launcher take part, tell the first one what they found (`node`), and it prints a line for
each node, then what is wrong. Nothing is left behind (but a text model from a hub gets into that hub's cache).
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from flam_train.training.configuration import Config
from flam_train.training.launch.meeting import JOIN, Launch, found, launched, leave, meet, node_name, waited
from flam_train.training.launch.node import Findings, find_gpu, find_on_node, many
from flam_train.training.trainer import TrainerConfig, launch_shape, quiet

READ = timedelta(seconds=300)
"""For each process to read its samples and to build the text model."""

ROUNDS = 20
"""All-reduces that are timed, after a first one that makes the connections."""

CLOCKS = 5.0
"""Seconds that a clock may be off: files and logs of several nodes are compared by their times."""


def check(conf: dict[str, Any]) -> int:
    """The exit code: 0, or 2 where the first process printed a problem.

    conf: of `compose_conf`. Raises ValueError where the processes cannot meet, and as `Config.read`.
    """
    quiet()
    config, launch, mine = Config.read(conf), launched(), Findings()
    trainer = config.trainer
    gpus = torch.cuda.device_count() if trainer.accelerator != "cpu" and torch.cuda.is_available() else 0
    store, processes = meet(launch, {"node": node_name(), "gpus": gpus})
    nodes = [process["node"] for process in processes]
    count, local_rank = Counter(nodes), nodes[: launch.rank].count(nodes[launch.rank])
    try:
        find_gpu(mine, local_rank, trainer.accelerator)
        on_gpus = all(process["gpus"] >= count[process["node"]] for process in processes)
        clock = find_round_trip(mine, launch, store, local_rank if on_gpus else None)
        if local_rank == 0:
            find_on_node(mine, config, count[nodes[launch.rank]], launch.world)
        leave(store, f"found/{launch.rank}", asdict(mine) | {"node": nodes[launch.rank], "clock": clock})
        if launch.rank:
            if waited(store, ["verdict"], 2 * READ):  # the first one waits for others, too
                raise ValueError(
                    f"{node_name()}: no verdict of the first process within {2 * READ.total_seconds():.0f} s: it has "
                    "ended, or a disk on its node hangs"
                )
            code = found(store, "verdict")
            leave(store, f"left/{launch.rank}", True)
            return code
        code = report(launch, trainer, gathered(store, nodes), config.run_dir)
        leave(store, "verdict", code)
        # The store ends with this process.
        waited(store, [f"left/{rank}" for rank in range(1, launch.world)], timedelta(seconds=10))
        return code
    except dist.DistError as error:
        raise ValueError(f"{node_name()}: the first process has ended, see what it says ({error})") from error


def find_round_trip(mine: Findings, launch: Launch, store: dist.Store, gpu: int | None) -> float | None:
    """How long a small all-reduce takes (median) and whether its sum is right; then what the clock says.

    gpu: this process' for NCCL; None for gloo.
    """
    backend = "gloo" if gpu is None else "nccl"
    os.environ["TORCH_NCCL_BLOCKING_WAIT"] = "1"  # one that hangs raises when its time is up
    try:
        if gpu is not None:
            torch.cuda.set_device(gpu)
        group = dist.PrefixStore("group", store)
        dist.init_process_group(backend, store=group, rank=launch.rank, world_size=launch.world, timeout=JOIN)
        try:
            sent = torch.full((1,), launch.rank + 1.0, device="cpu" if gpu is None else f"cuda:{gpu}")
            seconds = []
            for _ in range(1 + ROUNDS):
                x, start = sent.clone(), time.perf_counter()
                dist.all_reduce(x)
                total = x.item()  # waits for the GPU
                seconds.append(time.perf_counter() - start)
                if total != launch.world * (launch.world + 1) / 2:
                    raise RuntimeError(f"1 to {launch.world} were summed to {total:g}")
            clock = time.time()
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        hint = "NCCL_DEBUG=INFO says more; NCCL_SOCKET_IFNAME and NCCL_IB_HCA choose the network"
        if gpu is None:
            hint = "GLOO_SOCKET_IFNAME chooses the network"
        mine.problems.append(f"{backend} all-reduce: {' '.join(str(error).split())[:300]}: {hint}")
        return None
    mine.shown["round trip"] = f"{backend} all-reduce {1000 * statistics.median(seconds[1:]):.2f} ms"
    return clock


def gathered(store: dist.Store, nodes: list[str]) -> list[dict[str, Any]]:
    """What each process found; of one that does not answer, that it does not."""
    absent = waited(store, [f"found/{rank}" for rank in range(len(nodes))], READ)
    why = f"no answer within {READ.total_seconds():.0f} s: a disk there hangs, or the process has died"
    silent = asdict(Findings(problems=[why])) | {"clock": None}
    return [
        silent | {"node": node} if f"found/{rank}" in absent else found(store, f"found/{rank}")
        for rank, node in enumerate(nodes)
    ]


def report(launch: Launch, trainer: TrainerConfig, processes: list[dict[str, Any]], run_dir: str) -> int:
    """Prints a line for each node and a line for all that is wrong; the exit code.

    processes: `Findings` as plain data, with `node` and `clock`, of each rank.
    """
    count = Counter(process["node"] for process in processes)
    print(f"check    {many(len(count), 'node')}, {many(launch.world, 'process')} by {launch.by}, run folder {run_dir}")
    for node, n in count.items():
        print(f"{node:8s} {' | '.join([many(n, 'process'), *shown(p for p in processes if p['node'] == node)])}")
    nodes = list(count)
    problems = told(nodes, ((p["node"], text) for p in processes for text in p["problems"]))
    problems += disagreements(nodes, processes, "alike")
    warnings = told(nodes, ((p["node"], text) for p in processes for text in p["warnings"]))
    warnings += disagreements(nodes, processes, "similar") + clocks(processes)
    # Of one process Lightning makes as many as it wants; of several it wants as many.
    (problems if launch.world > 1 else warnings).extend(misfits(trainer, count))
    for line in warnings:
        print(f"warning  {line}")
    for line in problems:
        print(f"problem  {line}")
    print(f"check    {many(len(problems), 'problem') if problems else 'all is well'}", flush=True)
    return 2 if problems else 0


def shown(processes: Iterable[dict[str, Any]]) -> list[str]:
    """What the processes of a node show: GPUs are counted, of a time the longest."""
    values: dict[str, list[str]] = {}
    for process in processes:
        for key, value in process["shown"].items():
            values.setdefault(key, []).append(value)
    gpus = Counter(values.pop("gpu", []))
    out = [text if text == "no GPU" else f"{n} x {text}" for text, n in gpus.items()]
    return out + [max(several, key=lambda text: (len(text), text)) for several in values.values()]


def told(nodes: list[str], lines: Iterable[tuple[str, str]]) -> list[str]:
    """(node, text) of all, each text once, with the nodes that say it before it."""
    by_text: dict[str, dict[str, None]] = {}
    for node, text in lines:
        by_text.setdefault(text, {})[node] = None
    return [
        f"{'all nodes' if len(said) == len(nodes) > 1 else ', '.join(said)}: {text}" for text, said in by_text.items()
    ]


def disagreements(nodes: list[str], processes: list[dict[str, Any]], kind: str) -> list[str]:
    """Where a node differs from what most have."""
    out = []
    for key in dict.fromkeys(key for process in processes for key in process[kind]):
        values = [(process["node"], process[kind][key]) for process in processes if key in process[kind]]
        usual = Counter(value for _, value in values).most_common(1)[0][0]
        out += [(node, f"{key} is {value}, elsewhere {usual}") for node, value in values if value != usual]
    return [f"{line}: all nodes must see the same files and programs" for line in told(nodes, out)]


def misfits(trainer: TrainerConfig, count: Counter[str]) -> list[str]:
    """Where training wants other processes than there are."""
    devices, wanted = launch_shape(trainer)
    if wanted == len(count) and set(count.values()) == {devices}:
        return []
    here = ", ".join(f"{n} on {node}" for node, n in count.items())
    return [
        f"training wants {many(wanted, 'node')} of {many(devices, 'process')}, here are {here}: leave "
        "trainer.devices and trainer.nodes at auto, and let srun or torchrun start as many on every node"
    ]


def clocks(processes: list[dict[str, Any]]) -> list[str]:
    known = {process["node"]: process["clock"] for process in processes if process["clock"] is not None}
    middle = statistics.median(known.values()) if known else 0.0
    off = {node: clock - middle for node, clock in known.items() if abs(clock - middle) > CLOCKS}
    return [f"{node}: its clock is {seconds:+.0f} s off: let it be set (NTP)" for node, seconds in off.items()]

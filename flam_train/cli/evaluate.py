"""What the scripts of eval/ share: options, one process of several, and how a mistake is told."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from flam_train.distributed import rank
from flam_train.evaluation.result import Result

RENDEZVOUS = ".ranks"


def options(parser: argparse.ArgumentParser) -> None:
    """--out, --batch-size, --workers, --device."""
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results [results]")
    parser.add_argument("--batch-size", type=int, default=16, help="windows [%(default)s]")
    parser.add_argument("--workers", type=int, default=0, help="processes that read and decode [%(default)s]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def ranks(args: argparse.Namespace) -> Iterator[str]:
    """The device of this process; with the others of torchrun or srun, if it is one of several.

    They meet through a file below --out, which all must see: there the scores are shared too.
    """
    env = os.environ
    number, world = (env.get("RANK") or env.get("SLURM_PROCID"), env.get("WORLD_SIZE") or env.get("SLURM_NTASKS"))
    if number is None or int(world or 1) == 1:
        yield args.device
        return
    job = env.get("TORCHELASTIC_RUN_ID") or "-".join(env.get(f"SLURM_{x}", "0") for x in ("JOB_ID", "STEP_ID"))
    args.out.mkdir(parents=True, exist_ok=True)
    meeting = args.out.resolve() / f"{RENDEZVOUS}-{job}-{env.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=int(number), world_size=int(world or 1))
    try:
        local = int(env.get("LOCAL_RANK") or env.get("SLURM_LOCALID") or 0)
        many = args.device == "cuda" and torch.cuda.device_count() > 1
        yield f"cuda:{local % torch.cuda.device_count()}" if many else args.device
        dist.barrier()
    finally:
        dist.destroy_process_group()
        if int(number) == 0:
            meeting.unlink(missing_ok=True)


def report(results: list[Result], out: Path) -> None:
    """Writes and prints results (of the first rank; the others have none)."""
    for result in results:
        path = result.write(out)
        print(f"{result.summary()}\n  results  {path}", flush=True)


def note(text: str) -> None:
    if rank() == 0:
        print(f"  {text}", file=sys.stderr)


def told(main: Callable[[], int | None]) -> int:
    """The exit code of a script: a mistake is told in a line and gives 2."""
    try:
        return main() or 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130

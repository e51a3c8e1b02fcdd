"""What the scripts of eval/ share: options, one process of several, and how a mistake is told."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flam_train.cli.answers import ENDS, answer, printing
from flam_train.devices import device_of
from flam_train.evaluation.result import Result

if TYPE_CHECKING:
    from flam_train.evaluation.drawn import Bootstrap

RENDEZVOUS = ".ranks"

NOT_IN_NAME = ("method", "captions", "relevant sha256", "windows", "protocol")
"""Parameters of a result that its file's name does not tell."""


def options(parser: argparse.ArgumentParser) -> None:
    """--out, --batch-size, --workers, --device."""
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results [results]")
    parser.add_argument("--batch-size", type=int, default=16, help="windows [%(default)s]")
    parser.add_argument("--workers", type=int, default=0, help="processes that read and decode [%(default)s]")
    parser.add_argument("--device", default="auto", help="[auto: a GPU where there is one, else the CPU]")


def bootstrap_options(
    parser: argparse.ArgumentParser, asked: bool = True, of: str = "AUROC and F1", psds: bool = False
) -> None:
    """--bootstrap, --group, --level, --seed, and where `psds` --bootstrap-psds. asked: there is none but where it is
    asked for; of: what gets intervals, in words."""
    parser.add_argument(
        "--bootstrap",
        type=int,
        nargs="?",
        const=1000,
        default=None if asked else 1000,
        metavar="N",
        help=f"intervals of {of} from N resamples of the recordings [{'none' if asked else 1000}; N: 1000]",
    )
    parser.add_argument(
        "--group",
        metavar="DETAIL|source|REGEX",
        help="draw groups of clips together: those alike in a detail (site), or in what REGEX finds in source or key "
        "[windows of a recording]",
    )
    parser.add_argument("--level", type=float, help="of the intervals [0.95]")
    parser.add_argument("--seed", type=int, help="of the resamples [0]")
    if psds:
        parser.add_argument("--bootstrap-psds", action="store_true", help="PSDS too, N times as long as once: slow")


def bootstrap_of(args: argparse.Namespace) -> Bootstrap | None:
    """What `bootstrap_options` found. Raises ValueError for options that need --bootstrap, and for their values."""
    psds = getattr(args, "bootstrap_psds", False)
    if args.bootstrap is None:
        given = {"--group": args.group, "--level": args.level, "--seed": args.seed, "--bootstrap-psds": psds or None}
        if names := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{names[0]} says how to bootstrap: give --bootstrap too")
        return None
    from flam_train.evaluation.drawn import Bootstrap  # torch: see `ranks`

    asked = {"level": args.level, "seed": args.seed, "group": args.group}
    given = {name: value for name, value in asked.items() if value is not None}
    return Bootstrap(args.bootstrap, psds=psds, **given)


@contextmanager
def ranks(args: argparse.Namespace) -> Iterator[str]:
    """The device of this process; with the others of torchrun or srun, if it is one of several.

    Those of torchrun meet as it says; those of srun through a file below --out, which all must see: there the scores
    are shared too. Raises ValueError for a device that is not there.
    """
    # Here and not above: --help, a mistyped option and eval/table.py need no torch.
    import torch
    import torch.distributed as dist

    device = device_of(args.device)
    env = os.environ
    week = datetime.timedelta(days=7)  # the others wait while the first joins, measures and draws
    if int(env.get("WORLD_SIZE", 1)) > 1:
        if "RANK" not in env:
            raise ValueError("WORLD_SIZE is set, but not RANK: start it by torchrun or srun, or unset WORLD_SIZE")
        number, local = int(env["RANK"]), int(env.get("LOCAL_RANK", 0))
        dist.init_process_group("gloo", timeout=week)
    elif "SLURM_STEP_ID" in env and int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        number, world = int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"])
        local = int(env.get("SLURM_LOCALID", 0))
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        args.out.mkdir(parents=True, exist_ok=True)
        meeting = args.out.resolve() / "-".join((RENDEZVOUS, *(env.get(name, "0") for name in names)))
        if number == 0:
            print(f"waiting for {world} processes at {meeting}", file=sys.stderr)
        dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=number, world_size=world, timeout=week)
    else:
        yield device
        return
    try:
        many = device == "cuda" and torch.cuda.device_count() > 1
        yield f"cuda:{local % torch.cuda.device_count()}" if many else device
        dist.barrier()
    except RuntimeError as error:
        if "gloo" not in str(error).lower() and "closed by peer" not in str(error).lower():
            raise
        raise ValueError(f"another of the processes has ended, its own message says why ({error})") from error
    finally:
        dist.destroy_process_group()


def report(results: list[Result], out: Path) -> None:
    """Writes and prints results (of the first rank; the others have none)."""
    for result in results:
        path = out / f"{result.name}.json"
        if path.is_file() and (other := _differs(path, result)):
            print(f"  replaces an older result ({other}): --out keeps them apart", file=sys.stderr)
        result.write(path)
        print(f"{result.summary()}\n  results  {path}", flush=True)


def _differs(path: Path, result: Result) -> str:
    """How an older result is another one than this, whose file has its name; empty if it is not."""
    try:
        older = Result.read(path)
    except ValueError as error:  # hours of work are not lost for a file that is to be replaced
        return str(error)
    before = older.parameters
    names = [name for name in NOT_IN_NAME if name in before and before[name] != result.parameters.get(name)]
    others = [f"{name} {before[name]!r}" for name in names]
    if (calibration := before.get("calibration")) != result.parameters.get("calibration"):
        others.append(f"a calibration found on {((calibration or {}).get('found on') or {}).get('name')}")
    return ", ".join(others + (["other shards"] if older.data.get("sha256") != result.data.get("sha256") else []))


def is_first() -> bool:
    """Whether this process is the first one, or the only one: it alone has results, and speaks."""
    from flam_train.distributed import rank  # torch, as above

    return rank() == 0


def note(text: str) -> None:
    if is_first():
        print(f"  {text}", file=sys.stderr)


def told(main: Callable[[], int | None]) -> int:
    """The exit code of a script; what ends it before its time is told in a line (`answers`)."""
    with printing():
        try:
            return main() or 0
        except ENDS as error:
            code, line = answer(error)
            print(line, end="", file=sys.stderr)
            return code

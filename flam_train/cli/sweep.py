"""flam-train -m: the points of a line, composed and checked before the first of them runs."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from flam_train.cli.overrides import choices
from flam_train.cli.train import compose_conf
from flam_train.training.launch.points import FOLDER, Planned, digest, parse, points, quoted

CONFIG = "config.yaml"
"""Of a run folder."""

SEVERAL = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""How many processes torchrun and srun have started, this one among them."""


def sweep(arguments: argparse.Namespace) -> int:
    """The exit code of `flam-train -m`; arguments: as its parser gives them.

    Raises ValueError for what is wrong with the line, or with the configuration of a point, which it names.
    """
    if any(int(os.environ.get(name) or 1) > 1 for name in SEVERAL):
        raise ValueError(
            "-m starts its runs itself, one after the other: start it once, not by torchrun or srun (trainer.devices=8 "
            "gives each run 8 GPUs of this machine; slurm/sweep.sh gives each a job of its own)"
        )
    planned = plan(arguments.overrides, arguments.conf)
    if arguments.show:
        for one in planned:
            print(f"--- # {one.name}\n{yaml.safe_dump(one.conf, sort_keys=False)}", end="")
        return 0

    from flam_train.training.launch.sweep import check_settings, run_points, still_to_run  # torch: not to print

    check_settings(planned, here=not arguments.points)
    if arguments.points:
        for one in still_to_run(planned):
            print(shlex.join((job_name(one), *one.overrides)))
        return 0
    flags = [flag for flag, given in (("--check", arguments.check), ("--dry-run", arguments.dry_run)) if given]
    return run_points(planned, flags)


def plan(overrides: Sequence[str], folder: Path | None = None) -> list[Planned]:
    """The points of a line as runs, each in `run_dir/POINT`. folder: as of `compose_conf`. Errors as `sweep`."""
    found = points(overrides, lambda group: choices(group, folder))
    given = [text for text in overrides if parse(text).key_or_group == FOLDER]
    confs = {}
    for point in found:
        try:
            confs[point] = compose_conf([*point.overrides, *given], folder)
        except ValueError as error:
            raise ValueError(f"{point.name}: {error}") from error
    homes = sorted({str(conf[FOLDER]) for conf in confs.values()})
    if len(homes) > 1:
        raise ValueError(
            f"the points would lie in several folders, {' and '.join(homes[:2])}: say in which, run_dir=..."
        )
    home = Path(homes[0])
    if (home / CONFIG).is_file():
        raise ValueError(f"run_dir={home}: holds a run of its own: give the sweep another run_dir or name")
    options = [f"--conf={folder}"] if folder else []
    return [
        Planned(
            point.name,
            home / point.name,
            (*options, *point.overrides, quoted(FOLDER, str(home / point.name))),
            conf | {FOLDER: str(home / point.name)},
        )
        for point, conf in confs.items()
    ]


def job_name(one: Planned) -> str:
    """For a scheduler: the point, and what stands for its folder, so that no other sweep has a job of this name."""
    return f"{one.name}~{digest(str(one.folder.resolve()))}"

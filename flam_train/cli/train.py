"""flam-train: trains a FLAM from the configuration in conf/ and overrides on the command line."""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from flam_train.cli.answers import printing
from flam_train.cli.overrides import GROUPS, as_text, check_override, choices
from flam_train.disk import FULL
from flam_train.paths import conf_dir
from flam_train.settings import nearest

BROUGHT = ("model.", "text.")
"""Sections whose keys do not all stand in conf/."""

EXAMPLES = """examples:
  flam-train experiment=demo
  flam-train experiment=esc10 seed=1 optim.lr=3e-4
  flam-train -m experiment=esc10 seed=0,1,2 optim.lr=1e-4,3e-4
  flam-train experiment=openflam shards=/data/shards --dry-run
  torchrun --nproc-per-node 8 -m flam_train.cli.train experiment=openflam
  torchrun --nproc-per-node 8 -m flam_train.cli.train experiment=openflam --check
"""


def compose_conf(overrides: list[str], folder: Path | None = None) -> dict[str, Any]:
    """The configuration as plain data.

    folder: of the user's own YAML files, searched after conf/. Raises ValueError for a group, key or value that does
    not exist, with the nearest that do.
    """
    home = conf_dir()
    overrides = [as_text(override) for override in overrides]
    for override in overrides:
        check_override(override, folder)
    search = [f"hydra.searchpath=[file://{folder.resolve()}]"] if folder else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(home), version_base=None):
        try:
            conf = compose("train", overrides=[*overrides, *search])
            plain = OmegaConf.to_container(conf, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(_explain(error, overrides, home, folder)) from error
    assert isinstance(plain, dict)
    data = plain.get("data")
    for kind in ("global", "frame", "weak"):
        corpora = data.get(kind) if isinstance(data, dict) else None
        if not isinstance(corpora, dict):  # none, or a mistake that is told where it is read
            continue
        weighted = [name for name, entry in corpora.items() if isinstance(entry, dict) and [*entry] == ["weight"]]
        for name in (*weighted, *[name for name, entry in corpora.items() if not entry]):
            key = f"data.{kind}.{name}"
            if any(override.lstrip("+~").startswith((f"{key}.", f"{key}=")) for override in overrides):
                raise ValueError(f"{key}: {name} is not among data/{kind}=[...]: add it there")
            known = _corpora(kind, [home, folder] if folder else [home])
            if name not in known:
                raise ValueError(f"{key}: no corpus of data/{kind}: {nearest(name, known)}")
            del corpora[name]  # an experiment weights all of its corpora, also those that the command line leaves out
    return {str(k): v for k, v in plain.items()}


def _corpora(kind: str, places: list[Path]) -> list[str]:
    """The names of corpora that the files of data/KIND choose: the file's own, or several (`# @package data.KIND`)."""
    found = []
    for path in (p for place in places for p in (place / "data" / kind).glob("*.yaml")):
        several = path.read_text().startswith(f"# @package data.{kind}\n")
        found += list(yaml.safe_load(path.read_text())) if several else [path.stem]
    return sorted(found)


def _explain(error: Exception, overrides: list[str], home: Path, folder: Path | None) -> str:
    """Hydra's message in one line, with the names that were probably meant."""
    text = str(error).strip()
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value yet: set it, {error.full_key}=..."
    missing = re.search(r"Could not (?:find|load) '([^']+)'", text)
    if missing:
        group, _, name = missing.group(1).rpartition("/")
        known = choices(group, folder) if group else []
        if known:
            return f"{group}={name}: no such choice: {nearest(name, known)}"
        return f"{group or name}: no such group of choices: {nearest(group or name, GROUPS)}"
    whole = f"{text}\n{error.__cause__}"
    unknown = re.findall(r"Could not override '([^']+)'", text) + re.findall(r"full_key: (\S+)", whole)
    if unknown and ("not in struct" in text or "Could not override" in text):
        key = max(unknown, key=len).strip()  # one may be the section of the other
        if "/" in key:
            return f"{key}: no such group of choices: {nearest(key, GROUPS)}"
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(home), version_base=None):
            known = _keys(OmegaConf.to_container(compose("train", overrides=_choices(overrides)), resolve=False))
        adds = f"+{key}=... adds one of what `init` or the default brings; " if key.startswith(BROUGHT) else ""
        return f"no key {key!r} in the configuration: {adds}{nearest(key, known)}"
    group = re.search(r"Could not override '?([^'\s]+)'?\.\s*No match in the defaults list", text)
    if group:
        return f"{group.group(1)}: no such group of choices: {nearest(group.group(1), GROUPS)}"
    several = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", text)
    if several:
        key, _, value = several.group(1).partition("=")
        return f"{key}={value}: several values: -m trains with each of them; one that is a list is {key}=[...]"
    merged = re.search(r"Cannot merge .*\n\s*full_key: (\S+)\n\s*object_type=(dict|list)", whole)
    if merged:
        wants = "`key: value`, as {a: 1, b: 2}" if merged.group(2) == "dict" else "a list, as [a, b]"
        return f"{merged.group(1)}: needs {wants}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cause = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) not in text else ""
    return f"the configuration does not compose: {'; '.join(lines[:3])}{cause}"


def _choices(overrides: list[str]) -> list[str]:
    """The overrides that choose a file, of which the configuration is composed to see its keys."""
    return [o for o in overrides if o.split("=", 1)[0] in GROUPS]


def _keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    out = []
    for key, value in node.items():
        out.append(f"{prefix}{key}")
        out += _keys(value, f"{prefix}{key}.")
    return out


def _parser() -> argparse.ArgumentParser:
    home = conf_dir()
    groups = "\n".join(f"  {g + '=':14s} {', '.join(choices(g, None))}" for g in GROUPS)
    parser = argparse.ArgumentParser(
        prog="flam-train",
        description=__doc__,
        epilog=f"choices (files in {home}):\n{groups}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, in Hydra's syntax")
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own YAML files, in the same groups")
    parser.add_argument("--print", action="store_true", dest="show", help="print the configuration and stop")
    parser.add_argument(
        "--dry-run", action="store_true", help="print batch, memory, steps and what is trained, and stop"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="look for what the run needs on every node, print a line for each, and stop; start it as the run",
    )
    parser.add_argument(
        "-m",
        "--multirun",
        action="store_true",
        help="train each point of a sweep (seed=0,1,2 optim.lr=1e-4,3e-4) in a folder of its own below run_dir",
    )
    parser.add_argument(
        "--points", action="store_true", help="of a sweep: print a line for each point that is not done, and stop"
    )
    return parser


@printing()
def main(argv: list[str] | None = None) -> int:
    # For torch, which is not imported yet: its threads are to sleep at barriers, not to spin. Spinning, they take the
    # cores from loader workers and from whatever else runs on the machine, and a step takes several times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = _parser().parse_intermixed_args(argv)
    try:
        if arguments.multirun or arguments.points:
            from flam_train.cli.sweep import sweep

            return sweep(arguments)
        conf = compose_conf(arguments.overrides, arguments.conf)
        if arguments.show:
            print(yaml.safe_dump(conf, sort_keys=False), end="")
            return 0
        if arguments.check:
            from flam_train.training.launch.check import check

            return check(conf)
        if arguments.dry_run:
            from flam_train.training.launch.dry_run import dry_run

            print(dry_run(conf))
            return 0
        return _train(conf)
    except ValueError as error:
        print(f"{_speaker()}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes this of Ctrl-C
            return _interrupted()
        raise


def _speaker() -> str:
    """One of several processes names its machine: what is wrong may be wrong there alone."""
    several = any(os.environ.get(name, "1") != "1" for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    return f"flam-train on {socket.gethostname()}" if several else "flam-train"


def _train(conf: dict[str, Any]) -> int:
    """The exit code; what all ranks meet alike is told by the first of them."""
    from flam_train.training.fault_tolerance.interrupt import StopRequested
    from flam_train.training.health import StepFailed
    from flam_train.training.run import train
    from flam_train.training.trainer import is_first_process

    try:
        train(conf)
    except StopRequested as stop:
        if is_first_process():
            again = "the same command, without overwrite=true," if conf["overwrite"] else "the same command"
            then = f"but {stop.lost}" if stop.lost else f"{again} goes on from the last checkpoint"
            print(f"\nflam-train: {stop}; {then}", file=sys.stderr)
        return stop.exit_code
    except StepFailed as error:
        if is_first_process():
            print(f"\nflam-train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        if is_first_process():
            where = error.filename or conf["run_dir"]
            then = "the same command goes on from the last checkpoint"
            print(f"\nflam-train: {where}: {error.strerror}: make room; {then}", file=sys.stderr)
        return 1
    return 0


def _interrupted() -> int:
    print("\nflam-train: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())

"""Commands parsed by their own programs: what is stale in them raises Stale, nothing else happens.

A program runs in this process until its arguments are parsed. What a program hands on to another is parsed by that one:
torchrun, srun, and the sbatch files, which really run, with an srun that only notes how it was called.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from checkout import ROOT
from doc_lines import Command, commands
from doc_parsing import Call, stopped
from doc_settings import configuration, of_points
from doc_stale import Stale
from doc_tables import EXEMPT, PLACEHOLDERS

from flam_train.paths import conf_dir, conf_file

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRIES: dict[str, str] = PROJECT["scripts"]
EXTRAS = set(PROJECT["optional-dependencies"])

FOLDERS = ("conf", "data_prep", "docs", "eval", "flam_train", "slurm", "tests")
"""Of the checkout: a name below them must be a file or folder of it."""

THEIRS = re.compile(r"(^|[/_.-])(my|mine|your)(?=[_.-]|$)")
"""A reader's own file, which no checkout has."""

GROUP_OF = {"recipe": "mixing", "vocabulary": "vocabulary", "only": "eval"}
"""Arguments of scripts that are names in conf/."""

FILES = ("cat", "cp", "find", "head", "ls", "mkdir", "mv", "rm", "tail", "echo", "printf", "tar", "unzip")
TOOLS = ("pytest", "ruff", "mypy", "tensorboard", "wandb")
"""Others' programs: that they are there, and the paths that they are given, is all that is looked at."""

SBATCH = (
    "account", "array", "constraint", "cpus-per-task", "dependency", "gpus-per-node", "job-name", "mem", "nodes",
    "ntasks-per-node", "output", "parsable", "partition", "qos", "requeue", "signal", "time", "wrap",
)  # fmt: skip
"""Its options that a page may name: no SLURM is needed to check them."""


def exempt(text: str) -> bool:
    return any(re.match(pattern, text) for pattern, _ in EXEMPT)


def check_command(command: Command, more: bool = False) -> Call | None:
    """What it runs, if anything is known of it. Raises Stale."""
    if not command.words or exempt(str(command)):
        return None
    return check(command.words, more or command.more)


def check(words: tuple[str, ...], more: bool = False) -> Call:
    """The words of a command, with placeholders filled in. more: it goes on in a way that is not told."""
    words = filled(words)
    head, rest = words[0], words[1:]
    named_files(words if head not in ("cp", "mv") else words[:-1])
    if head in ENTRIES:
        return entry(head, rest, more)
    if head in ("python", "python3") and rest:
        return python(rest, more)
    if head in ("srun", "env"):
        while rest and re.match(r"-|[A-Z_]+=", rest[0]):
            rest = rest[1:]
        return check(rest, more)
    if head == "bash" and rest:
        return check(rest, more)
    if head in PROGRAMS:
        return PROGRAMS[head](rest, more)
    if head == "slurm/sweep.sh":
        return sweep(rest, more)
    if head.startswith("slurm/") and head.endswith(".sh"):
        return shell_script(head, rest)
    if head in FILES or head in TOOLS:
        return Call(head, rest)
    raise Stale(f"{head}: no program that is known here (doc_tables.EXEMPT is for what cannot be checked)")


def filled(words: tuple[str, ...]) -> tuple[str, ...]:
    """Placeholders become the example that the table has of them, as words and as values."""
    out = []
    for word in words:
        name, equals, value = word.partition("=")
        whole = PLACEHOLDERS.get(word)
        out.append(whole or (f"{name}={PLACEHOLDERS[value]}" if equals and value in PLACEHOLDERS else word))
    return tuple(out)


def named_files(words: tuple[str, ...]) -> None:
    for word in words:
        name = word.rpartition("=")[2].split("::")[0]
        ours = name.split("/")[0] in FOLDERS and "/" in name and not THEIRS.search(name) and "$" not in name
        if ours and not any(ROOT.glob(name.rstrip("/"))):
            raise Stale(f"{name}: no such file in the checkout")


def entry(name: str, arguments: tuple[str, ...], more: bool) -> Call:
    """A command of pyproject.toml."""
    module, function = ENTRIES[name].split(":")
    call = stopped(name, arguments, getattr(importlib.import_module(module), function), more)
    if module == "flam_train.cli.train" and call.values is not None:
        for overrides in of_points(call.values):
            configuration(overrides, call.values.conf, more)
    names_in_conf(call)
    return call


def python(arguments: tuple[str, ...], more: bool) -> Call:
    if arguments[0] == "-c":
        compile(arguments[1], "python -c", "exec")
        return Call("python", arguments)
    if arguments[0] != "-m":
        return script(arguments[0], arguments[1:], more)
    module, rest = arguments[1], arguments[2:]
    if module == "torch.distributed.run":
        return torchrun(rest, more)
    for name, where in ENTRIES.items():
        if where.split(":")[0] == module:
            return entry(name, rest, more)
    if module in (*TOOLS, "venv"):
        return Call(module, rest)
    if module == "pip":
        return pip(rest, more)
    raise Stale(f"python -m {module}: no command of this project")


def script(name: str, arguments: tuple[str, ...], more: bool = False) -> Call:
    """A script of the checkout that parses its arguments with argparse."""
    path = ROOT / name
    if not path.is_file():
        raise Stale(f"{name}: no such script in the checkout")
    if ".parse_args(" not in path.read_text() and "prepare.run(" not in path.read_text():
        if arguments:
            raise Stale(f"{name} takes no arguments")
        return Call(name, arguments)
    call = stopped(name, arguments, lambda: runpy.run_path(str(path), run_name="__main__"), more)
    names_in_conf(call)
    return call


def names_in_conf(call: Call) -> None:
    for dest, group in GROUP_OF.items() if not call.program.startswith("tests/") else ():
        value = getattr(call.values, dest, None)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and not name.endswith((".yaml", ".yml")) and (conf_dir() / group).is_dir():
                try:
                    conf_file(group, name)
                except ValueError as error:
                    raise Stale(str(error)) from error


def torchrun(arguments: tuple[str, ...], more: bool) -> Call:
    from torch.distributed.run import get_args_parser

    if more and not any(word == "-m" or word.endswith(".py") for word in arguments):
        arguments = (*arguments, "-m", "flam_train.cli.train")
    values = stopped("torchrun", arguments, lambda: get_args_parser().parse_args(list(arguments))).values
    assert values is not None
    start = ("-m",) if values.module else ()
    return python((*start, values.training_script, *values.training_script_args), more)


def make(arguments: tuple[str, ...], more: bool) -> Call:
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        raise Stale(f"make: {done.stderr.strip() or 'nothing is done'}")
    makefile = (ROOT / "Makefile").read_text()
    for word in arguments:
        name = word.partition("=")[0]
        if "=" in word and not re.search(rf"\$[({{]{re.escape(name)}[)}}]", makefile):
            raise Stale(f"make: {name} is no variable of the Makefile")
    return Call("make", arguments)


def sweep(arguments: tuple[str, ...], more: bool) -> Call:
    """Options of sbatch, then a line of flam-train -m."""
    for word in arguments:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("-") and not word.startswith("--conf=") and name not in SBATCH:
            raise Stale(f"sbatch --{name}: not in doc_programs.SBATCH")
    return check(("flam-train", "-m", *(word for word in arguments if not word.startswith("-"))), more)


def sbatch(arguments: tuple[str, ...], more: bool) -> Call:
    """The script runs, with an srun that notes its arguments; what it notes is checked."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).removeprefix("--").partition("=")
        if name not in SBATCH:
            raise Stale(f"sbatch --{name}: not in doc_programs.SBATCH")
        if not equals and rest and not rest[0].startswith("-") and name not in ("parsable", "requeue"):
            value = rest.pop(0)
        if name == "wrap":
            for command in commands(value):
                check_command(command)
            return Call("sbatch", arguments)
    if not rest:
        raise Stale("sbatch: no script")
    file = ROOT / rest[0]
    if not file.is_file():
        raise Stale(f"{rest[0]}: no such script in the checkout")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/activate").touch()
        (folder / "srun").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "" >>{folder}/noted\n')
        (folder / "srun").chmod(0o755)
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        env |= {"PATH": f"{folder}:{env['PATH']}", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
        done = subprocess.run(["bash", str(file), *rest[1:]], cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise Stale(f"{rest[0]}: {done.stderr.strip()}")
        noted = (folder / "noted").read_text()
    for call in noted.removesuffix("\n\n").split("\n\n"):
        check(("srun", *call.split("\n")), more)
    return Call("sbatch", arguments)


def pip(arguments: tuple[str, ...], more: bool) -> Call:
    for word in arguments[1:]:
        found = re.fullmatch(r"(?:\.|flam[-_]train)(?:\[([\w,-]+)\])?", word)
        if found:
            for extra in (found[1] or "").split(","):
                if extra and extra not in EXTRAS:
                    raise Stale(f"pip: {extra!r} is no extra of pyproject.toml: {', '.join(sorted(EXTRAS))}")
        elif not word.startswith("-") and not (ROOT / word).is_file():
            raise Stale(f"pip: {word} is neither this project nor a file of it")
    return Call("pip", arguments)


def shell_script(name: str, arguments: tuple[str, ...]) -> Call:
    """Its subcommands are the patterns of its last `case`."""
    if not (ROOT / name).is_file():
        raise Stale(f"{name}: no such script in the checkout")
    known = re.findall(r"\w+", re.findall(r"^\s+([\w |]+)\)", (ROOT / name).read_text(), re.MULTILINE)[-1])
    for word in arguments:
        if word not in known:
            raise Stale(f"{name} {word}: there are {', '.join(known)}")
    return Call(name, arguments)


PROGRAMS = {"torchrun": torchrun, "make": make, "sbatch": sbatch, "pip": pip}


def is_program(word: str) -> bool:
    """Whether a span of running text that begins so is a command, were it only misspelt."""
    known = word in PROGRAMS or word in ("python", "python3", "srun") or word.startswith(("flam-", "slurm/"))
    return known or bool(shutil.which(word) and word in TOOLS)

"""Command lines really run, in a reader's working directory, with what the table of overrides makes of them."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

from checkout import ROOT
from doc_lines import Command, Line
from doc_parsing import Call
from doc_programs import ENTRIES, FILES, check, exempt, filled
from doc_settings import configuration, of_points
from doc_stale import Stale
from doc_tables import NOT_RUN, OVERRIDES
from doc_world import World
from in_process import Done, program, script

LIMIT = 200
"""Seconds that a command may take."""

BIN = Path(sys.executable).parent
MAKE = ("-o", "venv", f"BIN={BIN}")
"""The environment is the tests' own."""

WRITTEN = ("out", "plots", "figures")
"""Arguments that name what is written; `exclude` of verify.py is another."""


def not_run(text: str) -> bool:
    return exempt(text) or any(re.match(pattern, text) for pattern, _ in NOT_RUN)


def run_line(line: Line, world: World) -> None:
    """Raises Stale with the line, what was run, and its output where it fails."""
    found = line.commands
    if not_run(line.text):
        return
    with chdir(world.folder), patch.dict(os.environ, world.variables):
        if all(not command.words or command.words[0] in FILES for command in found):
            answered(line, ("bash", "-ec", "\n".join((line.text, line.here))), world)
            return
        for command in found:
            world.variables |= command.variables
            os.environ |= command.variables
            if command.words and not not_run(str(command)):
                for words in overridden(expanded(command)):
                    run_words(line, words, world)


def run_words(line: Line, words: tuple[str, ...], world: World) -> None:
    if words[:2] == ("make", "demo"):
        for text in recipe(words):
            run_line(Line(line.page, line.number, text), world)
        return
    call = check(words)
    made = getattr(call.values, "out", None)
    if made is not None and not call.program.endswith("merge.py"):
        world.take_back(str(made))
    world.give(read_by_command(call))
    if words[0] == "torchrun" and call.program in world.launched:
        words = (
            (call.program, *call.arguments) if call.program in ENTRIES else ("python", call.program, *call.arguments)
        )
    elif words[0] == "torchrun":
        world.launched.add(call.program)
    answered(line, words, world)


def read_by_line(line: Line) -> list[str]:
    """What its commands would be given, without running them."""
    out: list[str] = []
    for command in () if not_run(line.text) else line.commands:
        if not command.words or not_run(str(command)) or command.words[0] in FILES:
            continue
        for words in overridden(expanded(command)):
            if words[:2] == ("make", "demo"):
                out += [name for text in recipe(words) for name in read_by_line(Line(line.page, line.number, text))]
            else:
                out += read_by_command(check(words))
    return out


def recipe(words: tuple[str, ...]) -> list[str]:
    """The lines that make would run, as they would be typed."""
    made = subprocess.run(
        ["make", "-n", *MAKE, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return made.replace("\\\n", " ").replace(f"{BIN}/", "").splitlines()


def expanded(command: Command) -> tuple[str, ...]:
    """Placeholders and variables have values, and what lies at the root of the disk lies in the working directory."""
    return tuple(re.sub(r"(^|=|=file://)/(?=\w)", r"\1", os.path.expandvars(w)) for w in filled(command.words))


def overridden(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What is run in their place: of a row with several alternatives, one after the other."""
    out = [words]
    for pattern, *alternatives in OVERRIDES:
        if re.match(pattern, " ".join(words)):
            out = [replaced(one, alternative.split()) for one in out for alternative in alternatives]
    return out


def replaced(words: tuple[str, ...], given: list[str]) -> tuple[str, ...]:
    """KEY=VALUE takes the place of that key, KEY<=VALUE bounds it, --option VALUES... takes the option's; or they are
    added. A->B is another word."""
    renamed = dict(word.split("->") for word in given if "->" in word)
    kept, given = [renamed.get(word, word) for word in words], [word for word in given if "->" not in word]
    added, n = [], 0
    while n < len(given):
        end = n + 1
        if given[n].startswith("--"):
            while end < len(given) and not given[end].startswith("--"):
                end += 1
            kept = without(kept, given[n])
            added += given[n:end]
        else:
            key, sign, value = re.split(r"(<?=)", given[n], maxsplit=1)
            if sign == "<=":
                value = str(min(int(value), value_of(words, key)))
            kept = [word for word in kept if not word.startswith(f"{key}=")]
            added.append(f"{key}={value}")
        n = end
    # torchrun's own options stand before what it starts.
    first = kept.index("-m") if words[0] == "torchrun" and added and added[0].startswith("--") else len(kept)
    return (*kept[:first], *added, *kept[first:])


def without(words: list[str], option: str) -> list[str]:
    """Each occurrence of the option goes with the values behind it."""
    out, skipping = [], False
    for word in words:
        skipping = word.partition("=")[0] == option or (skipping and not word.startswith("-"))
        if not skipping:
            out.append(word)
    return out


def value_of(words: tuple[str, ...], key: str) -> int:
    given = argparse.Namespace(
        overrides=[w for w in words if re.match(r"[a-z][\w/.]*=", w)],
        multirun=words[:2] == ("flam-train", "-m"),
        conf=None,
    )
    return int(configuration(of_points(given)[0], more=True)[key])


def read_by_command(call: Call) -> list[str]:
    """Names of what a command reads, among other values."""
    if call.values is None:
        return [word.rpartition("=")[2] for word in call.arguments]
    values = vars(call.values)
    if "overrides" in values:
        runs = [configuration(overrides, values["conf"], more=True) for overrides in of_points(call.values)]
        return [name for conf in runs for name in read_by_training(conf)]
    left_out = (*WRITTEN, "exclude") if call.program.endswith("verify.py") else WRITTEN
    found = [
        v
        for dest, value in values.items()
        if dest not in left_out
        for v in (value if isinstance(value, list) else [value])
    ]
    return [str(value) for value in found if isinstance(value, (str, Path))]


def read_by_training(conf: dict) -> list[str]:
    corpora = [entry for kind in ("global", "frame", "weak") for entry in (conf["data"].get(kind) or {}).values()]
    found = [conf["init"], conf["data"]["exclude"]]
    found += [entry.get(key) for entry in corpora for key in ("path", "bank", "validation")]
    names = [name for value in found for name in (value if isinstance(value, list) else [value]) if name]
    return [str(name).removeprefix("file://") for name in names]


def answered(line: Line, words: tuple[str, ...], world: World) -> None:
    """Runs a program; those of the project in this process. Raises Stale unless it ends well."""
    done = run(words, world)
    if done.returncode:
        said = f"{done.stdout[:1500]}\n...{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        raise Stale(f"{line}\nran as: {' '.join(words)}\nexit code {done.returncode}:\n{said}")


def run(words: tuple[str, ...], world: World) -> Done:
    head, rest = words[0], words[1:]
    if words[:2] == ("python", "-m"):
        for name, where in ENTRIES.items():
            if where.split(":")[0] == words[2]:
                head, rest = name, words[3:]
    if head in ENTRIES:
        module, function = ENTRIES[head].split(":")
        return program(getattr(importlib.import_module(module), function), head, *rest)
    if head == "python" and rest[0].endswith(".py"):
        return script(*rest)
    if head == "make":
        words = (*words, *MAKE)
    if head in ("python", "torchrun"):
        words = (
            sys.executable,
            *(("-m", "torch.distributed.run", "--standalone") if head == "torchrun" else ()),
            *rest,
        )
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(words, cwd=world.folder, env=env, capture_output=True, text=True, timeout=LIMIT)
    return Done(done.returncode, done.stdout, done.stderr)

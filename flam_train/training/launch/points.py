"""The points of a sweep: what `flam-train -m seed=0,1,2 optim.lr=1e-4,3e-4` asks for.

Hydra's own parser says what is swept: `a,b`, `choice(...)`, `range(...)`, `glob(...)`, and casts and sorts of these.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException

FOLDER = "run_dir"

PLAIN = r"A-Za-z0-9._+=,-"
"""Characters that names of folders are made of."""

LONGEST = 120
"""Characters of a name; file systems take 255."""

DIGITS = 8
"""Of the sha256 of a text that is no name."""

Choices = Callable[[str], Sequence[str]]
"""The choices of a group (the files of a folder of conf/), for `glob`."""


@dataclass(frozen=True)
class Point:
    """name: of its folder. overrides: those of the line, each with a single value, without `run_dir`."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """A point as a run. overrides: its whole line. conf: what they compose to."""

    name: str
    folder: Path
    overrides: tuple[str, ...]
    conf: dict[str, Any]


def points(overrides: Sequence[str], choices: Choices) -> list[Point]:
    """The cross product of what is swept, the last on the line changing fastest.

    A point is named by its swept overrides as they were typed, joined by commas: `seed=0,optim.lr=1e-4`. So a name
    stays when another value is added. Where that is no name of a folder: `safe`. What `range`, `glob`, casts and sorts
    give is written as Hydra does. Raises ValueError for what cannot be swept.
    """
    parsed = [parse(text) for text in overrides]
    swept = [one for one in parsed if one.is_sweep_override()]
    if not swept:
        raise ValueError("-m: nothing has several values here: give some, as seed=0,1,2 or seed=choice(0)")
    for one in parsed:
        if one.is_hydra_override():
            raise ValueError(f"{one.input_line}: Hydra's launchers take no part in -m; for SLURM: slurm/sweep.sh")
    for one in swept:
        if one.key_or_group == FOLDER:
            raise ValueError(f"{one.input_line}: {FOLDER} is not swept: each point has a folder of its own in it")
        if [other.key_or_group for other in parsed].count(one.key_or_group) > 1:
            raise ValueError(f"{one.input_line}: {one.key_or_group} stands on the line twice")
    each = [
        values(one, choices) if one in swept else [str(one.input_line)] for one in parsed if one.key_or_group != FOLDER
    ]
    moving = [n for n, one in enumerate(one for one in parsed if one.key_or_group != FOLDER) if one in swept]
    return [Point(safe(",".join(chosen[n] for n in moving)), chosen) for chosen in itertools.product(*each)]


def parse(text: str) -> Override:
    try:
        (found,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        raise ValueError(f"{text}: not an override in Hydra's syntax: {str(error).splitlines()[0]}") from error
    return found


def values(one: Override, choices: Choices) -> list[str]:
    """The overrides, each of one value, that a swept one stands for. Raises ValueError for one without, for values that
    stand there twice, and for sweeps that have no order, or no end."""
    key, text = one.get_key_element(), str(one.input_line)
    if isinstance(one._value, Glob):
        found = one._value.filter(list(choices(one.key_or_group)))
    elif not one.is_discrete_sweep():
        raise ValueError(f"{text}: an interval has no values to go through: give them, or range(first,last,step)")
    elif getattr(one._value, "shuffle", False):
        raise ValueError(f"{text}: points have the order of the line: leave shuffle out")
    else:
        found = list(one.sweep_string_iterator())
    if not found:
        raise ValueError(f"{text}: stands for no value at all")
    if twice := [value for n, value in enumerate(found) if value in found[:n]]:
        raise ValueError(f"{text}: {twice[0]} stands there twice")
    if not isinstance(one._value, Glob):
        found = typed(key, one.get_value_string(), found) or found
    return [f"{key}={value}" for value in found]


def typed(key: str, text: str, found: Sequence[str]) -> list[str] | None:
    """The values as they were typed: 1e-4, which Hydra reads as 0.0001. None where the text is not a list of them.

    A value ends at the first comma up to which Hydra reads what it found in the whole.
    """
    inner = re.fullmatch(r"\s*choice\((.*)\)\s*", text)
    pieces = (inner[1] if inner else text).split(",")
    out: list[str] = []
    for value in found:
        piece = None
        while pieces and (piece is None or _read(key, piece) != value):
            piece = pieces.pop(0) if piece is None else f"{piece},{pieces.pop(0)}"
        if piece is None or _read(key, piece) != value:
            return None
        out.append(piece.strip())
    return None if pieces else out


def _read(key: str, text: str) -> str | None:
    """A value, as Hydra would write it."""
    try:
        found = parse(f"{key}={text}")
    except ValueError:
        return None
    return None if found.is_sweep_override() else found.get_value_element_as_str()


def safe(text: str) -> str:
    """The name of a folder: the text itself if it is one.

    Of another, whatever is no letter, digit or one of `._+=,-` becomes a hyphen, what is beyond LONGEST characters is
    left out, and behind a `~`, which no text has that is a name itself, stand DIGITS digits of the text's sha256.
    """
    plain = re.sub(f"[^{PLAIN}]+", "-", text)
    if plain == text and len(text) <= LONGEST:
        return text
    return f"{plain[: LONGEST - 1 - DIGITS]}~{digest(text)}"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def quoted(key: str, text: str) -> str:
    """An override whose value is this text, whatever it looks like."""
    return f"{key}={QuotedString(text, Quote.single).with_quotes()}"

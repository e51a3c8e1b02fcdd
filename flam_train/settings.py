"""Dataclasses from plain data, with errors that name the key and the nearest valid ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def nearest(given: object, known: Iterable[object]) -> str:
    """For the end of a message: the names most like `given`, or all of them when none is."""
    names = [str(k) for k in known]
    same = [name for name in names if name.casefold() == str(given).casefold()]
    close = same or difflib.get_close_matches(str(given), names, 3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(names[:20])}" + (" ..." if len(names) > 20 else "")


def one_of(where: str, value: Any, choices: Iterable[Any]) -> Any:
    """`value`, or a ValueError that names `where` it stands and the nearest choices."""
    known = list(choices)
    if value not in known:
        raise ValueError(f"{where}: {value!r} is not known: {nearest(value, known)}")
    return value


def from_plain(cls: type[T], where: str, raw: dict[str, Any]) -> T:
    """The dataclass `cls` from a dict; lists become tuples where the field is one.

    Raises ValueError that begins with `where` for a key that is unknown or missing, or a number that is none.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: needs one `key: value` a line, got {raw!r}")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    values = {}
    for key, value in raw.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}: {nearest(key, known)}")
        kind = str(known[key].type)
        if kind.startswith("tuple") and isinstance(value, list):
            value = tuple(value)
        values[key] = number(f"{where}.{key}", value, kind)
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}: {name!r} is missing: write it down")
    return cls(**values)


def number(where: str, value: Any, kind: str) -> Any:
    """`value` in the type that `kind` names ("int", "float", either with " | None"); other kinds are left as they are.

    YAML reads 1e-4 as text and 10 as int. Raises ValueError that begins with `where`.
    """
    bare = kind.removesuffix(" | None")
    if bare not in ("int", "float") or (value is None and bare != kind):
        if bare == "bool" and not isinstance(value, bool):
            raise ValueError(f"{where}: {value!r} is neither true nor false")
        return value
    try:
        found = float(value)
        if isinstance(value, bool) or (bare == "int" and found != int(found)):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {value!r} is not {'a whole number' if bare == 'int' else 'a number'}") from None
    return int(found) if bare == "int" else found

"""Settings: dataclasses whose fields say type, range and meaning, and plain data read into them.

Errors name the key and the nearest valid ones.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

MOST_STEPS = 10**9
"""Of a run: with any batch, the position in a stream stays a number of 64 bits."""

SETTING = "setting"
"""The key of a field's `Setting` among its metadata."""

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Setting:
    """What a field says of itself.

    says      one sentence (or a few) for people
    least, above, most, below   of a number, of each of several, and of each value of a dict
    choices   of text, of each of several, and of the keys of a dict
    """

    says: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] | None = None

    def check(self, where: str, value: Any) -> None:
        """Raises ValueError that begins with `where`."""
        if isinstance(value, Mapping):
            for key, one in value.items():
                if self.choices is not None:
                    one_of(where, key, self.choices)
                self._check_number(f"{where}.{key}", one)
        elif isinstance(value, (tuple, list)):
            for one in value:
                self.check(where, one)
        elif isinstance(value, str):
            if self.choices is not None:
                one_of(where, value, self.choices)
        else:
            self._check_number(where, value)

    def _check_number(self, where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return
        said = [
            (self.least is not None and not value >= self.least, f"at least {self.least}"),
            (self.above is not None and not value > self.above, f"above {self.above}"),
            (self.most is not None and not value <= self.most, f"at most {self.most}"),
            (self.below is not None and not value < self.below, f"below {self.below}"),
        ]
        bounds = [one is not None for one in (self.least, self.above, self.most, self.below)]
        if any(wrong for wrong, _ in said):
            must = " and ".join(text for (_, text), bound in zip(said, bounds, strict=True) if bound)
            raise ValueError(f"{where}: {value:g} must be {must}")


def setting(
    default: Any,
    says: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: Iterable[Any] | None = None,
) -> Any:
    """A field of a dataclass; arguments as in `Setting`. default: MISSING where one must be given."""
    about = Setting(says, least, above, most, below, None if choices is None else tuple(choices))
    if isinstance(default, (dict, list)):
        return field(default_factory=default.copy, metadata={SETTING: about})
    return field(default=default, metadata={SETTING: about})


def settle(config: Any, where: str) -> None:
    """For the `__post_init__` of a dataclass: every field in its type (`typed`) and range, or a ValueError that begins
    with `where` and the field's name."""
    kinds = _kinds(type(config))  # type: ignore[arg-type]
    for f in fields(config):
        key = f"{where}.{f.name}" if where else f.name
        about = f.metadata.get(SETTING, Setting())
        object.__setattr__(config, f.name, _checked(key, getattr(config, f.name), kinds[f.name], about))


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


@contextmanager
def named(where: str) -> Iterator[None]:
    """Puts `where` a mistake stands at the head of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def from_plain(cls: type[T], where: str, raw: dict[str, Any]) -> T:
    """The dataclass `cls` from a dict, each value in its field's type (`typed`).

    Raises ValueError that begins with `where` for a key that is unknown or missing, and for a value of another type or
    out of its range. where: empty for what stands at the top.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: {raw!r} needs `key: value`, as {{a: 1, b: 2}}".removeprefix(": "))
    known, kinds = {f.name: f for f in fields(cls)}, _kinds(cls)  # type: ignore[arg-type]
    values = {}
    for key, value in raw.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}: {nearest(key, known)}".removeprefix(": "))
        name = f"{where}.{key}" if where else key
        values[key] = _checked(name, value, kinds[key], known[key].metadata.get(SETTING, Setting()))
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}: {name!r} is missing: write it down".removeprefix(": "))
    return cls(**values)


@cache
def _kinds(cls: type) -> dict[str, Any]:
    """The type of each field."""
    return get_type_hints(cls)


def _checked(where: str, value: Any, kind: Any, about: Setting) -> Any:
    """`value` in its type and range."""
    texts = kind is str or set(get_args(kind)) == {str, NoneType}
    if texts and about.choices is not None and isinstance(value, (int, float)):
        one_of(where, value, about.choices)  # quotes would not help
    found = typed(where, value, kind)
    about.check(where, found)
    return found


def typed(where: str, value: Any, kind: Any) -> Any:
    """`value` as a `kind`: int, float, bool, str, a tuple or dict of them, one of several, a dataclass that it is
    already or is read into (`from_plain`), or Any.

    YAML reads 1e-4 as text and 10 as int, both of which are a float here; a list of one may be given as that one alone.
    Raises ValueError that begins with `where`.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return _one_of_kinds(where, value, inner)
    if origin is tuple:
        return _tuple(where, value, inner)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {value!r} needs `key: value`, as {{a: 1, b: 2}}")
        return {typed(f"{where}: a key", k, inner[0]): typed(f"{where}.{k}", v, inner[1]) for k, v in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return value if isinstance(value, kind) else from_plain(kind, where, value)
    if kind is NoneType and value is not None:
        raise ValueError(f"{where}: {value!r} is not null")
    if kind in (int, float):
        return number(where, value, kind)
    if kind in (bool, str) and not isinstance(value, kind):
        raise ValueError(_wrong(where, value, (kind,)))
    return value


def _one_of_kinds(where: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    """The first that it fits as it is, else the first that it can be read as."""
    if value is None and NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    if len(kinds) == 1:
        return typed(where, value, kinds[0])
    exact = [kind for kind in kinds if isinstance(kind, type) and type(value) is kind]
    for kind in (*exact, *kinds):
        try:
            return typed(where, value, kind)
        except ValueError:
            continue
    raise ValueError(_wrong(where, value, kinds))


def _tuple(where: str, value: Any, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    many = len(inner) == 2 and inner[1] is Ellipsis
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if many:
        return tuple(typed(where, one, inner[0]) for one in values)
    if len(values) != len(inner):
        raise ValueError(f"{where}: {value!r} must be a list of {len(inner)}")
    return tuple(typed(where, one, kind) for one, kind in zip(values, inner, strict=True))


def _wrong(where: str, value: Any, kinds: tuple[Any, ...]) -> str:
    if float in kinds:
        kinds = tuple(kind for kind in kinds if kind is not int)  # both are a number
    wanted = " or ".join(KINDS.get(kind) or f"a list of {KINDS.get(get_args(kind)[0], 'values')}" for kind in kinds)
    quote = ": put it in quotes" if kinds == (str,) and isinstance(value, (int, float)) else ""
    return f"{where}: {value!r} is not {wanted}{quote}"


def number(where: str, value: Any, kind: type[int] | type[float]) -> Any:
    """`value` as an int or a float, which numbers in text are, too. Raises ValueError that begins with `where`, also
    for what is infinite or no number: no setting means anything by it."""
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
        if not math.isfinite(found) or (kind is int and found != int(found)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(_wrong(where, value, (kind,))) from None
    return int(found) if kind is int else found

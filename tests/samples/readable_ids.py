"""Names of parametrised tests: short, printable and the same in every process. conftest.py has its hook from here.

pytest alone writes bytes out whole, such as a WAV file with the date of its making.
"""

from __future__ import annotations

LONGEST = 28
"""Characters of one parameter."""


def pytest_make_parametrize_id(val, argname):
    text = readable(val)
    if text is None:
        return argname  # numbered where several are alike
    printable = "".join(c if c.isascii() and c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:LONGEST].strip() or ascii(text).strip("'") or argname


def readable(val) -> str | None:
    """What a value says in a word or two, if it says anything."""
    if isinstance(val, dict):
        parts = [(readable(key), readable(x)) for key, x in val.items()]
        return None if None in sum(parts, ()) else " ".join(f"{key}={x}" for key, x in parts)
    if isinstance(val, (list, tuple)):
        parts = [readable(x) for x in val]
        return None if None in parts else " ".join(parts)
    if isinstance(val, bytes):
        return val.decode("ascii", "replace") if b"\0" not in val else None
    if isinstance(val, (str, int, float, type(None))):
        return str(val)
    name = getattr(val, "__name__", "<")
    return None if "<" in name else name  # <lambda>

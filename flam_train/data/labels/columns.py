"""Which column of a table has which role: told by --columns, by the header's names, and by what the cells hold.

Where two columns fit and say different things, nobody guesses: the error names both, and the line for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flam_train.data.labels.rows import ABOUT, Wanted, fault, is_number, is_time, seconds

ROLES = {
    "filename": (
        "filename file_name fname file audio_file audio_filename audiofilename recording begin_file in_file sound_file "
        "wav_file filepath file_path",
        "audio path wav clip",
    ),
    "onset": ("onset start start_time starttime begin begin_time t_start time_start tmin event_onset from", "time"),
    "offset": ("offset end end_time endtime stop stop_time t_end time_end tmax event_offset to", ""),
    "duration": ("duration length event_duration", ""),
    "label": (
        "event_label label phrase class event category annotation species sound class_label class_name common_name "
        "event_class",
        "tag text name type",
    ),
    "channel": ("", ""),
    "id": ("id recording_id xc_id catalogue_number", ""),
    "author": ("author recordist user username", ""),
    "licence": ("licence license", "rights"),
    "source": ("source url", ""),
}
"""What columns may be called, best first, and what they are called if none of these is there; case, spaces and a unit
of time do not matter. A channel is only what --columns calls one."""

EVENTS = ("filename", "onset", "offset", "duration", "label", "channel")

UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0} | dict.fromkeys(
    ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 0.001
)
_UNIT = re.compile(rf"\s*[\[(]\s*({'|'.join(UNITS)})\s*[\])]$|[_ ]({'|'.join(UNITS)})$")

ROUNDED = 0.0051
"""Seconds by which an offset may differ from onset and duration: tables round to a hundredth."""


class Column(NamedTuple):
    """at: from 0; scale: seconds of one unit of its numbers."""

    at: int
    name: str
    scale: float = 1.0

    def cell(self, cells: Sequence[str]) -> str:
        return cells[self.at] if self.at < len(cells) else ""


def plain(name: str) -> str:
    """A header's name without case, spaces and a unit of time."""
    return re.sub(r"[\s-]+", "_", _UNIT.sub("", name.strip().casefold()))


def scale_of(name: str, wanted: Wanted) -> float:
    """Seconds of a column's unit: as its name says, else as --unit does."""
    unit = _UNIT.search(name.strip().casefold())
    return UNITS[unit[1] or unit[2] if unit else wanted.unit]


def names_times(header: Sequence[str], wanted: Wanted) -> bool:
    """Whether a row can be the header of a table of events."""
    names = {plain(h) for h in header}
    given = {role for role, name in wanted.columns.items() if any(name.strip() == h.strip() for h in header)}
    there = {role for role in ("onset", "offset", "duration") if role in given or names & _known(role)}
    return "onset" in there and bool(there & {"offset", "duration"})


def first_of(role: str, header: Sequence[str]) -> int | None:
    """The column that bears the best of a role's names."""
    names = [plain(h) for h in header]
    return next((names.index(known) for usual in ROLES[role] for known in usual.split() if known in names), None)


def _known(role: str) -> set[str]:
    return {name for names in ROLES[role] for name in names.split()}


def line(wanted: Wanted, **more: str) -> str:
    """`--columns ...` with what was given and more."""
    return "--columns " + ",".join(f"{role}={name}" for role, name in {**wanted.columns, **more}.items())


def assign(
    header: Sequence[str], body: Sequence[Sequence[str]], wanted: Wanted, file: str, row: int, unit: str = "row"
) -> dict[str, Column]:
    """Role -> column, of the roles that the table has. `body` are its rows' cells, `row` the header's number.

    ValueError for a column of --columns that is not there, two columns for a role that say different things, and times
    that cannot be told; a label or filename may lack.
    """
    found: dict[str, int] = {}
    for role, name in wanted.columns.items():
        fits = [k for k, h in enumerate(header) if h.strip() == name.strip()]
        if len(fits) != 1:
            what = f"{len(fits)} columns are called" if fits else "no column"
            fix = "rename one" if fits else "mend --columns"
            raise fault(file, f"{what} {name[:40]!r} for {role}; there are {_listed(header)}: {fix}", row, unit)
        found[role] = fits[0]
    taken = set(found.values())
    names = [plain(h) for h in header]
    for role, usual in ROLES.items():
        if role in found or (role in ("offset", "duration") and {"offset", "duration"} & set(wanted.columns)):
            continue
        for known in usual:
            # In the order of the known names; a column has one role.
            fits = [k for name in known.split() for k, own in enumerate(names) if own == name and k not in taken]
            fits = _suited(role, fits, body)
            if len(fits) > 1 and role not in ABOUT:
                fits = [_one_of(role, fits, header, body, wanted, file, row, unit)]
            if fits:
                found[role] = fits[0]
                taken.add(fits[0])
                break
    if "onset" not in found or not {"offset", "duration"} & set(found):
        what = "onset" if "onset" not in found else "offset or duration"
        fix = f"name it with --columns {what.split()[0]}=NAME"
        raise fault(file, f"no column is an {what}; there are {_listed(header)}: {fix}", row, unit)
    columns = {role: Column(k, header[k].strip(), scale_of(header[k], wanted)) for role, k in found.items()}
    if {"offset", "duration"} <= set(columns) and not {"offset", "duration"} <= set(wanted.columns):
        if not all(_same_end(cells, columns) for cells in body):
            raise fault(
                file,
                f"{columns['offset'].name!r} is not {columns['onset'].name!r} plus {columns['duration'].name!r}: say "
                f"{line(wanted, offset=columns['offset'].name)} or {line(wanted, duration=columns['duration'].name)}",
                row,
                unit,
            )
        del columns["duration"]
    return {role: columns[role] for role in ROLES if role in columns}


def _suited(role: str, fits: list[int], body: Sequence[Sequence[str]]) -> list[int]:
    """Of several columns with a fitting name those whose cells fit too: times that are times, and names and labels that
    are not the numbers of rows or classes. All of them, if none does."""
    tests: dict[str, Callable[[str], bool]] = {
        **dict.fromkeys(("onset", "offset", "duration"), lambda cell: is_time(cell, comma=True)),
        **dict.fromkeys(("filename", "label"), lambda cell: not is_number(cell, comma=True)),
    }
    if len(fits) < 2 and role not in tests:
        return fits

    def suits(k: int) -> bool:
        cells = [c[k] for c in body if k < len(c) and c[k].strip()]
        return bool(cells) and any(tests.get(role, bool)(cell) for cell in cells)

    return [k for k in fits if suits(k)] or fits


def _one_of(
    role: str,
    fits: list[int],
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    wanted: Wanted,
    file: str,
    row: int,
    unit: str,
) -> int:
    """The one to read of columns that say the same; of file names the one with the most folders. Else a ValueError."""
    first = fits[0]
    for other in fits[1:]:
        if not all(_alike(role, cells, first, other, header, wanted) for cells in body):
            a, b = header[first].strip(), header[other].strip()
            if a == b:
                raise fault(file, f"two columns are called {a!r} and differ: rename one", row, unit)
            raise fault(
                file,
                f"{a[:40]!r} and {b[:40]!r} may both be the {role}: say {line(wanted, **{role: a})} or "
                f"{line(wanted, **{role: b})}",
                row,
                unit,
            )
    if role == "filename":
        return max(fits, key=lambda k: sum(len(c[k]) for c in body if k < len(c)))
    return first


def _alike(role: str, cells: Sequence[str], a: int, b: int, header: Sequence[str], wanted: Wanted) -> bool:
    one, other = (cells[k].strip() if k < len(cells) else "" for k in (a, b))
    if role == "filename":
        one, other = (name.replace("\\", "/").rsplit("/", 1)[-1] for name in (one, other))
    if role in ("onset", "offset", "duration") and is_time(one, True) and is_time(other, True):
        times = [
            seconds(c, "", 0, "", comma=True, scale=scale_of(header[k], wanted)) for c, k in ((one, a), (other, b))
        ]
        return abs(times[0] - times[1]) < 1e-3
    return one.casefold() == other.casefold()


def _same_end(cells: Sequence[str], columns: dict[str, Column]) -> bool:
    texts = [columns[role].cell(cells) for role in ("onset", "offset", "duration")]
    if not all(is_time(text, comma=True) for text in texts):
        return True  # a row without an event, or one whose fault is told when it is read
    onset, offset, duration = (
        seconds(text, "", 0, "", comma=True, scale=columns[role].scale)
        for text, role in zip(texts, ("onset", "offset", "duration"), strict=True)
    )
    return abs(onset + duration - offset) < ROUNDED


def _listed(header: Sequence[str]) -> str:
    return ", ".join(repr(h[:40]) for h in header[:12])

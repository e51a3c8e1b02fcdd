"""Which column of a table has which role: told by --columns, by the header's names, and by what the cells hold.

Where two columns fit and say different things, nobody guesses: the error names both, and the line for each.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flam_train.data.labels.rows import ABOUT, About, Wanted, fault, is_number, is_time, listed, seconds
from flam_train.data.preparation.splits import SIGN

ROLES = {
    "filename": (
        "filename file_name fname file audio_file audio_filename audiofilename recording begin_file in_file sound_file "
        "wav_file filepath file_path sound_files begin_path audio_path recording_name",
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
    "tags": ("", ""),
    "channel": ("", ""),
    "heard": ("", ""),
    "folder": ("folder dir directory subfolder subdir folder_name", ""),
    "id": ("id recording_id xc_id catalogue_number", ""),
    "author": ("author recordist user username", ""),
    "licence": ("licence license", "rights"),
    "source": ("source url", ""),
}
"""What columns may be called, best first, and what they are called if none of these is there, as `plain` writes it. A
channel is only what --columns calls one, and a folder only that of file names that nobody chose; `labels.tags` looks
for columns of tags, and `labels.answers` for what a person has judged."""

EVENTS = ("filename", "onset", "offset", "duration", "label", "channel", "folder")

UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0} | dict.fromkeys(
    ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 0.001
)
_WORD = re.compile(r"[^\W_]+")
ROUNDED = 0.0051
"""Seconds by which an offset may differ from onset and duration: tables round to a hundredth."""


class Column(NamedTuple):
    """at: from 0; scale: seconds of one unit of its numbers."""

    at: int
    name: str
    scale: float = 1.0

    def cell(self, cells: Sequence[Any]) -> Any:
        return cells[self.at] if self.at < len(cells) else ""


def _words(name: str) -> tuple[list[str], str]:
    """The words of a header's name, and its unit of time, which is none of them: `Start (s)`, `onset_ms`. What stands
    behind the seconds of a clock are their decimals: `ss.msec`, `hh:mm:ss.ms`."""
    words = _WORD.findall(name.casefold())
    if "ss" in words[1:]:
        clock = words.index("ss", 1)
        while clock > 1 and words[clock - 1] in ("hh", "mm"):
            clock -= 1
        return words[:clock], "s"
    return (words[:-1], words[-1]) if len(words) > 1 and words[-1] in UNITS else (words, "")


def plain(name: str) -> str:
    """A header's name without case, signs and a unit of time: `AUTO ID*`, `AUTO.ID.` and `auto_id` are one."""
    return "_".join(_words(name)[0])


def scale_of(name: str, wanted: Wanted) -> float:
    """Seconds of a column's unit: as its name says, else as --unit does."""
    return UNITS[_words(name)[1] or wanted.unit]


def names_times(header: Sequence[str], wanted: Wanted) -> bool:
    """Whether a row can be the header of a table of events."""
    names = {plain(h) for h in header}
    given = {role for role, name in wanted.columns.items() if any(name.strip() == h.strip() for h in header)}
    there = {role for role in ("onset", "offset", "duration") if role in given or names & _known(role)}
    return "onset" in there and bool(there & {"offset", "duration"})


def first_of(role: str, header: Sequence[str], taken: Collection[int] = ()) -> int | None:
    """The column that bears the best of a role's names, none of those that are taken."""
    names = ["" if k in taken else plain(h) for k, h in enumerate(header)]
    return next((names.index(known) for usual in ROLES[role] for known in usual.split() if known in names), None)


def about_columns(header: Sequence[str], wanted: Wanted, taken: Collection[int] = ()) -> dict[str, Column]:
    """The columns of `ABOUT`, as --columns or their names say, where the others have roles of their own."""
    names = [h.strip() for h in header]
    at = {}
    for field in ABOUT:
        own = wanted.columns.get(field)
        k = names.index(own) if own in names else first_of(field, header, taken)
        if k is not None:
            at[field] = Column(k, names[k])
    return at


def kept(header: Sequence[str], wanted: Wanted) -> int | None:
    """The column that is asked for with `Wanted.keep`: called so, or so but for case, signs and spaces. A regular
    expression is only the name of what is called so."""
    name = (wanted.keep or "").strip()
    if not name:
        return None
    same = (k for k, h in enumerate(header) if h.strip() == name)
    loose = (k for k, h in enumerate(header) if plain(h) == plain(name) and not SIGN.search(name))
    return next(same, next(loose, None))


def said(
    at: Mapping[str, Column],
    header: Sequence[str],
    rows: Iterable[tuple[int, Sequence[Any]]],
    of: Mapping[int, str | None],
    wanted: Wanted,
) -> list[About]:
    """What rows, each with its number, say of their recordings, once each: in the columns of `ABOUT` among `at`, and in
    the one that is asked for, under its name. `of`: row -> recording; rows that are not in it are passed over."""
    columns = {field: at[field].at for field in ABOUT if field in at}
    own = kept(header, wanted)
    if own is not None and wanted.keep is not None:
        columns[wanted.keep] = own
    out: dict[tuple[str | None, str, str], About] = {}
    for n, cells in rows:
        for field, k in columns.items() if n in of else ():
            text = " ".join(str(cells[k]).split()) if k < len(cells) else ""
            if text:
                out.setdefault((of[n], field, text), About(of[n], field, text, n))
    return list(out.values())


def named(at: Mapping[str, Column], header: Sequence[str], wanted: Wanted) -> dict[str, str]:
    """{role: the column's name}, for the report, with the one that is asked for."""
    names = {role: column.name for role, column in at.items()}
    own = kept(header, wanted)
    if own is not None and wanted.keep is not None:
        names.setdefault(wanted.keep, header[own].strip())
    return names


def times(
    cells: Sequence[Any], at: Mapping[str, Column], file: str, row: int, unit: str = "row", comma: bool = False
) -> tuple[float, float]:
    """Onset and offset in seconds, which are the same where there is neither an offset nor a duration."""
    found = {
        role: seconds(at[role].cell(cells), file, row, at[role].name, unit, comma, at[role].scale)
        for role in ("onset", "offset", "duration")
        if role in at
    }
    return found["onset"], found.get("offset", found["onset"] + found.get("duration", 0.0))


def _known(role: str) -> set[str]:
    return {name for names in ROLES[role] for name in names.split()}


def line(wanted: Wanted, **more: str) -> str:
    """`--columns ...` with what was given and more."""
    given = ",".join(f"{role}={name}" for role, name in {**wanted.columns, **more}.items())
    return f"--columns {shlex.quote(given)}"


def assign(
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    wanted: Wanted,
    file: str,
    row: int,
    unit: str = "row",
    roles: Mapping[str, tuple[str, ...]] = ROLES,
    instants: bool = False,
    timed: bool = True,
) -> dict[str, Column]:
    """Role -> column, of the roles that the table has. `body` are its rows' cells, `row` the header's number; `roles`:
    what the columns are called that are looked for, as in `ROLES`; `instants`: whether events may have no length;
    `timed`: whether there must be times.

    ValueError for a column of --columns that is not there, two columns for a role that say different things, and times
    that cannot be told; a label or filename may lack.
    """
    found: dict[str, int] = {}
    for role, name in wanted.columns.items():
        fits = [k for k, h in enumerate(header) if h.strip() == name.strip()]
        if len(fits) != 1:
            what = f"{len(fits)} columns are called" if fits else "no column"
            fix = "rename one" if fits else "mend --columns"
            raise fault(file, f"{what} {name[:40]!r} for {role}; there are {listed(header)}: {fix}", row, unit)
        found[role] = fits[0]
    taken = set(found.values())
    names = [plain(h) for h in header]
    for role, usual in roles.items():
        if role == "folder" and ("filename" not in found or "filename" in wanted.columns):
            continue
        if role in found or (role in ("offset", "duration") and {"offset", "duration"} & set(wanted.columns)):
            continue
        for known in usual:
            # In the order of the known names; a column has one role.
            fits = _named(known, names, taken)
            fits = _suited(role, fits, body)
            if len(fits) > 1 and role not in ABOUT:
                fits = [_one_of(role, fits, header, body, wanted, file, row, unit)]
            if fits and role == "filename":  # another may say the same, and the folder too
                alike = [
                    k for k in _named(ROLES[role][1], names, taken) if _agree(role, body, fits[0], k, header, wanted)
                ]
                fits = [_longest([fits[0], *alike], body)]
            if fits:
                found[role] = fits[0]
                taken.add(fits[0])
                break
    if timed and ("onset" not in found or not (instants or {"offset", "duration"} & set(found))):
        what = "onset" if "onset" not in found else "offset or duration"
        fix = f"name it with --columns {what.split()[0]}=NAME"
        raise fault(file, f"no column is an {what}; there are {listed(header)}: {fix}", row, unit)
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


def _named(known: str, names: Sequence[str], taken: Collection[int]) -> list[int]:
    """The columns that are called so, in the order of the known names."""
    return [k for name in known.split() for k, own in enumerate(names) if own == name and k not in taken]


def _longest(fits: Sequence[int], body: Sequence[Sequence[str]]) -> int:
    return max(fits, key=lambda k: sum(len(cells[k]) for cells in body if k < len(cells)))


def _agree(role: str, body: Sequence[Sequence[str]], a: int, b: int, header: Sequence[str], wanted: Wanted) -> bool:
    return all(_alike(role, cells, a, b, header, wanted) for cells in body)


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
        if not _agree(role, body, first, other, header, wanted):
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
        return _longest(fits, body)
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

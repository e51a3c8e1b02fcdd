"""Which split each recording of one's own goes to, drawn by a hash.

Neighbours sound alike: what one night, site, recorder or animal gave must not stand on both sides of a test. So whole
groups are drawn; without groups each recording is one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

ENOUGH = 50
"""Recordings to train on, from which on some of them validate unless that is unwanted."""

SHARE = 0.1
"""Of them."""

FOLDER = "folder"
"""Groups by this word are the folders of the recordings."""

SIGN = re.compile(r"[\\.^$*+?{}\[\]|()]")
"""A sign of a regular expression."""

LISTED = 20
"""Phrases or columns that a message names."""


def draw(groups: Mapping[str, str], test_share: float, validation_share: float | None, seed: int) -> dict[str, str]:
    """Recording -> split, from recording -> group. A group stays where it is as others come, and whether something
    validates does not change what tests.

    test_share        of all groups, from 0 to 1. With two groups or more neither split is empty unless it is 0 or 1
    validation_share  of the groups that do not test, from 0 to below 1, in the same way; None: SHARE of them where
                      these groups have ENOUGH recordings, else 0
    Raises ValueError for fewer groups than such splits need.
    """
    units = set(groups.values())
    grouped = len(units) < len(groups)
    if grouped and 0 < test_share < 1 and len(units) < 2:
        raise ValueError(
            f"all {len(groups)} recordings are one group, {min(units)!r}: it cannot be trained and tested on: group "
            "them more finely with --group, or say --test-share 0"
        )
    test = _drawn(units, test_share, str(seed))
    rest = units - test
    if validation_share is None:
        enough = sum(group in rest for group in groups.values()) >= ENOUGH and len(rest) > 1
        validation_share = SHARE if enough else 0.0
    if validation_share > 0 and rest and len(rest) < 2:
        raise ValueError(
            f"1 of {len(units)} {'groups' if grouped else 'recordings'} is not for testing, it cannot both train and "
            "validate: say --validation-share 0, lower --test-share, or group more finely with --group"
        )
    validation = _drawn(rest, validation_share, f"{seed}/validation")
    split_of = {u: "test" if u in test else "validation" if u in validation else "train" for u in units}
    return {name: split_of[group] for name, group in groups.items()}


def _drawn(units: Iterable[str], share: float, salt: str) -> set[str]:
    """About so large a share of the units, each by its own hash."""
    place = {u: int.from_bytes(hashlib.blake2b(f"{salt}/{u}".encode(), digest_size=8).digest()) / 2**64 for u in units}
    out = {u for u in place if place[u] < share}
    if 0 < share < 1 and len(place) > 1:
        out = out or {min(place, key=lambda u: place[u])}
        if len(out) == len(place):
            out.remove(max(place, key=lambda u: place[u]))
    return out


def group_in(texts: Sequence[str], expression: str) -> str:
    """What the first parenthesis of a regular expression holds, or all it matches, in the first of the texts in which
    it is found; "" if in none. Raises ValueError for what is no expression."""
    try:
        pattern = re.compile(expression)  # Python remembers it
    except re.error as error:
        raise ValueError(f"--group {expression}: no regular expression ({error}): mend it") from error
    match = next(filter(None, map(pattern.search, texts)), None)
    return (match[1 if pattern.groups else 0] or "") if match else ""


def grouped(names: Sequence[str], by: str, column: Mapping[str, str], there: Collection[str]) -> dict[str, str]:
    """Recording -> group.

    names   paths below the folder of recordings
    by      `folder`: each folder is a group; a column of the label tables: each value is one; else a regular expression
            that is sought in the path: what its first parenthesis holds, or all it matches
    column  recording -> value in the column of that name
    there   names of the columns of the label tables
    Raises ValueError that names the first recording without a group.
    """
    if by == FOLDER:
        return {name: PurePosixPath(name).parent.as_posix() for name in names}
    columns = (
        f"column of the label tables (they have {', '.join(sorted(there)[:LISTED])})"
        if there
        else "column of a label table"
    )
    if column or by.casefold() in {head.casefold() for head in there}:
        found = {name: column.get(name, "").strip() for name in names}
        fix = f"has no {by}: fill in this column of the label table, in a new row if it has none"
    elif not SIGN.search(by):
        raise ValueError(
            f"--group {by}: no such {columns}: name one, say {FOLDER}, or give a regular expression "
            r"with a parenthesis around what tells groups apart, like '^([^_]+)_'"
        )
    else:
        found = {name: group_in((name,), by) for name in names}
        fix = f"has no group, --group {by!r} finds nothing in it, and is no {columns}: mend the expression"
    without = [name for name in names if not found[name]]
    if without:
        raise ValueError(f"{without[0]}{_more(len(without) - 1)}: {fix}")
    return found


def _more(others: int) -> str:
    return f" (and {others} more)" if others else ""


def lacking(events: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Warnings about phrases that a split lacks, from split -> phrase -> events: first of those that are measured and
    never trained on, then of those that are trained on and not measured."""
    if "train" not in events:
        return []
    train, others = set(events["train"]), [split for split in ("test", "validation") if split in events]
    out = [_warning(f"{s} has phrases that are never trained on", set(events[s]) - train) for s in others]
    out += [_warning(f"{s} has no event of phrases that are trained on", train - set(events[s])) for s in others]
    return [line for line in out if line]


def _warning(what: str, phrases: set[str]) -> str:
    named = ", ".join(map(repr, sorted(phrases)[:LISTED])) + (" ..." if len(phrases) > LISTED else "")
    return f"warning: {what}: {len(phrases)} ({named})" if phrases else ""

"""Whose recordings a corpus is made of, and under which licences: for its manifest, and from there for whoever uses a
model that learned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flam_train.data.preparation.recordings import Recording

MOST = 1000
"""Of the names of each kind that a manifest holds, those of the most recordings; how many others there are is said."""

KINDS = ("licences", "authors")


def credits(recordings: Iterable[Recording]) -> dict[str, Any]:
    """What `counted` gives of recordings."""
    return counted((r.licence, str(r.details.get("author", ""))) for r in recordings)


def counted(whose: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """{"licences": {licence: recordings}, "authors": {author: recordings}}, each only if there is one, from the licence
    and the author of each recording, "" where it is not known."""
    licences: Counter[str] = Counter()
    authors: Counter[str] = Counter()
    for licence, author in whose:
        licences[licence] += 1
        authors[author] += 1
    return _named({"licences": licences, "authors": authors})


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The credits of a corpus from the details of its parts."""
    sums: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for part in parts:
        for kind in KINDS:
            sums[kind].update(part.get(kind, {}))
    return _named(sums)


def _named(counts: Mapping[str, Counter[str]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for kind, counter in counts.items():
        named = {name: n for name, n in sorted(counter.items(), key=lambda item: (-item[1], item[0])) if name}
        if named:
            out[kind] = dict(list(named.items())[:MOST])
        if len(named) > MOST:
            out[f"more_{kind}"] = len(named) - MOST
    return out

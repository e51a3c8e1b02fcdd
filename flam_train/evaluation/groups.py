"""Where recordings of a set come from, which are alike, so that a bootstrap draws them together.

Shape suffix: N recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from flam_train.data.preparation.splits import SIGN, group_in
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.evaluation import parts

SOURCE = "source"
NAMED = 10
"""Details that a message names."""

SHORT = 200
"""Characters of a detail that is kept, at most."""


class Kept(Protocol):
    """What is kept of a set: keys, sources and details of N recordings, as their `Record` has them, details without
    what is long. Sources and details are empty where they were kept before these were."""

    @property
    def keys(self) -> list[str]: ...
    @property
    def sources(self) -> list[str]: ...
    @property
    def details(self) -> list[dict[str, Any]]: ...
    @property
    def about(self) -> dict[str, Any]: ...


ORIGIN = ("sources", "details")


def origin_of(records: Sequence[Record]) -> dict[str, Any]:
    """The fields of ORIGIN."""
    return {
        "sources": [record.source for record in records],
        "details": [{name: x for name, x in record.details.items() if _short(name, x)} for record in records],
    }


def origin_in(corpus: Corpus, keys: Sequence[str]) -> dict[str, Any]:
    """As `origin_of`, of these clips of a corpus."""
    number_of = {corpus.key(n): n for n in range(len(corpus))}
    return origin_of([corpus.record(number_of[key]) for key in keys])


def origin_there(made: Sequence[parts.Kept]) -> tuple[str, ...]:
    """ORIGIN, or none of it: parts of before do not have it."""
    return ORIGIN if all(name in one.facts for one in made for name in ORIGIN) else ()


def _short(name: str, detail: Any) -> bool:
    """Whether a detail can tell groups apart, or says that a clip was cut from a recording."""
    return name == "cut_from" or (isinstance(detail, str | int | float) and len(str(detail)) <= SHORT)


def units_of(kept: Kept, group: str | None = None) -> tuple[np.ndarray, str]:
    """(unit_N int64 from 0, what a unit is, in words).

    group  None: clips cut from one recording, which have `cut_from` among their details and one source, are one unit,
           any other clip is one; in what was kept before sources were, each clip. `source`; or a detail of the clips
           (site, ...): those with the same value are one unit. Else a regular expression that is sought in the clip's
           source, or in its key where it is not in that: what its first parenthesis holds, or all it matches

    Raises ValueError that names the set, the first clip without a group and the fix.
    """
    if group is None:
        cut = ["cut_from" in details for details in kept.details] or [False] * len(kept.keys)
        sources = kept.sources or kept.keys
        names = [f"/{s}" if c and s else k for k, s, c in zip(kept.keys, sources, cut, strict=True)]
        what = "recordings" if any(cut) else "clips"
    else:
        names, what = _named(kept, group), f"groups by {group}"
    place = {name: n for n, name in enumerate(dict.fromkeys(names))}
    return np.array([place[name] for name in names], dtype=np.int64), what


def _named(kept: Kept, group: str) -> list[str]:
    where = f"--group {group}: {kept.about['dataset']}"
    there = sorted({name for details in kept.details for name in details} - {"cut_from"})
    if group == SOURCE or group in there:
        if not kept.sources:
            raise ValueError(
                f"{where} was kept before sources were: run the same script on the export and the shards once, "
                "which adds them, or group by a regular expression on the clips' keys"
            )
        found = kept.sources if group == SOURCE else [str(details.get(group, "")) for details in kept.details]
        fix = "group by something else"
    elif not SIGN.search(group):
        known = ", ".join([SOURCE, *there[:NAMED]]) if kept.sources else "nothing, as of before sources were kept"
        raise ValueError(
            f"{where}: no such detail (it has {known}): name one, or give a regular expression with a parenthesis "
            "around what tells groups apart, like '^([^_]+)_'"
        )
    else:
        found = [group_in(both, group) for both in zip(kept.sources or kept.keys, kept.keys, strict=True)]
        fix = "mend the expression"
    without = [key for key, name in zip(kept.keys, found, strict=True) if not name]
    if without:
        more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
        raise ValueError(f"{where}: clip {without[0]!r}{more} has no group: {fix}")
    return found

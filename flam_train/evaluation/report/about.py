"""When results were made, and by which versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flam_train import __version__
from flam_train.evaluation.result import Result


def about(results: Sequence[Result], now: datetime) -> list[str]:
    """A line for the page, then one for each set of versions with the days of its results, the newest first.

    now: in UTC.
    """
    lines = [f"page written {now:%Y-%m-%d %H:%M} UTC by flam_train {__version__}"]
    days: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for result in sorted(results, key=lambda r: r.date, reverse=True):
        days.setdefault(tuple(result.versions.items()), []).append(result.date[:10])
    for versions, found in days.items():
        first, last = found[-1], found[0]
        when = last if first == last else f"{first} to {last}"
        count = f"{len(found)} result{'s' if len(found) != 1 else ''}"
        lines.append(f"{count} of {when}: {', '.join(f'{name} {version}' for name, version in versions)}")
    return lines

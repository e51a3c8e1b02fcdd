"""Praat's TextGrid, its long text form (fon.hum.uva.nl/praat, "TextGrid file formats"). No names of files, no scores.
Joined recordings lie end to end, as Praat's "Concatenate" puts them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from flam_train.detection.events import DECIMALS
from flam_train.detection.tables import text
from flam_train.detection.tables.recorded import Recorded, end_to_end

LEAST = 10**-DECIMALS
"""s: there are no intervals without length, so that an event without one lasts as long as this."""

NOTHING = "events"
"""What the tier is called where nothing was found: there must be one."""


class _Interval(NamedTuple):
    begin: float
    end: float
    text: str = ""


def to_textgrid(recorded: Sequence[Recorded]) -> str:
    """A tier of intervals a phrase (and channel), from the beginning to the end; events of one that overlap, which
    `events_of` does not give, are in tiers of the same name."""
    found: dict[str, list[_Interval]] = defaultdict(list)
    stop = 0.0
    for begin, one in end_to_end(recorded):
        stop = max(stop, begin + one.seconds)
        for d in one.detections:
            phrase = text.in_line(d.phrase)
            name = phrase if d.channel is None else f"{phrase} (channel {d.channel})"
            onset, offset = round(begin + d.onset, DECIMALS), round(begin + d.offset, DECIMALS)
            found[name].append(_Interval(onset, max(offset, round(onset + LEAST, DECIMALS)), phrase))
    stop = max([stop, *(i.end for intervals in found.values() for i in intervals)])
    tiers = [(name, lane) for name, intervals in found.items() for lane in _lanes(intervals)] or [(NOTHING, [])]
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_number(stop)}"]
    lines = [*head, "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for n, (name, lane) in enumerate(tiers, 1):
        intervals = _covering(lane, stop)
        lines += [f"    item [{n}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {_number(stop)}"]
        lines += [f"        intervals: size = {len(intervals)}"]
        for k, (begin, end, label) in enumerate(intervals, 1):
            lines += [f"        intervals [{k}]:", f"            xmin = {_number(begin)}"]
            lines += [f"            xmax = {_number(end)}", f"            text = {_quoted(label)}"]
    return "\n".join(lines) + "\n"


def _lanes(intervals: Sequence[_Interval]) -> list[list[_Interval]]:
    """In as many lists as are needed so that none has two at once."""
    lanes: list[list[_Interval]] = []
    for one in sorted(intervals):
        lane = next((lane for lane in lanes if lane[-1].end <= one.begin), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(one)
    return lanes


def _covering(lane: Sequence[_Interval], stop: float) -> list[_Interval]:
    """With the gaps from 0 to `stop`."""
    out, at = [], 0.0
    for one in lane:
        if _number(one.begin) != _number(at):
            out.append(_Interval(at, one.begin))
        out.append(one)
        at = one.end
    if _number(at) != _number(stop) or not out:
        out.append(_Interval(at, stop))
    return out


def _number(seconds: float) -> str:
    """To microseconds, which a recording may end between."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(label: str) -> str:
    return '"' + label.replace('"', '""') + '"'

"""MAESTRO's soft labels, `onset offset label value` (DCASE 2023 task 4B): read as the stretches in which the value is
above 0.5. A confidence stands in the same place: it is told from a soft label by the segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from flam_train.data.labels.columns import UNITS
from flam_train.data.labels.rows import Labels, Row, Wanted, event, fault, is_number, seconds, text_of
from flam_train.data.labels.tables import Cells, by_position, rows_of, separator_of

THRESHOLD = 0.5
"""A soft label counts strictly above it, as in the evaluation of DCASE 2023 task 4B."""

MOST = 1.1
"""A greater value is no soft label; a smaller one above 1 is rounding, and becomes 1."""

LONGEST = 1.0
"""Seconds of a segment of MAESTRO's. The windows of detectors like BirdNET adjoin too, and are longer."""


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Events: adjoining segments of a label, each above the threshold, are one event."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    events: list[Row] = []
    last: dict[str, int] = {}
    separator = separator_of(text, file, replace(wanted, columns={}), header=False) or ("\t" if "\t" in text else ",")
    comma = separator != ","
    rows = rows_of(text, separator, file)
    below = 0
    for n, cells in rows:
        if len(cells) != 4:
            raise fault(file, f"{len(cells)} columns, not onset, offset, label, value: mend the row", n)
        value = seconds(cells[3], file, n, "value", comma=comma)
        if not 0 <= value <= MOST:
            fix = "mend the row, or read the file with --format headerless"
            raise fault(file, f"the value {value:g} is no soft label, they go from 0 to 1: {fix}", n)
        onset, offset = (
            seconds(cells[k], file, n, name, comma=comma, scale=UNITS[wanted.unit])
            for k, name in enumerate(("onset", "offset"))
        )
        row = event(None, onset, offset, cells[2], file, n, wanted)
        if value <= THRESHOLD:
            below += 1
            continue
        k = last.get(row.label)
        if k is not None and abs(events[k].offset - row.onset) < 1e-6:
            events[k] = events[k]._replace(offset=row.offset)
        else:
            last[row.label] = len(events)
            events.append(row)
    note = f"soft labels: {below} of {len(rows)} segments are not above {THRESHOLD:g}, and no events"
    return Labels(events, notes=(note,))


def looks_soft(rows: Sequence[Cells], comma: bool) -> bool:
    """Whether rows `onset offset label value` are soft labels: values from 0 to 1, and the segments of every label
    adjoin and have one length of at most LONGEST, as those of a confidence seldom do."""
    segments: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _, cells in rows:
        if by_position(cells, comma) != {"onset": 0, "offset": 1, "label": 2, "value": 3} or not is_number(
            cells[3], comma
        ):
            return False
        onset, offset, value = (seconds(cells[k], "", 0, "", comma=comma) for k in (0, 1, 3))
        if not 0 <= value <= MOST:
            return False
        segments[cells[2].strip()].append((onset, offset))
    lengths = [offset - onset for found in segments.values() for onset, offset in found]
    adjoin = all(
        len(found) > 1 and all(abs(a[1] - b[0]) < 1e-6 for a, b in pairwise(sorted(found)))
        for found in segments.values()
    )
    return bool(lengths) and 0 < max(lengths) <= LONGEST and max(lengths) - min(lengths) < 1e-6 and adjoin

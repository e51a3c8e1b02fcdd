"""Audacity's label tracks: `start TAB end TAB text`, no header (manual.audacityteam.org, "Importing and Exporting
Labels"). The text may be missing; a point has start = end; a line that begins with a backslash holds the frequencies of
the label above it; Audacity 1.2 wrote `start TAB text`. URBAN-SED's and scaper's .txt look the same."""

from __future__ import annotations

from flam_train.data.labels.rows import (
    EVERY_ROW,
    Labels,
    Row,
    Wanted,
    event,
    fault,
    is_number,
    is_time,
    lines_of,
    seconds,
    text_of,
)
from flam_train.data.labels.tables import either, only_durations


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The labels of one track, in its order."""
    wanted = wanted or Wanted()
    scale = 0.001 if wanted.unit == "ms" else 1.0
    both = either({"onset": "1", "offset": "2", "label": "3"})
    rows: list[Row] = []
    numbers = 0
    for n, line in enumerate(lines_of(text_of(data, file, wanted.encoding)), 1):
        if not line.strip() or line.startswith("\\") or (line.startswith("#") and not rows):
            continue
        start, *rest = line.split("\t")
        if not rest:
            raise fault(file, "is not start TAB end TAB text: mend the row, or say the format with --format", n)
        onset = seconds(start, file, n, "start", comma=True, scale=scale)
        if is_time(rest[0], comma=True):
            offset, text = seconds(rest[0], file, n, "end", comma=True, scale=scale), rest[1:]
        elif len(rest) == 1:
            offset, text = onset, rest
        else:
            raise fault(file, f"end {rest[0][:40]!r} is not a number of seconds: mend the row, or remove it", n)
        if len(text) > 1 and is_number(text[-1], comma=True):  # a confidence, as BirdNET has it
            numbers += 1
            text = text[:-1]
        fix = f"swap or mend them, or say {both}"
        rows.append(event(None, onset, offset, "\t".join(text), file, n, wanted, reversed_fix=fix))
    if only_durations([(row.onset, row.offset) for row in rows]):
        raise fault(file, f"each row begins where the one before ends if the second number is a duration: say {both}")
    return Labels(rows, notes=(f"{numbers} numbers behind labels are not used: {EVERY_ROW}",) if numbers else ())

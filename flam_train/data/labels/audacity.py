"""Audacity's label tracks: `start TAB end TAB text`, no header (manual.audacityteam.org, "Importing and Exporting
Labels"). The text may be missing; a point has start = end; a line that begins with a backslash holds the frequencies of
the label above it; Audacity 1.2 wrote `start TAB text`. URBAN-SED's and scaper's .txt look the same."""

from __future__ import annotations

from flam_train.data.labels.rows import Labels, Wanted, event, fault, is_number, lines_of, seconds, text_of


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The labels of one track, in its order."""
    wanted = wanted or Wanted()
    rows = []
    for n, line in enumerate(lines_of(text_of(data, file, wanted.encoding)), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        start, *rest = line.split("\t")
        if not rest:
            raise fault(file, "is not start TAB end TAB text: mend the row, or say the format with --format", n)
        onset = seconds(start, file, n, "start", comma=True)
        if is_number(rest[0], comma=True):
            offset, text = seconds(rest[0], file, n, "end", comma=True), "\t".join(rest[1:])
        elif len(rest) == 1:
            offset, text = onset, rest[0]
        else:
            raise fault(file, f"end {rest[0][:40]!r} is not a number of seconds: mend the row, or remove it", n)
        rows.append(event(None, onset, offset, text, file, n, wanted))
    return Labels(rows)

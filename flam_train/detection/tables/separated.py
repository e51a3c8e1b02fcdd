"""Tables separated by tabs or commas."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from flam_train.detection.tables import text
from flam_train.detection.tables.recorded import Recorded, by_channel
from flam_train.detection.tables.rows import CHANNEL, DESED, SCORES, columns_of, rows_of


def to_tsv(recorded: Sequence[Recorded]) -> str:
    """As DESED's tables of strong labels."""
    channels = by_channel(recorded)
    lines = [text.tabbed(*DESED, *([CHANNEL] if channels else []))]
    for one in recorded:
        for d in one.detections:
            row = text.name(one.file), f"{d.onset:.3f}", f"{d.offset:.3f}", text.label_cell(d.phrase)
            lines.append(text.tabbed(*row, *(["" if d.channel is None else d.channel] if channels else [])))
    return "".join(lines)


def to_csv(recorded: Sequence[Recorded], excel: bool = False) -> str:
    """Commas, decimal points, quotes where needed (RFC 4180), in every locale. A file's name that a spreadsheet would
    take for a formula has ./ in front: it is the same file.

    excel: with a byte order mark, without which it takes letters for others, and with its line ends. Where the comma is
    the decimal sign, import it ("From Text/CSV") instead of opening it.
    """
    out = io.StringIO(newline="")
    columns = columns_of(recorded)
    writer = csv.writer(out, lineterminator="\r\n" if excel else "\n")
    writer.writerow(columns)
    for row in rows_of(recorded):
        row["filename"] = text.file_cell(row["filename"])
        row["event_label"] = text.label_cell(row["event_label"])
        row |= {column: f"{row[column]:.3f}" for column in ("onset", "offset")}
        row |= {c: f"{row[c]:.{text.SCORE_DECIMALS}f}" for c in SCORES if row[c] is not None}
        writer.writerow([row[column] for column in columns])
    return ("\ufeff" if excel else "") + out.getvalue()

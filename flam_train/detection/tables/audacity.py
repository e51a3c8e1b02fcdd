"""Audacity's label tracks (manual.audacityteam.org, "Importing and Exporting Labels"): no header, no names of files, no
scores. Joined recordings lie end to end, as its Tracks > Align Tracks > Align End to End puts them."""

from __future__ import annotations

from collections.abc import Sequence

from flam_train.detection.tables import text
from flam_train.detection.tables.recorded import Recorded, end_to_end


def to_audacity(recorded: Sequence[Recorded]) -> str:
    """onset TAB offset TAB phrase. Rows of which each begins where onset and offset of the one before add up may as
    well be onsets and durations: who reads them as labels is asked which."""
    return "".join(
        f"{begin + d.onset:.3f}\t{begin + d.offset:.3f}\t{text.in_line(d.phrase)}\n"
        for begin, one in end_to_end(recorded)
        for d in one.detections
    )

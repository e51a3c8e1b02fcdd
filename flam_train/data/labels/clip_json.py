"""One JSON a clip: {"captions": [...], "events": [{"onset": 0.5, "offset": 1.2, "label": "dog barking"}]}, either may
be missing. `filename` names the audio if the JSON lies elsewhere; `caption` or `text` serve as captions; an event's
times may be called as in the tables (start, end, duration). Rows are counted over the events."""

from __future__ import annotations

from typing import Any

from flam_train.data.labels.columns import assign
from flam_train.data.labels.rows import (
    ABOUT,
    About,
    Caption,
    Labels,
    Named,
    Row,
    Wanted,
    event,
    fault,
    parse_json,
    phrase,
    seconds,
)

CAPTIONS = ("captions", "caption", "text")
UNIT = "event"


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Captions and events of one clip."""
    wanted = wanted or Wanted()
    raw = parse_json(data, file, wanted)
    if not isinstance(raw, dict) or not ({"events", *CAPTIONS} & set(raw)):
        raise fault(file, "no object with `events` or `captions`: write them, or say the format with --format")
    name = next((raw[key] for key in ("filename", "file_name", "audio") if key in raw), None)
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise fault(file, "its filename is not text: write the audio's name, or leave it out")
    captions = [
        Caption(name, phrase(text, file, n, unit="caption"), n) for n, text in enumerate(_captions(raw, file), 1)
    ]
    about = [About(name, field, str(raw[field]), 0) for field in ABOUT if isinstance(raw.get(field), (str, int))]
    if "events" not in raw:
        return Labels(captions=captions, unit=UNIT, about=about)
    if not isinstance(raw["events"], list):
        raise fault(file, "`events` is no list: write a list of {onset, offset, label}")
    read = [_row(one, name, file, n, wanted) for n, one in enumerate(raw["events"], 1)]
    columns = read[0][1] if read else {}
    without = [] if read else [Named(name, 0)]
    return Labels([row for row, _ in read], without, captions, UNIT, about=about, columns=columns)


def _captions(raw: dict[str, Any], file: str) -> list[Any]:
    found: Any = next((raw[key] for key in CAPTIONS if raw.get(key)), [])
    if not isinstance(found, (str, list)):
        raise fault(file, "its captions are neither text nor a list of texts: mend them")
    return [found] if isinstance(found, str) else found


def _row(one: Any, name: str | None, file: str, n: int, wanted: Wanted) -> tuple[Row, dict[str, str]]:
    """The event, and which of its keys has which role."""
    if not isinstance(one, dict):
        raise fault(file, "is no object {onset, offset, label}: mend it", n, UNIT)
    cells = list(one.values())
    found = assign([str(key) for key in one], [[str(cell) for cell in cells]], wanted, file, n, UNIT)
    at = {role: column.at for role, column in found.items()}
    scale = {role: column.scale for role, column in found.items()}
    onset = seconds(cells[at["onset"]], file, n, "onset", UNIT, scale=scale["onset"])
    if "offset" in at:
        offset = seconds(cells[at["offset"]], file, n, "offset", UNIT, scale=scale["offset"])
    else:
        offset = onset + seconds(cells[at["duration"]], file, n, "duration", UNIT, scale=scale["duration"])
    label = cells[at["label"]] if "label" in at else ""
    return event(name, onset, offset, label, file, n, wanted, UNIT), {role: c.name for role, c in found.items()}

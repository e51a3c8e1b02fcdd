"""One JSON a clip: {"captions": [...], "events": [{"onset": 0.5, "offset": 1.2, "label": "dog barking"}],
"tags": ["rain", {"onset": 0, "offset": 5, "label": "wind"}]}, each may be missing; tags are heard somewhere in the
clip, or in their seconds. `filename` names the audio if the JSON lies elsewhere; `caption` or `text` serve as captions;
an event's times may be called as in the tables (start, end, duration), and so may what is said of the clip (id, author,
licence, source). Rows are counted over the events.

Where the JSON names no audio, its events may: {"events": [{"filename": "a.wav", "onset": ...}], "recordings":
[{"filename": "b.wav"}]}. Of the recordings that are listed so, those of no event have none."""

from __future__ import annotations

import math
from typing import Any

from flam_train.data.labels.columns import about_columns, assign, kept, named, said, times
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
    only_unheard,
    parse_json,
    phrase,
)

CAPTIONS = ("captions", "caption", "text")
_NAMES = ("filename", "file_name", "audio")
UNIT = "event"


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Captions and events of one clip."""
    wanted = wanted or Wanted()
    raw = parse_json(data, file, wanted)
    if not isinstance(raw, dict) or not ({"events", "tags", *CAPTIONS} & set(raw)):
        raise fault(file, "no object with `events`, `tags` or `captions`: write them, or say the format with --format")
    name = next((raw[key] for key in _NAMES if key in raw), None)
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise fault(file, "its filename is not text: write the audio's name, or leave it out")
    captions = [
        Caption(name, phrase(text, file, n, unit="caption"), n) for n, text in enumerate(_captions(raw, file), 1)
    ]
    header = [k for k, v in raw.items() if isinstance(v, (str, int, float)) and k not in CAPTIONS]
    about_clip = about_columns(header, wanted, [k for k, key in enumerate(header) if key in _NAMES])
    about = said(about_clip, header, [(0, [raw[key] for key in header])], {0: name}, wanted)
    tags = _tags(raw.get("tags", []), name, file, wanted)
    if "events" not in raw:
        without = [Named(name, 0)] if raw.get("tags") == [] else []
        return Labels(captions=captions, without=without, tags=tags, unit=UNIT, about=about, header=tuple(header))
    if not isinstance(raw["events"], list):
        raise fault(file, "`events` is no list: write a list of {onset, offset, label}")
    read = [row_of(one, name, file, n, wanted) for n, one in enumerate(raw["events"], 1)]
    if kept(header, wanted) is None:  # else it is the clip that says it
        about += [said_of for _, _, of_event in read for said_of in of_event]
    columns = (read[0][1] if read else {}) | named(about_clip, header, wanted)
    keys = dict.fromkeys([*header, *(str(key) for one in raw["events"] for key in one)])
    rows = [row for row, _, _ in read]
    listed = [Named(one, 0) for one in _listed(raw)] if name is None else []
    without = only_unheard(listed, rows) or ([] if read else [Named(name, 0)])
    return Labels(rows, without, captions, UNIT, tags=tags, about=about, columns=columns, header=tuple(keys))


def _captions(raw: dict[str, Any], file: str) -> list[Any]:
    found: Any = next((raw[key] for key in CAPTIONS if raw.get(key)), [])
    if not isinstance(found, (str, list)):
        raise fault(file, "its captions are neither text nor a list of texts: mend them")
    return [found] if isinstance(found, str) else found


def _tags(raw: Any, name: str | None, file: str, wanted: Wanted) -> list[Row]:
    if not isinstance(raw, list):
        raise fault(file, "`tags` is no list: write a list of labels, or of {onset, offset, label}")
    out = []
    for n, one in enumerate(raw, 1):
        if isinstance(one, dict):
            row, _, _ = row_of(one, name, file, n, wanted)
            if row.onset == row.offset:
                raise fault(file, f"has no seconds, {row.onset:g} to {row.offset:g} s: mend it", n, "tag")
            out.append(row)
        else:
            out.append(Row(name, 0.0, math.inf, phrase(one, file, n, wanted.unlabelled, "tag"), n))
    return out


def _listed(raw: dict[str, Any]) -> list[str]:
    """The names of the recordings that it is about."""
    found = raw.get("recordings")
    names = [one.get(_NAMES[0]) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and name.strip()]


def row_of(
    one: Any, name: str | None, file: str, n: int, wanted: Wanted, unit: str = UNIT
) -> tuple[Row, dict[str, str], list[About]]:
    """The event, which of its keys has which role, and what it says of the clip: only what is asked for, its id or
    source are its own. `name`: of the clip, None: the event may say it."""
    if not isinstance(one, dict):
        raise fault(file, "is no object {onset, offset, label}: mend it", n, unit)
    header, cells = [str(key) for key in one], list(one.values())
    found = assign(header, [[str(cell) for cell in cells]], wanted, file, n, unit)
    at = {role: column for role, column in found.items() if role not in ABOUT}
    onset, offset = times(cells, at, file, n, unit)
    label = at["label"].cell(cells) if "label" in at else ""
    if name is None and "filename" in at and (at["filename"].name in _NAMES or "filename" in wanted.columns):
        name = at["filename"].cell(cells)
        if not isinstance(name, str) or not name.strip():
            raise fault(file, "its filename is not text: write the audio's name, or leave it out", n, unit)
    row = event(name, onset, offset, label, file, n, wanted, unit)
    return row, named(at, header, wanted), said({}, header, [(n, cells)], {n: name}, wanted)

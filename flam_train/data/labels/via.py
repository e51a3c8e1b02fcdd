"""VGG Image Annotator 3's projects for audio and video (robots.ox.ac.uk/~vgg/software/via; `CodeDoc.md` and
`_via_import_export.js` of its 3.x.y): JSON with `attribute`, `file`, `view` and `metadata`, each of the last with `z`,
the seconds of a segment, and `av`, the values of attributes, which are texts or keys of their options. Also its two
exports as CSV, whose headers are in comments; the one of temporal segments does not say what the keys of options mean.

Segments only: what has no two times (a region in a frame, an attribute of a whole file) is left out, and counted. Of a
file without a segment nobody knows whether it was heard. Attributes are tiers. A file is the path of its `src`, or,
where that is empty or holds the sound itself, its `fname`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flam_train.data.labels.locations import path_of
from flam_train.data.labels.rows import (
    Labels,
    Named,
    Wanted,
    event,
    fault,
    lines_of,
    one_tier,
    only_unheard,
    parse_json,
    seconds,
    text_of,
)
from flam_train.data.labels.tables import rows_of

CSV_HEADER = "# CSV_HEADER = metadata_id,file_list,"
KEYS = frozenset({"metadata", "view", "file"})
"""What every project has."""

UNIT = "entry"

_HEADER = re.compile(r"#\s*CSV_HEADER\s*=\s*(.*)")
_ATTRIBUTES = re.compile(r"#\s*ATTRIBUTE\s*=\s*(.*)")
_TEXT, _CHECKBOX = 1, 2
"""Types of attributes; the others have one option each."""


class _Entry(NamedTuple):
    row: int
    recording: str
    z: list[Any]
    av: Mapping[str, Any]


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The segments of one attribute."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    silent: list[Named] = []
    if text.lstrip().startswith("#"):
        unit, (attributes, entries, notes) = "row", _of_csv(text, file)
    else:
        project = parse_json(data, file, wanted)
        if not isinstance(project, dict) or not project.keys() >= KEYS:
            raise fault(file, "no object with `metadata`, `view` and `file`: save the project of VIA 3 again")
        unit, notes, attributes = UNIT, [], project.get("attribute")
        files = _dict(project["file"], "file", file)
        entries = list(_of_project(project, files, file))
        names = [Named(name, 0) for one in files.values() if (name := _name(one))]
        silent = only_unheard(names, [Named(e.recording, e.row) for e in entries])
        what = "files have no entry: VIA does not say whether they were heard, left out"
        notes += [f"{len(silent)} {what}"] if silent else []
    if not isinstance(attributes, dict) or not all(isinstance(a, dict) for a in attributes.values()):
        raise fault(file, "no object of attributes: save the project of VIA 3 again")
    segments = [e for e in entries if len(e.z) == 2]
    found = [(e, *named) for e in segments for named in _labels(e, attributes, file, unit)]
    chosen = set(one_tier([name for _, name, _ in found if name], wanted, file)) if found else set()
    rows = []
    for e, name, label in found:
        if not name or name in chosen:
            onset, offset = (seconds(t, file, e.row, "z", unit) for t in e.z)
            rows.append(event(e.recording, onset, offset, label, file, e.row, wanted, unit))
    others = [Named(e.recording, e.row) for e in entries if len(e.z) != 2]
    notes += [f"{len(others)} entries are no segments in time: left out"] if others else []
    # A segment that only another attribute describes was listened to.
    without = only_unheard([Named(e.recording, e.row) for e in segments], rows)
    unheard = only_unheard([*silent, *others], [*rows, *without])
    return Labels(rows, without, unit=unit, notes=tuple(notes), unheard=unheard)


def _labels(e: _Entry, attributes: Mapping[str, Any], file: str, unit: str) -> Iterator[tuple[str, str]]:
    """(attribute, label) of all that an entry says; ("", "") if that is nothing. An attribute that was not filled in is
    no label, unless all are."""
    said = False
    for key, value in e.av.items():
        attribute = attributes.get(key, {})
        name, options = attribute.get("aname", key), attribute.get("options", {})
        if not isinstance(value, str) or not isinstance(name, str) or not isinstance(options, dict):
            raise fault(file, f"the value of attribute {str(key)[:40]!r} is not text: mend it", e.row, unit)
        several = value.split(",") if attribute.get("type") == _CHECKBOX else [value]
        for one in several:
            label = one if attribute.get("type") == _TEXT else options.get(one, one)
            if not isinstance(label, str):
                raise fault(file, f"option {one[:40]!r} is not text: mend it", e.row, unit)
            if label.strip():
                said = True
                yield name or key or "attribute", label
    if not said:
        yield "", ""


def _dict(value: Any, name: str, file: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise fault(file, f"its `{name}` is no object: save the project of VIA 3 again")
    return value


def _of_project(project: dict[str, Any], files: Mapping[str, Any], file: str) -> Iterator[_Entry]:
    views = _dict(project["view"], "view", file)
    for n, one in enumerate(_dict(project["metadata"], "metadata", file).values(), 1):
        if not isinstance(one, dict) or not isinstance(one.get("z"), list) or not isinstance(one.get("av"), dict):
            raise fault(file, "is no object with lists `z` and values `av`: mend it", n, UNIT)
        view = views.get(str(one.get("vid")))
        ids = view.get("fid_list") if isinstance(view, dict) else None
        if not isinstance(ids, list) or len(ids) != 1 or str(ids[0]) not in files:
            raise fault(file, f"its view {str(one.get('vid'))[:40]!r} is not of one file: mend it", n, UNIT)
        name = _name(files[str(ids[0])])
        if not name:
            raise fault(file, "its file has no `src` and no `fname`: write its name", n, UNIT)
        yield _Entry(n, name, one["z"], one["av"])


def _name(one: Any) -> str:
    """What a file is called, "" if nothing says so. `fname` is without folders, or any name."""
    source, name = (one.get("src"), one.get("fname")) if isinstance(one, dict) else (None, None)
    path = path_of(source) if isinstance(source, str) and not source.startswith(("data:", "blob:")) else ""
    found = path if path.strip() else name
    return found if isinstance(found, str) and found.strip() else ""


def _of_csv(text: str, file: str) -> tuple[Any, list[_Entry], list[str]]:
    """(attributes, entries, notes) of an export."""
    lines = lines_of(text)
    header: list[str] = []
    attributes: Any = {}
    for n, line in enumerate(lines, 1):
        if match := _HEADER.match(line):
            header = [h.strip() for h in match[1].split(",")]
        elif match := _ATTRIBUTES.match(line):
            attributes = _cell(match[1], "ATTRIBUTE", file, n)
    # Comments hold commas and quotes that are no table's; blank lines in their place keep the numbers of rows.
    rows = rows_of("\n".join("" if line.startswith("#") else line for line in lines), ",", file)
    by_ends = "temporal_segment_start" in header
    needed = ["file_list", "metadata"]
    needed += ["temporal_segment_start", "temporal_segment_end"] if by_ends else ["temporal_coordinates"]
    if not set(needed) <= set(header):
        raise fault(file, "no comment `# CSV_HEADER = metadata_id,file_list,...` of VIA 3: export it again")
    at = [header.index(name) for name in needed]
    entries = []
    for n, cells in rows:
        if len(cells) != len(header):
            raise fault(file, f"{len(cells)} columns, the header has {len(header)}: mend the row", n)
        files, av, *z = (cells[k] for k in at)
        names, values = _cell(files, "file_list", file, n), _cell(av, "metadata", file, n)
        if (
            not isinstance(names, list)
            or len(names) != 1
            or not isinstance(names[0], str)
            or not path_of(names[0]).strip()
        ):
            raise fault(file, f"file_list {files[:40]!r} is not the name of one file: mend it", n)
        times: Any = [t for t in z if t != "undefined"] if by_ends else _cell(z[0], "temporal_coordinates", file, n)
        if not isinstance(times, list) or not isinstance(values, dict):
            raise fault(file, "its times are no list, or its metadata no object: mend the row", n)
        entries.append(_Entry(n, path_of(names[0]), times, values))
    notes = ["options may be written as their keys: the project's JSON has their names"] if by_ends and entries else []
    return attributes, entries, notes


def _cell(text: str, name: str, file: str, n: int) -> Any:
    """A cell that is JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(file, f"{name} {text[:40]!r} is not JSON: mend the row", n) from error

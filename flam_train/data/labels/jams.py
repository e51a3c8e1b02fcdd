"""JAMS (jams.readthedocs.io): a JSON of annotations, each with a namespace and its observations {time, duration,
value, confidence}. Read are namespaces whose value is a label: a string (`segment_open`, `tag_open`, ...) or scaper's
object, of which the backgrounds are left out. The true extent of scaper's events is time and duration of the
observation; `event_duration` precedes the stretching. Rows are counted over the file's observations.

Detection's files (their sandbox has its format) may be of several recordings, end to end: the sandbox of an annotation
says of which it is, and in which channels its events were found, its time where that recording begins."""

from __future__ import annotations

from typing import Any, NamedTuple

from flam_train.data.labels.detected import FORMAT
from flam_train.data.labels.rows import Labels, Named, Wanted, event, fault, listed, one_tier, parse_json, seconds

LABELS = ("segment_", "tag_")
"""How the names of namespaces begin whose value is a label."""

UNIT = "observation"


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The events of all annotations of one namespace."""
    wanted = wanted or Wanted()
    raw = parse_json(data, file, wanted)
    annotations = raw.get("annotations") if isinstance(raw, dict) else None
    if not isinstance(annotations, list):
        raise fault(file, "no JAMS: the list `annotations` is missing: say the format with --format, or mend it")
    found: list[tuple[str, int, dict[str, Any], _About, int | None]] = []
    abouts: list[_About] = []
    detected = _object(raw.get("sandbox")).get("format") == FORMAT
    names: list[str] = []
    others: list[str] = []
    n = 0
    for k, annotation in enumerate(annotations, 1):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("namespace"), str):
            raise fault(file, "has no namespace: mend it", k, "annotation")
        name = annotation["namespace"]
        is_label = name == "scaper" or name.startswith(LABELS) or name == wanted.tier
        (names if is_label else others).append(name)
        observations = _observations(annotation.get("data"), file, k)
        about = _about(annotation, len(observations), file, k) if detected else _About([None] * len(observations))
        abouts.append(about)
        for observation, channel in zip(observations, about.channels, strict=True):
            n += 1
            if is_label:
                found.append((name, n, observation, about, channel))
    if not names and others:
        raise fault(file, f"no namespace that holds labels, only {listed(sorted(others))}: use --tier")
    chosen = set(one_tier(names, wanted, file, "namespace"))
    rows = []
    for name, n, observation, about, channel in found:
        if name not in chosen:
            continue
        value = observation.get("value")
        if isinstance(value, dict):
            if value.get("role") == "background":
                continue
            value = value.get("label")
        onset = seconds(observation.get("time"), file, n, "time", UNIT) - about.begin
        length = seconds(observation.get("duration"), file, n, "duration", UNIT)
        rows.append(event(about.filename, onset, onset + length, value, file, n, wanted, UNIT, channel))
    files = [about.filename for about in abouts if about.filename is not None]
    if len(files) < 2:
        return Labels([row._replace(recording=None) for row in rows], unit=UNIT, of=tuple(files))
    heard = {row.recording for row in rows}
    return Labels(rows, [Named(file, 0) for file in files if file not in heard], unit=UNIT)


class _About(NamedTuple):
    """Of an annotation: the channel of each observation, its recording, and in seconds where that begins."""

    channels: list[int | None]
    filename: str | None = None
    begin: float = 0.0


def _about(annotation: dict[str, Any], count: int, file: str, k: int) -> _About:
    sandbox = _object(annotation.get("sandbox"))
    filename, channels = sandbox.get("filename"), sandbox.get("channel", [None] * count)
    if not isinstance(filename, str) or not filename.strip():
        raise fault(file, "its sandbox has no filename: write the file again", k, "annotation")
    right = isinstance(channels, list) and len(channels) == count
    if not right or any(c is not None and (type(c) is not int or c < 1) for c in channels):
        raise fault(file, "its sandbox's channels are not one for each observation, from 1: mend them", k, "annotation")
    return _About(channels, filename, seconds(annotation.get("time"), file, k, "time", "annotation"))


def _object(what: Any) -> dict[str, Any]:
    return what if isinstance(what, dict) else {}


def _observations(data: Any, file: str, k: int) -> list[dict[str, Any]]:
    """A list of objects, or (older files) an object of columns."""
    if isinstance(data, dict) and all(isinstance(column, list) for column in data.values()):
        if len({len(column) for column in data.values()}) > 1:
            raise fault(file, "the columns of its data differ in length: mend it", k, "annotation")
        return [dict(zip(data, cells, strict=True)) for cells in zip(*data.values(), strict=True)]
    if not isinstance(data, list) or not all(isinstance(o, dict) for o in data):
        raise fault(file, "its data is no list of observations: mend it", k, "annotation")
    return data

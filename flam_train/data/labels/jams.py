"""JAMS (jams.readthedocs.io): a JSON of annotations, each with a namespace and its observations {time, duration,
value, confidence}. Read are namespaces whose value is a label: a string (`segment_open`, `tag_open`, ...) or scaper's
object, of which the backgrounds are left out. The true extent of scaper's events is time and duration of the
observation; `event_duration` precedes the stretching. Rows are counted over the file's observations."""

from __future__ import annotations

from typing import Any

from flam_train.data.labels.rows import Labels, Wanted, event, fault, listed, one_tier, parse_json, seconds

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
    found: list[tuple[str, int, dict[str, Any]]] = []
    names: list[str] = []
    others: list[str] = []
    n = 0
    for k, annotation in enumerate(annotations, 1):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("namespace"), str):
            raise fault(file, "has no namespace: mend it", k, "annotation")
        name = annotation["namespace"]
        is_label = name == "scaper" or name.startswith(LABELS) or name == wanted.tier
        (names if is_label else others).append(name)
        for observation in _observations(annotation.get("data"), file, k):
            n += 1
            if is_label:
                found.append((name, n, observation))
    if not names and others:
        raise fault(file, f"no namespace that holds labels, only {listed(sorted(others))}: use --tier")
    chosen = set(one_tier(names, wanted, file, "namespace"))
    rows = []
    for name, n, observation in found:
        if name not in chosen:
            continue
        value = observation.get("value")
        if isinstance(value, dict):
            if value.get("role") == "background":
                continue
            value = value.get("label")
        onset = seconds(observation.get("time"), file, n, "time", UNIT)
        length = seconds(observation.get("duration"), file, n, "duration", UNIT)
        rows.append(event(None, onset, onset + length, value, file, n, wanted, UNIT))
    return Labels(rows, unit=UNIT)


def _observations(data: Any, file: str, k: int) -> list[dict[str, Any]]:
    """A list of objects, or (older files) an object of columns."""
    if isinstance(data, dict) and all(isinstance(column, list) for column in data.values()):
        if len({len(column) for column in data.values()}) > 1:
            raise fault(file, "the columns of its data differ in length: mend it", k, "annotation")
        return [dict(zip(data, cells, strict=True)) for cells in zip(*data.values(), strict=True)]
    if not isinstance(data, list) or not all(isinstance(o, dict) for o in data):
        raise fault(file, "its data is no list of observations: mend it", k, "annotation")
    return data

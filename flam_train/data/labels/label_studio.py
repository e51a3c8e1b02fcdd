"""Label Studio's exports (labelstud.io/guide/export, labelstud.io/tags/audio), JSON and JSON_MIN.

JSON is a list of tasks: `data` with the location of the audio, `annotations` each with the `result` of one annotator,
of which {"from_name": control, "value": {"start", "end", "channel", "labels"}} is read, in seconds, the channel from 0.
Several labels are several events. Cancelled annotations and what is no stretch of time are left out, and counted;
predictions are not used. JSON_MIN is a list of the tasks' `data`, each with a list of values under the name of every
control. Controls are tiers. A task that was annotated with nothing has no event; of one that was not annotated, or of
which only other things are said than stretches of time, nobody knows what is heard.

A recording is the path of its location. Files that were uploaded got eight hexadecimal digits in front of their names.
Rows are counted over tasks.

The channel of a stretch is 0, too, where channels are not shown apart: only where some stretch has another one does it
say in which it was seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from flam_train.data.labels.columns import about_columns, named, said
from flam_train.data.labels.locations import in_label_studio
from flam_train.data.labels.rows import (
    About,
    Labels,
    Named,
    Row,
    Wanted,
    event,
    fault,
    listed,
    one_tier,
    only_unheard,
    parse_json,
    seconds,
)

UNIT = "task"

_FULL = ("annotations", "completions")
_MIN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
"""What JSON_MIN adds to the data of a task."""

_OTHER_VALUES = {"choices", "text", "rating", "number", "taxonomy", "datetime"}
"""What controls other than labels say of a stretch."""

_VALUES = _OTHER_VALUES | {"start", "end", "labels"}

_NOT_ANNOTATED = "tasks were not annotated"

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
_FILE = re.compile(r"\.[A-Za-z0-9]{2,4}(?=$|[?#])")


def is_export(raw: Any) -> bool:
    """Whether JSON is a list of tasks, or one task."""
    tasks = [raw] if isinstance(raw, dict) else raw
    if not isinstance(tasks, list) or not tasks or not all(isinstance(t, dict) for t in tasks):
        return False
    if any(key in tasks[0] for key in _FULL):
        return isinstance(tasks[0].get("data"), dict)
    if isinstance(raw, dict):
        return False
    return {"annotation_id", "lead_time"} <= tasks[0].keys() or any(
        {"start", "end", "labels"} <= v.keys() for t in tasks for _, v in _controls(t)
    )


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The events of all tasks."""
    wanted = wanted or Wanted()
    raw = parse_json(data, file, wanted)
    tasks = [raw] if isinstance(raw, dict) else raw
    if not isinstance(tasks, list):
        raise fault(file, "no list of tasks: export JSON or JSON_MIN from Label Studio")
    rows: list[tuple[str, Row]] = []
    without: list[Named] = []
    unheard: list[Named] = []
    about: list[About] = []
    header: dict[str, None] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    left: Counter[str] = Counter()
    columns: dict[str, str] = {}
    for n, task in enumerate(tasks, 1):
        if not isinstance(task, dict):
            raise fault(file, "is no object: mend it, or export it again", n, UNIT)
        audio, fields = _audio(task, file, n, wanted)
        name = in_label_studio(fields[audio])
        if not name.strip() or name.startswith("data:"):
            raise fault(file, f"its {audio[:40]!r} is no location of a file: export tasks that name files", n, UNIT)
        folder, slash, base = name.rpartition("/")
        if match := _UPLOADED.match(base):
            aliases[name] = (folder + slash + base[match.end() :],)
        results = _results(task, audio, file, n, left)
        found = [
            (control, row) for control, value in results or () for row in _events(value, name, file, n, wanted, left)
        ]
        rows += found
        if not found:
            (unheard if results is None or results else without).append(Named(name, n))
        some, names = _about(fields, {audio, *(_MIN if fields is task else ())}, name, n, wanted)
        about += some
        columns |= {"filename": audio} | names
        header |= dict.fromkeys(k for k, v in fields.items() if isinstance(v, str))
    if all((row.channel or 1) == 1 for _, row in rows):
        rows = [(control, row._replace(channel=None)) for control, row in rows]
    chosen = set(one_tier([control for control, _ in rows], wanted, file)) if rows else set()
    events = [row for control, row in rows if control in chosen]
    heard = {row.recording for row in events}
    # A stretch that only another control labels was listened to.
    without += {r.recording: Named(r.recording, r.row) for _, r in rows if r.recording not in heard}.values()
    return Labels(
        events,
        without,
        unit=UNIT,
        about=about,
        aliases=aliases,
        notes=tuple(f"{count} {what}: left out" for what, count in left.items() if count),
        unheard=only_unheard(unheard, [*events, *without]),
        header=tuple(header),
        columns=columns,
        uploaded=True,
    )


def _audio(task: dict[str, Any], file: str, n: int, wanted: Wanted) -> tuple[str, Mapping[str, Any]]:
    """(which of its data is the location of its audio, its data)."""
    fields = task.get("data") if any(key in task for key in _FULL) else task
    if not isinstance(fields, dict):
        raise fault(file, "its `data` is no object: export it again", n, UNIT)
    texts = {k: v for k, v in fields.items() if isinstance(v, str) and k not in _MIN}
    files = {k: v for k, v in texts.items() if _FILE.search(v)} or texts
    key = wanted.columns.get("filename", "audio" if "audio" in files or len(files) != 1 else next(iter(files)))
    if key not in texts:
        raise fault(file, f"which is its audio? It has {listed(sorted(texts))}: say --columns filename=KEY", n, UNIT)
    return key, fields


def _about(
    fields: Mapping[str, Any], others: set[str], name: str, n: int, wanted: Wanted
) -> tuple[list[About], dict[str, str]]:
    """(what the data of a task say of its recording, {role: key}); `others` of them only if they are asked for."""
    header = [k for k, v in fields.items() if isinstance(v, (str, int, float))]
    at = about_columns(header, wanted, [k for k, key in enumerate(header) if key in others])
    about = said(at, header, [(n, [fields[h] for h in header])], {n: name}, wanted)
    return about, named(at, header, wanted)


def _controls(task: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(control, value) of a task of JSON_MIN: lists of objects, and objects of what else was chosen or written."""
    for key, values in task.items():
        if key not in _MIN:
            found = values if isinstance(values, list) else [values]
            yield from ((key, v) for v in found if isinstance(v, dict) and _VALUES & v.keys())


def _results(
    task: dict[str, Any], audio: str, file: str, n: int, left: Counter[str]
) -> list[tuple[str, dict[str, Any]]] | None:
    """(control, value) of all that was said of a task; None: nobody knows whether anything was."""
    if not any(key in task for key in _FULL):
        found = list(_controls(task))
        if not found and task.get("annotation_id", 0) is None:
            left[_NOT_ANNOTATED] += 1
            return None
        if not found and task.keys() - _MIN - {audio}:
            left["tasks without labels have other keys, data or choices, which only JSON tells apart"] += 1
            return None
        return found
    annotations = next(task[key] for key in _FULL if key in task)
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise fault(file, "its annotations are no list of objects: export it again", n, UNIT)
    done = [a for a in annotations if not a.get("was_cancelled") and not a.get("skipped")]
    if len(done) < len(annotations):
        left["annotations were cancelled"] += len(annotations) - len(done)
    results: list[tuple[str, dict[str, Any]]] = []
    for annotation in done:
        said = annotation.get("result") or []
        if not isinstance(said, list) or not all(isinstance(result, dict) for result in said):
            raise fault(file, "the result of an annotation is no list of objects: export it again", n, UNIT)
        for result in said:
            value = result.get("value")
            results.append((str(result.get("from_name")), value if isinstance(value, dict) else {}))
    left[_NOT_ANNOTATED] += not done
    return results if done else None


def _events(value: dict[str, Any], name: str, file: str, n: int, wanted: Wanted, left: Counter[str]) -> Iterator[Row]:
    """The events of a value, one for each of its labels."""
    labels = value.get("labels")
    if not {"start", "end"} <= value.keys() or (labels is None and _OTHER_VALUES & value.keys()):
        left["results are no labels of a stretch of time"] += 1
        return
    if labels is not None and not isinstance(labels, list):
        raise fault(file, f"its labels {str(labels)[:40]!r} are no list: mend them", n, UNIT)
    onset, offset = (seconds(value[key], file, n, key, UNIT) for key in ("start", "end"))
    channel = value.get("channel")
    if channel is not None and (not isinstance(channel, int) or isinstance(channel, bool) or channel < 0):
        raise fault(file, f"channel {str(channel)[:40]!r} is not 0, 1, ...: mend it", n, UNIT)
    for label in labels or [""]:
        seen_in = None if channel is None else channel + 1
        yield event(name, onset, offset, label, file, n, wanted, UNIT, seen_in)

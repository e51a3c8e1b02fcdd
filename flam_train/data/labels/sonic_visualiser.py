"""What Sonic Visualiser exports of a layer (sonicvisualiser.org; `base/Event.h` and `data/model` of its svcore).

CSV, or with tabs, with the header row chosen: TIME, then VALUE (a text layer: HEIGHT), DURATION, LEVEL as far as the
layer has them, and LABEL; of boxes START, END, EXTENT START, EXTENT END, LABEL; times in seconds. Instants are points.
A row without a label is shorter. An annotation layer (.svl) is XML with frames and their rate.
"""

from __future__ import annotations

from collections.abc import Sequence

from flam_train.data.labels.columns import named, said, times
from flam_train.data.labels.rows import Labels, Wanted, event, fault, seconds, text_of
from flam_train.data.labels.tool_tables import read
from flam_train.data.labels.xml import root_of

UNIT = "point"
DOCTYPE = "<!DOCTYPE sonic-visualiser>"

_FRAMES = {"FRAME", "STARTFRAME", "ENDFRAME"}
_TIMES = {"TIME", "START", "END"}
_OTHERS = {"VALUE", "HEIGHT", "DURATION", "LEVEL", "URI", "IMAGE", "EXTENT START", "EXTENT END", "LABEL"}
_ROLES = {"onset": ("time", "start"), "offset": ("end",), "duration": ("duration",), "label": ("label",)}


def told_by(header: Sequence[str]) -> str | None:
    """Why this is its header, None: it is not."""
    names = set(header)
    boxes = {"EXTENT START", "EXTENT END"} <= names
    if len(names) > 1 and names <= _FRAMES | _TIMES | _OTHERS and (boxes or header[0] in ("TIME", "FRAME")):
        return f"its header is Sonic Visualiser's, {', '.join(header)}"
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The labels of a layer."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    if text.lstrip().startswith("<"):
        return _of_layer(text, file, wanted)
    table = read(data, file, wanted, "a header with TIME and LABEL")
    if _FRAMES & {h.upper() for h in table.header}:
        raise table.fault("its times are frames, and it does not say their rate: export it again with times in seconds")
    at = table.assign(_ROLES, wanted, instants=True)
    rows = []
    for n, cells in table.rows:
        label = at["label"].cell(cells) if "label" in at else ""
        rows.append(event(None, *times(cells, at, file, n, comma=table.comma), label, file, n, wanted))
    return Labels(
        rows,
        about=said(at, table.header, table.rows, dict.fromkeys(r.row for r in rows), wanted),
        columns=named(at, table.header, wanted),
        header=tuple(table.header),
    )


def _of_layer(text: str, file: str, wanted: Wanted) -> Labels:
    """Frames over the rate of the layer's model."""
    root = root_of(text, file, "sv", "annotation layer", DOCTYPE)
    layers, models = list(root.iter("dataset")), list(root.iter("model"))
    if len(layers) != 1:
        raise fault(file, f"no annotation layer: it has {len(layers)} layers, not one: export one as .svl or CSV")
    models = [m for m in models if m.get("dataset") == layers[0].get("id")] or models[:1]
    rate = seconds(models[0].get("sampleRate"), file, 1, "sampleRate", "model") if models else 0.0
    if not 1 <= rate <= 1e9:
        raise fault(file, "no annotation layer: its model has no sampleRate: export it again")
    rows = []
    for n, point in enumerate(layers[0].iter("point"), 1):
        frame = seconds(point.get("frame"), file, n, "frame", UNIT)
        length = seconds(point.get("duration", "0"), file, n, "duration", UNIT)
        label = point.get("label", "")
        rows.append(event(None, frame / rate, (frame + length) / rate, label, file, n, wanted, UNIT))
    return Labels(rows, unit=UNIT)

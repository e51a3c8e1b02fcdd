"""ELAN's .eaf (mpi.nl/tools/elan/EAF_Annotation_Format): tiers of annotations between time slots in milliseconds.
An annotation that refers to another has the other's time. Rows are counted over the file's annotations."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flam_train.data.labels.rows import Labels, Wanted, event, fault, one_tier, seconds, text_of
from flam_train.data.labels.xml import root_of

UNIT = "annotation"


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The annotations of one tier, in the file's order."""
    wanted = wanted or Wanted()
    root = root_of(text_of(data, file, wanted.encoding), file, "ANNOTATION_DOCUMENT", "ELAN file")
    units = [h.get("TIME_UNITS", "milliseconds") for h in root.iter("HEADER")]
    if any(u != "milliseconds" for u in units):
        raise fault(file, f"its TIME_UNITS are {units[0][:40]!r}, not milliseconds: save it with a current ELAN")
    origin = _time_origin(root, file)
    slots = {s.get("TIME_SLOT_ID"): s.get("TIME_VALUE") for s in root.iter("TIME_SLOT")}
    tiers = [(tier.get("TIER_ID") or "", list(tier.iter("ANNOTATION"))) for tier in root.iter("TIER")]
    all_names = [name for name, inside in tiers if inside or wanted.tier == name]
    chosen = set(one_tier(all_names, wanted, file))
    by_id: dict[str | None, tuple[int, ET.Element]] = {}
    numbered: list[tuple[str, int, ET.Element]] = []
    for name, inside in tiers:
        for annotation in inside:
            n = len(numbered) + 1
            inner = next((e for e in annotation if e.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")), None)
            if inner is None:
                raise fault(file, "is neither alignable nor a reference: save the file again", n, UNIT)
            by_id[inner.get("ANNOTATION_ID")] = n, inner
            numbered.append((name, n, inner))
    rows = []
    for name, n, inner in numbered:
        if name in chosen:
            onset, offset = _extent(n, inner, by_id, slots, file)
            value = inner.find("ANNOTATION_VALUE")
            text = (value.text or "") if value is not None else ""
            rows.append(event(None, onset + origin, offset + origin, text, file, n, wanted, UNIT))
    return Labels(rows, unit=UNIT, of=_media(root))


def _media(root: ET.Element) -> tuple[str, ...]:
    """The recordings that the file links to."""
    found = [d.get(name) for d in root.iter("MEDIA_DESCRIPTOR") for name in ("RELATIVE_MEDIA_URL", "MEDIA_URL")]
    found += [h.get("MEDIA_FILE") for h in root.iter("HEADER")]
    return tuple(dict.fromkeys(url for url in found if url and url.strip()))


def _time_origin(root: ET.Element, file: str) -> float:
    """Seconds into the recording at which the annotations' time begins, 0 if the file does not say."""
    media = list(root.iter("MEDIA_DESCRIPTOR"))
    sounds = [d for d in media if (d.get("MIME_TYPE") or "").startswith("audio/")]
    times = {
        seconds(d.get("TIME_ORIGIN", "0"), file, n, "TIME_ORIGIN", "medium") / 1000
        for n, d in enumerate(media, 1)
        if d in (sounds or media)  # a video's origin lines it up with the sound that is labelled
    }
    if len(times) > 1:
        found = ", ".join(f"{t:g} s" for t in sorted(times)[:4])
        raise fault(file, f"its recordings have several TIME_ORIGINs ({found}): keep the one that is labelled")
    return next(iter(times), 0.0)


def _extent(
    n: int,
    inner: ET.Element,
    by_id: dict[str | None, tuple[int, ET.Element]],
    slots: dict[str | None, str | None],
    file: str,
) -> tuple[float, float]:
    """Onset and offset in seconds: an annotation's own, or those of the one it refers to in the end."""
    seen = set()
    holder = inner
    while holder.tag == "REF_ANNOTATION":
        parent = holder.get("ANNOTATION_REF")
        if parent in seen or parent not in by_id:
            raise fault(
                file, f"refers to {str(parent)[:40]!r}, which is itself or missing: save the file again", n, UNIT
            )
        seen.add(parent)
        holder = by_id[parent][1]
    times = []
    for end in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"):
        slot = holder.get(end)
        if slots.get(slot) is None:
            raise fault(file, f"its time slot {str(slot)[:40]!r} has no time: align it in ELAN, or remove it", n, UNIT)
        times.append(seconds(slots[slot], file, n, "TIME_VALUE", UNIT) / 1000)
    return times[0], times[1]

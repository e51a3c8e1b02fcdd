"""XML that others wrote: read without entities, which could expand without end."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flam_train.data.labels.rows import fault

DOCTYPE = "<!DOCTYPE"


def root_of(text: str, file: str, tag: str, kind: str, known: str = "") -> ET.Element:
    """The root, which must be called `tag`. ValueError that names the file, and the row where there is one.

    kind   what such a file is called
    known  the only document type that it may declare
    """
    text = text.replace(known, "", 1) if known else text
    if DOCTYPE in text or "<!ENTITY" in text:
        raise fault(file, f"declares a DOCTYPE, which no {kind} has and which is not read: remove it")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise fault(file, f"not XML ({str(error)[:80]}): save or export it again", error.position[0]) from error
    except (ValueError, LookupError) as error:
        raise fault(file, f"not XML ({str(error)[:80]}): save or export it again") from error
    if root.tag != tag:
        raise fault(file, f"no {kind}: its root is {root.tag[:40]!r}, not {tag}: check the file")
    return root

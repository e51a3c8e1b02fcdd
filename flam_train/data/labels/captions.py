"""Tables of sentences about whole recordings, as Clotho and AudioCaps have them."""

from __future__ import annotations

import re

from flam_train.data.labels.columns import first_of, plain
from flam_train.data.labels.rows import ABOUT, About, Caption, Labels, Wanted, fault, phrase, text_of
from flam_train.data.labels.tables import HEAD, SEPARATORS, rows_of


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """A table of captions with a header: a file name and `caption`, or `caption_1`, `caption_2`, ...; a recording
    may have several rows. Columns of id, author, licence and source are read too."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    best: tuple[str, list[int], int] = ("", [], 0)
    for separator in SEPARATORS:
        try:
            header = next(iter(rows_of(text[:HEAD], separator, file, strict=False)), (0, []))[1]
        except ValueError:
            continue
        columns = [k for k, h in enumerate(header) if re.fullmatch(r"(caption|text|description)(_?\d+)?", plain(h))]
        name = first_of("filename", header)
        if name is not None and len(columns) > len(best[1]):
            best = separator, columns, name
    separator, columns, name = best
    if not columns:
        raise fault(file, "no columns filename and caption (or caption_1, caption_2, ...): write this header", 1)
    rows = rows_of(text, separator, file)
    kept = {field: k for field in ABOUT if (k := first_of(field, rows[0][1])) is not None and k != name}
    captions, about = [], []
    for n, cells in rows[1:]:
        if len(cells) <= name or not cells[name].strip():
            raise fault(file, "names no recording: write its file name", n)
        texts = [cells[k] for k in columns if k < len(cells) and cells[k].strip()]
        if not texts:
            raise fault(file, "has no caption: write one, or remove the row", n)
        if len(cells) > len(rows[0][1]):
            raise fault(file, f"{len(cells)} columns, the header has {len(rows[0][1])}: quote texts with commas", n)
        about += [
            About(cells[name], field, " ".join(cells[k].split()), n)
            for field, k in kept.items()
            if k < len(cells) and cells[k].strip()
        ]
        captions += [Caption(cells[name], phrase(t, file, n), n) for t in texts]
    roles = {"filename": rows[0][1][name], "captions": " ".join(rows[0][1][k] for k in columns)}
    roles |= {field: rows[0][1][k] for field, k in kept.items()}
    return Labels(captions=captions, about=about, columns=roles)

"""Tables of sentences about whole recordings, as Clotho and AudioCaps have them."""

from __future__ import annotations

import re

from flam_train.data.labels.columns import about_columns, first_of, named, plain, said
from flam_train.data.labels.rows import Caption, Labels, Wanted, fault, phrase, text_of
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
    (_, header), *rows = rows_of(text, separator, file)
    at = about_columns(header, wanted, [name, *columns])
    captions = []
    for n, cells in rows:
        if len(cells) <= name or not cells[name].strip():
            raise fault(file, "names no recording: write its file name", n)
        texts = [cells[k] for k in columns if k < len(cells) and cells[k].strip()]
        if not texts:
            raise fault(file, "has no caption: write one, or remove the row", n)
        if len(cells) > len(header):
            raise fault(file, f"{len(cells)} columns, the header has {len(header)}: quote texts with commas", n)
        captions += [Caption(cells[name], phrase(t, file, n), n) for t in texts]
    roles = {"filename": header[name], "captions": " ".join(header[k] for k in columns)}
    return Labels(
        captions=captions,
        about=said(at, header, rows, {n: cells[name] for n, cells in rows}, wanted),
        columns=roles | named(at, header, wanted),
        header=tuple(h.strip() for h in header),
    )

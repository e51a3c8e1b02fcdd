"""Subtitles: SubRip's .srt (a number, `00:00:01,000 --> 00:00:03,500`, lines of text, a blank line) and WebVTT
(w3.org/TR/webvtt1), which has a heading, a point before the milliseconds, and blocks of notes and styles. The lines of
a text become one; marks of its looks, `<i>`, `<v Ann>`, `{\\an8}`, are left out, and `&amp;` is read in WebVTT."""

from __future__ import annotations

import html
import re

from flam_train.data.labels.rows import Labels, Wanted, event, fault, lines_of, seconds, text_of

VTT = "WEBVTT"

_TIMES = re.compile(r"\s*([0-9:.,]+)\s*-->\s*([0-9:.,]+)(\s.*)?")
_MARK = re.compile(r"</?(?:i|b|u|s|font|c|v|lang|ruby|rt)(?:[\s.][^<>]*)?>|<[0-9:.]+>|\{\\[^{}]*\}", re.IGNORECASE)
"""What both formats know; `<laughter>` is none of it."""

_MISTYPED = re.compile(r"\s*[0-9]+:[0-9:.,]+\s*[^\s0-9](?:\s?[^\s0-9]){0,3}\s*[0-9]+:[0-9:.,]+\s*")
"""Two times with something else between them than an arrow of two dashes."""


def is_times(line: str) -> bool:
    """Whether a line is `start --> end`."""
    return _TIMES.fullmatch(line) is not None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """A row for each subtitle, at the line with its times."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    is_vtt = text.lstrip().startswith(VTT)
    rows = []
    for first, lines in _blocks(text):
        arrows = [k for k, line in enumerate(lines) if "-->" in line]
        for n, line in enumerate(lines, first):
            if _MISTYPED.fullmatch(line) and not is_times(line):
                raise fault(file, f"{line.strip()[:60]!r} are two times without an arrow: write --> between them", n)
        if not arrows:
            if is_vtt:  # the heading, a note, a style or a region
                continue
            raise fault(file, f"{lines[0][:40]!r} stands outside of a subtitle: remove the blank line above it", first)
        if len(arrows) > 1:
            raise fault(file, "another subtitle begins: write a blank line before it", first + arrows[1])
        if arrows[0] > 1:
            raise fault(file, "stands more than one line below a blank one: mend what is above it", first + arrows[0])
        n = first + arrows[0]
        times = _TIMES.fullmatch(lines[arrows[0]])
        if times is None:
            raise fault(file, f"{lines[arrows[0]][:60]!r} is not hh:mm:ss,ms --> hh:mm:ss,ms: mend it", n)
        onset, offset = (seconds(t, file, n, name) for t, name in ((times[1], "start"), (times[2], "end")))
        said = _MARK.sub("", " ".join(lines[arrows[0] + 1 :]))
        rows.append(event(None, onset, offset, html.unescape(said) if is_vtt else said, file, n, wanted))
    return Labels(rows)


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """(first line, lines) of what stands between blank lines."""
    blocks: list[tuple[int, list[str]]] = []
    blank = True
    for n, line in enumerate(lines_of(text), 1):
        if line.strip():
            if blank:
                blocks.append((n, []))
            blocks[-1][1].append(line)
        blank = not line.strip()
    return blocks

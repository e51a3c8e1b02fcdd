"""Phrases, names and numbers as they stand in files."""

from __future__ import annotations

import math
import re

from flam_train.data.labels.formulas import harmless

SCORE_DECIMALS = 4
"""Of scores: more differ from one device to another."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_SPACE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_NO_CHARACTER = re.compile(r"[\ud800-\udfff]")


def exact(phrase: str) -> str:
    """A phrase as JSON can hold it: with its white space. ValueError for one of nothing else."""
    text = _NO_CHARACTER.sub("\ufffd", _CONTROL_BUT_SPACE.sub(" ", phrase))
    if not text.replace("\ufeff", "").strip():
        raise ValueError(f"phrase {phrase!r}: has nothing that can be read: write what is to be heard")
    return text


def in_line(phrase: str) -> str:
    """A phrase in one line: every white space is one space."""
    return " ".join(exact(phrase).split())


def label_cell(phrase: str) -> str:
    """A phrase in a table that a spreadsheet may open."""
    return harmless(in_line(phrase))


def name(text: str) -> str:
    """A file's name in one line."""
    return _NO_CHARACTER.sub("\ufffd", _CONTROL.sub(" ", text))


def file_cell(file: str) -> str:
    """A file's name in a table that a spreadsheet may open: what would be a formula has ./ in front, and is the same
    file."""
    cell = name(file)
    begins = cell.partition(";")[0]
    return cell if harmless(begins) == begins else f"./{cell}"


def tabbed(*cells: object) -> str:
    """A row. Only what begins with a quotation mark is quoted: others stand as they are, with or without a reader that
    knows of quotes."""
    texts = [str(cell) for cell in cells]
    quoted = ['"' + t.replace('"', '""') + '"' if t.startswith('"') else t for t in texts]
    return "\t".join(quoted) + "\n"


def rounded(score: float) -> float | None:
    """None for a score that nobody knows."""
    return round(float(score), SCORE_DECIMALS) if math.isfinite(score) else None


def score_cell(score: float) -> str:
    return f"{score:.{SCORE_DECIMALS}f}" if math.isfinite(score) else ""

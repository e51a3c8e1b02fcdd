"""Text in any script: which fonts draw it, and what stands for letters that no font has."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

from matplotlib import rcParams
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font

STRANGE = ("Last Resort", "cm")
"""How fonts are called that have a box for every letter, or other letters than they say (TeX's)."""

WEIGHTS: dict[Any, str] = {400: "normal", "regular": "normal", "book": "normal"}


def lettering(text: str, bold: bool = False) -> dict[str, Any]:
    """Of a text: `family`, the fonts that have its letters between them, the usual one first, then what is installed of
    others; and `weight`, bold only in the usual one, since few have it."""
    others = [name for name in dict.fromkeys(map(_family, text)) if name]
    weight = "bold" if bold and not others else "normal"
    return {"family": [*rcParams["font.family"], *others], "weight": weight}


def drawable(text: str) -> str:
    """In letters that some font has, on one line. What none has: a sign by its name, such as [dog], others as a box."""
    return "".join(map(_drawable, " ".join(text.split())))


@cache
def _drawable(letter: str) -> str:
    if _family(letter) is not None:
        return letter
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Cf", "Mn", "Me", "Sk"):  # what is not seen by itself: marks, joiners, shades of an emoji
        return ""
    name = unicodedata.name(letter, "").lower()
    return f"[{name}]" if kind == "So" and name else "□"


@cache
def _family(letter: str) -> str | None:
    """The other font that it needs: "" if the usual one has it, None if none has."""
    if ord(letter) in get_font(findfont(FontProperties())).get_charmap():
        return ""
    return next((entry.name for entry in _others() if _has(entry, letter)), None)


@cache
def _others() -> list[FontEntry]:
    """In one order, those first whose letters have no serifs."""
    usual = ("normal", "normal", "normal")
    fonts = [
        font
        for font in fontManager.ttflist
        if (font.style, font.stretch, WEIGHTS.get(font.weight, font.weight)) == usual
        and not font.name.startswith(STRANGE)
    ]
    return sorted(fonts, key=lambda font: ("Sans" not in font.name, font.name, font.fname))


def _has(entry: FontEntry, letter: str) -> bool:
    try:
        font = get_font(findfont(FontProperties(family=entry.name), fallback_to_default=False))  # as it will be drawn
        if ord(letter) not in font.get_charmap():
            return False
        font.set_size(10, 72)
        font.load_char(ord(letter))
    except (RuntimeError, ValueError, OSError):  # a font of pictures in colour, which cannot be drawn, or a broken one
        return False
    return True

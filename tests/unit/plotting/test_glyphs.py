"""Text in any script: drawn without a warning, in whatever fonts there are."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
from matplotlib.font_manager import findfont, get_font

from flam_train.plotting import blank_figure, fitting, write_figure
from flam_train.plotting.glyphs import drawable, lettering
from flam_train.plotting.style import inches, literal

EVERYTHING = (
    "a dog", "🐕 barking", "👨‍👩‍👧 ❤️ 👍🏽", "犬の鳴き声", "صوت الكلب", "собака", "हिन्दी", "한국어",
    "e\u0301", "tab\tnew\nline\x00\x1b",
    "\udc80", "\U0010ffff", "$5_000^2 \\frac{", "", "🇩🇪", "᚛᚛ᚉ᚜",
)  # fmt: skip


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("text", EVERYTHING)
def test_anything_is_drawn_without_a_warning(text, bold, caplog):
    figure = blank_figure(3, 1)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        figure.text(0, 0, fitting(text, 2, 10, bold), fontweight="bold" if bold else "normal")
        figure.text(0, 0.5, literal(text))
        assert inches(text, 10, bold) >= 0
        write_figure(figure, io.BytesIO())
    assert not caplog.records
    assert drawable(drawable(text)) == drawable(text)
    assert "\n" not in drawable(text)


def test_what_no_font_has_is_told():
    assert drawable("a 1\tb\n c") == "a 1 b c"
    assert drawable("Ünïcödé, صوت, собака") == "Ünïcödé, صوت, собака"
    assert drawable("\x07a\ud800b") == "a□b"
    usual = get_font(findfont("DejaVu Sans")).get_charmap()
    assert ord("☎") in usual
    assert drawable("☎") == "☎"
    assert literal("costs $5") == r"costs \$5"


def test_another_font_helps_where_the_usual_one_has_no_letter():
    usual, stix = (get_font(findfont(name)).get_charmap() for name in ("DejaVu Sans", "STIXGeneral"))
    letter = next(chr(code) for code in sorted(stix) if code not in usual and 0x2000 < code < 0xE000)
    assert drawable(letter) == letter
    assert len(lettering("a" + letter)["family"]) == 2
    assert lettering("a", bold=True) == {"family": ["sans-serif"], "weight": "bold"}
    assert lettering("a" + letter, bold=True)["weight"] == "normal"

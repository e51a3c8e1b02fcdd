"""What every figure has in common: colours, the blank sheet, the look of axes, saving."""

from __future__ import annotations

import bisect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from flam_train.disk import naming
from flam_train.plotting.glyphs import drawable, lettering

INK, QUIET, GRID = "#1f2430", "#6b7280", "#e5e7eb"
LINES = ("#2569a8", "#e4572e", "#3a9d78", "#8a5fbf", "#d9a21b", "#5c6b7a", "#c2416f", "#3fa7c4")
DPI = 150
NARROW = 0.1
"""Of the size of type: no letter is narrower, but for marks over others."""


def blank_figure(width: float, height: float) -> Figure:
    """In inches, with its own canvas: no backend is chosen, no display needed."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def write_figure(figure: Figure, file: BinaryIO, kind: str = "png", dpi: int = DPI) -> None:
    """Of any kind that matplotlib writes. The same figure gives the same bytes as png and pdf."""
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set(**lettering(text.get_text(), text.get_fontweight() == "bold"))
    figure.savefig(file, format=kind, dpi=dpi, facecolor="white", metadata=UNDATED.get(kind))


def save_figure(figure: Figure, path: str | Path, dpi: int = DPI) -> Path:
    """A file of the kind that its suffix says, whole or not at all."""
    path = Path(path)
    kind, kinds = path.suffix[1:].lower(), figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise ValueError(f"{path}: figures are saved as .png, or one of {', '.join(sorted(kinds))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path, temporary):
            with temporary.open("wb") as file:
                write_figure(figure, file, kind, dpi)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def literal(text: str) -> str:
    """As it is to be read: a dollar sign starts no formula, and there is a letter for everything."""
    return drawable(text).replace("$", r"\$")


def inches(text: str, size: float, bold: bool = False) -> float:
    """How wide a line of text is in type of `size` points."""
    text = drawable(text)
    font = FontProperties(size=size, **lettering(text, bold))
    # Letters stand on whole pixels, so that a line's width depends on the resolution; DPI is that of saving.
    return RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)[0] / DPI


def fitting(text: str, most: float, size: float, bold: bool = False) -> str:
    """As it is to be read; what is wider than `most` inches in type of `size` points ends in "…"."""
    text = drawable(text)
    longest = int(most * 72 / size / NARROW)
    if len(text) > longest or inches(text, size, bold) > most:
        text = text[:longest]
        keep = bisect.bisect(range(len(text)), most, key=lambda n: inches(text[:n] + "…", size, bold)) - 1
        text = text[: max(0, keep)].rstrip() + "…"
    return literal(text)


def headline(figure: Figure, left: float, text: str) -> None:
    """A title 0.3 inches below the figure's upper edge, from `left` (0 to 1) on; a long one in smaller type."""
    width, height = figure.get_size_inches()
    room = width * (0.98 - left)
    size = max(8.0, min(12.0, 12.0 * room / max(0.01, inches(text, 12.0, bold=True))))
    text = fitting(text, room, size, bold=True)
    figure.text(left, 1 - 0.3 / height, text, fontsize=size, fontweight="bold", color=INK)


def legend_above(figure: Figure, keys: Mapping[str, Artist], right: float, head: float) -> float:
    """What signs mean, up to `right` inches, above panels that begin `head` inches below the figure's upper edge.

    keys: {in words: a sign}. Returns how many inches they take of that line.
    """
    width, height = figure.get_size_inches()
    if keys:
        figure.legend(
            list(keys.values()), list(keys), loc="lower right", ncols=2,
            bbox_to_anchor=(right / width, 1 - (head - 0.06) / height), frameon=False, fontsize=9,
            labelcolor=QUIET, handlelength=1.6, borderaxespad=0, borderpad=0.2, columnspacing=1.4,
        )  # fmt: skip
    return sum(0.6 + inches(text, 9) for text in keys)


def dress(axes: Axes, grid: Literal["x", "y", "both"] = "both") -> None:
    """Quiet axes: a pale grid and pale lines on the left and below, no tick marks; labels of the gridded axes quiet."""
    axes.tick_params(axis="both", which="both", length=0)
    axes.tick_params(axis=grid, colors=QUIET, labelsize=9)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)

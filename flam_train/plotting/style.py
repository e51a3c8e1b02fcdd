"""What every figure has in common: colours, the blank sheet, the look of axes, saving."""

from __future__ import annotations

import bisect
import os
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from flam_train.disk import naming

INK, QUIET, GRID = "#1f2430", "#6b7280", "#e5e7eb"
LINES = ("#2569a8", "#e4572e", "#3a9d78", "#8a5fbf", "#d9a21b", "#5c6b7a", "#c2416f", "#3fa7c4")
DPI = 150


def blank_figure(width: float, height: float) -> Figure:
    """In inches, with its own canvas: no backend is chosen, no display needed."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = DPI) -> Path:
    """A PNG, whole or not at all."""
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"{path}: figures are saved as .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path, temporary):
            figure.savefig(temporary, format="png", dpi=dpi, facecolor="white")
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def literal(text: str) -> str:
    """As it is to be read: a dollar sign starts no formula."""
    return text.replace("$", r"\$")


def inches(text: str, size: float, bold: bool = False) -> float:
    """How wide a line of text is in type of `size` points."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    # Letters stand on whole pixels, so that a line's width depends on the resolution; DPI is that of saving.
    return RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)[0] / DPI


def fitting(text: str, most: float, size: float, bold: bool = False) -> str:
    """As it is to be read; what is wider than `most` inches in type of `size` points ends in "…"."""
    if inches(text, size, bold) > most:
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


def dress(axes: Axes, grid: Literal["x", "y", "both"] = "both") -> None:
    """Quiet axes: a pale grid and pale lines on the left and below, no tick marks; labels of the gridded axes quiet."""
    axes.tick_params(axis="both", which="both", length=0)
    axes.tick_params(axis=grid, colors=QUIET, labelsize=9)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)

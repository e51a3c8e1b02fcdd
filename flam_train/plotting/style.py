"""What every figure has in common: colours, the blank sheet, the look of axes, saving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, QUIET, GRID = "#1f2430", "#6b7280", "#e5e7eb"
LINES = ("#2569a8", "#e4572e", "#3a9d78", "#8a5fbf", "#d9a21b", "#5c6b7a", "#c2416f", "#3fa7c4")


def blank_figure(width: float, height: float) -> Figure:
    """In inches, with its own canvas: no backend is chosen, no display needed."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """A PNG, whole or not at all."""
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"{path}: figures are saved as .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(temporary, format="png", dpi=dpi, facecolor="white")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def literal(text: str, most: int | None = None) -> str:
    """As it is to be read: a dollar sign starts no formula, and what is longer than `most` characters ends in "…"."""
    if most is not None and len(text) > most:
        text = text[: most - 1].rstrip() + "…"
    return text.replace("$", r"\$")


def headline(figure: Figure, left: float, text: str) -> None:
    """A title 0.3 inches below the figure's upper edge, from `left` (0 to 1) on; a long one in smaller type."""
    width, height = figure.get_size_inches()
    size = max(7.0, min(12.0, 72 * width * (0.98 - left) / (0.7 * max(1, len(text)))))  # a letter is 0.7 of its size
    figure.text(left, 1 - 0.3 / height, literal(text), fontsize=size, fontweight="bold", color=INK)


def dress(axes: Axes, grid: Literal["x", "y", "both"] = "both") -> None:
    """Quiet axes: a pale grid and pale lines on the left and below, no tick marks; labels of the gridded axes quiet."""
    axes.tick_params(axis="both", which="both", length=0)
    axes.tick_params(axis=grid, colors=QUIET, labelsize=9)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)

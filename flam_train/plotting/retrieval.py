"""What a search found, for some queries: to read, not to measure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flam_train.plotting.style import GRID, INK, LINES, QUIET, blank_figure, fitting, headline

RIGHT = LINES[2]
MOST_EXAMPLES = 12
"""Of either direction; more are not readable in one figure."""


@dataclass(frozen=True)
class Ranking:
    """query       a caption, or a clip's key
    found       the best answers, best first: (clip's key or caption, score, whether it is right)
    right_rank  the rank of the best right answer among all, from 1; None if there is none
    """

    query: str
    found: Sequence[tuple[str, float, bool]]
    right_rank: int | None


def retrieval_examples(
    text_to_audio: Sequence[Ranking], audio_to_text: Sequence[Ranking], title: str = "Retrieval examples"
) -> Figure:
    """Two tables, clips found for captions and captions found for clips; right answers are marked, their rank is told.

    Long texts are cut. Raises ValueError for no examples at all, or more than MOST_EXAMPLES of one direction.
    """
    if not 1 <= max(len(text_to_audio), len(audio_to_text)) <= MOST_EXAMPLES:
        raise ValueError(
            f"{len(text_to_audio)} captions and {len(audio_to_text)} clips: give 1 to {MOST_EXAMPLES} of either"
        )
    parts = [("Clips found for a caption", text_to_audio), ("Captions found for a clip", audio_to_text)]
    parts = [(heading, rankings) for heading, rankings in parts if rankings]
    height = 0.55 + sum(0.5 + sum(map(_inches, rankings)) for _, rankings in parts) + 0.1
    sheet = _Sheet(blank_figure(11.0, height), height)
    headline(sheet.figure, 0.03, title)
    sheet.text(10.67, 0.78, "✓ right answer", color=RIGHT, ha="right")
    top = 0.55
    for heading, rankings in parts:
        sheet.text(0.33, top + 0.23, heading, color=QUIET, fontsize=10, fontweight="bold")
        top += 0.5
        for ranking in rankings:
            _ranking(sheet, top, ranking)
            top += _inches(ranking)
    return sheet.figure


ROW = 0.235
LETTERS = 44
"""Of a line of the query, at most."""


def _wrapped(query: str) -> list[str]:
    return textwrap.wrap(query, LETTERS, max_lines=4, placeholder=" …") or [""]


def _inches(ranking: Ranking) -> float:
    return 0.2 + ROW * max(len(_wrapped(ranking.query)) + 1, len(ranking.found))


def _ranking(sheet: _Sheet, top: float, ranking: Ranking) -> None:
    sheet.line(top)
    lines = _wrapped(ranking.query)
    for n, line in enumerate(lines):
        sheet.text(0.33, top + 0.1 + ROW * (n + 0.5), fitting(line, 3.85, 9, bold=True), fontweight="bold")
    rank = "no right answer" if ranking.right_rank is None else f"right answer at rank {ranking.right_rank:,}"
    first = ranking.right_rank == 1
    sheet.text(0.33, top + 0.1 + ROW * (len(lines) + 0.5), rank, color=RIGHT if first else QUIET, fontsize=8.5)
    for n, (answer, score, right) in enumerate(ranking.found):
        middle = top + 0.1 + ROW * (n + 0.5)
        if right:
            sheet.box(4.3, middle, 6.4, ROW)
            sheet.text(4.4, middle, "✓", color=RIGHT, fontweight="bold")
        sheet.text(4.85, middle, f"{n + 1}", color=QUIET, ha="right")
        sheet.text(5.4, middle, f"{score:.3f}", color=QUIET, ha="right")
        sheet.text(5.55, middle, fitting(" ".join(answer.split()), 5.1, 9))


@dataclass(frozen=True)
class _Sheet:
    """A figure written on in inches from its upper left corner."""

    figure: Figure
    height: float

    def text(self, x: float, y: float, text: str, **style) -> None:
        style = {"fontsize": 9, "color": INK, "va": "center", **style}
        self.figure.text(x / 11.0, 1 - y / self.height, text, **style)

    def line(self, y: float) -> None:
        self.figure.add_artist(Rectangle((0.03, 1 - y / self.height), 0.94, 0, edgecolor=GRID, linewidth=0.8))

    def box(self, x: float, y: float, width: float, height: float) -> None:
        corner = (x / 11.0, 1 - (y + height / 2) / self.height)
        self.figure.add_artist(
            Rectangle(corner, width / 11.0, height / self.height, facecolor=RIGHT, alpha=0.12, edgecolor="none")
        )

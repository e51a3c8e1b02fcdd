"""Figures from arrays and metrics: a recording, a training, and what an evaluation found.

Nothing here touches matplotlib's global state: figures are objects with their own canvas, so importing this package
changes no backend and needs no display.
"""

from flam_train.plotting.classes import class_bars
from flam_train.plotting.curves import f1_curves, psd_roc_figure
from flam_train.plotting.localization import localization_figure, log_mel
from flam_train.plotting.reliability import reliability_figure
from flam_train.plotting.retrieval import Ranking, retrieval_examples
from flam_train.plotting.style import GRID, INK, LINES, QUIET, blank_figure, dress, fitting, headline, save_figure
from flam_train.plotting.training import curves_figure, read_curves

__all__ = [
    "GRID", "INK", "LINES", "QUIET", "Ranking", "blank_figure", "class_bars", "curves_figure", "dress", "f1_curves",
    "fitting", "headline", "localization_figure", "log_mel", "psd_roc_figure", "read_curves", "reliability_figure",
    "retrieval_examples", "save_figure",
]  # fmt: skip

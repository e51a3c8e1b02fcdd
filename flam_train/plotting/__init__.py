"""Figures from arrays and metrics: a recording, a training, and what an evaluation found.

In: arrays, metrics, a run's metrics.csv. Out: matplotlib figures, and files by `save_figure`. Read `style.py` first
(what all share), then `localization.py` (the heatmap) and `recording.py` (one of hours). Figures are objects with their
own canvas: importing this package changes no backend and needs no display, and nothing touches matplotlib's global
state but `plot_sed_heatmap` where it is asked to show.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

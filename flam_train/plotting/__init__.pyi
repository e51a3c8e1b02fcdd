from .classes import class_bars as class_bars
from .curves import f1_curves as f1_curves, psd_roc_figure as psd_roc_figure
from .localization import localization_figure as localization_figure
from .recording import recording_figure as recording_figure
from .reliability import reliability_figure as reliability_figure
from .retrieval import Ranking as Ranking, retrieval_examples as retrieval_examples
from .sed_heatmap import plot_sed_heatmap as plot_sed_heatmap
from .spectrogram import Overview as Overview, log_mel as log_mel
from .spread import spread_figure as spread_figure
from .style import (
    GRID as GRID,
    INK as INK,
    LINES as LINES,
    QUIET as QUIET,
    blank_figure as blank_figure,
    dress as dress,
    fitting as fitting,
    headline as headline,
    save_figure as save_figure,
    write_figure as write_figure,
)
from .training import curves_figure as curves_figure, read_curves as read_curves
from .triggers import cross_trigger_figure as cross_trigger_figure

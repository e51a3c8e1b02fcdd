"""A whole recording of any length, or a part of it: how it sounds, the scores of phrases, what was found.

Shape suffixes: F mel bins, H spectrogram columns, K phrases, T frames, P pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flam_train.plotting.localization import FOUND, MEANING, SCORE_COLOURS, colour_bar, row_names, widest
from flam_train.plotting.spectrogram import show_spectrogram
from flam_train.plotting.style import DPI, INK, QUIET, blank_figure, fitting, headline, legend_above
from flam_train.plotting.time_axis import Clock, clock_ticks, time_text, time_ticks

MOST_PHRASES = 60
"""Of more than these those are shown of which most was found."""

WIDTH, HEAD, CLOCK, MEL, GAP, FOOT = 12.0, 0.74, 0.26, 1.9, 0.14, 1.2
"""Inches: the figure; from above: what is written, times of day, the spectrogram, a gap, what is below the rows."""

ROWS = ((24, 0.38, 10.0, 2), (MOST_PHRASES, 0.26, 9.0, 1))
"""Up to how many phrases a row has how many inches, its name which size in points, and lines."""

HEAT, BAR = 0.6, (0.68, 0.2)
"""Of a row's height: scores; below them where events begin, and how high they are."""

LEAST = 3
"""Pixels: no event is narrower."""

SILENT: dict[str, Any] = {"facecolor": "#d5d9df", "edgecolor": "#a3abb7", "hatch": "////", "linewidth": 0}
"""How it looks where nothing sounds."""


def recording_figure(
    score_KT: np.ndarray,
    edges_T1: np.ndarray,
    phrases: Sequence[str],
    events: Sequence[tuple[float, float, int]] = (),
    *,
    log_mel: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    dead: Sequence[tuple[float, float]] = (),
    clock: Clock | None = None,
    threshold: float | None = None,
    title: str = "What is heard",
    meaning: str = MEANING,
) -> Figure:
    """A spectrogram above a heatmap of scores, events below their phrase's scores, on one time axis.

    score_KT   in [0, 1]; one row a phrase, the first on top. A pixel has the highest score of its frames
    edges_T1   where frames begin and end: s into the recording, rising; the first and last are the axis' ends
    events     (onset, offset, row of the phrase), in s into the recording, in any order
    log_mel    what `Overview.log_mel` gives, of this time or of more; None: no spectrogram
    dead       spans in s in which nothing sounds, rising, apart from one another
    clock      gives the date and time so many seconds into the recording; None: no times of day
    threshold  in [0, 1), for all phrases; shown beside the colours
    meaning    of the colours, in words

    To be saved with the usual resolution: what is narrow is drawn for its pixels. Raises ValueError for shapes and
    times that do not fit, no phrase, and an event without a row.
    """
    score_KT, edges_T1 = np.asarray(score_KT), np.asarray(edges_T1, dtype=np.float64)
    event_E3 = np.array(events, dtype=np.float64).reshape(-1, 3)
    _check(score_KT, edges_T1, phrases, event_E3)
    rows = _shown(score_KT, event_E3)
    _, row, size, lines = next(fits for fits in ROWS if len(rows) <= fits[0])
    names = row_names([phrases[k] for k in rows], size, lines)
    left = _whole(0.3 + max(1.0, widest(names, size)))
    width = _whole(WIDTH - left - 0.5)
    heads = HEAD + (CLOCK if clock else 0)
    tops = heads + (MEL + GAP if log_mel else 0)
    height = _whole(tops + row * len(rows) + FOOT)
    figure = blank_figure(WIDTH, height)

    def panel(top: float, tall: float) -> Axes:
        axes = figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))
        axes.set_xlim(edges_T1[0], edges_T1[-1])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    pixel_P1 = np.linspace(edges_T1[0], edges_T1[-1], round(width * DPI) + 1)
    panels = []
    if log_mel:
        level_FH, edges_H1, centres_F = log_mel
        panels.append(panel(heads, MEL))
        show_spectrogram(panels[-1], *highest(level_FH, edges_H1, pixel_P1), centres_F, QUIET)
    panels.append(below := panel(tops, row * len(rows)))
    shown_KP, edges_P1 = highest(score_KT[rows], edges_T1, pixel_P1)
    striped = np.full((2 * len(rows) - 1, shown_KP.shape[1]), np.nan)  # rows, and what is between them
    striped[::2] = shown_KP
    edges_K = (np.arange(len(rows))[:, None] + [0, HEAT]).ravel()
    image = below.pcolormesh(edges_P1, edges_K, striped, cmap=SCORE_COLOURS, vmin=0, vmax=1, rasterized=True)
    below.set_ylim(len(rows), 0)
    below.set_yticks(np.arange(len(rows)) + HEAT / 2, names, fontsize=size, color=INK)
    below.tick_params(axis="y", length=0, pad=6)
    keys: dict[str, Artist] = {}
    if len(event_E3):
        keys["event" if threshold is None else f"event: a smoothed score over {threshold:g}"] = Patch(color=FOUND)
    for place, k in enumerate(rows):
        spans = _visible(event_E3[event_E3[:, 2] == k, :2], pixel_P1)
        below.broken_barh(spans, (place + BAR[0], BAR[1]), color=FOUND, linewidth=0, antialiased=False, zorder=4)
    silent = _silent(dead, pixel_P1)
    if silent:
        keys["nothing sounds"] = Patch(**SILENT)
    for axes in panels[:-1]:
        axes.broken_barh(silent, (0, axes.get_ylim()[1]), zorder=3, **SILENT)
    for place in range(len(rows)):
        below.broken_barh(silent, (place, HEAT), zorder=3, **SILENT)
    _times(panels, edges_T1[0], edges_T1[-1], clock)
    colour_bar(figure, image, threshold, meaning, left)
    taken = legend_above(figure, keys, left + width, HEAD)
    headline(figure, left / WIDTH, title)
    about = _about(edges_T1[0], edges_T1[-1], len(event_E3), clock)
    if len(rows) < len(phrases):
        about += f"; {len(rows)} of {len(phrases)} phrases, those of which most was found"
    figure.text(left / WIDTH, 1 - (HEAD - 0.12) / height, fitting(about, width - taken, 9), fontsize=9, color=QUIET)
    return figure


def highest(value_RT: np.ndarray, edges_T1: np.ndarray, pixel_P1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel the highest of the values that it shares time with, and the pixels' edges; unchanged if there are
    no more values than pixels. pixel_P1: edges, within those of the values or beyond by less than a pixel."""
    if value_RT.shape[1] <= len(pixel_P1) - 1:
        return value_RT, edges_T1
    last = value_RT.shape[1] - 1
    first_P = np.clip(np.searchsorted(edges_T1, pixel_P1[:-1], "right") - 1, 0, last)
    stop_P = np.maximum(np.clip(np.searchsorted(edges_T1, pixel_P1[1:], "left"), 0, last + 1), first_P + 1)
    padded = np.concatenate([value_RT, value_RT[:, -1:]], axis=1)  # so that the last may stop behind all
    pairs = np.stack([first_P, stop_P], axis=1).ravel()
    return np.maximum.reduceat(padded, pairs, axis=1)[:, ::2], pixel_P1


def _check(score_KT: np.ndarray, edges_T1: np.ndarray, phrases: Sequence[str], event_E3: np.ndarray) -> None:
    if score_KT.ndim != 2 or score_KT.shape != (len(phrases), len(edges_T1) - 1) or not score_KT.size:
        wanted = f"[{len(phrases)} phrases, {len(edges_T1) - 1} frames]"
        raise ValueError(f"scores {score_KT.shape} must be {wanted}, at least one row and one frame")
    if not (np.diff(edges_T1) > 0).all():
        raise ValueError("edges of frames must rise")
    onset_E, offset_E, row_E = event_E3.T
    if not ((onset_E <= offset_E) & (offset_E >= edges_T1[0]) & (onset_E <= edges_T1[-1])).all():
        raise ValueError(f"events must end behind their onset, and lie between {edges_T1[0]:g} and {edges_T1[-1]:g} s")
    if not np.isin(row_E, np.arange(len(phrases))).all():
        raise ValueError(f"events name rows of scores, from 0 to {len(phrases) - 1}")


def _shown(score_KT: np.ndarray, event_E3: np.ndarray) -> list[int]:
    """Rows in their order: all, or those with the most time in events, then with the highest score."""
    if len(score_KT) <= MOST_PHRASES:
        return list(range(len(score_KT)))
    found_K = np.bincount(event_E3[:, 2].astype(int), event_E3[:, 1] - event_E3[:, 0], len(score_KT))
    best = np.lexsort((-score_KT.max(axis=1), -found_K))
    return sorted(best[:MOST_PHRASES].tolist())


def _visible(span_E2: np.ndarray, pixel_P1: np.ndarray) -> list[tuple[float, float]]:
    """(onset, seconds) as `broken_barh` takes them, none narrower than LEAST pixels, none beyond the axis."""
    start, stop = pixel_P1[0], pixel_P1[-1]
    least = min(LEAST * (pixel_P1[1] - pixel_P1[0]), stop - start)
    missing_E = np.maximum(least - (span_E2[:, 1] - span_E2[:, 0]), 0)
    onset_E = np.maximum(span_E2[:, 0] - missing_E / 2, start)
    offset_E = np.minimum(np.maximum(span_E2[:, 1], onset_E + least), stop)
    onset_E = np.minimum(onset_E, offset_E - least)
    return list(zip(onset_E.tolist(), (offset_E - onset_E).tolist(), strict=True))


def _silent(dead: Sequence[tuple[float, float]], pixel_P1: np.ndarray) -> list[tuple[float, float]]:
    """(from, seconds) as `broken_barh` takes them: runs of pixels of which at least half is dead."""
    if not len(dead):
        return []
    span_N2 = np.asarray(dead, dtype=np.float64)
    before_N = np.concatenate([[0], np.cumsum(span_N2[:, 1] - span_N2[:, 0])])
    dead_P1 = np.interp(pixel_P1, span_N2.ravel(), np.repeat(before_N, 2)[1:-1])
    most_P = np.diff(dead_P1) >= 0.5 * np.diff(pixel_P1)
    change = np.flatnonzero(np.diff(np.concatenate([[0], most_P.astype(np.int8), [0]]))).reshape(-1, 2)
    return [(float(pixel_P1[a]), float(pixel_P1[b] - pixel_P1[a])) for a, b in change]


def _times(panels: Sequence[Axes], start: float, stop: float, clock: Clock | None) -> None:
    """Of the recording below the panels, of the day above them."""
    ticks, texts, kind = time_ticks(start, stop)
    for axes in panels:
        axes.set_xticks(ticks, texts)
        axes.tick_params(axis="x", colors=QUIET, labelsize=9, labelbottom=axes is panels[-1])
    panels[-1].set_xlabel(f"{kind} of the recording", color=QUIET, fontsize=9)
    if clock:
        day = panels[0].secondary_xaxis("top")
        day.set_xticks(*clock_ticks(clock, start, stop))
        day.tick_params(axis="x", colors=QUIET, labelsize=9)
        day.spines["top"].set_visible(False)
        panels[0].annotate(
            "time of day", (0, 1), (-32, 7), xycoords="axes fraction", textcoords="offset points", ha="right",
            va="bottom", color=QUIET, fontsize=9,
        )  # fmt: skip


def _about(start: float, stop: float, events: int, clock: Clock | None) -> str:
    text = f"{time_text(start, stop)} to {time_text(stop, stop)}"
    text += " s" if ":" not in text else ""
    if clock:
        text += f", from {clock(start + 0.0005).isoformat(' ', 'seconds')}"
    return f"{text}; {events:,} event{'s' if events != 1 else ''}"


def _whole(length: float) -> float:
    """Inches that are a whole number of pixels: then a column of data is a column of pixels."""
    return math.ceil(length * DPI) / DPI

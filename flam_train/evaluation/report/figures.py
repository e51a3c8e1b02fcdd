"""Figures of an evaluated set, from what was kept of it; and of the clips that are worth a look.

Shape suffixes: K classes, T frames, S samples, F frames of all recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flam_train.batch import SAMPLE_RATE
from flam_train.evaluation.embeddings import Embeddings
from flam_train.evaluation.report.examples import retrieval_rankings
from flam_train.evaluation.retrieval import Relevant, Shared, owners_of
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, crossed, of_frames, timed_arguments
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import Detection, Psds, psds_of
from flam_train.plotting import (
    class_bars,
    cross_trigger_figure,
    f1_curves,
    localization_figure,
    psd_roc_figure,
    reliability_figure,
    retrieval_examples,
    save_figure,
)

ROWS = 10
"""Phrases in one figure."""

LONGEST = 60.0
"""Seconds in one figure."""

LIKELIER = "score: how much likelier here than anywhere"
MEANING = {
    "unbiased": f"{LIKELIER} (unbiased; 0.5: as usual)",
    "approximate": f"{LIKELIER} (approximate; 0.5: as usual)",
    "biased": "score: the probability that the phrase sounds (biased: as often as in training)",
    "cosine": "score: how alike sound and phrase are ((1 + cosine) / 2, 0 to 1)",
}
"""Of the scores of each method."""


def meaning(scores: Scores, method: str) -> str:
    """Of the scores, in words."""
    if scores.calibration is not None and scores.calibration.shares:
        return "score: the share of frames with it in which the phrase sounds (calibrated)"
    return MEANING[method]


def clips_with_most_classes(scores: Scores, count: int) -> list[int]:
    """Numbers of the recordings with the most different classes; of equals the first, but each mix of classes once.

    So the figures show different things; if there are not enough different mixes, more of the same follow.
    """
    mixes = [frozenset(name for _, _, name in events) for events in scores.events]
    ordered = sorted(range(len(mixes)), key=lambda n: -len(mixes[n]))
    first = {mix: n for mix, n in reversed([(mixes[n], n) for n in ordered])}
    fresh = [n for n in ordered if first[mixes[n]] == n]
    return (fresh + [n for n in ordered if first[mixes[n]] != n])[:count]


def clip_figure(
    scores: Scores,
    number: int,
    waveform_S: np.ndarray,
    rows: int = ROWS,
    method: str | None = None,
    start: float = 0.0,
    threshold: float | Sequence[float] | None = None,
) -> Figure:
    """The classes of a recording in order of appearance, then those that the model wrongly gave the highest scores.

    start      second of the original recording at which this one begins, where it was cut from a longer one
    threshold  as for `plotting.localization_figure`: one for all classes, or one of each

    Of a recording longer than LONGEST that stretch is shown, of those one behind the other, which has most classes. The
    scores are those of the first phrasing of each class.
    """
    method = method or scores.kept.method
    frames, events = _stretch(scores, number)
    first = scores.kept.frame_start_N1[number]
    begin = (frames.start - first) * scores.kept.frame_seconds
    seconds = len(frames) * scores.kept.frame_seconds
    score_KT = scores.calibrated.score_KF(method, frames=frames).numpy()
    label_KT = scores.label_KF(frames=frames).numpy()
    appeared = dict.fromkeys(name for _, _, name in sorted(events))
    present = [scores.classes.index(name) for name in appeared][:rows]
    absent = [int(k) for k in np.argsort(-score_KT.max(axis=1), kind="stable") if scores.classes[k] not in appeared]
    shown = present + absent[: rows - len(present)]
    return localization_figure(
        waveform_S[round(begin * SAMPLE_RATE) : round((begin + seconds) * SAMPLE_RATE)],
        score_KT[shown],
        label_KT[shown],
        [scores.words.phrases[0][k] for k in shown],
        FrameGrid(len(frames), seconds),
        name=scores.kept.keys[number],
        start=float(start + begin),
        threshold=[threshold[k] for k in shown] if isinstance(threshold, Sequence) else threshold,
        meaning=meaning(scores, method),
    )


def _stretch(scores: Scores, number: int) -> tuple[range, list[Detection]]:
    """What `clip_figure` shows of a recording: frames, counted as in `Scores`, and the events that reach into them."""
    start, end = scores.kept.frame_start_N1[number : number + 2].tolist()
    size = max(1, int(LONGEST / scores.kept.frame_seconds))
    parts = [range(first, min(first + size, end)) for first in range(start, end, size)] or [range(start, end)]
    seconds = [
        ((part.start - start) * scores.kept.frame_seconds, (part.stop - start) * scores.kept.frame_seconds)
        for part in parts
    ]
    events = [[e for e in scores.events[number] if e[0] < stop and e[1] > begin] for begin, stop in seconds]
    most = max(range(len(parts)), key=lambda n: len({name for _, _, name in events[n]}))
    return parts[most], events[most]


def sed_figures(scores: Scores, chosen: SedMetrics, name: str) -> dict[str, Figure]:
    """F1 over thresholds with and without scale and bias, reliability; and if their metrics are chosen, PSD-ROC curves,
    bars of classes and cross triggers. Of several phrasings of each class the first."""
    method = chosen.method or scores.kept.method
    methods = dict.fromkeys((method, "biased", "cosine") if method != "cosine" else (method,))
    asked = {"frame_f1", "calibration"}
    first = asked | ({"auroc"} & set(chosen.metrics))
    kinds = {
        one: of_frames(partial(scores.blocks, one), first if one == method else asked, one != "cosine")
        for one in methods
    }
    found = {"f1": f1_curves({kind: one.f1 for kind, one in kinds.items() if one.f1})}
    probable = {kind: one.calibration for kind, one in kinds.items() if one.calibration}
    if scores.calibration is not None and (
        one := of_frames(partial(scores.calibrated.blocks, method), {"calibration"}).calibration
    ):
        probable = {f"{method}, calibrated": one} | probable
    if probable:
        found["reliability"] = reliability_figure(probable)
    bars = {}
    if area := kinds[method].auroc:
        bars["frame AUROC"] = dict(zip(scores.classes, area.per_class.tolist(), strict=True))
    if "psds" in chosen.metrics and chosen.psds:
        timed = timed_arguments(scores, method, chosen)
        values = psds_of(*timed, chosen.psds, "skip")
        found["psd-roc"] = psd_roc_figure(values)
        title, even = _even(values)
        bars[title] = even.per_class
    rounds = len(scores.words.phrases)
    which = f", the first of {rounds} phrasings" if rounds > 1 else ""
    if "cross_triggers" in chosen.metrics:
        count_KK = crossed(timed_arguments(scores.decided, method, chosen), chosen).count_KK.numpy()
        found["cross-triggers"] = cross_trigger_figure(count_KK, scores.classes, f"{name}, cross triggers{which}")
    if bars:
        found["classes"] = class_bars(bars, f"{name}, by class{which}")
    return found


def _even(values: dict[str, Psds]) -> tuple[str, Psds]:
    """The first setting that is the mean of its classes, so that the chart's mean is the table's number: the others
    take off what unevenness across classes costs, as PSDS1 does and PSDS1A does not. Without one, the first, named."""
    name, value = next(iter(values.items()))
    named = {n: v for n, v in values.items() if not v.parameters.alpha_st}
    return next(iter(named.items()), (f"{name} without the penalty for unevenness", value))


def retrieval_figures(
    embeddings: Embeddings, captions: str = "all", relevant: Relevant | None = None
) -> dict[str, Figure]:
    """Some queries of either direction with what was found. captions, relevant: as in `retrieval.result_of`; of caption
    sets all captions are shown among one another."""
    if captions == "shared":
        shared = Shared.of(embeddings, relevant)
        text_MD, texts, pairs = shared.once_MD.numpy(), shared.texts, (shared.text_X.numpy(), shared.clip_X.numpy())
    else:
        text_MD, texts = embeddings.text_MD, embeddings.texts
        pairs = np.arange(len(texts)), owners_of(embeddings).numpy()
    return {
        "examples": retrieval_examples(*retrieval_rankings(embeddings.audio_ND, text_MD, pairs, embeddings.keys, texts))
    }


def save_figures(figures: dict[str, Figure], folder: Path, name: str) -> list[Path]:
    return [save_figure(figure, folder / f"{name}-{kind}.png") for kind, figure in figures.items()]

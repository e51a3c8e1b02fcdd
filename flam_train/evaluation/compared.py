"""Whether one model is better than another, from what both kept of the same clips: paired bootstrap.

Shape suffixes: as in `metrics.bootstrap`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from flam_train.evaluation import resampled, retrieval
from flam_train.evaluation.choices import RESAMPLED
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.embeddings import Embeddings
from flam_train.evaluation.resampled import Note
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics
from flam_train.metrics.bootstrap import interval

Found = tuple[dict[str, Any], dict[str, dict[str, float]]]
"""(how, in words; by metric `differences`)."""


def compare(a: Scores, b: Scores, chosen: SedMetrics, how: Bootstrap, note: Note | None = None) -> Found:
    """Of two models at detection. Raises Differs if clips, classes or truth do; else errors as in `Bootstrap.drawn`,
    and for metrics of which none is computed again."""
    check_same(a, b)
    drawn = how.drawn((a if a.kept.sources or not b.kept.sources else b).kept)
    of_a, of_b = (resampled.resampled(one, chosen, drawn, how.psds, note) for one in (a, b))
    if not of_a:
        raise ValueError(nothing(chosen.metrics))
    return drawn.how, differences(of_a, of_b, how.level)


def compare_retrieval(a: Embeddings, b: Embeddings, how: Bootstrap, captions: str = "all") -> Found:
    """Of two models at retrieval; captions as in `retrieval.result_of`. Raises Differs if clips or captions do."""
    _check_clips(a.keys, b.keys)
    for key, x, y in zip(a.keys, a.captions, b.captions, strict=True):
        if x != y:
            raise Differs(f"captions of clip {key!r} differ: evaluate both on the same shards")
    drawn = how.drawn(a if a.sources or not b.sources else b)
    of_a, of_b = (retrieval.resampled(one, drawn, captions) for one in (a, b))
    return drawn.how, differences(of_a, of_b, how.level)


def nothing(metrics: Sequence[str]) -> str:
    """What is said where a bootstrap is asked for metrics that it is not for."""
    names = ", ".join(RESAMPLED)
    return f"of {', '.join(metrics)} no resample is computed: a bootstrap is for {names} (with --bootstrap-psds)"


def differences(of_a: Mapping[str, Tensor], of_b: Mapping[str, Tensor], level: float) -> dict[str, dict[str, float]]:
    """Of value_R by metric, of which the first is the set itself and the others the same resamples of both: a, b,
    difference (a - b) with low, high and error, and `a better`: the share of resamples in which a's is higher, ties
    half."""
    out = {}
    for name in (name for name in of_a if name in of_b):
        one_R, other_R = of_a[name], of_b[name]
        apart_R = one_R - other_R
        drawn_R = apart_R[1:][~apart_R[1:].isnan()]
        found = interval(drawn_R, level)
        share = float(((drawn_R > 0).double() + (drawn_R == 0).double() / 2).mean())
        both = {"a": float(one_R[0]), "b": float(other_R[0]), "difference": float(apart_R[0])}
        out[name] = both | asdict(found) | {"a better": share}
    return out


def plain(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """For a JSON file: what nothing defines is null."""
    return {name: {key: x if math.isfinite(x) else None for key, x in one.items()} for name, one in found.items()}


class Differs(ValueError):
    """What two models found cannot be compared, as it was not asked of the same."""


def check_same(a: Scores, b: Scores) -> None:
    """Raises Differs that names the first clip or class that does."""
    one, other = a.kept, b.kept
    _check_clips(one.keys, other.keys)
    if a.classes != b.classes:
        odd = sorted(set(a.classes) ^ set(b.classes))
        what = f"{odd[0]!r} is not in both" if odd else "they stand in another order"
        raise Differs(f"classes differ, {len(a.classes)} and {len(b.classes)}: {what}: ask both for the same ones")
    for name, first, second in (("durations", one.durations, other.durations), ("events", a.events, b.events)):
        for key, x, y in zip(one.keys, first, second, strict=True):
            if x != y:
                raise Differs(f"truth differs: {name} of clip {key!r}: evaluate both on the same shards")


def _check_clips(one: list[str], other: list[str]) -> None:
    if one != other:
        odd = sorted(set(one) ^ set(other))
        what = f"{odd[0]!r} is not in both" if odd else "they stand in another order"
        raise Differs(f"clips differ, {len(one)} and {len(other)}: {what}: evaluate both on the same shards")

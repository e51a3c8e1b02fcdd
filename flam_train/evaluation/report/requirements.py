"""Whether results reach what is asked of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from flam_train.evaluation.report.table import find_metric
from flam_train.evaluation.result import Result


@dataclass(frozen=True)
class Verdict:
    """A requirement and what was found: `value` is NaN where no result has the metric."""

    protocol: str
    metric: str
    minimum: float
    value: float
    where: str

    @property
    def reached(self) -> bool:
        return self.value >= self.minimum

    def __str__(self) -> str:
        found = "not measured" if math.isnan(self.value) else f"{self.value:.4f}"
        word = "reached" if self.reached else "MISSED "
        return f"{word}  {self.protocol} {self.metric}: {found}, required {self.minimum:.4g}  ({self.where})"


def check(results: Sequence[Result], protocol: str, metric: str, minimum: str) -> list[Verdict]:
    """A verdict for each result of the protocol; one that is missed if there is none.

    minimum: a number, or "5xchance": five times the result's own chance level of that metric.
    Raises ValueError for another text.
    """
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(?:x\s*(chance))?\s*", minimum, flags=re.IGNORECASE)
    try:
        number = float(match[1]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise ValueError(f"--require {protocol} {metric} {minimum!r}: the minimum is a number, or like 5xchance")
    chosen = [r for r in results if r.protocol == protocol]
    if not chosen:
        return [Verdict(protocol, metric, number, math.nan, "no such result")]
    verdicts = []
    for r in chosen:
        name = find_metric(r, metric)
        value = r.metrics[name] if name else math.nan
        factor = 1.0
        if match[2]:
            side, _, short = metric.rpartition("/")
            factor = r.metrics.get(f"{side}/chance {short}", math.nan)
        verdicts.append(Verdict(protocol, metric, number * factor, value, r.name))
    return verdicts

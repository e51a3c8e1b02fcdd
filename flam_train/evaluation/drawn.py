"""Resamples of a set: what is drawn, how often, and between what a number lies by them.

Shape suffixes: as in `metrics.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_train.evaluation.groups import Kept, units_of
from flam_train.metrics.bootstrap import LEVEL, RESAMPLES, draws, interval


@dataclass(frozen=True)
class Bootstrap:
    """resamples, level, seed: as in `metrics.bootstrap`. group: as in `groups.units_of`. psds: whether PSDS is computed
    again for each resample, which takes as many times as long."""

    resamples: int = RESAMPLES
    level: float = LEVEL
    seed: int = 0
    group: str | None = None
    psds: bool = False

    def __post_init__(self) -> None:
        interval(torch.zeros(1), self.level)
        if self.resamples < 2:
            raise ValueError(f"--bootstrap {self.resamples}: draw at least 2 resamples, better {RESAMPLES}")

    def drawn(self, kept: Kept) -> Drawn:
        """Raises ValueError for a set of one unit, and for a group that it has not."""
        unit_N, what = units_of(kept, self.group)
        units = int(unit_N.max()) + 1
        try:
            weight_UR = draws(units, self.resamples, self.seed)
        except ValueError as error:
            raise ValueError(f"{kept.about['dataset']}: {error}") from error
        itself = torch.ones(units, 1, dtype=torch.int32)
        how = {
            "unit": what, "units": units, "resamples": self.resamples, "level": self.level, "seed": self.seed,
            "method": "percentile bootstrap",
        }  # fmt: skip
        return Drawn(torch.from_numpy(unit_N), torch.cat((itself, weight_UR), dim=1), how)


@dataclass(frozen=True)
class Drawn:
    """unit_N: of each recording. weight_UR: the first column is the set itself, each unit once. how: in words."""

    unit_N: Tensor
    weight_UR: Tensor
    how: dict[str, Any]

    def intervals(self, values: Mapping[str, Tensor], **how: str) -> dict[str, Any]:
        """The field of a `Result`. values: value_R by the name of the metric; how: more of it, in words."""
        found = {name: interval(value_R[1:], self.how["level"]) for name, value_R in values.items()}
        of = {name: asdict(one) for name, one in found.items() if not np.isnan(one.low + one.error)}
        return {"how": self.how | how, "of": of}

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
from flam_train.settings import setting, settle


@dataclass(frozen=True)
class Bootstrap:
    """How recordings are drawn (`metrics.bootstrap`)."""

    resamples: int = setting(RESAMPLES, "how many", least=2)
    level: float = setting(LEVEL, "the share of them that an interval holds", above=0, below=1)
    seed: int = setting(0, "of what is drawn", least=0)
    group: str | None = setting(None, "as in `groups.units_of`")
    psds: bool = setting(False, "whether PSDS is computed again for each resample, which takes as many times as long")

    def __post_init__(self) -> None:
        settle(self, "bootstrap")

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

"""The losses of a step told of each corpus by itself: `loss/global/NAME`, `loss/sed/NAME`, `loss/weak/NAME`.

Shape suffixes: K corpora of all streams that have several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flam_train.batch import StepBatch
from flam_train.distributed import sum_over_ranks
from flam_train.losses.terms import ClipTerms

LOSSES = {"global": "global", "frame": "sed", "weak": "weak"}
"""Streams, and the losses that are means over their clips."""


class ByCorpus:
    """Each corpus' mean over the terms of its own clips: a corpus that is drawn rarely reads like the others.

    Of a step the mean of these, weighted by how many terms they are of, is the loss. A step's negatives are those of
    the whole batch, whatever corpus they come from. A stream of one corpus has nothing more to tell.

    corpora: of each stream, in the order of their numbers.
    """

    def __init__(self, corpora: Mapping[str, Sequence[str]]) -> None:
        self.corpora = {kind: list(names) for kind, names in corpora.items() if len(names) > 1}
        self._sums: list[Tensor] = []  # of the last step, of this rank

    def keep(self, step: StepBatch, terms: Mapping[str, ClipTerms]) -> None:
        """Of this rank's clips; neither ranks nor the host wait here. terms: as `objective.losses` gives them."""
        parts = {"global": step.captions, "frame": step.events, "weak": step.tags}
        self._sums = []
        for kind, names in self.corpora.items():
            part = parts[kind]
            assert part is not None, f"a step without a {kind} batch"
            self._sums.append(terms[LOSSES[kind]].by_group(part.corpus_B, len(names)))

    def means(self) -> dict[str, float]:
        """Of the step that was kept, over all ranks, all of which call this; without corpora that had no term in it."""
        if not self._sums:
            return {}
        names = [f"loss/{LOSSES[kind]}/{name}" for kind, corpora in self.corpora.items() for name in corpora]
        found = zip(names, sum_over_ranks(torch.cat(self._sums)).tolist(), strict=True)
        return {name: total / count for name, (total, count) in found if count}

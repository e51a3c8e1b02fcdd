"""Which recordings of one corpus are in another, by what they are called across corpora or by their very samples.

Windows of one recording have its id all, so a test set's recording is found in whatever was cut from it. Equal audio is
found only where every sample is the same: not where a recording was decoded, resampled or cut in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flam_train.data.preparation.verification import Report
from flam_train.data.shards.checks import hash_of, ids_of


@dataclass(frozen=True)
class Overlap:
    """Samples of `of` that are in `other` too: ascending rows of `of`'s corpus, int64. A row may be in both."""

    of: Report
    other: Report
    by_id: np.ndarray
    by_sound: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        return np.union1d(self.by_id, self.by_sound)

    def reasons(self) -> Iterator[tuple[str, str, str]]:
        """(corpus, key, reason) of each sample. The descriptions of these are read again."""
        of, other = self.of.corpus, self.other.corpus
        assert of is not None
        assert other is not None
        named = set(self.by_id.tolist())
        known = set(self.other.ids_M.tolist())
        for row in self.rows.tolist():
            if row in named:
                found = [name for name in ids_of(of.record(row)) if hash_of(name.encode()) in known]
                reason = f"{', '.join(found)} in {other.name}"
            else:
                twin = int(np.flatnonzero(self.other.sound_N == self.of.sound_N[row])[0])
                reason = f"the same audio as {other.key(twin)} of {other.name}"
            yield of.name, of.key(row), reason


def overlap(of: Report, other: Report) -> Overlap:
    """What of `of` is in `other`. By audio only where both were decoded."""
    by_id = np.unique(of.id_rows_M[np.isin(of.ids_M, other.ids_M)])
    by_sound = np.flatnonzero((of.sound_N != 0) & np.isin(of.sound_N, other.sound_N))
    return Overlap(of, other, by_id, by_sound)

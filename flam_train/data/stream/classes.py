"""Which clips of a corpus have which class: read from its records once, for sampling by class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import Kept
from flam_train.data.shards.tars import replace_with
from flam_train.data.stream.tags import may_be_of_clip

LARGE = 10_000
"""Clips. Of a larger corpus (reading takes over a second) the classes are kept in a file."""


@dataclass(frozen=True)
class ByClass:
    """A share of a corpus' samples that is drawn evenly over its classes.

    share   above 0, at most 1
    starts  int64 [K + 1]: the clips of class k are rows[starts[k]:starts[k + 1]]
    rows    int64: the samples' global rows, among those that are kept
    """

    share: float
    starts: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(
        cls, share: float, corpus: Corpus, folder: Path, kept: Kept | None = None, tags_in: float | None = None
    ) -> ByClass:
        """Classes are concepts: those of the corpus' vocabulary, or in an open corpus the phrases themselves.

        folder: on this machine's disk; classes of a large corpus are kept there. kept: as `ShardSource` has it.
        tags_in: seconds of a clip, of which tags count that may be known to be heard in it (`may_be_of_clip`); None:
        events alone count.
        Raises ValueError that names the folder and the fix where no clip has a class, or a record cannot be read: each
        rank must find the same.
        """
        found: dict[str, list[np.ndarray]] = {}
        known = corpus.vocabulary.classes
        for label, rows in clips_of_labels(corpus, folder, tags_in).items():
            # A label that the vocabulary lacks makes a bad sample, which is told where it is read.
            if not known or label in known:
                found.setdefault(corpus.vocabulary.concept(label).id, []).append(rows)
        classes = [np.unique(np.concatenate(found[concept])) for concept in sorted(found)]
        if kept is not None:
            classes = [kept.indices(rows) for rows in classes]
        classes, what = [rows for rows in classes if len(rows)], "an event" if tags_in is None else "a tag"
        if not classes:
            raise ValueError(
                f"{corpus.folder}: no clip has {what}, and none can be drawn by class: set this corpus' balance to 0"
            )
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in classes])]).astype(np.int64)
        return cls(share, starts, np.concatenate(classes))


def clips_of_labels(corpus: Corpus, folder: Path, tags_in: float | None = None) -> dict[str, np.ndarray]:
    """Label -> global rows (int64, ascending) of the clips that have an event with it, or a tag (`ByClass.of`).

    Raises ValueError for a record that cannot be read."""
    name = hashlib.sha256(f"{corpus.name} {corpus.provenance()['sha256']}".encode()).hexdigest()
    path = folder / f"{name}.{'classes' if tags_in is None else f'tags-{tags_in:g}s'}.npz"
    if len(corpus) > LARGE and path.is_file():
        with np.load(path) as kept:
            return dict(zip(kept["labels"].tolist(), np.split(kept["rows"], kept["starts"][1:-1]), strict=True))
    rows: dict[str, list[int]] = {}
    for row in range(len(corpus)):
        record = corpus.record(row)
        found = {event.label for event in record.events}
        if tags_in is not None:
            found |= {tag.label for tag in record.tags if may_be_of_clip(tag, record.duration, tags_in)}
        for label in found:
            rows.setdefault(label, []).append(row)
    clips = {label: np.array(rows[label], dtype=np.int64) for label in sorted(rows)}
    if len(corpus) > LARGE and clips:
        folder.mkdir(parents=True, exist_ok=True)
        starts = np.cumsum([0, *map(len, clips.values())])
        all_rows = np.concatenate(list(clips.values()))
        replace_with(path, lambda file: np.savez(file, labels=np.array(list(clips)), rows=all_rows, starts=starts))
    return clips

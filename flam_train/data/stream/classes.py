"""Which clips of a corpus have which class: read from its records once, for sampling by class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import Kept
from flam_train.data.shards.tars import replace_with

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
    def of(cls, share: float, corpus: Corpus, folder: Path, kept: Kept | None = None, weak: bool = False) -> ByClass:
        """Classes are concepts: those of the corpus' vocabulary, or in an open corpus the phrases themselves.

        folder: on this machine's disk; classes of a large corpus are kept there. kept: as `ShardSource` has it. weak:
        a clip has the classes of its tags, too.
        Raises ValueError that names the folder and the fix where no clip has a class, or a record cannot be read: each
        rank must find the same.
        """
        found: dict[str, list[np.ndarray]] = {}
        known = corpus.vocabulary.classes
        for label, rows in clips_of_labels(corpus, folder, weak).items():
            # A label that the vocabulary lacks makes a bad sample, which is told where it is read.
            if not known or label in known:
                found.setdefault(corpus.vocabulary.concept(label).id, []).append(rows)
        classes = [np.unique(np.concatenate(found[concept])) for concept in sorted(found)]
        if kept is not None:
            classes = [kept.indices(rows) for rows in classes]
        classes, what = [rows for rows in classes if len(rows)], "a tag" if weak else "an event"
        if not classes:
            raise ValueError(
                f"{corpus.folder}: no clip has {what}, and none can be drawn by class: set this corpus' balance to 0"
            )
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in classes])]).astype(np.int64)
        return cls(share, starts, np.concatenate(classes))


def clips_of_labels(corpus: Corpus, folder: Path, weak: bool = False) -> dict[str, np.ndarray]:
    """Label -> global rows (int64, ascending) of the clips that have an event with it, or a tag where `weak`.

    Raises ValueError for a record that cannot be read."""
    name = hashlib.sha256(f"{corpus.name} {corpus.provenance()['sha256']}".encode()).hexdigest()
    path = folder / f"{name}.{'tags' if weak else 'classes'}.npz"
    if len(corpus) > LARGE and path.is_file():
        with np.load(path) as kept:
            return dict(zip(kept["labels"].tolist(), np.split(kept["rows"], kept["starts"][1:-1]), strict=True))
    rows: dict[str, list[int]] = {}
    for row in range(len(corpus)):
        record = corpus.record(row)
        tags = {tag.label for tag in record.tags} if weak else set()
        for label in {event.label for event in record.events} | tags:
            rows.setdefault(label, []).append(row)
    found = {label: np.array(rows[label], dtype=np.int64) for label in sorted(rows)}
    if len(corpus) > LARGE and found:
        folder.mkdir(parents=True, exist_ok=True)
        starts = np.cumsum([0, *map(len, found.values())])
        all_rows = np.concatenate(list(found.values()))
        replace_with(path, lambda file: np.savez(file, labels=np.array(list(found)), rows=all_rows, starts=starts))
    return found

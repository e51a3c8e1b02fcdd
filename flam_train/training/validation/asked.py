"""What is asked of a corpus that is validated on, before a run and without its audio: classes, numbers, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.evaluation.scores import PAIRS
from flam_train.evaluation.truth import check_labels, only_listed
from flam_train.evaluation.words import Words
from flam_train.frames import FrameGrid
from flam_train.settings import one_of

MOST_LABELS = 1000
"""Of an open corpus: of more the most frequent are scored."""

MOST_PAIRS = PAIRS
"""Of a frame and a phrase, of which PSDS1 and event F1 are computed: their scores are in memory at once, and all GPUs
wait for them (half a minute; docs/LOG.md)."""

FOUND = ("text_to_audio_R@1", "audio_to_text_R@1")
"""Of captions, where clips have some."""


@dataclass(frozen=True)
class Asked:
    """clips        of the corpus
    frames       of a clip
    words        all trained phrasings of each class; None: there is nothing to locate
    only_listed  the classes that are scored in the clips alone that list them
    left_out     labels beyond MOST_LABELS
    bounded      whether some clip that counts for a class has frames with it and without
    captioned    whether some clip has captions; True where no descriptions were read
    """

    clips: int
    frames: int
    words: Words | None = None
    only_listed: tuple[str, ...] = ()
    left_out: int = 0
    bounded: bool = True
    captioned: bool = True

    @classmethod
    def of(cls, corpus: Corpus, grid: FrameGrid) -> Asked:
        """Of a vocabulary the classes that the corpus annotates, of an open corpus its labels.

        The descriptions of an open corpus are read for it, and of another one that is on this machine. Raises
        ValueError for an event of a class that the vocabulary does not know, and for a corpus without clips.
        """
        size, here = (len(corpus), grid.frames), not corpus.remote or not corpus.vocabulary.classes
        if not len(corpus):
            raise ValueError(f"validation corpus {corpus.folder}: it has no clip: prepare it again, or leave it out")
        records = [corpus.record(n) for n in range(len(corpus))] if here else []
        captioned = not here or any(record.captions for record in records)
        if corpus.vocabulary.classes:
            if here:
                check_labels(corpus, set(corpus.vocabulary.classes), set(), None)
                if not any(record.events for record in records):
                    return cls(*size, captioned=captioned)
            return cls(*size, Words.of(corpus, corpus.vocabulary, "trained"), captioned=captioned)
        count = Counter(event.label for record in records for event in record.events)
        if not count:
            return cls(*size, captioned=captioned)
        labels = sorted(sorted(count, key=lambda label: (-count[label], label))[:MOST_LABELS])
        listed = only_listed(corpus, corpus.vocabulary, labels)
        bounded = len(listed) < len(labels) or any(_bounded(record, set(labels), grid) for record in records)
        left_out = len(count) - len(labels)
        return cls(*size, Words(labels, [labels], []), tuple(listed), left_out, bounded, captioned)

    @property
    def pairs(self) -> int:
        """Of a frame and a phrase, of all clips."""
        return self.clips * self.frames * sum(len(phrases) for phrases in self.words.phrases) if self.words else 0

    @property
    def logged(self) -> tuple[str, ...]:
        """What is computed of its events."""
        if self.words is None:
            return ()
        timed = () if self.pairs > MOST_PAIRS else ("event_f1",) if self.only_listed else ("event_f1", "psds1")
        return ("auroc_macro", "auroc_micro", *timed)

    def kept_bytes(self, width: int) -> int:
        """What the embeddings of its frames, of this width, take until the end on the first rank, which then has all of
        them; others have their share."""
        return 4 * width * self.clips * self.frames if self.words else 0

    def computed_bytes(self, width: int) -> int:
        """What the first rank needs beside them for a while: a copy in order, and what is made of scores."""
        largest = self.clips * self.frames * len(self.words.classes) if self.words else 0
        return self.kept_bytes(width) + 9 * 4 * min(largest, PAIRS)

    def told(self) -> list[str]:
        """Lines for the log, of what is not as everybody would think."""
        lines = []
        if self.words is None:
            lines.append("no clip has an event: frames are not scored")
        if self.left_out:
            lines.append(f"the {MOST_LABELS:,} most frequent labels are scored, {self.left_out:,} others are not")
        if self.only_listed:
            lines.append(
                f"labels are not complete: each of {len(self.only_listed):,} is scored in the clips that list it, and "
                "PSDS1 is not computed (eval/sed.py --unannotated mask does the same)"
            )
        if self.pairs > MOST_PAIRS:
            lines.append(
                f"{self.pairs:,} pairs of a frame and a phrase: AUROC alone is computed, PSDS1 and event F1 up to "
                f"{MOST_PAIRS:,}"
            )
        return lines


def _bounded(record: Record, labels: set[str], grid: FrameGrid) -> bool:
    """Whether one of its labels is heard in some of its frames, and not in all."""
    inside_T = grid.valid(min(record.duration, grid.seconds))
    for label in {event.label for event in record.events} & labels:
        mine = [event for event in record.events if event.label == label]
        heard_T = np.any(grid.labels([e.onset for e in mine], [e.offset for e in mine]), axis=0) & inside_T
        if 0 < heard_T.sum() < inside_T.sum():
            return True
    return False


def check_monitor(monitor: str, validations: Mapping[str, Asked]) -> None:
    """ValueError for a `trainer.monitor` that none of the validations, by name, logs."""
    if not validations:
        raise ValueError(
            f"trainer.monitor={monitor}: nothing is validated: set data.frame.NAME.validation to a folder of shards"
        )
    known = []
    for name, asked in validations.items():
        logged = [f"val/{name}/{number}" for number in asked.logged]
        why = ""
        if asked.words is None:
            why = "the validation shards have no events"
        elif asked.pairs > MOST_PAIRS:
            why = f"{asked.pairs:,} pairs of a frame and a phrase are too many for it"
        elif asked.only_listed:
            why = "the validation shards are not labelled completely, and it counts false positives in all clips"
        found = [f"val/{name}/{number}" for number in FOUND]
        if monitor in found and not asked.captioned:
            raise ValueError(
                f"trainer.monitor={monitor}: is not computed, no clip of the validation shards has a caption: monitor "
                "another number or corpus"
            )
        wanted = [f"val/{name}/{number}" for number in ("auroc_macro", "auroc_micro", "event_f1", "psds1")]
        if monitor in wanted and monitor not in logged:
            raise ValueError(f"trainer.monitor={monitor}: is not computed, {why}: monitor another number or corpus")
        if monitor in logged[:2] and not asked.bounded:
            raise ValueError(
                f"trainer.monitor={monitor}: the validation shards are not labelled completely, and in no clip a label "
                "begins or ends, so there is nothing to tell it from: monitor another number, or prepare them with "
                "--complete if they are"
            )
        known += logged + (found if asked.captioned else [])
    one_of("trainer.monitor", monitor, known)

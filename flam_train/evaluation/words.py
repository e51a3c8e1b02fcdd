"""What a detection asks for: classes, and how each is said.

A class can be said in several ways. In round p every class is asked for by its p-th phrasing (a class with fewer
starts again from its first); metrics are computed per round, and the result is their mean with the spread over
rounds. So a number never hides which words were used, and no phrasing is picked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flam_train.data.shards.corpus import Corpus
from flam_train.evaluation.choices import PHRASINGS
from flam_train.settings import one_of
from flam_train.vocabulary import Vocabulary


@dataclass(frozen=True)
class Words:
    """classes   K names
    phrases   R rounds of K phrases
    left_out  classes without a phrasing of this kind: not scored, and their events do not count
    """

    classes: list[str]
    phrases: list[list[str]]
    left_out: list[str]

    @classmethod
    def of(cls, corpus: Corpus, vocabulary: Vocabulary, phrasings: str, wanted: Sequence[str] | None = None) -> Words:
        """Of a vocabulary the classes that are wanted, or that the corpus annotates; in an open corpus every label
        there is. Raises ValueError for a kind that does not exist, and where nothing is left to ask for."""
        one_of("phrasings", phrasings, PHRASINGS)
        if not vocabulary.classes:
            if phrasings == "held_out":
                raise ValueError(f"{corpus.folder}: an open corpus has no held-out phrasings: ask for the trained ones")
            labels = labels_of(corpus)
            unknown = set(wanted or ()) - labels
            if unknown:
                raise ValueError(f"{corpus.folder}: no event is labelled {sorted(unknown)[0]!r}: mend the protocol")
            labels = set(wanted) if wanted else labels
            if not labels:
                raise ValueError(f"{corpus.folder}: not one event in this corpus: nothing to detect")
            return cls(sorted(labels), [sorted(labels)], [])
        annotated = set(corpus.annotates)
        unknown = set(wanted or ()) - set(vocabulary.classes)
        if unknown:
            raise ValueError(
                f"class {sorted(unknown)[0]!r} is not in vocabulary {vocabulary.corpus!r}: mend the protocol"
            )
        concepts = {
            name: concept
            for name, concept in vocabulary.classes.items()
            if (name in wanted if wanted else not annotated or concept.id in annotated)
        }
        ways = {c: v.phrasings if phrasings == "trained" else v.held_out for c, v in concepts.items()}
        classes = [c for c, said in ways.items() if said]
        if not classes:
            raise ValueError(
                f"{corpus.folder}: no class of vocabulary {vocabulary.corpus!r} that it annotates has {phrasings} "
                f"phrasings: write `{'phrasings' if phrasings == 'trained' else 'held_out'}` for its classes, or name "
                "another vocabulary"
            )
        rounds = max(len(ways[c]) for c in classes)
        phrases = [[ways[c][p % len(ways[c])] for c in classes] for p in range(rounds)]
        return cls(classes, phrases, [c for c, said in ways.items() if not said])


def labels_of(corpus: Corpus) -> set[str]:
    """Every label that occurs: the words of an open corpus."""
    return {event.label for n in range(len(corpus)) for event in corpus.record(n).events}


def asked_of(
    vocabulary: Vocabulary | None, classes: Sequence[str] | None, soft_threshold: float | None
) -> dict[str, Any]:
    """What was asked for, as plain data: what was kept for other questions is no answer."""
    return {
        "vocabulary": vocabulary.corpus if vocabulary else None,
        "vocabulary sha256": content_of(vocabulary) if vocabulary else None,
        "classes": list(classes) if classes else None,
        "soft_threshold": soft_threshold,
    }


def content_of(vocabulary: Vocabulary) -> str:
    """A digest of every word of it: a file can be edited and keep its name."""
    text = json.dumps([asdict(vocabulary.classes[name]) | {"name": name} for name in sorted(vocabulary.classes)])
    return hashlib.sha256(text.encode()).hexdigest()

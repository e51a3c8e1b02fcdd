"""Sentences about a mixture, from what sounds in it and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flam_train.vocabulary import Vocabulary

AFTER = (", then ", " followed by ", ", and then ", ", later ")
DURING = (" while ", " and at the same time ", " together with ")


@dataclass(frozen=True)
class Mention:
    """One event as a listener would tell it: seconds, the class, and how far above the background it is (dB)."""

    onset: float
    offset: float
    label: str
    loudness: float


def phrasing(vocabulary: Vocabulary, label: str, phrasings: str, rng: np.random.Generator) -> str:
    """One way to say a class, drawn from the "trained" or the "held_out" ones; ValueError if there is none."""
    concept = vocabulary.concept(label)
    if phrasings not in ("trained", "held_out"):
        raise ValueError(f"phrasings are 'trained' or 'held_out', not {phrasings!r}")
    choice = concept.phrasings if phrasings == "trained" else concept.held_out
    if not choice:
        raise ValueError(
            f"class {label!r} of vocabulary {vocabulary.corpus!r} has no held-out phrasing: "
            "add one under `held_out` in its YAML file"
        )
    return choice[rng.integers(len(choice))]


def describe_scene(
    mentions: list[Mention],
    vocabulary: Vocabulary,
    phrasings: str,
    count: int,
    words: int | None,
    rng: np.random.Generator,
) -> list[str]:
    """`count` captions: the events in order of onset, each caption in words of its own; [] if nothing sounds.

    "rain while a dog barks, then a siren". With `words`, the quietest events are left out until a caption
    has no more words than that (one event is always told).
    """
    if not mentions:
        return []
    return [_caption(mentions, vocabulary, phrasings, words, rng) for _ in range(count)]


def _caption(mentions: list[Mention], vocabulary: Vocabulary, phrasings: str, words: int | None, rng) -> str:
    # Drawn once a caption for each class and each seam, so that leaving events out does not change the rest.
    said = {label: phrasing(vocabulary, label, phrasings, rng) for label in sorted({m.label for m in mentions})}
    after, during = rng.integers(len(AFTER), size=len(mentions)), rng.integers(len(DURING), size=len(mentions))
    told = sorted(mentions, key=lambda m: (m.onset, m.offset, m.label))
    while True:
        text = _join(told, said, after, during)
        if words is None or len(text.split()) <= words or len(told) == 1:
            return text
        told.remove(min(told, key=lambda m: m.loudness))


def _join(told: list[Mention], said: dict[str, str], after, during) -> str:
    text, previous = said[told[0].label], told[0]
    for n, mention in enumerate(told[1:]):
        if mention.label == previous.label:
            # Told once; what follows is compared with the later end.
            previous = Mention(previous.onset, max(previous.offset, mention.offset), previous.label, previous.loudness)
            continue
        overlap = previous.offset - mention.onset
        together = overlap > 0.25 * min(previous.offset - previous.onset, mention.offset - mention.onset)
        text += (DURING[during[n]] if together else AFTER[after[n]]) + said[mention.label]
        previous = mention
    return text

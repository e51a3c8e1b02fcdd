"""The strongly labelled corpora together: their vocabularies, and label files that are damaged."""

from __future__ import annotations

import pytest

from flam_train.vocabulary import Vocabulary


@pytest.mark.parametrize("name", ["desed", "urbansed", "maestro"])
def test_vocabularies_have_phrasings_and_hold_some_out(name):
    by_concept = {c.id: c for c in Vocabulary.load(name).classes.values()}
    concepts = by_concept.values()
    assert all(by_concept[c.id] == c for c in Vocabulary.load(name).classes.values())
    said = [p.casefold() for c in concepts for p in c.phrasings + c.held_out]
    assert len(set(said)) == len(said)
    assert all(len(c.phrasings) >= 3 and len(c.held_out) >= 2 for c in concepts)


def test_no_phrasing_means_two_things():
    """With the concepts of all corpora in one batch, it would be positive and negative at once."""
    meanings: dict[str, set[str]] = {}
    for name in ("audioset_strong", "desed", "urbansed", "maestro", "esc10", "urbansound8k"):
        for concept in Vocabulary.load(name).classes.values():
            for said in concept.phrasings:
                meanings.setdefault(said.casefold(), set()).add(concept.id)
    assert {said: ids for said, ids in meanings.items() if len(ids) > 1} == {}

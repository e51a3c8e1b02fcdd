"""Losses by corpus, from the terms of a step's clips; over ranks: tests/distributed/test_losses_over_ranks.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from flam_train.losses.terms import ClipTerms
from flam_train.training.by_corpus import ByCorpus


def terms(total: list[float], counted: list[int]) -> ClipTerms:
    return ClipTerms(torch.tensor(total, requires_grad=True), torch.tensor(counted), torch.tensor(sum(counted)))


def step(**corpora: list[int]) -> SimpleNamespace:
    parts = dict.fromkeys(("captions", "events", "tags"))
    return SimpleNamespace(**parts | {k: SimpleNamespace(corpus_B=torch.tensor(v)) for k, v in corpora.items()})


def test_each_has_the_mean_of_its_own_terms():
    by_corpus = ByCorpus({"global": ["a", "b"], "frame": ["c", "d", "e"], "weak": ["f"]})
    found = {
        "global": terms([1.0, 2.0, 4.0], [1, 1, 1]),
        "sed": terms([6.0, 3.0, 0.0, 8.0], [10, 20, 0, 2]),
        "weak": terms([1.0], [1]),
    }
    by_corpus.keep(step(captions=[0, 1, 0], events=[0, 0, 1, 2], tags=[0]), found)
    means = by_corpus.means()
    # d had a bad clip alone, and a stream of one corpus has its loss already.
    assert means == {"loss/global/a": 2.5, "loss/global/b": 2.0, "loss/sed/c": 9 / 30, "loss/sed/e": 4.0}
    whole = (30 * means["loss/sed/c"] + 2 * means["loss/sed/e"]) / 32
    assert whole == pytest.approx(float(found["sed"].mean()), rel=1e-6)


def test_streams_of_one_corpus_tell_nothing():
    by_corpus = ByCorpus({"global": ["a"], "frame": ["a"]})
    by_corpus.keep(step(captions=[0], events=[0]), {"global": terms([1.0], [1]), "sed": terms([1.0], [1])})
    assert by_corpus.means() == {}

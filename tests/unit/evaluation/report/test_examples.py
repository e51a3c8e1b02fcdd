"""Examples of retrieval: the ranks shown are those that the metrics count."""

import numpy as np
import pytest
import torch

from flam_train.evaluation.report.examples import retrieval_rankings
from flam_train.metrics.relevance import relevance_metrics
from flam_train.metrics.retrieval import retrieval_metrics


def test_ranks_are_those_of_the_metrics():
    r = np.random.default_rng(0)
    # Few values, so that many scores are equal; clip 3 has no caption.
    audio, text = r.integers(-1, 2, (8, 4)).astype(np.float32), r.integers(-1, 2, (20, 4)).astype(np.float32)
    owner = r.choice([0, 1, 2, 4, 5, 6, 7], 20)
    keys, captions = [f"clip {n}" for n in range(8)], [f"caption {m}" for m in range(20)]
    to_audio, to_text = retrieval_rankings(audio, text, (np.arange(20), owner), keys, captions, count=100, depth=3)
    assert [one.query for one in to_audio] == captions
    assert [one.query for one in to_text] == [keys[n] for n in np.unique(owner)]
    measured = retrieval_metrics(*map(torch.from_numpy, (audio, text, owner)))
    for side, rankings in (("text_to_audio", to_audio), ("audio_to_text", to_text)):
        ranks = [one.right_rank for one in rankings]
        assert np.mean(ranks) == measured[f"{side}/mean_rank"]
        assert np.mean(np.array(ranks) <= 5) == measured[f"{side}/R@5"]
    for one in to_audio + to_text:
        assert len(one.found) == 3
        scores = [score for _, score, _ in one.found]
        assert scores == sorted(scores, reverse=True)
        right = [n for n, (_, _, is_right) in enumerate(one.found, start=1) if is_right]
        assert (right[:1] or [one.right_rank]) == [one.right_rank]
    name, score, _ = to_audio[4].found[0]
    assert score == audio[keys.index(name)] @ text[4]


def test_queries_stand_evenly():
    unit = np.eye(9)
    names = [str(n) for n in range(9)]
    to_audio, to_text = retrieval_rankings(unit, unit, (np.arange(9), np.arange(9)), names, names, count=3)
    assert [one.query for one in to_audio] == [one.query for one in to_text] == ["1", "4", "7"]
    assert to_audio[0].found[0] == ("1", 1.0, True)
    with pytest.raises(ValueError, match="8 keys"):
        retrieval_rankings(unit, unit, (np.arange(9), np.arange(9)), names[:8], names)


def test_several_right_answers():
    """Clips 0 and 1 are right for the first text, 2 for the second: ranks are those of the metrics."""
    audio = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=np.float32)
    text = np.array([[0.8, 0.6], [1.0, 0.0]], dtype=np.float32)
    pairs = np.array([0, 0, 1]), np.array([0, 1, 2])
    to_audio, to_text = retrieval_rankings(audio, text, pairs, ["a", "b", "c"], ["dog", "rain"], depth=3)
    assert [(one.query, one.right_rank) for one in to_audio] == [("dog", 1), ("rain", 3)]
    assert [right for _, _, right in to_audio[0].found] == [True, True, False]
    assert [one.query for one in to_text] == ["a", "b", "c"]
    measured = relevance_metrics(*map(torch.from_numpy, (audio, text, *pairs)))
    for side, rankings in (("text_to_audio", to_audio), ("audio_to_text", to_text)):
        assert np.mean([one.right_rank for one in rankings]) == measured[f"{side}/mean_rank"]

"""What a search found for a few captions and clips, from the embeddings of a whole set.

Shape suffixes: N clips, M captions, D embedding width, X answers to one query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flam_train.plotting import Ranking


def retrieval_rankings(
    audio_ND: np.ndarray,
    text_MD: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    keys: Sequence[str],
    captions: Sequence[str],
    count: int = 5,
    depth: int = 5,
) -> tuple[list[Ranking], list[Ranking]]:
    """(clips found for captions, captions found for clips), for `plotting.retrieval_examples`.

    audio_ND, text_MD   as for `metrics.retrieval.retrieval_metrics`
    pairs               (text_X, clip_X): rows that belong together
    keys, captions      N and M names
    count, depth                        queries of either direction, and how many answers of each; fewer where fewer are

    The queries stand evenly over the set, so that nobody chose them; of clips only those with a caption are asked. Of
    equal scores the right answer comes last, as in the metrics, so `right_rank` is the rank that they count.
    Raises ValueError for names that do not fit the embeddings.
    """
    text_X, clip_X = pairs
    if (len(keys), len(captions)) != (len(audio_ND), len(text_MD)):
        raise ValueError(
            f"{len(keys)} keys and {len(captions)} captions do not fit {len(audio_ND)} clips and {len(text_MD)} texts"
        )
    to_audio = [
        _ranking(captions[m], audio_ND @ text_MD[m], np.isin(range(len(keys)), clip_X[text_X == m]), keys, depth)
        for m in _evenly(np.unique(text_X), count)
    ]
    to_text = [
        _ranking(
            keys[n], text_MD @ audio_ND[n], np.isin(np.arange(len(captions)), text_X[clip_X == n]), captions, depth
        )
        for n in _evenly(np.unique(clip_X), count)
    ]
    return to_audio, to_text


def _evenly(rows: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` of the rows: the middles of equal parts."""
    count = min(count, len(rows))
    return rows[(np.arange(count) * 2 + 1) * len(rows) // (2 * count)] if count else rows[:0]


def _ranking(query: str, score_X: np.ndarray, right_X: np.ndarray, names: Sequence[str], depth: int) -> Ranking:
    order = np.lexsort((right_X, -score_X))
    found = [(names[x], float(score_X[x]), bool(right_X[x])) for x in order[:depth]]
    return Ranking(query, found, int(right_X[order].argmax()) + 1 if right_X.any() else None)

"""Retrieval where a query has several right answers: captions that repeat from clip to clip, or lists of what is
relevant.

Shape suffixes: N clips, M texts, D embedding width; of one side: Q queries, I items, R queries of one block; X pairs of
a query and one of its right items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flam_train.metrics.retrieval import Ranked, check_embeddings

BLOCK = 1 << 24
"""Scores held, and compared, at once."""

DEPTH = 16
"""K of mAP@K, as in DCASE 2025 task 6."""


def relevance_metrics(
    audio_ND: Tensor, text_MD: Tensor, text_X: Tensor, clip_X: Tensor, depth: int = DEPTH
) -> dict[str, float]:
    """Text-to-audio and audio-to-text retrieval, each text with one or more right clips, each clip with as many texts.

    audio_ND, text_MD  float, unit length for cosines, of one dtype and device
    text_X, clip_X     int64: rows that belong together; a pair that is there twice counts once

    Returns, under `text_to_audio/` and `audio_to_text/`: `R@1 R@5 R@10` (whether a right one is among the first k),
    `mAP@{depth}` in [0, 1], and `mean_rank`, from 1, of the best of the right ones. What scores the same as a right one
    and is none counts as ahead of it. Average precision runs over the first `depth` and is divided by
    min(right ones, depth). Texts and clips without a right one are not asked, but compete.

    Raises ValueError for shapes that do not fit, rows out of range, no pair, and values that are not finite.
    """
    sides = relevance_ranks(audio_ND, text_MD, text_X, clip_X, depth)
    return {f"{side}/{name}": value for side, found in sides.items() for name, value in found.means().items()}


def relevance_ranks(
    audio_ND: Tensor, text_MD: Tensor, text_X: Tensor, clip_X: Tensor, depth: int = DEPTH
) -> dict[str, Ranked]:
    """As `retrieval.retrieval_ranks`. Arguments and errors as in `relevance_metrics`."""
    if depth < 1:
        raise ValueError(f"depth {depth}: at least 1")
    audio_ND, text_MD = (torch.as_tensor(x).detach() for x in (audio_ND, text_MD))
    check_embeddings(audio_ND, text_MD)
    text_X, clip_X = (torch.as_tensor(x).to(text_MD.device) for x in (text_X, clip_X))
    for name, row_X in (("text", text_X), ("clip", clip_X)):
        if len(row_X) and (row_X.is_floating_point() or row_X.dtype == torch.bool):
            raise ValueError(f"{name} rows are {row_X.dtype}: give row numbers as integers")
    text_X, clip_X = text_X.long(), clip_X.long()
    if text_X.shape != clip_X.shape or text_X.ndim != 1 or not len(text_X):
        raise ValueError(f"pairs of {tuple(text_X.shape)} texts and {tuple(clip_X.shape)} clips: give at least one")
    for name, row_X, rows in (("text", text_X, len(text_MD)), ("clip", clip_X, len(audio_ND))):
        if int(row_X.min()) < 0 or int(row_X.max()) >= rows:
            raise ValueError(f"{name} rows {int(row_X.min())} to {int(row_X.max())}, but there are {rows}")
    text_X, clip_X = torch.unique(torch.stack((text_X, clip_X)), dim=1)
    return {
        "text_to_audio": _side(text_MD, audio_ND, text_X, clip_X, depth),
        "audio_to_text": _side(audio_ND, text_MD, clip_X, text_X, depth),
    }


def _side(query_QD: Tensor, item_ID: Tensor, query_X: Tensor, item_X: Tensor, depth: int) -> Ranked:
    order = query_X.argsort(stable=True)
    query_X, item_X = query_X[order], item_X[order]
    first_Q1 = torch.searchsorted(query_X, torch.arange(len(query_QD) + 1, device=query_X.device))
    best, precision = [], []
    block = max(1, BLOCK // len(item_ID))
    for start in range(0, len(query_QD), block):
        stop = min(start + block, len(query_QD))
        mine = slice(int(first_Q1[start]), int(first_Q1[stop]))
        if mine.start == mine.stop:
            continue
        score_RI = query_QD[start:stop] @ item_ID.T
        rank_X, place_X, row_X = _ranks(score_RI, query_X[mine] - start, item_X[mine])
        asked_R, count_R = row_X.unique_consecutive(return_counts=True)
        best.append(rank_X[place_X == 0])
        gain_X = (place_X + 1.0).double() / (rank_X + 1.0) * (rank_X < depth)
        sum_R = torch.zeros(len(score_RI), dtype=torch.float64, device=gain_X.device).index_add_(0, row_X, gain_X)
        precision.append(sum_R[asked_R] / count_R.clamp(max=depth))
    return Ranked(first_Q1.diff().nonzero()[:, 0], torch.cat(best), torch.cat(precision), depth)


def _ranks(score_RI: Tensor, row_X: Tensor, item_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rank_X, place_X, row_X), from 0, of right items row by row, the best first: among all, and among the right ones
    of its query."""
    score_X = score_RI[row_X, item_X]
    order = score_X.argsort(descending=True)
    order = order[row_X[order].argsort(stable=True)]
    score_X, row_X = score_X[order], row_X[order]
    begins_X = torch.ones_like(row_X, dtype=torch.bool)
    begins_X[1:] = row_X[1:] != row_X[:-1]
    here_X = torch.arange(len(row_X), device=row_X.device)
    place_X = here_X - here_X[begins_X][begins_X.cumsum(0) - 1]
    # Right ones that score as high: up to the last of those that are equal.
    last_X = torch.ones_like(begins_X)
    last_X[:-1] = begins_X[1:] | (score_X[1:] < score_X[:-1])
    ends_X = here_X[last_X][(last_X.cumsum(0) - last_X.long())]
    right_X = place_X + 1 + ends_X - here_X
    high_X = torch.cat(
        [
            (score_RI[row] >= score[:, None]).sum(1)
            for row, score in zip(*(x.split(max(1, BLOCK // score_RI.shape[1])) for x in (row_X, score_X)), strict=True)
        ]
    )
    return place_X + high_X - right_X, place_X, row_X

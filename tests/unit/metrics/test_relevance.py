"""Retrieval with several right answers beside a plain loop, and beside `retrieval_metrics` where each has one."""

import numpy as np
import pytest
import torch

from flam_train.metrics import relevance
from flam_train.metrics.relevance import relevance_metrics
from flam_train.metrics.retrieval import retrieval_metrics


def plain(query, item, right: dict[int, set[int]], depth: int) -> dict[str, float]:
    best, precision = [], []
    for q, own in right.items():
        score = (item @ query[q]).tolist()
        foreign = [score[i] for i in range(len(item)) if i not in own]
        ranks = [
            n + sum(s >= mine for s in foreign) for n, mine in enumerate(sorted((score[i] for i in own), reverse=True))
        ]
        best.append(ranks[0])
        precision.append(sum((n + 1) / (r + 1) for n, r in enumerate(ranks) if r < depth) / min(len(own), depth))
    out = {f"R@{k}": np.mean([r < k for r in best]) for k in (1, 5, 10)}
    return out | {f"mAP@{depth}": np.mean(precision), "mean_rank": np.mean(best) + 1}


def problem(seed: int):
    r = np.random.default_rng(seed)
    clips, texts = int(r.integers(1, 40)), int(r.integers(1, 20))
    audio, text = r.integers(-2, 3, (clips, 4)), r.integers(-2, 3, (texts, 4))  # whole numbers: ties abound
    pairs = sorted({(int(r.integers(texts)), int(r.integers(clips))) for _ in range(int(r.integers(1, 80)))})
    return torch.tensor(audio).double(), torch.tensor(text).double(), pairs


@pytest.mark.parametrize("block", [1, 50, 1 << 24])
def test_equals_the_plain_loop(block, monkeypatch):
    monkeypatch.setattr(relevance, "BLOCK", block)
    for seed in range(40):
        audio, text, pairs = problem(seed)
        depth = (16, 3)[seed % 2]
        given = torch.tensor([*pairs, *pairs[:3]])  # some twice
        got = relevance_metrics(audio, text, given[:, 0], given[:, 1], depth)
        for side, q, i, query, item in (("text_to_audio", 0, 1, text, audio), ("audio_to_text", 1, 0, audio, text)):
            right: dict[int, set[int]] = {}
            for pair in pairs:
                right.setdefault(pair[q], set()).add(pair[i])
            want = plain(query, item, right, depth)
            assert {n: got[f"{side}/{n}"] for n in want} == pytest.approx(want, abs=1e-12), seed


def test_with_one_right_clip_it_is_what_retrieval_is():
    g = torch.Generator().manual_seed(0)
    audio, text = (
        torch.randn(30, 8, generator=g, dtype=torch.float64),
        torch.randn(50, 8, generator=g, dtype=torch.float64),
    )
    owner = torch.randint(30, (50,), generator=g)
    want = retrieval_metrics(audio, text, owner)
    got = relevance_metrics(audio, text, torch.arange(50), owner, 10)
    assert got == pytest.approx({name: want[name] for name in got}, abs=1e-12)


def test_mistakes():
    audio, text = torch.rand(3, 4), torch.rand(2, 4)
    for args, match in (
        ((torch.tensor([]), torch.tensor([])), "give at least one"),
        ((torch.tensor([0, 2]), torch.tensor([0, 1])), "text rows 0 to 2, but there are 2"),
        ((torch.tensor([0]), torch.tensor([3])), "clip rows 3 to 3, but there are 3"),
        ((torch.tensor([0]), torch.tensor([0]), 0), "depth 0: at least 1"),
    ):
        with pytest.raises(ValueError, match=match):
            relevance_metrics(audio, text, *args)
    with pytest.raises(ValueError, match="audio row 1 is not finite"):
        relevance_metrics(torch.tensor([[0.0], [torch.nan]]), torch.ones(1, 1), [0], [0])

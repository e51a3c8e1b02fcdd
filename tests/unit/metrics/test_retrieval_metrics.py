"""retrieval_metrics beside a plain loop: ties, uneven captions, many blocks."""

import pytest
import torch
import torch.nn.functional as F

from flam_train.metrics import retrieval
from flam_train.metrics.retrieval import chance_level, retrieval_metrics


def plain(audio, text, owner):
    score = (text @ audio.T).tolist()
    owner = owner.tolist()
    forward = [sum(s >= row[i] for s in row) - 1 for row, i in zip(score, owner, strict=True)]
    best, precision = [], []
    for i in range(len(audio)):
        own = [j for j, clip in enumerate(owner) if clip == i]
        if not own:
            continue
        foreign = [score[j][i] for j, clip in enumerate(owner) if clip != i]
        own_scores = sorted((score[j][i] for j in own), reverse=True)
        ranks = [n + sum(s >= mine for s in foreign) for n, mine in enumerate(own_scores)]
        best.append(ranks[0])
        precision.append(sum((n + 1) / (r + 1) for n, r in enumerate(ranks) if r < 10) / min(len(own), 10))
    out = {"text_to_audio/mAP@10": mean([1 / (r + 1) if r < 10 else 0.0 for r in forward])}
    out["audio_to_text/mAP@10"] = mean(precision)
    for side, ranks in (("text_to_audio", forward), ("audio_to_text", best)):
        ordered = sorted(ranks)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        out[f"{side}/median_rank"] = int(middle) + 1
        out[f"{side}/mean_rank"] = mean(ranks) + 1
        out |= {f"{side}/R@{k}": mean([r < k for r in ranks]) for k in (1, 5, 10)}
    return out


def mean(values):
    return sum(values) / len(values)


def problem(seed, ties):
    g = torch.Generator().manual_seed(seed)
    clips, captions = (int(torch.randint(1, high, (1,), generator=g)) for high in (40, 150))
    owner = torch.randint(0, clips, (captions,), generator=g)  # uneven: some clips have none, some many
    if ties:  # small integers: every dot product is exact, and equal scores abound
        audio = torch.randint(-1, 2, (clips, 4), generator=g).float()
        return audio, (audio[owner] + torch.randint(-1, 2, (captions, 4), generator=g)).float(), owner
    audio = F.normalize(torch.randn(clips, 8, generator=g, dtype=torch.float64), dim=-1)
    text = F.normalize(audio[owner] + 0.5 * torch.randn(captions, 8, generator=g, dtype=torch.float64), dim=-1)
    return audio, text, owner


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("blocks", [(1000, 250, 64), (7, 3, 2), (1, 1, 1), (1000, 250, 3)])
def test_equals_the_plain_loop(ties, blocks, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK_CLIPS", blocks[0])
    monkeypatch.setattr(retrieval, "TILE_CLIPS", blocks[1])
    monkeypatch.setattr(retrieval, "GROUP", blocks[2])
    for seed in range(25):
        audio, text, owner = problem(seed, ties)
        got, want = retrieval_metrics(audio, text, owner), plain(audio, text, owner)
        assert got.keys() == want.keys()
        for name, value in want.items():
            assert got[name] == pytest.approx(value, abs=1e-12), (seed, name)


@pytest.mark.parametrize("close", [0, 40])
def test_where_many_scores_are_close_the_blocks_are_scored_again(close, monkeypatch):
    """Ties make many; 40 are passed in the midst of a set."""
    monkeypatch.setattr(retrieval, "BLOCK_CLIPS", 7)
    monkeypatch.setattr(retrieval, "TILE_CLIPS", 3)
    monkeypatch.setattr(retrieval, "CLOSE", close)
    counted = []
    again = retrieval._TextToAudio.count
    monkeypatch.setattr(retrieval._TextToAudio, "count", lambda *x: (counted.append(1), again(*x)))
    for seed in range(25):
        audio, text, owner = problem(seed, True)
        got, want = retrieval_metrics(audio, text, owner), plain(audio, text, owner)
        for name, value in want.items():
            assert got[name] == pytest.approx(value, abs=1e-12), (seed, name)
    assert len(counted) > 25


def test_more_clips_than_a_byte_counts():
    """Everything ties: each of 600 clips is ahead of every other, which overflows a byte if tiles were too large."""
    metrics = retrieval_metrics(torch.ones(600, 4), torch.ones(600, 4), torch.arange(600))
    assert metrics["text_to_audio/mean_rank"] == 600
    assert metrics["audio_to_text/median_rank"] == 600
    assert metrics["text_to_audio/R@10"] == metrics["audio_to_text/mAP@10"] == 0


def test_perfect_and_many_captions_in_float32():
    audio = F.normalize(torch.randn(700, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    owner = torch.arange(700).repeat_interleave(12)  # more captions a clip than mAP@10 looks at
    metrics = retrieval_metrics(audio, audio[owner], owner)
    for side in ("text_to_audio", "audio_to_text"):
        assert metrics[f"{side}/R@1"] == metrics[f"{side}/mAP@10"] == metrics[f"{side}/mean_rank"] == 1


def test_chance():
    chance = chance_level(torch.tensor([0, 0, 1, 3]), 4)
    assert chance == {
        "text_to_audio/chance R@1": 0.25,
        "audio_to_text/chance R@1": pytest.approx((0.5 + 0.25 + 0.25) / 3),
    }


@pytest.mark.parametrize(
    ("audio", "text", "owner", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2, dtype=int), "same width"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.zeros(3, dtype=int), "one clip index"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 2]), "row 1 is 2"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.tensor([-1, 1]), "row 0 is -1"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.zeros(2), "integers"),
        (torch.ones(2, 3), torch.ones(2, 3).double(), torch.zeros(2, dtype=int), "same floating"),
        (torch.ones(0, 3), torch.ones(2, 3), torch.zeros(2, dtype=int), "at least one"),
        (torch.ones(2, 3), torch.tensor([[1.0, 0, 0], [0, torch.nan, 0]]), torch.zeros(2, dtype=int), "text row 1"),
    ],
)
def test_user_mistakes(audio, text, owner, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(audio, text, owner)


def test_scores_that_are_all_equal_or_nothing():
    owner = torch.arange(4)
    some = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for audio, text in ((some * 0, some * 0), (some * 0, some), (some * 1e-30, some * 1e-30)):
            found = retrieval_metrics(audio.to(dtype), text.to(dtype), owner)
            assert found["text_to_audio/R@1"] == found["audio_to_text/R@1"] == 0.0  # ties are against the system
            assert found["text_to_audio/mean_rank"] == 4.0
    for long in (3e4, 300.0):
        with pytest.raises(ValueError, match=r"products of such long embeddings overflow torch\.float16: give them at"):
            retrieval_metrics(torch.full((4, 8), long).half(), torch.full((4, 8), long).half(), owner)
    with pytest.raises(ValueError, match="audio row 0 is not finite"):
        retrieval_metrics(torch.full((4, 8), torch.inf).half(), some.half(), owner)


def test_arrays_lists_and_what_learns():
    some = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    want = retrieval_metrics(some, some, torch.arange(4))
    learning = some.clone().requires_grad_()
    for given in (some.numpy(), some.tolist(), learning):
        assert retrieval_metrics(given, given, [0, 1, 2, 3]) == want

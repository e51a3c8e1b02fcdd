"""The losses beside plain twins of a dozen lines, forward and backward, in one process."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from flam_train.losses import contrastive_loss, framewise_loss, prior_loss, weak_loss
from flam_train.losses.contrastive import hard_negative_weights
from flam_train.losses.framewise import framewise_terms
from flam_train.losses.phrases import Pairs, join_phrases
from flam_train.losses.prior import prior_loss_of
from flam_train.losses.weak import POOLINGS

B, C, T, D = 4, 5, 6, 8


def make(seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return {
        "frame": F.normalize(normal(B, T, D), dim=-1).requires_grad_(),
        "text": F.normalize(normal(C, D), dim=-1).requires_grad_(),
        "scale": normal(C).exp().requires_grad_(),
        "bias": (normal(C) - 3).requires_grad_(),
        "label": torch.rand(B, C, T, generator=g) < 0.3,
        "audio_valid": torch.rand(B, generator=g) < 0.8,
        "phrase_valid": torch.rand(C, generator=g) < 0.7,
        "ids": torch.randint(0, 3, (C,), generator=g),
        "corpus": torch.randint(0, 3, (B,), generator=g),
        "annotated": torch.randint(0, 8, (C,), generator=g),
        "frame_valid": torch.rand(B, T, generator=g) < 0.8,
        "unknown": torch.rand(B, C, generator=g) < 0.2,
    }


def plain(d, ids, masked, frame_valid, unknown=False):
    """Every (clip, distinct valid phrase, frame) once, by loops."""
    total, count, prior, phrases = 0.0, 0, 0.0, 0
    for p in sorted({int(i) for i, v in zip(ids, d["phrase_valid"], strict=True) if v}):
        columns = [c for c in range(C) if ids[c] == p]
        c = next(c for c in columns if d["phrase_valid"][c])
        annotated = 0
        for k in columns:
            annotated |= int(d["annotated"][k])
        positive, counted = 0, 0
        for b in range(B):
            if not d["audio_valid"][b] or (masked and not annotated >> int(d["corpus"][b]) & 1):
                continue
            if unknown and any(d["unknown"][b, k] for k in columns) and not d["label"][b, columns].any():
                continue
            for t in range(T):
                if frame_valid and not d["frame_valid"][b, t]:
                    continue
                y = any(bool(d["label"][b, k, t]) for k in columns)
                z = 1.0 if y else -1.0
                total = total - F.logsigmoid(
                    z * (d["scale"][c] * (d["frame"][b, t] @ d["text"][c]) + d["bias"][c].detach())
                )
                positive, counted = positive + y, counted + 1
        count += counted
        if counted:
            fraction = torch.tensor(positive / counted, dtype=torch.float64)
            prior = prior + F.binary_cross_entropy_with_logits(d["bias"][c], fraction)
            phrases += 1
    return total / max(count, 1), prior / max(phrases, 1)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("frame_valid", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared_ids", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_framewise_and_prior(seed, shared_ids, masked, frame_valid, unknown):
    d = make(seed)
    if unknown:  # of most pairs no frame is positive
        d["label"] &= torch.rand(B, C, 1, generator=torch.Generator().manual_seed(seed)) < 0.4
    ids = d["ids"] if shared_ids else torch.arange(C)
    options = {
        "phrase_ids_C": ids if shared_ids else None,
        "corpus_B": d["corpus"] if masked else None,
        "annotated_in_C": d["annotated"] if masked else None,
        "frame_valid_BT": d["frame_valid"] if frame_valid else None,
    }
    if masked and not shared_ids:
        options["phrase_ids_C"] = ids
    options["unknown_BC"] = d["unknown"] if unknown else None
    phrases = join_phrases(Pairs(d["label"], d["audio_valid"], d["phrase_valid"], **options))
    embedded = (d["frame"], d["text"], d["scale"], d["bias"])
    got = framewise_terms(phrases, *embedded).mean(), prior_loss_of(phrases, d["bias"])
    if not unknown:
        del options["unknown_BC"]
        pairs = (d["label"], d["audio_valid"], d["phrase_valid"])
        assert torch.equal(framewise_loss(*embedded, *pairs, **options), got[0])
        assert torch.equal(prior_loss(d["bias"], *pairs, **options), got[1])
    want = plain(d, ids, masked, frame_valid, unknown)
    leaves = [d[k] for k in ("frame", "text", "scale", "bias")]
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a, torch.as_tensor(b, dtype=torch.float64), rtol=1e-12)
        if not torch.is_tensor(b) or not b.requires_grad:
            continue
        for x, y in zip(
            torch.autograd.grad(a, leaves, retain_graph=True, allow_unused=True, materialize_grads=True),
            torch.autograd.grad(b, leaves, retain_graph=True, allow_unused=True, materialize_grads=True),
            strict=True,
        ):
            assert torch.allclose(x, y, rtol=1e-10, atol=1e-14)


def plain_weak(d, ids, masked, unknown, pooling):
    """Every pair of a clip and a distinct valid phrase once, by loops."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for p in sorted({int(i) for i, v in zip(ids, d["phrase_valid"], strict=True) if v}):
        columns = [c for c in range(C) if ids[c] == p]
        c = next(c for c in columns if d["phrase_valid"][c])
        annotated = 0
        for k in columns:
            annotated |= int(d["annotated"][k])
        for b in range(B):
            tagged = d["label"][b, columns].any(0)
            if not d["audio_valid"][b] or (masked and not annotated >> int(d["corpus"][b]) & 1):
                continue
            if unknown and any(d["unknown"][b, k] for k in columns) and not tagged.any():
                continue
            bag = [t for t in range(T) if tagged[t] or not tagged.any()]
            logit = d["scale"][c] * (d["frame"][b, bag] @ d["text"][c]) + d["bias"][c].detach()
            p_T = logit.sigmoid()
            pooled = p_T.max() if pooling == "max" else (p_T * p_T).sum() / p_T.sum()
            total = total - (pooled if tagged.any() else 1 - pooled).log()
            count += 1
    return total / max(count, 1)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared_ids", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_weak(seed, shared_ids, masked, unknown, pooling):
    d = make(seed)
    d["label"] &= torch.rand(B, C, 1, generator=torch.Generator().manual_seed(seed)) < 0.4
    ids = d["ids"] if shared_ids else torch.arange(C)
    got = weak_loss(
        *(d[k] for k in ("frame", "text", "scale", "bias", "label", "audio_valid", "phrase_valid")),
        phrase_ids_C=ids,
        corpus_B=d["corpus"] if masked else None,
        annotated_in_C=d["annotated"] if masked else None,
        unknown_BC=d["unknown"] if unknown else None,
        pooling=pooling,
    )
    want = plain_weak(d, ids, masked, unknown, pooling)
    assert torch.allclose(got, want, rtol=1e-12)
    leaves = [d[k] for k in ("frame", "text", "scale", "bias")]
    options = {"allow_unused": True, "materialize_grads": True}
    grads = torch.autograd.grad(got, leaves, **options)
    for x, y in zip(grads, torch.autograd.grad(want, leaves, **options), strict=True):
        assert torch.allclose(x, y, rtol=1e-9, atol=1e-13)
    assert not grads[-1].any()  # the bias learns from the prior loss alone
    assert grads[0].any()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weak_of_scores_whose_squares_are_no_numbers(pooling, dtype):
    """Far from the tag on either side: a loss and a gradient that are numbers, and the loss is the distance."""
    frame = torch.ones(2, T, 1, dtype=dtype).requires_grad_()
    label = torch.zeros(2, 2, T, dtype=torch.bool)
    label[:, 0] = True
    valid = torch.ones(2, dtype=torch.bool)
    text, scale = torch.tensor([[-1.0], [1.0]]), torch.full((2,), 200.0)
    loss = weak_loss(frame, text, scale, torch.zeros(2), label, valid, valid, pooling=pooling)
    assert loss.item() == pytest.approx(200.0, rel=1e-5)
    (grad,) = torch.autograd.grad(loss, frame)
    assert grad.isfinite().all()


def test_linear_softmax_draws_frames_apart():
    """Of a positive bag the frames above half of the pooled probability rise, those below fall (Wang et al. 2019)."""
    p = torch.tensor([0.9, 0.5, 0.2, 0.05], dtype=torch.float64)
    frame = torch.logit(p).view(1, 4, 1).requires_grad_()
    one = torch.ones(1, dtype=torch.float64)
    every = torch.ones(1, 1, 4, dtype=torch.bool)
    loss = weak_loss(frame, one[:, None], one, 0 * one, every, one.bool(), one.bool())
    pooled = (p * p).sum() / p.sum()
    assert loss.item() == pytest.approx(-math.log(pooled))
    (grad,) = torch.autograd.grad(loss, frame)
    assert (grad.flatten() < 0).tolist() == (p > pooled / 2).tolist() == [True, True, False, False]


@pytest.mark.parametrize("beta", [0.0, 0.15, 2.0])
@pytest.mark.parametrize("clips", [None, [7, 8, 8, 9], [7, 8, 7, 8]])
@pytest.mark.parametrize("ids", [None, [0, 1, 2, 3], [0, 0, 1, 2], [5, 5, 5, 5]])
@pytest.mark.parametrize("valid", [[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1]])
def test_contrastive(ids, valid, beta, clips):
    g = torch.Generator().manual_seed(3)
    clip, text = (F.normalize(torch.randn(4, D, generator=g, dtype=torch.float64), dim=-1) for _ in range(2))
    clip.requires_grad_(), text.requires_grad_()
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    valid_B = torch.tensor(valid, dtype=torch.bool)
    captions = None if ids is None else torch.tensor(ids)
    same = None if clips is None else torch.tensor(clips)
    got = contrastive_loss(clip, text, scale, valid_B, captions, beta, same)
    rows = [b for b in range(4) if valid[b]]
    names = list(range(4)) if ids is None else ids
    want = 0.0
    for query, key in ((clip, text), (text, clip)):
        for a in rows:
            logit = [scale * query[a] @ key[b] for b in rows]
            alike = [b for b in rows if names[b] == names[a] or (clips and clips[b] == clips[a])]
            positives = [i for i, b in enumerate(rows) if b in alike]
            negatives = [i for i in range(len(rows)) if i not in positives]
            hard = {i: (beta * logit[i].detach()).exp() for i in negatives}
            mean = sum(hard.values()) / max(len(hard), 1)
            below = sum(logit[i].exp() for i in positives) + sum(logit[i].exp() * hard[i] / mean for i in negatives)
            want = want - 0.5 * sum(logit[i] - below.log() for i in positives) / len(positives) / len(rows)
    assert torch.allclose(got, want, rtol=1e-12)
    for x, y in zip(
        torch.autograd.grad(got, (clip, text, scale)), torch.autograd.grad(want, (clip, text, scale)), strict=True
    ):
        assert torch.allclose(x, y, rtol=1e-9, atol=1e-13)


def test_hard_negative_weights_by_hand():
    """Of a row's negatives the weights have mean 1, and beta = 0 gives each 1."""
    logit = torch.tensor([[9.0, 0.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]])
    negative = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    weight = hard_negative_weights(logit, negative, 0.5).exp()
    e = math.e
    assert torch.allclose(weight[0], torch.tensor([1.0, 2 / (1 + e), 2 * e / (1 + e), 1.0]))
    assert torch.allclose(weight[1:], torch.ones(2, 4))
    assert not hard_negative_weights(logit, negative, 0.0).abs().gt(1e-6).any()


def test_nothing_valid_is_zero_with_a_gradient():
    d = make(0)
    none_B, none_C = torch.zeros(B, dtype=torch.bool), torch.zeros(C, dtype=torch.bool)
    clip = torch.randn(B, D, requires_grad=True)
    embedded = d["frame"], d["text"], d["scale"], d["bias"]
    losses = (
        *(weak_loss(*embedded, d["label"], none_B, ~none_C, pooling=pooling) for pooling in POOLINGS),
        weak_loss(*embedded, d["label"], ~none_B, none_C),
        framewise_loss(d["frame"], d["text"], d["scale"], d["bias"], d["label"], none_B, none_C),
        framewise_loss(d["frame"], d["text"], d["scale"], d["bias"], d["label"], none_B, ~none_C),
        prior_loss(d["bias"], d["label"], none_B, ~none_C),
        prior_loss(d["bias"], d["label"], ~none_B, none_C),
        contrastive_loss(clip, clip.flip(0), torch.tensor(10.0), none_B),
        contrastive_loss(clip, clip.flip(0), torch.tensor(10.0), none_B, hard_negative=0.15),
    )
    leaves = (d["frame"], d["text"], d["scale"], d["bias"], clip)
    for loss in losses:
        assert loss.item() == 0.0
        for grad in torch.autograd.grad(loss, leaves, allow_unused=True):
            assert grad is None or not grad.any()


def test_a_bad_row_may_hold_anything():
    d = make(1)
    d["audio_valid"][:] = torch.tensor([True, False, True, True])
    pairs = (d["label"], d["audio_valid"], d["phrase_valid"])
    before = framewise_loss(d["frame"], d["text"], d["scale"], d["bias"], *pairs)
    with torch.no_grad():
        d["frame"][1] = float("inf")
        d["label"][1] = True
    assert torch.equal(framewise_loss(d["frame"], d["text"], d["scale"], d["bias"], *pairs), before)


def test_wrong_arguments():
    d = make(0)
    with pytest.raises(ValueError, match="go together"):
        prior_loss(d["bias"], d["label"], d["audio_valid"], d["phrase_valid"], corpus_B=d["corpus"])
    embedded = d["frame"], d["text"], d["scale"], d["bias"]
    with pytest.raises(ValueError, match="pooling: 'mean' is not known"):
        weak_loss(*embedded, d["label"], d["audio_valid"], d["phrase_valid"], pooling="mean")
    with pytest.raises(ValueError, match="each clip needs one caption"):
        contrastive_loss(torch.zeros(2, D), torch.zeros(3, D), torch.tensor(1.0))

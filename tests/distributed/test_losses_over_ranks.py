"""The losses over ranks equal the plain loss of the joined batch: value on every rank, averaged gradients."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from ranks import on_ranks

from flam_train.distributed import sum_over_ranks
from flam_train.losses import contrastive_loss, framewise, framewise_loss, prior_loss
from flam_train.losses.contrastive import contrastive_terms
from flam_train.losses.framewise import framewise_terms
from flam_train.losses.phrases import Pairs, join_phrases
from flam_train.losses.prior import prior_loss_of
from flam_train.losses.weak import POOLINGS, weak_terms
from flam_train.models.frontend import MelNorm

T, D, VOCABULARY = 6, 8, 12
CLIPS = (3, 1, 4, 2, 0, 2, 1, 3)
"""Clips of each rank: uneven, and one rank without any."""
PHRASES = (4, 6, 0, 3, 5, 2, 6, 1)
SCENARIOS = ("plain", "masked", "sparse")
"""sparse: the first rank lists no valid phrase, the second has no positive frame (of one rank: the second alone)."""
EXCHANGES = ("gather", "ring", "ring in pieces")
WORLDS = [
    1, 2, pytest.param(3, marks=[pytest.mark.slow, pytest.mark.ci]),
    *(pytest.param(world, marks=pytest.mark.slow) for world in (4, 5, 6, 7, 8)),
]  # fmt: skip


def make(world: int, scenario: str) -> dict:
    g = torch.Generator().manual_seed(100 + world)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    total = sum(CLIPS[:world])
    d = {
        "frame": normal(total, T, D),
        "clip": normal(total, D),
        "caption": normal(total, D),
        "caption_ids": torch.randint(0, 4, (total,), generator=g),
        "weight": torch.eye(D, dtype=torch.float64) + 0.1 * normal(D, D),
        "text": F.normalize(normal(VOCABULARY, D), dim=-1),
        "scale": (1 + 0.3 * normal(VOCABULARY)).exp(),
        "bias": -3 + normal(VOCABULARY),
        "corpus": torch.randint(0, 3, (total,), generator=g),
        "frame_valid": torch.rand(total, T, generator=g) < 0.9,
        "audio_valid": torch.rand(total, generator=g) < 0.8,
        "present": torch.rand(total, VOCABULARY, T, generator=g) < 0.3,
        "unknown": torch.rand(total, VOCABULARY, generator=g) < 0.3,
        "tagged": torch.rand(total, VOCABULARY, 1, generator=g) < 0.5,
        "ids": [torch.randperm(VOCABULARY, generator=g)[: PHRASES[r]] for r in range(world)],
    }
    # Ranks may know of different corpora that annotate a phrase: an open corpus does where it has clips of it.
    d["annotated"] = [torch.randint(0, 8, (len(i),), generator=g) for i in d["ids"]]
    d["phrase_valid"] = [torch.rand(len(i), generator=g) < 0.7 for i in d["ids"]]
    for rank in range(world):
        listed = torch.zeros(VOCABULARY, dtype=torch.bool)
        listed[d["ids"][rank]] = True
        rows = rows_of(rank)
        d["present"][rows, :] &= listed[None, :, None]
        d["unknown"][rows, :] &= listed
    if scenario == "sparse":
        d["present"][rows_of(min(1, world - 1))] = False
        if world > 1:
            d["phrase_valid"][0][:] = False
    return d


def rows_of(rank: int) -> slice:
    return slice(sum(CLIPS[:rank]), sum(CLIPS[: rank + 1]))


def leaves_of(d) -> list[torch.Tensor]:
    return [d[k].clone().requires_grad_() for k in ("weight", "text", "scale", "bias")]


def with_gradients(terms: dict[str, torch.Tensor], leaves: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    return {
        name: [loss.detach(), *(torch.autograd.grad(loss, leaves, **options) if loss.requires_grad else ())]
        for name, loss in terms.items()
    }


def tagged(d: dict, rank: int, rows: slice, ids: torch.Tensor, masked: bool) -> Pairs:
    """What this rank knows of tags: of some pairs only that nobody knows."""
    label = (d["present"] & d["tagged"])[rows][:, ids]
    masks = (d["corpus"][rows], d["annotated"][rank]) if masked else (None, None)
    unknown = d["unknown"][rows][:, ids] if masked or rank % 2 else None  # a rank without any says none
    return Pairs(label, d["audio_valid"][rows], d["phrase_valid"][rank], ids * 7919 - 5, *masks, unknown_BC=unknown)


def losses_of_rank(rank: int, world: int, scenario: str) -> dict:
    """The losses under test, of one rank's clips and phrases."""
    d = make(world, scenario)
    rows, ids = rows_of(rank), d["ids"][rank]
    leaves = weight, text, scale, bias = leaves_of(d)
    masked = scenario == "masked"

    def encode(x):
        return F.normalize(x @ weight, dim=-1)

    options = {"phrase_ids_C": ids * 7919 - 5}  # any int64
    if masked:
        options |= {"corpus_B": d["corpus"][rows], "annotated_in_C": d["annotated"][rank]}
        options |= {"frame_valid_BT": d["frame_valid"][rows]}
    pairs = (d["present"][rows][:, ids], d["audio_valid"][rows], d["phrase_valid"][rank])
    pairs_of_clips = encode(d["clip"][rows]), encode(d["caption"][rows]), scale[0], d["audio_valid"][rows]
    captions = d["caption_ids"][rows] if masked else None
    embedded = encode(d["frame"][rows]), encode(text[ids]), scale[ids], bias[ids]
    phrases = join_phrases(Pairs(*pairs, **options))
    tags = join_phrases(tagged(d, rank, rows, ids, masked))
    terms = {
        "prior": prior_loss(bias[ids], *pairs, **options),
        "prior, joined once": prior_loss_of(phrases, bias[ids]),
        "global": contrastive_loss(*pairs_of_clips, captions),
        "hard negatives": contrastive_loss(*pairs_of_clips, captions, hard_negative=0.3),
        "clips twice": contrastive_loss(*pairs_of_clips, captions, clip_ids_B=d["corpus"][rows]),
        "prior of what is known": prior_loss_of(tags, bias[ids]),
    }
    out = with_gradients(terms, leaves)
    # Of three groups of clips, by loss: the sum of their terms and how many these are.
    groups = {"global": contrastive_terms(*pairs_of_clips, captions)}
    for exchange in EXCHANGES:
        how, _, pieces = exchange.partition(" ")
        with mock.patch.object(framewise, "BLOCK_TERMS", 5 if pieces else framewise.BLOCK_TERMS):
            for norm in framewise.REMOTE_NORMS:
                alone = framewise_loss(*embedded, *pairs, **options, exchange=how, remote_norm=norm)
                once = framewise_terms(phrases, *embedded, exchange=how, remote_norm=norm)
                name = f"{norm}, {exchange}"
                groups[name] = once
                out |= with_gradients({name: alone, f"{name}, joined once": once.mean()}, leaves)
            known = framewise_terms(tags, *embedded, exchange=how).mean()
            pooled = {f"{p}, {exchange}": weak_terms(tags, *embedded, p, how) for p in POOLINGS}
            groups |= pooled
            out |= with_gradients({f"what is known, {exchange}": known}, leaves)
            out |= with_gradients({name: terms.mean() for name, terms in pooled.items()}, leaves)
    return out | {"groups": {n: sum_over_ranks(one.by_group(d["corpus"][rows], 3)) for n, one in groups.items()}}


def on_one_rank(rank: int, world: int) -> dict:
    return {scenario: losses_of_rank(rank, world, scenario) for scenario in SCENARIOS}


def on_the_joined_batch(world: int, scenario: str) -> dict:
    """The plain twin: every clip, every distinct valid phrase and every frame once, in one process."""
    d = make(world, scenario)
    masked = scenario == "masked"
    leaves = weight, text, scale, bias = leaves_of(d)
    phrases = torch.cat([i[v] for i, v in zip(d["ids"], d["phrase_valid"], strict=True)]).unique()
    frame, clip, caption, text = (F.normalize(x @ weight, dim=-1) for x in (d["frame"], d["clip"], d["caption"], text))
    logit = scale[phrases, None] * torch.einsum("btd,pd->bpt", frame, text[phrases]) + bias[phrases, None].detach()
    label = d["present"][:, phrases]
    counted = d["audio_valid"][:, None, None].expand_as(label)
    if masked:
        known = [[0] * 3 for _ in range(VOCABULARY)]  # which corpora annotate a phrase, as any rank says
        for ids, bits in zip(d["ids"], d["annotated"], strict=True):
            for p, b in zip(ids.tolist(), bits.tolist(), strict=True):
                known[p] = [k or bool(b >> c & 1) for c, k in enumerate(known[p])]
        pair = torch.tensor(known, dtype=torch.bool)[phrases][:, d["corpus"]].T
        counted = counted & pair[:, :, None] & d["frame_valid"][:, None]
    terms = -F.logsigmoid(torch.where(label, logit, -logit))
    tag = (d["present"] & d["tagged"])[:, phrases]
    clip_tag = tag.any(2)
    pair = d["audio_valid"][:, None].expand_as(clip_tag)
    if masked:
        pair = pair & torch.tensor(known, dtype=torch.bool)[phrases][:, d["corpus"]].T
    unknown = d["unknown"][:, phrases].clone()
    for rank in range(0 if masked else world):
        unknown[rows_of(rank)] &= bool(rank % 2)
    pair = pair & ~(unknown & ~clip_tag)
    of_tags = -F.logsigmoid(torch.where(tag, logit, -logit))[pair].mean(1)
    share = (tag & pair[:, :, None]).sum((0, 2))[pair.any(0)].double() / pair.sum(0)[pair.any(0)] / T
    p = logit.sigmoid() * (tag | ~clip_tag[:, :, None])
    pooled = {"max": p.amax(2), "linear_softmax": (p * p).sum(2) / p.sum(2)}
    some = counted.sum((0, 2)) > 0
    fraction = (label & counted).sum((0, 2))[some].double() / counted.sum((0, 2))[some]
    # Released: the clips of a rank weigh the phrases that are not in its own list of valid ones T / D.
    released = torch.full_like(terms, T / D)
    for rank in range(world):
        own = torch.isin(phrases, d["ids"][rank][d["phrase_valid"][rank]])
        released[rows_of(rank)] = released[rows_of(rank)].masked_fill(own[None, :, None], 1.0)
    rows = d["audio_valid"]
    again = d["corpus"][rows]
    names = d["caption_ids"][rows] if masked else torch.arange(int(rows.sum()))
    target = (names[:, None] == names[None]).double()
    positive = target > 0
    target = target / target.sum(1, keepdim=True)
    twice = ((names[:, None] == names[None]) | (again[:, None] == again[None])).double()
    twice = twice / twice.sum(1, keepdim=True)
    cosine = scale[0] * clip[rows] @ caption[rows].T

    def guided(logit):
        """The logits with the logarithm of each negative's weight: it is that of the joined batch."""
        hard = torch.where(positive, 0.0, (0.3 * logit.detach()).exp())
        weight = (~positive).sum(1, keepdim=True) * hard / hard.sum(1, keepdim=True)
        return logit + torch.where(positive, 1.0, weight).log()

    both_ways = sum(0.5 * F.cross_entropy(x, target, reduction="none") for x in (cosine, cosine.T))
    bags = {name: -torch.where(clip_tag, x, 1 - x).log() for name, x in pooled.items()}
    of_clip = {
        "joined": (torch.where(counted, terms, 0).sum((1, 2)), counted.sum((1, 2))),
        "released": (torch.where(counted, terms * released, 0).sum((1, 2)), counted.sum((1, 2))),
        **{name: (torch.where(pair, x, 0).sum(1), pair.sum(1)) for name, x in bags.items()},
    }
    groups = {name: by_loop(*one, d["corpus"]) for name, one in of_clip.items()}
    groups["global"] = by_loop(both_ways, torch.ones(len(target)), d["corpus"][d["audio_valid"]])
    count = counted.sum().clamp(min=1)
    return {"groups": groups} | with_gradients(
        {
            "joined": terms[counted].sum() / count,
            "released": (terms * released)[counted].sum() / count,
            "prior": F.binary_cross_entropy_with_logits(bias[phrases][some], fraction),
            "global": 0.5 * (F.cross_entropy(cosine, target) + F.cross_entropy(cosine.T, target)),
            "clips twice": 0.5 * (F.cross_entropy(cosine, twice) + F.cross_entropy(cosine.T, twice)),
            "what is known": of_tags.sum() / max(len(of_tags), 1),
            "prior of what is known": F.binary_cross_entropy_with_logits(bias[phrases][pair.any(0)], share),
            **{name: -torch.where(clip_tag, x, 1 - x)[pair].log().sum() / pair.sum() for name, x in pooled.items()},
            "hard negatives": 0.5 * sum(F.cross_entropy(guided(x), target) for x in (cosine, cosine.T)),
        },
        leaves,
    )


def by_loop(total_B: torch.Tensor, counted_B: torch.Tensor, group_B: torch.Tensor) -> torch.Tensor:
    """(sum, count) of each of three groups."""
    out = torch.zeros(3, 2, dtype=torch.float64)
    for total, counted, group in zip(total_B.tolist(), counted_B.tolist(), group_B.tolist(), strict=True):
        out[group] += torch.tensor([total, counted], dtype=torch.float64)
    return out


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request) -> list[dict]:
    """What each rank found, by scenario and loss."""
    return on_ranks(request.param, on_one_rank) if request.param > 1 else [on_one_rank(0, 1)]


def each_frame_loss() -> Iterator[tuple[str, str]]:
    for norm in framewise.REMOTE_NORMS:
        for exchange in EXCHANGES:
            yield norm, f"{norm}, {exchange}"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_joined_batch(ranks, scenario):
    found = {name: name for name in ("prior", "global", "hard negatives", "clips twice", "prior of what is known")}
    found |= {f"{name}, {how}": name for name in ("what is known", *POOLINGS) for how in EXCHANGES}
    found |= {name: norm for norm, name in each_frame_loss()}
    twin = on_the_joined_batch(len(ranks), scenario)
    for name, (value, *grads) in ((name, twin[twin_name]) for name, twin_name in found.items()):
        for rank, got in enumerate(ranks):
            assert torch.allclose(got[scenario][name][0], value, rtol=1e-12), (name, rank)
        for k, grad in enumerate(grads, 1):
            mean = torch.stack([got[scenario][name][k] for got in ranks]).mean(0)
            assert torch.allclose(mean, grad, rtol=1e-9, atol=1e-13), (name, k)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_loss_is_the_mean_of_its_groups(ranks, scenario):
    """Each group's sum and count are those of its clips; the groups' means, weighted by their counts, are the loss."""
    found = {f"{name}, {how}": name for name in POOLINGS for how in EXCHANGES} | {"global": "global"}
    found |= {name: norm for norm, name in each_frame_loss()}
    twin = on_the_joined_batch(len(ranks), scenario)["groups"]
    for got in ranks:
        assert got[scenario]["groups"].keys() == found.keys()
        for name, groups in got[scenario]["groups"].items():
            assert torch.allclose(groups, twin[found[name]], rtol=1e-12), name
            total, count = groups.sum(0)
            assert torch.allclose(total / count.clamp(min=1), got[scenario][name][0], rtol=1e-12), name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_phrases_joined_once_for_all_losses_give_the_same_bits(ranks, scenario):
    for got in ranks:
        for name in ("prior", *(name for _, name in each_frame_loss())):
            pairs = zip(got[scenario][name], got[scenario][f"{name}, joined once"], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs), name


def test_the_released_weights_are_those_of_other_ranks_phrases(ranks):
    """On one rank nothing is remote; on more the loss is another one, or the twin would compare nothing."""
    for got in ranks:
        losses = (got["plain"][f"{rule}, ring"][0] for rule in ("joined", "released"))
        same = torch.allclose(*losses, rtol=1e-9)
        assert same == (len(ranks) == 1)


def norm_on_rank(rank: int, world: int) -> dict:
    mel_BNF, valid_B = mel(world)
    rows = rows_of(rank)
    norm = MelNorm(4).train()
    out = norm(mel_BNF[rows], valid_B[rows])
    return {"out": out.detach(), "mean": norm.running_mean, "var": norm.running_var}


def mel(world: int):
    g = torch.Generator().manual_seed(world)
    total = sum(CLIPS[:world])
    return 20 * torch.randn(total, 30, 4, generator=g) - 50, torch.rand(total, generator=g) < 0.7


@pytest.mark.parametrize("world", [2, 5])
def test_bn0_is_that_of_the_valid_clips_of_all_ranks(world):
    mel_BNF, valid_B = mel(world)
    twin = torch.nn.BatchNorm1d(4).train()
    want = twin(mel_BNF[valid_B].reshape(-1, 4)).reshape(-1, 30, 4)
    got = on_ranks(world, norm_on_rank)
    joined = torch.cat([r["out"] for r in got])
    assert torch.allclose(joined[valid_B], want, atol=1e-4)
    for r in got:
        assert torch.allclose(r["mean"], twin.running_mean, rtol=1e-5)
        assert torch.allclose(r["var"], twin.running_var, rtol=1e-5)

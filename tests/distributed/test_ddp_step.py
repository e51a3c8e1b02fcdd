"""A real step of a real model under DDP, in float64, on 1 to 8 ranks: that of one process with all clips.

Every rank has another number of clips and its own list of phrases; some clips are bad; the first rank lists no valid
phrase, the last has no positive frame. Compared are losses, the gradients of towers, projections, heads and logit
scale, and bn0's statistics.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import scaling_model as model
import torch
import torch.distributed as dist
from accounting import counted_traffic
from ranks import on_ranks
from test_micro_batches import OneStep, assert_same, total_of
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from flam_train.batch import FrameBatch, GlobalBatch, StepBatch
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.htsat import HTSATConfig
from flam_train.models.text import TextConfig
from flam_train.training.micro_batches import joined
from flam_train.training.module import FLAMModule
from flam_train.training.objective import LossConfig
from flam_train.training.optim import OptimConfig

CAPTIONS, EVENTS = (2, 3, 2, 4, 2, 3, 2, 2), (3, 2, 4, 2, 2, 2, 3, 2)
"""Clips of each rank; at least as many as micro-batches."""
VOCABULARY, LISTED, TOKENS, FRAMES = 9, 6, 5, 32
CASES = [(exchange, accumulate) for exchange in ("gather", "ring") for accumulate in (1, 2)]
WORLDS = [
    1, 2, pytest.param(3, marks=[pytest.mark.slow, pytest.mark.ci]),
    *(pytest.param(world, marks=pytest.mark.slow) for world in (4, 5, 6, 7, 8)),
]  # fmt: skip


def small_module(exchange: str, accumulate: int, pooling: str = "max") -> FLAMModule:
    torch.manual_seed(1)
    audio = HTSATConfig(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2))
    flam = FLAM(FLAMConfig(audio=audio, text=TextConfig("bytes"), embedding=16))
    loss = LossConfig(exchange=exchange, weak_pooling=pooling)
    return FLAMModule(flam, loss, OptimConfig(), 3, 0, accumulate=accumulate).double().train()


def rows_of(counts: tuple[int, ...], rank: int) -> range:
    return range(sum(counts[:rank]), sum(counts[: rank + 1]))


class Step:
    """The clips, captions and phrases of a step of all ranks."""

    def __init__(self, world: int) -> None:
        g = torch.Generator().manual_seed(world)
        self.world, captions, events = world, sum(CAPTIONS[:world]), sum(EVENTS[:world])
        noise = torch.randn(captions + events, 480_000, generator=g)
        self.waveform = (2000 * torch.rand(captions + events, 1, generator=g) * noise).short()
        self.seed = torch.randint(2**62, (captions + events,), generator=g)
        self.valid = torch.rand(captions + events, generator=g) < 0.8
        self.valid[[0, captions]] = True
        self.caption_ids = torch.randint(captions - 1, (captions,), generator=g)  # at least two are equal
        self.caption_tokens = torch.randint(1, 200, (captions, TOKENS), generator=g)[self.caption_ids]
        self.phrase_tokens = torch.randint(1, 200, (VOCABULARY, TOKENS), generator=g)
        self.corpus = torch.randint(2, (events,), generator=g)
        self.annotated = torch.tensor([3, 3, 3, 1, 2, 3, 3, 1, 2])  # bits of the two corpora
        self.listed = [torch.randperm(VOCABULARY, generator=g)[:LISTED] for _ in range(world)]
        self.drawn = [torch.rand(LISTED, generator=g) < 0.7 for _ in range(world)]
        self.label = torch.rand(events, VOCABULARY, FRAMES, generator=g) < 0.2
        self.open = torch.rand(events, VOCABULARY, generator=g) < 0.3
        self.drawn[-1][0] = True
        if world > 1:
            self.drawn[0][:] = False
            self.label[rows_of(EVENTS, world - 1)] = False
        for rank, listed in enumerate(self.listed):  # a rank lists all that its clips have
            absent = torch.ones(VOCABULARY, dtype=torch.bool).index_fill(0, listed, False)
            self.label[rows_of(EVENTS, rank)] &= ~absent[:, None]
            self.open[rows_of(EVENTS, rank)] &= ~absent

    def part(self, captions: list[int], events: list[int], phrases: Tensor, drawn: Tensor) -> StepBatch:
        clips = [len(self.caption_ids) + row for row in events]
        caption_tokens, phrase_tokens = self.caption_tokens[captions], self.phrase_tokens[phrases]
        return StepBatch(
            0,
            GlobalBatch(
                waveform_BS=self.waveform[captions],
                tokens_CL=caption_tokens,
                attention_CL=torch.ones_like(caption_tokens),
                caption_ids_C=self.caption_ids[captions],
                clip_ids_B=torch.tensor(captions),
                clip_valid_B=self.valid[captions],
                corpus_B=torch.tensor([row % 2 for row in captions]),
                seed_B=self.seed[captions],
                keys=[str(row) for row in captions],
            ),
            FrameBatch(
                waveform_BS=self.waveform[clips],
                tokens_CL=phrase_tokens,
                attention_CL=torch.ones_like(phrase_tokens),
                phrase_ids_C=7919 * phrases - 5,
                phrase_valid_C=drawn,
                annotated_in_C=self.annotated[phrases],
                label_BCT=self.label[events][:, phrases],
                audio_valid_B=self.valid[clips],
                corpus_B=self.corpus[events],
                seed_B=self.seed[clips],
                keys=[str(row) for row in clips],
            ),
        )

    def of_rank(self, rank: int, accumulate: int) -> list[StepBatch]:
        """Micro-batches: each phrase is drawn in one of them only, and they list them in different orders."""
        out = []
        for micro in range(accumulate):
            rows = [list(rows_of(counts, rank))[micro::accumulate] for counts in (CAPTIONS, EVENTS)]
            here = torch.arange(LISTED) % accumulate == micro
            part = self.part(*rows, self.listed[rank].roll(micro), (self.drawn[rank] & here).roll(micro))
            out.append(part)
        return out

    def with_tags(self, step: StepBatch) -> StepBatch:
        """The events' clips once more, as clips that have tags: of some pairs nobody knows."""
        events = step.events
        rows = torch.tensor([int(key) for key in events.keys]) - len(self.caption_ids)
        open_BC = self.open[rows][:, (events.phrase_ids_C + 5) // 7919]
        label_BCT = events.label_BCT & ~open_BC[:, :, None]
        return replace(step, tags=replace(events, label_BCT=label_BCT, unknown_BC=open_BC))

    def whole(self) -> StepBatch:
        drawn = torch.zeros(VOCABULARY, dtype=torch.bool)
        for listed, valid in zip(self.listed, self.drawn, strict=True):
            drawn[listed[valid]] = True
        return self.part(list(range(len(self.caption_ids))), list(range(len(self.label))), torch.arange(9), drawn)


def backward(module: FLAMModule, step: torch.nn.Module, batch: list[StepBatch]) -> dict[str, Tensor]:
    losses = step(batch)
    total_of(module, losses).backward()
    out = {f"loss/{name}": value.detach() for name, value in losses.items()}
    out |= {f"gradient/{n}": p.grad for n, p in module.named_parameters()}
    out |= {f"bn0/{n}": b for n, b in module.model.frontend.bn0.named_buffers()}
    module.health.begin(losses, joined(batch))
    module.health.judge()
    return out


def on_rank(rank: int, world: int) -> dict[str, dict]:
    out: dict[str, dict] = {}
    for exchange, accumulate, pooling in WITH_TAGS:
        module, step = small_module(exchange, accumulate, pooling), Step(world)
        batch = [step.with_tags(part) for part in step.of_rank(rank, accumulate)]
        one_step: torch.nn.Module = OneStep(module)
        if dist.is_initialized():
            one_step = DistributedDataParallel(one_step, broadcast_buffers=False)
        out[f"tags {exchange} {accumulate}"] = backward(module, one_step, batch)
    for exchange, accumulate in CASES:
        module = small_module(exchange, accumulate)
        batch = Step(world).of_rank(rank, accumulate)
        if not dist.is_initialized():
            out[f"{exchange} {accumulate}"] = backward(module, OneStep(module), batch)
            continue
        one_step = DistributedDataParallel(OneStep(module), broadcast_buffers=False)
        if accumulate > 1:  # DDP's own sum cannot be counted; this hook does the same
            one_step.register_comm_hook(None, allreduce_hook)
        with counted_traffic() as sent:
            out[f"{exchange} {accumulate}"] = backward(module, one_step, batch)
        out[f"{exchange} {accumulate} sent"] = {name: sum(n for m, n in sent if m == name) for name, _ in sent}
        out[f"{exchange} {accumulate} messages"] = Counter(name for name, _ in sent)
    return out


WITH_TAGS = (("gather", 1, "max"), ("ring", 2, "linear_softmax"))


@pytest.fixture(scope="module", params=WORLDS)
def found(request) -> list[dict]:
    """What each rank found, by case."""
    return on_ranks(request.param, on_rank) if request.param > 1 else [on_rank(0, 1)]


def test_a_step_is_that_of_one_process(found):
    module = small_module("gather", 1)
    want = backward(module, OneStep(module), [Step(len(found)).whole()])
    for rank in found:
        for exchange, accumulate in CASES:
            assert_same(rank[f"{exchange} {accumulate}"], want)


def test_a_step_with_tags_is_that_of_one_process(found):
    for exchange, accumulate, pooling in WITH_TAGS:
        module, step = small_module("gather", 1, pooling), Step(len(found))
        want = backward(module, OneStep(module), [step.with_tags(step.whole())])
        assert want["loss/weak"] > 0
        for rank in found:
            assert_same(rank[f"tags {exchange} {accumulate}"], want)


def test_tags_change_no_other_loss(found):
    """But for bn0, which more clips go through."""
    module, step = small_module("gather", 1).eval(), Step(len(found))
    plain, tagged = ([one] for one in (step.whole(), step.with_tags(step.whole())))
    with torch.no_grad():
        a, b = OneStep(module)(plain), OneStep(module)(tagged)
    assert set(b) - set(a) == {"weak"}
    for name, value in a.items():
        assert torch.allclose(b[name], value, rtol=1e-12), name


def test_sums_over_ranks_are_those_of_the_model(found):
    """Gathers are of other sizes on every rank here: tests/distributed/test_scaling_model.py has them."""
    world = len(found)
    phrases = int(Step(world).whole().events.phrase_valid_C.sum())
    sums = [
        *model.ddp_messages(world, sum(p.numel() for p in small_module("ring", 1).parameters()), item=8),
        *model.contrastive_messages(world, 1, 1, item=8),
        *model.join_messages(world, 1, phrases),
        *model.framewise_messages(world, 1, 1, "ring", item=8),
        *model.prior_messages(world, 1, item=8),
        *model.bn0_messages(world, 64),
        *model.health_messages(world),
    ]
    want = sum(size for name, size in sums if name == "all_reduce")
    for rank in found:
        for exchange in ("gather", "ring") if world > 1 else ():
            assert rank[f"{exchange} 2 sent"]["all_reduce"] == pytest.approx(want, abs=1)


def test_phrases_are_exchanged_once_a_step(found):
    """Gathers and scatters of a step, which grow with the ranks: 3 and 1 of the global loss, 2 to join the phrases, 1
    and 1 of the frame loss and of the prior loss each."""
    for rank in found if len(found) > 1 else ():
        assert rank["gather 1 messages"]["all_gather"] == 7
        assert rank["gather 1 messages"]["reduce_scatter"] == 3
        assert rank["ring 1 messages"]["all_gather"] == 6
        assert rank["ring 1 messages"]["reduce_scatter"] == 2


def test_the_step_has_what_could_go_wrong():
    step = Step(3)
    parts = [joined(step.of_rank(rank, 2)) for rank in range(3)]
    assert not parts[0].events.phrase_valid_C.any()
    assert not parts[2].events.label_BCT.any()
    assert all(part.events.label_BCT.any() for part in parts[:2])
    assert not step.valid.all()
    assert len({len(part.events.keys) for part in parts}) > 1
    ids = [part.events.phrase_ids_C[part.events.phrase_valid_C] for part in parts[1:]]
    assert torch.isin(*ids).any()  # drawn on two ranks
    assert not torch.isin(*ids).all()
    # Positive where it was not drawn, and drawn by another rank.
    first = parts[0].events
    assert first.label_BCT[:, torch.isin(first.phrase_ids_C, torch.cat(ids))].any()

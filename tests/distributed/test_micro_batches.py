"""A step taken in micro-batches is the step of the undivided batch: losses, gradients, bn0; on any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks
from tiny_runs import TINY, on_shards, write_bank, write_corpus
from torch.nn.parallel import DistributedDataParallel

from flam_train.batch import StepBatch
from flam_train.cli.train import compose_conf
from flam_train.models.flam import FLAM
from flam_train.models.recompute import in_shares
from flam_train.training.dry_run import saved_bytes
from flam_train.training.run import build

STEP = 1


class OneStep(torch.nn.Module):
    """What Lightning does of a step before the optimiser, as a module that DDP can wrap."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch: list[StepBatch]) -> dict[str, torch.Tensor]:
        step = self.module.joined(batch)
        audio, text = self.module.embed(step.captions, step.events)
        return self.module.losses(step.captions, step.events, audio, text)


def with_bad_samples(part: StepBatch, bad: set[str]) -> StepBatch:
    """The clips whose keys end so as bad samples are: zeros, not valid."""
    captions, events = part.captions, part.events
    good_B = [torch.tensor([key not in bad for key in p.keys]) for p in (captions, events)]
    return StepBatch(
        part.step,
        replace(captions, clip_valid_B=good_B[0], waveform_BS=captions.waveform_BS * good_B[0][:, None]),
        replace(events, audio_valid_B=good_B[1], waveform_BS=events.waveform_BS * good_B[1][:, None]),
    )


def step_on(rank: int, world: int, overrides: list[str], accumulate: int) -> dict[str, torch.Tensor]:
    """Losses, gradients and bn0's buffers of a step in float64; drop path and frequency masks are on."""
    run = build(compose_conf([*overrides, f"accumulate={accumulate}"]))
    steps, module = run.data.steps_of(rank, world), run.module.double().train()
    batch = [steps[STEP * accumulate + micro] for micro in range(accumulate)]
    if not any(p.mixture for part in batch for p in (part.captions, part.events)):
        batch = [with_bad_samples(part, {"clip-003", "clip-008"}) for part in batch]
    one_step = OneStep(module)
    if dist.is_initialized():
        one_step = DistributedDataParallel(one_step, broadcast_buffers=False)
    losses = one_step(batch)
    sum(module.loss.weights[name] * value for name, value in losses.items()).backward()
    out = {f"loss/{name}": value.detach() for name, value in losses.items()}
    out |= {f"gradient/{n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    return out | {f"bn0/{n}": b for n, b in module.model.frontend.bn0.named_buffers()}


def on_corpus(folder: Path) -> list[str]:
    # One phrase a clip: some micro-batches list a phrase without having drawn it, others draw it.
    return [
        *TINY,
        *on_shards(write_corpus(folder / "corpus", 16)),
        "global_batch=8",
        "frame_batch=8",
        "loss.unannotated=mask",
        "data.phrases_per_clip=1",
    ]


def on_bank(folder: Path) -> list[str]:
    """Mixtures of several events, made by the step itself."""
    out = [*TINY, "data/global=[online]", "data/frame=[online]", "global_batch=8", "frame_batch=4"]
    bank = write_bank(folder / "bank")
    for kind in ("global", "frame"):
        out += [f"data.{kind}.online.bank=[{bank}]", f"data.{kind}.online.recipe=demo"]
    return [
        *out,
        "data.phrases_per_clip=1",
        "data.frame.online.memory_gib=0.001",
        "data.global.online.memory_gib=0.001",
    ]


def assert_same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    assert sum(name.startswith("gradient/") for name in want) > 40
    for name in want:
        largest = want[name].abs().max()
        assert largest > 0, name
        # Key biases of attention have no gradient but rounding.
        assert torch.allclose(got[name], want[name], rtol=1e-9, atol=1e-9 * float(largest) + 1e-14), name


@pytest.fixture(scope="module", params=[on_corpus, on_bank])
def overrides(request, tmp_path_factory) -> list[str]:
    return request.param(tmp_path_factory.mktemp(request.param.__name__))


@pytest.fixture(scope="module")
def undivided(overrides) -> dict[str, torch.Tensor]:
    return step_on(0, 1, overrides, 1)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_are_the_undivided_batch(accumulate, overrides, undivided):
    assert_same(step_on(0, 1, overrides, accumulate), undivided)


def test_ranks_and_micro_batches_are_the_undivided_batch(overrides, undivided):
    for found in on_ranks(2, step_on, overrides, 2):
        assert_same(found, undivided)


def test_the_memory_is_that_of_one_share(small_config):
    model = FLAM(small_config).train()
    waveform_BS, seed_B = torch.randn(8, 480_000), torch.arange(8)

    def kept(shares: int) -> int:
        return saved_bytes(lambda: model.embed_audio(waveform_BS, seed_B, shares=shares).frame_BTD.sum())

    assert kept(4) < 0.35 * kept(1)
    tokens_CL, attention_CL = torch.randint(1, 200, (64, 20)), torch.ones(64, 20, dtype=torch.int64)

    def kept_text(shares: int) -> int:
        return saved_bytes(lambda: model.embed_tokens(tokens_CL, attention_CL, shares).text_CD.sum())

    assert kept_text(4) < 0.4 * kept_text(1)


def test_dropout_is_drawn_once():
    """A share that is computed again is computed with the same draws."""
    torch.manual_seed(0)
    x, drop = torch.ones(6, 50, dtype=torch.float64, requires_grad=True), torch.nn.Dropout(0.5)
    (y,) = in_shares(lambda rows: (drop(rows),), 3, x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert 0 < (y == 0).sum() < y.numel()


def test_more_shares_than_rows_and_rows_that_are_none():
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    first, second = in_shares(lambda a, b: (a * 2, a[:, 0] if b is None else b), 5, x, None)
    assert torch.equal(first, 2 * x)
    assert torch.equal(second, x[:, 0])

"""A step taken in micro-batches is the step of the undivided batch: losses, gradients, bn0; on any number of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks
from tiny_runs import TINY, damage, write_bank, write_corpus
from torch.nn.parallel import DistributedDataParallel

from flam_train.batch import StepBatch
from flam_train.cli.train import compose_conf
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.models.flam import FLAM
from flam_train.models.recompute import in_shares
from flam_train.training.micro_batches import joined
from flam_train.training.run import build

STEP = 1


class OneStep(torch.nn.Module):
    """What Lightning does of a step before the optimiser, as a module that DDP can wrap."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch: list[StepBatch]) -> dict[str, torch.Tensor]:
        step = joined(batch)
        audio, text = self.module.embed(batch, step)
        return self.module.losses(step, audio, text)


def micro_batches(overrides: list[str], accumulate: int, rank: int = 0, world: int = 1):
    run = build(compose_conf([*overrides, f"accumulate={accumulate}"]))
    steps = run.data.steps_of(rank, world)
    batch = [steps[STEP * accumulate + micro] for micro in range(accumulate)]
    return run.module.train(), batch


def total_of(module, losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(module.loss.weights[name] * value for name, value in losses.items())


def step_on(rank: int, world: int, overrides: list[str], accumulate: int) -> dict[str, torch.Tensor]:
    """Losses, gradients and bn0's buffers of a step in float64; drop path and frequency masks are on."""
    module, batch = micro_batches([*overrides, "trainer.precision=64-true"], accumulate, rank, world)
    one_step = OneStep(module)
    if dist.is_initialized():
        one_step = DistributedDataParallel(one_step, broadcast_buffers=False)
    losses = one_step(batch)
    total_of(module, losses).backward()
    out = {f"loss/{name}": value.detach() for name, value in losses.items()}
    out |= {f"gradient/{n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    return out | {f"bn0/{n}": b for n, b in module.model.frontend.bn0.named_buffers()}


def unfrozen_on(rank: int, world: int, overrides: list[str]) -> dict[str, torch.Tensor]:
    """As `step_on`, of the step in which the audio encoder begins to learn, after one in which it did not."""
    later = ["trainer.precision=64-true", f"optim.unfreeze={{audio:{STEP}}}"]
    module, batch = micro_batches([*overrides, *later], 1, rank, world)
    module._learn_from(STEP - 1)
    assert not module.model.audio.training
    module._learn_from(STEP)
    one_step = OneStep(module)
    if dist.is_initialized():
        one_step = DistributedDataParallel(one_step, broadcast_buffers=False)
    losses = one_step(batch)
    total_of(module, losses).backward()
    return {f"gradient/{n}": p.grad for n, p in module.named_parameters() if p.grad is not None}


def on_corpora(folder: Path) -> list[str]:
    """A closed corpus with damaged clips, and two open ones that share a phrase and have clips without events."""
    write_corpus(folder / "closed", 16)
    damage(folder / "closed", 0.2)
    out = [*TINY, "global_batch=8", "frame_batch=16", "loss.unannotated=mask", "data.phrases_per_clip=1"]
    out += ["data/frame=[]", "data/global=[custom]", f"data.global.custom.path={folder / 'closed'}"]
    for name, phrases in (("one", ["a dog barks", "rain", ""]), ("two", ["a dog barks", "a car passes", ""])):
        rng = np.random.default_rng(len(phrases[1]))
        samples = []
        for n in range(9):
            phrase = phrases[n % 3]
            noises = [Event(2.0, 4.0, f"{name} {k} {n}") for k in ("creaks", "rattles", "hums")]
            events = (Event(1.0 + n / 4, 5.0, phrase), *noises) if phrase else ()
            samples.append((Record(f"{name}-{n}", 10.0, (), events), (500 * rng.normal(size=480_000)).astype("int16")))
        write_manifest(
            folder / name, name, [write_shard(folder / name / "shard-000000.tar", samples)],
            vocabulary=None, annotates=[],
        )  # fmt: skip
    return [*out, *(f"+data.frame.{name}.path={folder / name}" for name in ("closed", "one", "two"))]


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


@pytest.fixture(scope="module", params=[on_corpora, on_bank])
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


def test_a_step_that_unfreezes_is_the_same_on_two_ranks(overrides, undivided):
    want = {name: value for name, value in undivided.items() if name.startswith("gradient/")}
    assert_same(unfrozen_on(0, 1, overrides), want)
    for found in on_ranks(2, unfrozen_on, overrides):
        assert_same(found, want)


def test_joined_fields_are_those_of_the_undivided_batch(overrides):
    (undivided,) = micro_batches(overrides, 1)[1]
    step = joined(micro_batches(overrides, 4)[1])
    for name in ("tokens_CL", "attention_CL", "caption_ids_C", "clip_valid_B", "seed_B", "keys", "errors"):
        assert_equal(getattr(step.captions, name), getattr(undivided.captions, name), name)
    for name in ("audio_valid_B", "corpus_B", "seed_B", "keys", "errors"):
        assert_equal(getattr(step.events, name), getattr(undivided.events, name), name)
    # A micro-batch without events has a column that stands for nothing.
    ids = undivided.events.phrase_ids_C
    here = torch.isin(step.events.phrase_ids_C, ids)
    assert not step.events.phrase_valid_C[~here].any()
    assert not step.events.label_BCT[:, ~here].any()
    longest = undivided.events.tokens_CL.shape[1]
    for name in ("phrase_ids_C", "phrase_valid_C", "annotated_in_C", "tokens_CL", "attention_CL"):
        found, want = getattr(step.events, name)[here], getattr(undivided.events, name)
        assert_equal(found[..., :longest] if found.ndim == 2 else found, want, name)
    assert_equal(step.events.label_BCT[:, here], undivided.events.label_BCT, "label_BCT")


def assert_equal(found, want, name: str) -> None:
    assert torch.equal(found, want) if isinstance(want, torch.Tensor) else found == want, name


def test_the_fixture_has_what_could_go_wrong(tmp_path):
    (step,) = micro_batches(on_corpora(tmp_path), 1)[1]
    assert step.events.errors
    assert len(step.events.corpus_B.unique()) == 3
    assert {int(bits) for bits in step.events.annotated_in_C} >= {1, 2 | 4}
    assert (~step.events.label_BCT.any(1).any(1)).any()
    assert not step.events.phrase_valid_C.all()


@pytest.mark.parametrize("frozen", ["[]", "[text]", "[audio]"])
def test_the_towers_take_one_share_at_a_time(frozen, overrides):
    """Each share once, and once more but for the last one where something learns."""
    module, batch = micro_batches(overrides, 4)
    for part in {"[text]": ["text"], "[audio]": ["audio", "frontend"]}.get(frozen, []):
        getattr(module.model, part).requires_grad_(False)
    rows: dict[str, list[int]] = {"audio": [], "text": [], "logmel": []}
    towers = {"audio": module.model.audio, "text": module.model.text, "logmel": module.model.frontend.logmel}
    for name, tower in towers.items():
        tower.register_forward_pre_hook(lambda _, given, name=name: rows[name].append(len(given[0])))
    total_of(module, OneStep(module)(batch)).backward()
    clips = sum(len(part.keys) for micro in batch for part in (micro.captions, micro.events))
    assert max(rows["logmel"]) <= clips / 6
    assert sum(rows["logmel"]) == clips
    again = {name: 0 if name in frozen else 3 for name in ("audio", "text")}
    assert rows["audio"] == [clips // 4] * (4 + again["audio"])
    texts = [len(part.tokens_CL) for part in joined(batch).parts()]  # captions, then phrases
    shares = [[len(x) for x in torch.arange(many).tensor_split(min(4, many))] for many in texts]
    assert rows["text"][: sum(map(len, shares))] == [n for share in shares for n in share]
    repeated = sum(len(share) - 1 for share in shares) if again["text"] else 0
    assert len(rows["text"]) == sum(map(len, shares)) + repeated


def test_bf16_in_shares(small_config):
    """The precision of the forward pass is that of the second one."""
    waveform_BS, seed_B = torch.randn(4, 480_000), torch.arange(4)
    found = []
    for shares in (1, 4):
        torch.manual_seed(0)
        model = FLAM(small_config).train()
        with torch.autocast("cpu", torch.bfloat16):
            audio = model.embed_audio(waveform_BS, seed_B, shares=shares)
        audio.frame_BTD.sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.audio.parameters()]))
    assert torch.linalg.norm(found[1] - found[0]) < 0.02 * torch.linalg.norm(found[0])


def test_dropout_is_drawn_once():
    """A share that is computed again is computed with the same draws."""
    torch.manual_seed(0)
    x, drop = torch.ones(6, 50, dtype=torch.float64, requires_grad=True), torch.nn.Dropout(0.5)
    y = in_shares(drop, 3, x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert 0 < (y == 0).sum() < y.numel()


def test_more_shares_than_rows_and_rows_that_are_none():
    class Tower(torch.nn.Module):
        def forward(self, a, b):
            return 2 * a if b is None else a + b

    x = torch.arange(6.0).view(2, 3)
    assert torch.equal(in_shares(Tower(), 5, x, None), 2 * x)
    assert torch.equal(in_shares(Tower(), 5, x, x), 2 * x)


def test_shards_elsewhere_are_fetched_as_many_steps_ahead(overrides):
    run = build(compose_conf([*overrides, "accumulate=4", "data.cache_ahead=7"]))
    assert run.data.steps_of(0, 1)._ahead.ahead == 28

"""Over NCCL losses, a run and the check are what they are over gloo. Needs two GPUs; the losses run on a CPU, too."""

from __future__ import annotations

import pytest
import torch
from bench_losses import problem
from ranks import on_ranks
from tiny_runs import TINY, flam_train, metrics, on_shards, write_corpus

from flam_train.losses import contrastive_loss, framewise_loss, prior_loss

TWO_GPUS = pytest.mark.gpu(2)
ON_GPUS = [
    *(text for text in TINY if "accelerator" not in text),
    "trainer.accelerator=gpu",
    "trainer.precision=32-true",
]


def losses(rank: int, world: int, device: str) -> dict[str, list[torch.Tensor]]:
    """(value, gradients) of each loss, on the CPU."""
    out = {}
    for name in ("gather", "ring", "prior", "global"):
        values = {key: x.detach().to(device) for key, x in problem(rank, 3, 5, 16).items()}
        values = {key: x.double() if x.is_floating_point() else x for key, x in values.items()}
        learned = [values[key].requires_grad_() for key in ("frame_BTD", "text_CD", "scale_C", "bias_C")]
        frame_BTD, text_CD, scale_C, bias_C = learned
        if name == "global":
            valid_B = values["audio_valid_B"]
            ids_B = torch.arange(3, device=device)
            value = contrastive_loss(frame_BTD.mean(1), text_CD[:3], scale_C[0], valid_B, ids_B)
        elif name == "prior":
            rest = {k: v for k, v in values.items() if k not in ("frame_BTD", "text_CD", "scale_C", "bias_C")}
            value = prior_loss(bias_C, **rest)
        else:
            value = framewise_loss(**values, exchange=name)
        value.backward()
        out[name] = [value.detach().cpu(), *(x.grad.cpu() for x in learned if x.grad is not None)]
    return out


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), pytest.param("cuda", "nccl", marks=TWO_GPUS)])
def test_losses(device, backend):
    found, want = on_ranks(2, losses, device, backend=backend), on_ranks(2, losses, "cpu")
    for rank in (0, 1):
        assert all(torch.equal(found[rank][name][0], found[0][name][0]) for name in found[0])
        for name, tensors in want[rank].items():
            assert len(found[rank][name]) == len(tensors) >= 2
            for a, b in zip(found[rank][name], tensors, strict=True):
                assert torch.allclose(a, b, rtol=1e-9, atol=1e-12), name
        for a, b in zip(found[rank]["ring"], found[rank]["gather"], strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@TWO_GPUS
def test_two_gpus_train_as_one(tmp_path):
    corpora = on_shards(write_corpus(tmp_path / "train", 12, 0), write_corpus(tmp_path / "test", 5, 1))
    common = [*ON_GPUS, *corpora, "global_batch=4", "frame_batch=4", "optim.lr=1e-4"]
    flam_train(*common, f"run_dir={tmp_path / 'one'}")
    flam_train(*common, f"run_dir={tmp_path / 'two'}", torchrun=2)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    for name in ("loss/global", "loss/sed", "loss/prior"):
        assert float(two[0, name]) == pytest.approx(float(one[0, name]), rel=1e-3), name  # tf32
        assert float(two[3, name]) == pytest.approx(float(one[3, name]), rel=2e-2), name
    done = flam_train("--check", *common, f"run_dir={tmp_path / 'checked'}", torchrun=2)
    assert "nccl all-reduce" in done.stdout

"""No step mixes tensors of two devices: shown on fake CUDA tensors, which carry shapes and devices but no numbers.

This is all of the CUDA path that a machine without a GPU can check: mixing on the device, front end, encoders, heads
and the global loss. The frame-wise losses choose rows by value, of which fake tensors have none.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from tiny_runs import TINY, write_bank
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Parameter

from flam_train.cli.train import compose_conf
from flam_train.training.run import build


def on_bank(bank, folder) -> list[str]:
    out = [*(a for a in TINY if "accelerator" not in a), f"run_dir={folder}", "global_batch=4", "frame_batch=4"]
    for kind in ("global", "frame"):
        out += [f"data/{kind}=[online]", f"data.{kind}.online.bank=[{bank}]", f"data.{kind}.online.recipe=demo"]
    return out


def test_a_step_stays_on_its_device(tmp_path):
    run = build(compose_conf(on_bank(write_bank(tmp_path / "bank"), tmp_path / "run")))
    step = run.data.steps_of(0, 1)[0]
    module = run.module.train()
    mode = FakeTensorMode(static_shapes=True)

    def cuda(x):
        fake = mode.from_tensor(x.detach())
        with mode:
            return fake.to("cuda")

    def moved(part):
        # `mixture` stays: its numbers are read on the host.
        return replace(part, **{f.name: cuda(x) for f in fields(part) if torch.is_tensor(x := getattr(part, f.name))})

    module.memory_N = mode.from_tensor(module.memory_N)  # the step itself brings it to the clips' device
    for child in module.modules():
        for name, p in child.named_parameters(recurse=False):
            fake = cuda(p)
            with mode:
                child._parameters[name] = Parameter(fake, requires_grad=p.requires_grad)
        for name, buffer in child.named_buffers(recurse=False):
            child._buffers[name] = cuda(buffer)
    captions, events = moved(step.captions), moved(step.events)
    on_device = replace(step, captions=captions, events=events)
    with mode:
        audio, text = module.embed([on_device], on_device)
        loss = module.losses(replace(on_device, events=None), audio, text)["global"]
        assert {x.device.type for x in (*vars(audio).values(), *vars(text).values(), loss)} == {"cuda"}
        with pytest.raises(RuntimeError, match="same device"):
            module.model.embed_audio(torch.zeros(1, 480_000))

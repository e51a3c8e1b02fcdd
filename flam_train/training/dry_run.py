"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from flam_train.batch import FrameBatch, GlobalBatch
from flam_train.training.optim import build_optimizer
from flam_train.training.run import build, describe
from flam_train.training.trainer import launch_shape

PROBE = 2
"""Clips that the memory of activations is measured on; it grows in proportion."""


def dry_run(conf: dict[str, Any]) -> str:
    """Builds everything, takes the first step's batch of rank 0, measures what one backward pass keeps; a report."""
    run = build(conf)
    devices, nodes = launch_shape(run.trainer)
    world = devices * nodes
    batch = run.data.steps_of(0, world)[0]
    model, module = run.module.model, run.module
    clips = sum(len(part.keys) for part in (batch.captions, batch.events) if part is not None)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    learned = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    build_optimizer(model, module.optim)  # its errors belong to a dry run
    part = batch.events if batch.events is not None else batch.captions
    assert part is not None
    module.train()
    waveform_BS = module.rendered(part).waveform_BS[:1].expand(PROBE, -1)
    kept = saved_bytes(lambda: model.embed_audio(waveform_BS, torch.arange(PROBE)).frame_BTD.sum()) / PROBE
    lines = [f"run folder   {run.folder}", f"processes    {world} ({nodes} nodes x {devices})", describe(run)]
    parts = f", in {module.accumulate} micro-batches of {clips}" if module.accumulate > 1 else ""
    mine = clips * module.accumulate
    lines.append(f"steps        {module.total_steps:,} of {mine * world} clips ({mine} on each process{parts})")
    for name, part in (("captions", batch.captions), ("events", batch.events)):
        if part is not None:
            lines.append(f"batch        {name} of rank 0, step 0{', micro-batch 0' if parts else ''}: {_shapes(part)}")
            lines += [f"bad sample   {error}" for error in part.errors]
    lines.append(
        f"memory       weights {_size(parameters)}, gradients {_size(learned)}, AdamW {_size(2 * learned)}, audio "
        f"activations about {_size(kept * clips)} ({_size(kept)} a clip in float32, about half of it in bf16)"
        + (f", bank {_size(module.memory_N.nbytes)}" if module.memory_N is not None else "")
    )
    lines.append("nothing was trained and nothing was written (--dry-run)")
    return "\n".join(lines)


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes of distinct storage that autograd keeps between a forward and its backward pass."""
    seen: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        alive.append(x)  # freed memory would be used, and counted, again
        return x

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        forward()
    return sum(seen.values())


def _shapes(part: GlobalBatch | FrameBatch) -> str:
    values = ((f.name, getattr(part, f.name)) for f in fields(part))
    return ", ".join(f"{name} {list(x.shape)}" for name, x in values if isinstance(x, Tensor))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    raise AssertionError

"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flam_train.batch import FrameBatch, GlobalBatch, StepBatch
from flam_train.training.configuration import Config
from flam_train.training.description import describe
from flam_train.training.micro_batches import joined, stacked
from flam_train.training.module import FLAMModule
from flam_train.training.optim import build_optimizer
from flam_train.training.run import begin, begins_anew, has_ended
from flam_train.training.saved import Saved
from flam_train.training.trainer import launch_shape

PROBE = 2
"""Clips that the memory of activations is measured on; it grows in proportion."""


def dry_run(conf: dict[str, Any]) -> str:
    """Builds everything, takes the first step's batch of rank 0, measures what one backward pass keeps; a report."""
    asked = Config.read(conf)
    run, saved, _ = begin(conf, None if begins_anew(asked) else Saved.read(Path(asked.run_dir)))
    devices, nodes = launch_shape(run.config.trainer)
    world = devices * nodes
    steps, module = run.data.steps_of(0, world), run.module
    done = saved.step if saved else 0
    step = min(done, module.total_steps - 1)
    micro_batches = [steps[step * module.accumulate + n] for n in range(module.accumulate)]
    batch = joined(micro_batches)
    parts = batch.parts()
    model, clips = module.model, sum(len(part.keys) for part in parts)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    learned = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    build_optimizer(model, module.optim)  # its errors belong to a dry run
    goes_on = "" if saved is None else ", " + (has_ended(saved, run.config) or f"goes on at step {done}")
    lines = [f"run folder   {run.folder}{goes_on}", f"processes    {world} ({nodes} nodes x {devices})", describe(run)]
    count = module.accumulate
    divided = f", in {count} micro-batches of {clips // count}" if count > 1 else ""
    lines.append(f"steps        {module.total_steps:,} of {clips * world} clips ({clips} on each process{divided})")
    for name, part in (("captions", batch.captions), ("events", batch.events), ("tags", batch.tags)):
        if part is not None:
            lines.append(f"batch        {name} of rank 0, step {step}: {_shapes(part)}")
            lines += [f"bad sample   {error}" for error in part.errors]
    audio = _audio_activations(module.train(), micro_batches[0], clips)
    text = _text_activations(module, stacked([p.tokens_CL for p in parts]), stacked([p.attention_CL for p in parts]))
    memory = {"weights": parameters, "gradients": learned, "AdamW": 2 * learned}
    memory |= {"bank": module.memory_N.nbytes} if module.memory_N is not None else {}
    lines.append("memory       " + ", ".join(f"{name} {_size(size)}" for name, size in memory.items()))
    lines.append(
        f"             activations about {_size(audio)} (audio) and {_size(text)} (text) in "
        f"{str(model.logit_scale.dtype).removeprefix('torch.')}, about half of it in bf16"
    )
    lines.append("nothing was trained and nothing was written (--dry-run)")
    return "\n".join(lines)


def _audio_activations(module: FLAMModule, micro_batch: StepBatch, clips: int) -> float:
    """Bytes that are kept of so many clips: their waveforms and spectrograms, and one share in the encoder."""
    part = micro_batch.parts()[0]
    model, waveform_BS = module.model, module.rendered(part)[:1].expand(PROBE, -1)
    seed_B = torch.arange(PROBE)
    front = saved_bytes(model, lambda: model.frontend(waveform_BS, seed_B).sum()) / PROBE
    encoder = saved_bytes(model, lambda: model.embed_audio(waveform_BS, seed_B).frame_BTD.sum()) / PROBE - front
    waveform = waveform_BS[0].numel() * waveform_BS.element_size()
    return (waveform + front) * clips + encoder * -(-clips // module.accumulate)


def _text_activations(module: FLAMModule, tokens_CL: Tensor, attention_CL: Tensor) -> float:
    """Bytes that are kept of one share of the phrases."""
    tokens, attention = tokens_CL[:PROBE], attention_CL[:PROBE]
    kept = saved_bytes(module.model, lambda: module.model.embed_tokens(tokens, attention).text_CD.sum())
    return kept / len(tokens) * -(-len(tokens_CL) // module.accumulate)


def saved_bytes(model: torch.nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes of distinct storage, but for the model's own, that autograd keeps between a forward and its backward."""
    own = {x.untyped_storage().data_ptr() for x in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(x)  # freed memory would be used, and counted, again
        return x

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        forward()
    return sum(seen.values())


def _shapes(part: GlobalBatch | FrameBatch) -> str:
    values = ((f.name, getattr(part, f.name)) for f in fields(part))
    return ", ".join(f"{name} {list(x.shape)}" for name, x in values if isinstance(x, Tensor) and len(x))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    raise AssertionError

"""What will be trained, in a few lines: printed at the start of a run, and by --dry-run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flam_train.data.stream.clips import ShardSource, Source
from flam_train.training.layers import PARTS, depths, is_meant, part_of
from flam_train.training.optim import rate

if TYPE_CHECKING:
    from flam_train.training.run import Run


def describe(run: Run) -> str:
    """What will be trained, in a few lines."""
    model, optim = run.module.model, run.module.optim
    depth_of = depths([name for name, _ in model.named_parameters()]) if optim.layer_decay != 1 else {}
    lines = []
    for part in PARTS:
        mine = [(n, p) for n, p in model.named_parameters() if part_of(n) == part]
        total = sum(p.numel() for _, p in mine)
        learns = sum(p.numel() for _, p in mine if p.requires_grad)
        learning = [rate(optim, part, depth_of.get(n, 0)) for n, p in mine if p.requires_grad]
        told = "frozen" if not learns else "lr " + " to ".join(f"{x:g}" for x in sorted({min(learning), max(learning)}))
        later = [
            first for pattern, first in (optim.unfreeze or {}).items() if any(is_meant(pattern, n) for n, _ in mine)
        ]
        told += f", some or all from step {min(later):,} on" if later else ""
        lines.append(f"  {part:6s} {learns:>12,} of {total:>12,} parameters learn, {told}")
    lines += [
        f"  {stream.name:6s} {stream.batch} clips a step from {', '.join(map(_said, stream.sources))}"
        for stream in run.data.streams
    ]
    validated = ", ".join(f"{n} ({len(c):,} clips of {c.folder})" for n, c in run.data.validation.items())
    lines.append(f"  val    {validated or 'none: no corpus has a `validation`, the folder of shards to validate on'}")
    for name, validation in run.module.validation_metrics.items():
        lines += [f"         {name}: {line}" for line in validation.asked.told()]  # type: ignore[operator, union-attr]
    if run.config.augment.on:
        lines.append(f"  augment {run.config.augment.said()}")
    lines += [f"  {line}" for line in run.data.sources.left_out.report()]
    lines += [f"  warning: {line}" for line in run.data.confused()]
    if optim.warmup_steps > run.config.steps:
        lines.append(
            f"  warning: optim.warmup_steps={optim.warmup_steps} of {run.config.steps} steps: lr rises until the end, "
            f"to {run.config.steps / optim.warmup_steps:.0%} of it"
        )
    if run.started is not None:
        lines += [f"  {line}" for line in (f"init   {run.config.init}", *run.started.lines())]
    return "\n".join(lines)


def _said(source: Source) -> str:
    folder = f" of {source.corpus.folder}" if isinstance(source, ShardSource) else ""
    return f"{source.name} ({int(source.shard_sizes.sum()):,} clips{folder})"

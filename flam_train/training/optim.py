"""Which parameters learn, how fast, and the schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW

from flam_train.models.flam import FLAM
from flam_train.settings import setting, settle

PARTS = {
    "audio": ("frontend", "audio"),
    "text": ("text",),
    "heads": ("audio_projection", "text_projection", "codebook", "scale_head", "bias_head", "logit_scale"),
}
"""What a part of the configuration means: names of FLAM's children."""

SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up and decay."""

    lr: float = setting(1e-4, "learning rate after the warm-up", above=0)
    betas: tuple[float, float] = setting((0.9, 0.98), "decays of Adam's two means", least=0, below=1)
    eps: float = setting(1e-8, "added to Adam's denominator", above=0)
    weight_decay: float = setting(0.0, "of matrices, not of vectors and scalars", least=0)
    warmup_steps: int = setting(3200, "steps over which the learning rate rises from 0", least=0)
    schedule: str = setting("cosine", "of the learning rate after the warm-up", choices=SCHEDULES)
    final: float = setting(0.0, "the share of `lr` that is left at the last step", least=0, most=1)
    clip: float = setting(1.0, "largest norm of the gradient; 0: none", least=0)
    lr_scale: dict[str, float] = setting({}, "learning rate of each part over `lr`", least=0, choices=PARTS)
    freeze: tuple[str, ...] = setting((), "parts that do not learn (and stay in eval mode)", choices=PARTS)

    def __post_init__(self) -> None:
        settle(self, "optim")


def part_of(name: str) -> str:
    """The part that a parameter of FLAM belongs to."""
    child = name.split(".", 1)[0]
    return next(part for part, children in PARTS.items() if child in children)


def freeze(model: FLAM, config: OptimConfig, unused: tuple[str, ...] = ()) -> None:
    """Sets requires_grad. unused: modules that no loss reaches (DDP hangs on parameters without gradient).

    Raises ValueError where a frozen part holds weights that nothing has ever trained.
    """

    def is_unused(name: str) -> bool:
        return any(name == module or name.startswith(f"{module}.") for module in unused)

    names = (f"text.model.{name}" for name in model.text.fresh)  # type: ignore[union-attr]
    fresh = [name for name in names if not is_unused(name)]
    if "text" in config.freeze and fresh:
        raise ValueError(
            f"optim.freeze: the text tower's {fresh[0]!r} is fresh (its checkpoint has none) and must not be frozen: "
            "unfreeze text, or start from a CLAP or FLAM checkpoint"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) not in config.freeze and not is_unused(name))


def build_optimizer(model: FLAM, config: OptimConfig) -> AdamW:
    """AdamW over what learns, one group for each (part, decayed or not); vectors and scalars are not decayed."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and "relative_position_bias_table" not in name
            groups.setdefault((part_of(name), decayed), []).append(parameter)
    if not groups:
        raise ValueError("nothing learns: every part is frozen or unused (see optim.freeze and the batch sizes)")
    return AdamW(
        [
            {
                "params": parameters,
                "lr": config.lr * config.lr_scale.get(part, 1.0),
                "weight_decay": config.weight_decay if decayed else 0.0,
                "name": f"{part}/{'decayed' if decayed else 'plain'}",
            }
            for (part, decayed), parameters in sorted(groups.items())
        ],
        betas=config.betas,
        eps=config.eps,
    )


def lr_factor(step: int, config: OptimConfig, total_steps: int) -> float:
    """The share of the learning rate at a step (from 0): warm-up, then decay to `final` at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - 1 - config.warmup_steps))
    left = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return config.final + (1 - config.final) * left

"""Which parameters learn, how fast, and the schedule."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from flam_train.models.flam import FLAM
from flam_train.settings import setting, settle
from flam_train.training.layers import PARTS, depths, meant, part_of

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
    layer_decay: float = setting(
        1.0, "an encoder's layer learns so much slower than the one after it; 1: all alike", above=0, most=1
    )
    ema: float = setting(
        0.0,
        "decay of the running mean of the weights, which is what is validated and exported; 0: the weights themselves",
        least=0,
        below=1,
    )
    freeze: tuple[str, ...] = setting(
        (), "what does not learn (and stays in eval mode): parts, or layers by name (`layers.is_meant`)"
    )
    unfreeze: dict[str, int] | None = setting(
        None, "likewise, but only until a step: {audio: 1000} lets the audio encoder learn from step 1000 on", least=0
    )

    def __post_init__(self) -> None:
        settle(self, "optim")


def freeze(
    model: FLAM,
    config: OptimConfig,
    unused: tuple[str, ...] = (),
    untrained: Collection[str] = (),
    steps: int | None = None,
) -> None:
    """Sets requires_grad. What learns only from a step on has it from the start (DDP takes no parameters in later):
    `held` says until when its gradients are thrown away.

    unused: modules that no loss reaches (DDP hangs on parameters without gradient). untrained: parameters that nothing
    has ever trained. steps: of the run. Raises ValueError where one of them would stay so, frozen, held until the run's
    end or at a rate of 0: what does not learn must have been trained.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen = meant("optim.freeze", config.freeze, names)
    if both := sorted(frozen & meant("optim.unfreeze", config.unfreeze or {}, names)):
        raise ValueError(f"optim.unfreeze: {both[0]} is frozen for good by optim.freeze: name it in one of them")

    def is_unused(name: str) -> bool:
        return any(name == module or name.startswith(f"{module}.") for module in unused)

    stays = {
        "optim.freeze": frozen,
        f"optim.unfreeze, in {steps} steps": set() if steps is None else held(model, config, steps - 1),
        "optim.lr_scale": {name for name in names if rate(config, part_of(name)) == 0},
    }
    for key, still in stays.items():
        fresh = [name for name in names if name in untrained and name in still and not is_unused(name)]
        if fresh:
            part, more = part_of(fresh[0]), f" (and {len(fresh) - 1} more)" if len(fresh) > 1 else ""
            raise ValueError(
                f"{key}: {fresh[0]!r}{more} of {part} was never trained and must not be frozen: let it learn, or start "
                "from an export or a CLAP or FLAM checkpoint that has it (init=...)"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen and not is_unused(name))


def held(model: FLAM, config: OptimConfig, step: int) -> set[str]:
    """Parameters that do not learn yet at a step (from 0)."""
    names = [name for name, _ in model.named_parameters()]
    later = [pattern for pattern, first in (config.unfreeze or {}).items() if step < first]
    return meant("optim.unfreeze", later, names)


def groups_of(model: FLAM, config: OptimConfig) -> dict[tuple[str, int, bool], dict[str, nn.Parameter]]:
    """{(part, depth, decayed or not): what learns of it, by name}, in the optimiser's order; vectors and scalars are
    not decayed."""
    groups: dict[tuple[str, int, bool], dict[str, nn.Parameter]] = {}
    depth_of = depths([name for name, _ in model.named_parameters()]) if config.layer_decay != 1 else {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and "relative_position_bias_table" not in name
            groups.setdefault((part_of(name), depth_of.get(name, 0), decayed), {})[name] = parameter
    return dict(sorted(groups.items()))


FUSED = ("cpu", "cuda")
"""Devices on which AdamW is one kernel: a fifth of the time of one operation after another."""


def build_optimizer(model: FLAM, config: OptimConfig, scaled: bool = False) -> AdamW:
    """AdamW over what learns, in the groups of `groups_of`.

    scaled: gradients come times the scale of 16-mixed. A fused AdamW would take it off itself, after they were clipped.
    """
    groups = groups_of(model, config)
    if not groups:
        raise ValueError("nothing learns: every part is frozen or unused (see optim.freeze and the batch sizes)")
    return AdamW(
        [
            {
                "params": list(parameters.values()),
                "lr": rate(config, part, depth),
                "weight_decay": config.weight_decay if decayed else 0.0,
                "name": f"{part}{f' {depth} below' if depth else ''}/{'decayed' if decayed else 'plain'}",
            }
            for (part, depth, decayed), parameters in groups.items()
        ],
        betas=config.betas,
        eps=config.eps,
        fused=True if not scaled and model.device.type in FUSED else None,  # None: torch's own choice among the others
    )


def regrouped(
    state: dict[str, Any], was: Collection[Collection[str]], now: Collection[Collection[str]]
) -> dict[str, Any]:
    """An optimiser's state dict whose groups had the parameters `was`, for one whose groups have those of `now`: the
    same ones in other groups. The rates are those of the first group, until `hold_to`."""
    place = {name: n for n, name in enumerate(name for group in was for name in group)}
    number = {name: n for n, name in enumerate(name for group in now for name in group)}
    about = {key: value for key, value in state["param_groups"][0].items() if key != "params"}
    return {
        "state": {number[name]: state["state"][at] for name, at in place.items() if at in state["state"]},
        "param_groups": [about | {"params": [number[name] for name in group]} for group in now],
    }


def rate(config: OptimConfig, part: str, depth: int = 0) -> float:
    """The learning rate of a part's layer after the warm-up; depth: of `layers.depths`."""
    return config.lr * config.lr_scale.get(part, 1.0) * config.layer_decay**depth


def hold_to(optimizer: Optimizer, schedule: LambdaLR, groups: list[dict[str, Any]]) -> None:
    """Gives an optimiser that was loaded the rates that the settings say, which may be others than the checkpoint's.

    groups: its parameter groups as they were built, without their parameters.
    """
    for group, built, factor in zip(optimizer.param_groups, groups, schedule.lr_lambdas, strict=True):
        group.update(built)
        group["lr"] = built["initial_lr"] * factor(schedule.last_epoch)
        # A checkpoint may have been written by the other kind of AdamW, which counts steps on the other side.
        for parameter in group["params"]:
            if "step" in (state := optimizer.state.get(parameter, {})):
                state["step"] = state["step"].to(parameter.device if group["fused"] else "cpu")
    schedule.base_lrs = [built["initial_lr"] for built in groups]


def lr_factor(step: int, config: OptimConfig, total_steps: int) -> float:
    """The share of the learning rate at a step (from 0): warm-up, then decay to `final` at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - 1 - config.warmup_steps))
    left = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return config.final + (1 - config.final) * left

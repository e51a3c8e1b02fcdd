"""OpenFLAM's checkpoint and ours, name by name. Its weights are the user's to bring.

Written from the published names and shapes (README of OpenFLAM's release), not from its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from flam_train.checkpoints.conversion import Conversion, Names, audio_of, convert, refuse, roberta_of, size_of
from flam_train.checkpoints.htsat_names import front_end, htsat_names, windows
from flam_train.checkpoints.laion import constants_of, frontend_of
from flam_train.checkpoints.laion_names import AUDIO_BRANCH, LAION, PROJECTIONS
from flam_train.checkpoints.openflam_names import FROZEN, HEADS, ROBERTA_BASE
from flam_train.models.flam import FLAM, FLAMConfig, audio_preset
from flam_train.models.text import TextConfig

TOKENIZER = "roberta-base"

OPENFLAM = Names(
    title="OpenFLAM",
    prefixes={**htsat_names(AUDIO_BRANCH), **PROJECTIONS, **HEADS, "logit_scale": "logit_scale_a"},
    left={rf"{FROZEN}$": "a frozen scale of 1"},
    refused={key: why for key, why in LAION.refused.items() if key.startswith(AUDIO_BRANCH)},
)


def convert_openflam(state: Mapping[str, Tensor], tokenizer: str = TOKENIZER, max_tokens: int = 77) -> Conversion:
    """state: without DDP's `module.`. Raises ValueError, in a few lines, for what is not explained."""
    refuse(state, OPENFLAM)
    frozen = state.get(FROZEN)
    if frozen is not None and float(frozen) != 0.0:
        raise ValueError(f"{FROZEN} is {float(frozen)}: every released checkpoint has 0, this one needs its own loss")
    config = FLAMConfig(
        frontend=frontend_of(state, AUDIO_BRANCH),
        audio=audio_of(state, OPENFLAM),
        text=TextConfig("roberta", tokenizer, max_tokens, roberta_of(state, OPENFLAM, ROBERTA_BASE)),
        embedding=OPENFLAM.shape(state, "audio_projection.2.weight")[0],
    )
    return replace(convert(state, OPENFLAM, config, constants_of(config)), tokenizer=tokenizer)


def from_openflam(
    state_dict: Mapping[str, Tensor], audio: str | None = None, tokenizer: str | None = None, max_tokens: int = 77
) -> FLAM:
    """FLAM in eval mode from OpenFLAM's state dict.

    audio: tiny, base, large or base-12hz, where it must be a certain one. tokenizer: a folder (or hub name) of
    RoBERTa's tokenizer, needed only by `embed_text`. Raises ValueError, in a few lines, that names the entries that are
    missing, unknown or of another shape.
    """
    out = convert_openflam(state_dict, tokenizer or "", max_tokens)
    if audio is not None and out.config.audio != audio_preset(audio):
        raise ValueError(f"it has {size_of(out.config)}, not audio={audio}")
    return out.model(tokenizer)


def to_openflam(model: FLAM) -> dict[str, Tensor]:
    """OpenFLAM's state dict of a model: the same names and shapes, its constants included.

    Raises ValueError for a model that OpenFLAM has no names for (another text tower, an ablated head).
    """
    config = model.config
    ours = {
        "text": config.text.tower,
        "scale": config.phrase_scale,
        "bias": config.phrase_bias,
        "aggregate": config.aggregate,
        "last block": config.audio.last_block,
    }
    if tuple(ours.values()) != ("roberta", "phrase", "phrase", "mean", "attention"):
        has = ", ".join(f"{name} {value!r}" for name, value in ours.items())
        raise ValueError(f"OpenFLAM's checkpoint has a RoBERTa text tower and both phrase heads; this model has {has}")
    out = {OPENFLAM.theirs(k)[0]: v.detach().clone() for k, v in model.state_dict().items()}
    out[FROZEN] = torch.tensor(0.0)
    return out | front_end(config.frontend, AUDIO_BRANCH) | windows(config.audio, AUDIO_BRANCH)

"""OpenFLAM's checkpoint and ours, name by name. Its weights are the user's to bring.

Written from the published names and shapes (README of OpenFLAM's release), not from its source.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from flam_train.checkpoints.openflam_names import AUDIO, CONSTANT_ENDS, CONSTANTS, FROZEN, PREFIXES, ROBERTA_BASE
from flam_train.models.flam import FLAM, FLAMConfig, audio_preset
from flam_train.models.text import TextConfig, load_tokenizer


def _theirs(name: str) -> str:
    for ours, theirs in PREFIXES.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    raise AssertionError(name)


def _is_constant(name: str) -> bool:
    return name.startswith(CONSTANTS) or name.endswith(CONSTANT_ENDS)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint file. Raises ValueError for one that holds anything but plain tensors."""
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the pickle makes it raise, in many lines
        why = "nothing is read that could run code" if path.is_file() else "no such file"
        raise ValueError(f"{path}: not a checkpoint of plain tensors ({why})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: not a state dict: names and tensors are expected")
    return {k.removeprefix("module."): v for k, v in state.items()}


def config_of(state_dict: dict[str, Tensor], tokenizer: str = "roberta-base", max_tokens: int = 77) -> FLAMConfig:
    """What a state dict is of: its audio encoder is told by the width of its patches. Raises ValueError for another."""
    patches = state_dict.get(_theirs("audio.patch_embed.proj.weight"))
    for name in AUDIO:
        if patches is not None and audio_preset(name).width == len(patches):
            text = TextConfig("roberta", tokenizer, max_tokens, ROBERTA_BASE)
            return FLAMConfig(audio=audio_preset(name), text=text)
    raise ValueError(f"not an OpenFLAM checkpoint of audio={', '.join(AUDIO)}")


def from_openflam(
    state_dict: dict[str, Tensor], audio: str = "base", tokenizer: str | None = None, max_tokens: int = 77
) -> FLAM:
    """FLAM in eval mode from OpenFLAM's state dict.

    audio: tiny, base, large or base-12hz. tokenizer: a folder (or hub name) of RoBERTa's tokenizer, needed only by
    `embed_text`. Raises ValueError that lists the entries that are missing, unknown or of another shape.
    """
    config = FLAMConfig(
        audio=audio_preset(audio),
        text=TextConfig("roberta", tokenizer or "", max_tokens, ROBERTA_BASE),
    )
    model = FLAM(config, False, load_tokenizer(tokenizer, max_tokens) if tokenizer else None)
    state = {k: v for k, v in state_dict.items() if not _is_constant(k)}
    # Some transformers versions stored the positions as a buffer; it is arange.
    state.pop("text_branch.embeddings.position_ids", None)
    frozen = state.pop(FROZEN, None)
    if frozen is not None and float(frozen) != 0.0:
        raise ValueError(f"{FROZEN} is {float(frozen)}: every released checkpoint has 0, this one needs its own loss")
    ours = model.state_dict()
    named = {_theirs(k): k for k in ours}
    state.setdefault("audio_branch.bn0.num_batches_tracked", torch.tensor(0))
    problems = [f"missing: {k}" for k in sorted(set(named) - set(state))]
    problems += [f"unknown: {k}" for k in sorted(set(state) - set(named))]
    problems += [
        f"shape {tuple(state[k].shape)} is not {tuple(ours[named[k]].shape)}: {k}"
        for k in sorted(set(named) & set(state))
        if state[k].shape != ours[named[k]].shape
    ]
    if problems:
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ValueError(f"not an OpenFLAM checkpoint of audio={audio!r}:\n  " + "\n  ".join(problems[:20]) + more)
    model.load_state_dict({named[k]: v for k, v in state.items()})
    return model.eval()


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
    out = {_theirs(k): v.detach().clone() for k, v in model.state_dict().items()}
    out[FROZEN] = torch.tensor(0.0)
    out.update(_constants(model))
    return out


def _constants(model: FLAM) -> dict[str, Tensor]:
    front = model.config.frontend
    n = torch.arange(front.n_fft, dtype=torch.float64)
    angle = 2 * math.pi / front.n_fft * n[: front.n_fft // 2 + 1, None] * n[None, :]
    window = torch.hann_window(front.n_fft, periodic=True, dtype=torch.float64)
    stft = "audio_branch.spectrogram_extractor.stft."
    out = {
        f"{stft}conv_real.weight": (angle.cos() * window).float()[:, None],
        f"{stft}conv_imag.weight": (-angle.sin() * window).float()[:, None],
        "audio_branch.logmel_extractor.melW": model.frontend.logmel.mel.mel_scale.fb.detach().cpu().clone(),
    }
    for name, buffer in model.audio.named_buffers():
        out[f"audio_branch.{name.replace('.attn.attn_mask', '.attn_mask')}"] = buffer.detach().cpu().clone()
    return out

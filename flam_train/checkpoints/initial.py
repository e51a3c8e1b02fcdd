"""Starting from what others trained: whatever `foreign.recognise` knows."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from flam_train.checkpoints.conversion import NO_TEXT, Conversion, Table, few
from flam_train.checkpoints.foreign import READ, config_at, recognise
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.text import load_tokenizer

AS_INIT = "as_init"

AUDIO_ENCODER = ("frontend.", "audio.")
AUDIO_PART = (*AUDIO_ENCODER, "audio_projection.")
"""What is taken over when the text tower is another one."""

CHOSEN = ("scale_head.", "bias_head.", "codebook.")
"""Parts that a configuration may do without: what only the given model has is left out, what only ours has is fresh."""

AUGMENTATION = ("drop_path", "mask_stripes", "mask_bins")
"""Settings that no weight depends on."""


def config_of(model: dict[str, Any], text: dict[str, Any], init: str | None) -> FLAMConfig:
    """The configuration of the sections `model` and `text`; `as_init` in either is that of what is at `init`.

    Raises ValueError where there is nothing to take it from.
    """
    as_init = {"model": bool(model.get(AS_INIT)), "text": text.get("tower") == AS_INIT}
    model = {k: v for k, v in model.items() if k != AS_INIT}
    if not any(as_init.values()):
        return FLAMConfig.from_dict({**model, "text": text})
    section = next(name for name, wanted in as_init.items() if wanted)
    try:
        if init is None:
            raise ValueError("no init is given")
        theirs = config_at(init)
        if as_init["text"] and theirs.text == NO_TEXT:
            raise ValueError(f"{init} has no text tower")
    except ValueError as error:
        raise ValueError(f"{section}={AS_INIT}: {error}: set init to {READ}, or choose model= and text=") from error
    given = theirs.to_dict()
    if as_init["model"]:
        model = {k: v for k, v in given.items() if k != "text"} | model
    if as_init["text"]:
        text = given["text"] | ({"name": text["name"]} if text.get("name") else {})
    return FLAMConfig.from_dict({**model, "text": text})


def build(model: dict[str, Any], text: dict[str, Any], init: str | None) -> FLAM:
    """A model of these sections (`config_of`), without `init`'s weights: those are for `initialise`.

    A text tower `as_init` has the tokenizer that lies beside it, or that of `text.name`.
    """
    config = config_of(model, text, init)
    if text.get("tower") != AS_INIT:
        return FLAM(config)
    tokenizer = text.get("name") or recognise(str(init)).tokenizer
    return FLAM(config, pretrained_text=False, tokenizer=load_tokenizer(tokenizer, config.text.max_tokens))


def initialise(model: FLAM, path: str | Path) -> Table:
    """Loads the weights at `path` (`foreign.recognise`) into `model`; returns what was taken, fresh and left over.

    With the same text model everything must fit but for CHOSEN, with another one the audio part is taken over, as far
    as there is one. A last block of attention may start a local one (its values). Any other difference is a ValueError
    that lists it.
    """
    try:
        given = recognise(path)
    except ValueError as error:
        raise ValueError(f"init: {error}") from error
    theirs = _as_last_block(model, given)
    ours = model.state_dict()
    same_text = _same_text(ours, theirs) and given.config.text.tower == model.config.text.tower
    taken = {k: v for k, v in theirs.items() if same_text or k.startswith(AUDIO_PART)}
    taken = {k: v for k, v in taken.items() if k in ours or not k.startswith(CHOSEN)}
    wrong = [k for k, v in taken.items() if k not in ours or ours[k].shape != v.shape]
    if wrong:
        raise ValueError(f"init: {path} does not fit this configuration: {', '.join(few(wrong))}")
    fresh = [k for k in ours if k not in taken]
    lacking = [k for k in fresh if not k.startswith(CHOSEN) and (same_text or k.startswith(AUDIO_ENCODER))]
    if lacking:
        raise ValueError(f"init: {path} lacks {', '.join(few(lacking))}: choose the configuration it was trained with")
    model.load_state_dict(taken, strict=False)
    if same_text:
        model.text.fresh = ()  # type: ignore[assignment]
    left = [
        (k, "not in this configuration" if k.startswith(CHOSEN) else "this run has another text model")
        for k in theirs
        if k not in taken
    ]
    return replace(given.table, taken=tuple(taken), fresh=tuple(fresh), left=(*given.table.left, *left))


def _same_text(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether both have a text tower, of one shape."""
    mine, given = ({k: v.shape for k, v in state.items() if k.startswith("text.")} for state in (ours, theirs))
    return bool(given) and mine == given


def _as_last_block(model: FLAM, given: Conversion) -> dict[str, Tensor]:
    """The state dict for a model with another last block. Raises ValueError for any other difference of the audio
    encoders that weights cannot tell."""
    theirs, audio = given.state, given.config.audio
    if (model.config.audio.last_block, audio.last_block) == ("local", "attention"):
        audio = replace(audio, last_block="local")
        theirs = _values_alone(theirs, f"audio.layers.{len(audio.depths) - 1}.blocks.{audio.depths[-1] - 1}.")
    pairs = {"frontend": (model.config.frontend, given.config.frontend), "audio": (model.config.audio, audio)}
    differing = [
        f"{part}.{key} is {other!r}, here {mine!r}"
        for part, both in pairs.items()
        for key, mine, other in _differing(*both)
    ]
    if differing:
        raise ValueError(f"init: {given.table.source} has another audio encoder: {'; '.join(differing)}")
    return theirs


def _differing(ours: Any, theirs: Any) -> list[tuple[str, Any, Any]]:
    """(key, ours, theirs) where two configurations differ, but for what only training knows."""
    pairs = ((f.name, getattr(ours, f.name), getattr(theirs, f.name)) for f in fields(ours))
    return [(key, a, b) for key, a, b in pairs if a != b and key not in AUGMENTATION]


def _values_alone(state: dict[str, Tensor], block: str) -> dict[str, Tensor]:
    """A state dict whose block with this prefix is a `LocalBlock`: of queries, keys and values the last third."""
    out = {
        k: v
        for k, v in state.items()
        if not k.startswith(block) or k.startswith((f"{block}norm1.", f"{block}attn.proj."))
    }
    return out | {f"{block}attn.value.{end}": state[f"{block}attn.qkv.{end}"].chunk(3)[2] for end in ("weight", "bias")}

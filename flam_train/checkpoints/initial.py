"""Starting from what others trained: an export, or OpenFLAM's checkpoint file."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from flam_train.checkpoints import openflam
from flam_train.checkpoints.export import TOKENIZER, load_export, read_config
from flam_train.checkpoints.openflam import from_openflam, read_state
from flam_train.checkpoints.openflam_names import AUDIO
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.htsat import PRESETS
from flam_train.models.text import load_tokenizer

AS_INIT = "as_init"
ROBERTA = "roberta-base"

AUDIO_PART = ("frontend.", "audio.", "audio_projection.")
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
    path = Path(init or "")
    if init is not None and path.is_dir():
        theirs = read_config(path).to_dict()
    elif path.is_file():
        try:
            theirs = openflam.config_of(read_state(path), text.get("name") or ROBERTA).to_dict()
        except ValueError as error:
            raise ValueError(
                f"init={init}: {error}: give OpenFLAM's file or an export, or choose model= and text="
            ) from error
    else:
        found = "no init is given" if init is None else f"there is nothing at init={init}"
        section = next(name for name, wanted in as_init.items() if wanted)
        raise ValueError(
            f"{section}={AS_INIT}: {found}: set init to an export or to OpenFLAM's file, or choose model= and text="
        )
    if as_init["model"]:
        model = {k: v for k, v in theirs.items() if k != "text"} | model
    return FLAMConfig.from_dict({**model, "text": theirs["text"] if as_init["text"] else text})


def build(model: dict[str, Any], text: dict[str, Any], init: str | None) -> FLAM:
    """A model of these sections (`config_of`), without `init`'s weights: those are for `initialise`.

    A text tower `as_init` has the tokenizer of the export; with OpenFLAM's file, which has none, that of `text.name`.
    """
    config = config_of(model, text, init)
    if text.get("tower") != AS_INIT:
        return FLAM(config)
    path = Path(str(init))
    tokenizer = str(path / TOKENIZER) if path.is_dir() else config.text.name
    return FLAM(config, pretrained_text=False, tokenizer=load_tokenizer(tokenizer, config.text.max_tokens))


def initialise(model: FLAM, path: str | Path) -> list[str]:
    """Loads the weights at `path` into `model`; returns the names that stay fresh.

    path: an export folder, or a file with OpenFLAM's state dict. With the same text tower everything must fit but for
    CHOSEN; with another one the audio part is taken over. A last block of attention may start a local one (its values).
    Any other difference is a ValueError that lists it.
    """
    path = Path(path)
    if path.is_dir():
        given = load_export(path)
    elif path.is_file():
        given = _from_file(path, model)
    else:
        raise ValueError(f"init: no export folder or checkpoint file at {path}")
    ours, theirs = model.state_dict(), given.state_dict()
    audio = given.config.audio
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
        raise ValueError(f"init: {path} has another audio encoder: {'; '.join(differing)}")
    same_text = given.config.text.tower == model.config.text.tower
    if same_text:
        taken = {k: v for k, v in theirs.items() if k in ours or not k.startswith(CHOSEN)}
    else:
        taken = {k: v for k, v in theirs.items() if k.startswith(AUDIO_PART)}
    wrong = [k for k, v in taken.items() if k not in ours or ours[k].shape != v.shape]
    if wrong:
        raise ValueError(f"init: {path} does not fit this configuration: {', '.join(wrong[:10])}")
    fresh = sorted(set(ours) - set(taken))
    lacking = [k for k in fresh if not k.startswith(CHOSEN)]
    if same_text and lacking:
        raise ValueError(f"init: {path} lacks {', '.join(lacking[:10])}: choose the configuration it was trained with")
    model.load_state_dict(taken, strict=False)
    if same_text:
        model.text.fresh = ()  # type: ignore[assignment]
    return fresh


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


def _from_file(path: Path, model: FLAM) -> FLAM:
    config = replace(model.config.audio, last_block="attention")
    preset = next((name for name in AUDIO if not _differing(config, PRESETS[name])), None)
    if preset is None:
        raise ValueError(f"init: {path} can only start a model=tiny, base, large or base-12hz")
    try:
        return from_openflam(read_state(path), preset)
    except ValueError as error:
        raise ValueError(f"init: {error}") from error

"""Starting from what others trained: whatever `foreign.recognise` knows.

A run's sections `model` and `text` say what it is built as; `as_init`, their default, is "as `init` is". What is set
beside it goes first, and a run without `init` has the defaults.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from flam_train.checkpoints.conversion import Conversion, Table, few, size_of
from flam_train.checkpoints.foreign import recognise
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.text import TextConfig, build_tokenizer, load_tokenizer
from flam_train.settings import from_plain

AS_INIT = "as_init"

WITHOUT_INIT = {"tower": "minilm"}
"""The text tower `as_init` where `init` has none, or there is no `init`. The audio encoder is then `FLAMConfig`'s."""

PHRASE_HEADS = {"phrase_scale": "phrase", "phrase_bias": "phrase"}

AUDIO_ENCODER = ("frontend.", "audio.")
AUDIO_PART = (*AUDIO_ENCODER, "audio_projection.")
"""What is taken over when the text tower is another one."""

CHOSEN = ("scale_head.", "bias_head.", "codebook.")
"""Parts that a configuration may do without: what only the given model has is left out, what only ours has is fresh."""

AUGMENTATION = ("drop_path", "mask_stripes", "mask_bins")
"""Settings that no weight depends on."""


def start(model: dict[str, Any], text: dict[str, Any], init: str | None) -> tuple[FLAM, Table | None]:
    """The model that a run of these sections begins with, and what it took from `init`, where there is one.

    Raises ValueError for what `foreign.recognise` refuses, and where sections and weights do not fit (`initialise`).
    """
    given = _given(init)
    flam, text_is_theirs = _built(model, text, given)
    if given is None:
        return flam, None
    table = _load(flam, given, str(init))
    if is_as_init("model", model):
        table = replace(table, notes=(f"model as init: {_audio(flam.config)}", *table.notes))
    tower = flam.config.text.tower
    whose = (
        f"text as init: {tower}"
        if text_is_theirs
        else f"text is {tower}" + ("" if given.has_text else ": init has none")
    )
    return flam, replace(table, notes=(whose, *table.notes))


def build(model: dict[str, Any], text: dict[str, Any], init: str | None) -> FLAM:
    """As `start`, without the weights of `init`."""
    return _built(model, text, _given(init, weights=False))[0]


def config_of(model: dict[str, Any], text: dict[str, Any], init: str | None) -> FLAMConfig:
    """What the sections say. Raises ValueError as `build`."""
    return _config(model, text, _given(init, weights=False))[0]


def is_as_init(name: str, section: dict[str, Any]) -> bool:
    """Whether the section `name`, model or text, says "as `init` is"."""
    return bool(section.get(AS_INIT)) if name == "model" else section.get("tower") == AS_INIT


def filled(name: str, section: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The section `name`: as it is, or where it is `as_init` `theirs`, below what is set beside it."""
    beside = {k: v for k, v in section.items() if k != AS_INIT and v != AS_INIT}
    return _over(theirs, beside) if is_as_init(name, section) else beside


def _over(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """theirs, with what is set in ours: neither null nor empty."""
    out = dict(theirs)
    for key, value in ours.items():
        if isinstance(value, dict) and isinstance(theirs.get(key), dict):
            out[key] = _over(theirs[key], value)
        elif value not in (None, ""):
            out[key] = value
    return out


def _given(init: str | None, weights: bool = True) -> Conversion | None:
    try:
        return None if init is None else recognise(init, weights)
    except ValueError as error:
        raise ValueError(f"init: {error}") from error


def _config(model: dict[str, Any], text: dict[str, Any], given: Conversion | None) -> tuple[FLAMConfig, bool]:
    """What is built, and whether the text tower is that of the weights."""
    if text.get("architecture"):
        raise ValueError(
            "text.architecture: is filled in when the tower is built: leave it out, and choose text.tower and text.name"
        )
    theirs = given.config.to_dict() if given else FLAMConfig().to_dict()
    their_text = theirs.pop("text")
    if given is not None and not given.built_here:
        theirs |= PHRASE_HEADS
    has_text = given is not None and given.has_text
    mine = from_plain(TextConfig, "text", filled("text", text, their_text if has_text else WITHOUT_INIT))
    is_theirs = has_text and (is_as_init("text", text) or _same_tower(mine, their_text))
    if is_theirs:  # which spares reading what would be written over
        mine = replace(mine, architecture=their_text["architecture"])
    return replace(FLAMConfig.from_dict(filled("model", model, theirs)), text=mine), is_theirs


def _same_tower(chosen: TextConfig, theirs: dict[str, Any]) -> bool:
    same = (chosen.tower, chosen.name) == (theirs["tower"], theirs["name"])
    return same and (not chosen.architecture or chosen.architecture == theirs["architecture"])


def _built(model: dict[str, Any], text: dict[str, Any], given: Conversion | None) -> tuple[FLAM, bool]:
    config, text_is_theirs = _config(model, text, given)
    if given is None or not text_is_theirs:
        return FLAM(config), False
    place = text.get("name") if is_as_init("text", text) else ""
    place = place or given.tokenizer
    tokenizer = load_tokenizer(place, config.text.max_tokens) if place else build_tokenizer(config.text)
    return FLAM(config, pretrained_text=False, tokenizer=tokenizer), True


def initialise(model: FLAM, path: str | Path) -> Table:
    """Loads the weights at `path` (`foreign.recognise`) into `model`; returns what was taken, fresh and left over.

    With the same text model everything must fit but for CHOSEN, with another one the audio part is taken over, as far
    as there is one. A last block of attention may start a local one (its values). Any other difference is a ValueError
    that lists it.
    """
    given = _given(str(path))
    assert given is not None
    return _load(model, given, str(path))


def _load(model: FLAM, given: Conversion, path: str) -> Table:
    theirs = _as_last_block(model, given, path)
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


def _as_last_block(model: FLAM, given: Conversion, path: str) -> dict[str, Tensor]:
    """The state dict for a model with another last block. Raises ValueError for any other difference of the audio
    parts, in the words of the settings: some of it no weight can tell."""
    theirs, audio = given.state, given.config.audio
    if (model.config.audio.last_block, audio.last_block) == ("local", "attention"):
        audio = replace(audio, last_block="local")
        theirs = _values_alone(theirs, f"audio.layers.{len(audio.depths) - 1}.blocks.{audio.depths[-1] - 1}.")
    pairs = {"frontend.": (given.config.frontend, model.config.frontend), "audio.": (audio, model.config.audio)}
    differing = [
        f"model.{part}{key} is {other!r} there, {mine!r} in the settings"
        for part, both in pairs.items()
        for key, other, mine in _differing(*both)
    ]
    has_projection = any(name.startswith("audio_projection.") for name in theirs)
    widths = given.config.embedding, model.config.embedding
    if has_projection and widths[0] != widths[1]:
        differing.append(f"model.embedding is {widths[0]} there, {widths[1]} in the settings")
    if differing:
        raise ValueError(
            f"init: {path} has another architecture than this run, {_audio(given.config)}: {'; '.join(differing)}: "
            "model=as_init, the default, takes its own"
        )
    return theirs


def _audio(config: FLAMConfig) -> str:
    return f"{size_of(config)}, embedding {config.embedding}"


def _differing(theirs: Any, ours: Any) -> list[tuple[str, Any, Any]]:
    """(key, theirs, ours) where two configurations differ, but for what only training knows."""
    pairs = ((f.name, getattr(theirs, f.name), getattr(ours, f.name)) for f in fields(ours))
    return [(key, a, b) for key, a, b in pairs if a != b and key not in AUGMENTATION]


def _values_alone(state: dict[str, Tensor], block: str) -> dict[str, Tensor]:
    """A state dict whose block with this prefix is a `LocalBlock`: of queries, keys and values the last third."""
    out = {
        k: v
        for k, v in state.items()
        if not k.startswith(block) or k.startswith((f"{block}norm1.", f"{block}attn.proj."))
    }
    return out | {f"{block}attn.value.{end}": state[f"{block}attn.qkv.{end}"].chunk(3)[2] for end in ("weight", "bias")}

"""Hugging Face's `ClapModel` folders, in and out: HTS-AT and RoBERTa, unfused.

In: `read_hf_clap`, of which `convert_hf_clap` is the pure part. Out: `save_hf_clap`, of which `to_hf_clap` is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from flam_train.checkpoints.conversion import Conversion, Table, audio_of, convert, refuse
from flam_train.checkpoints.hf_clap_names import (
    AUDIO_SETTINGS,
    BESIDE,
    ENCODER,
    EXTRACTOR,
    EXTRACTOR_FILES,
    HF_CLAP,
    TEXT_MODEL,
    TEXT_SETTINGS,
    TOKENIZER_FILES,
    TRUNCATION,
)
from flam_train.checkpoints.htsat_names import text_positions, windows
from flam_train.checkpoints.laion import PADDING, TOKENIZER
from flam_train.checkpoints.laion_names import FUSION
from flam_train.checkpoints.reading import read_folder, read_json
from flam_train.disk import replacing
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.frontend import FrontendConfig
from flam_train.models.text import TextConfig

CONFIG = "config.json"


def is_hf_clap(folder: Path) -> bool:
    """Whether it says of itself that it is a ClapModel's. Raises ValueError for a damaged config.json."""
    return (folder / CONFIG).is_file() and read_json(folder / CONFIG).get("model_type") == "clap"


def read_hf_clap(folder: Path) -> Conversion:
    """Raises ValueError that names the folder and what is missing, damaged or does not fit."""
    file = next((folder / name for name in EXTRACTOR_FILES if (folder / name).is_file()), None)
    extractor = read_json(file) if file else {}
    has_tokenizer = any((folder / name).is_file() for name in TOKENIZER_FILES)
    try:
        out = convert_hf_clap(
            read_folder(folder),
            read_json(folder / CONFIG),
            extractor.get("feature_extractor", extractor) if file else None,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return replace(out, tokenizer=str(folder)) if has_tokenizer else out


def convert_hf_clap(
    state: Mapping[str, Tensor], config: dict[str, Any], extractor: dict[str, Any] | None, max_tokens: int = 77
) -> Conversion:
    """A CLAP: clips and texts in one space, frames that are scored by their cosines, no phrase heads.

    config, extractor: what config.json and preprocessor_config.json hold; without the latter the front end is taken to
    be FLAM's, which is that of LAION's models. Raises ValueError, in a few lines, for a fusion checkpoint, settings
    that our encoders do not have, and what is not explained.
    """
    from transformers import ClapConfig

    refuse(state, HF_CLAP)
    parts = ClapConfig(**{k: v for k, v in config.items() if k in ("audio_config", "text_config", "projection_dim")})
    audio, text = (part.to_dict() for part in (parts.audio_config, parts.text_config))  # type: ignore[union-attr]
    for key, values in AUDIO_SETTINGS.items():
        if audio[key] not in values:
            why = FUSION if key == "enable_fusion" else f"our encoder has {values[0]!r}"
            raise ValueError(f"{HF_CLAP.title}: audio_config.{key} is {audio[key]!r}: {why}")
    frontend, note = frontend_of(extractor)
    architecture = {"model_type": "roberta"} | {key: text[key] for key in TEXT_SETTINGS}
    ours = FLAMConfig(
        frontend=frontend,
        audio=replace(audio_of(state, HF_CLAP), drop_path=float(audio["drop_path_rate"])),
        text=TextConfig("roberta", TOKENIZER, max_tokens, architecture),
        embedding=HF_CLAP.shape(state, "audio_projection.2.weight")[0],
        phrase_scale="none",
        phrase_bias="none",
    )
    if ours.audio.side != audio["spec_size"]:
        raise ValueError(f"{HF_CLAP.title}: audio_config.spec_size is {audio['spec_size']}, ours is {ours.audio.side}")
    constants = {f"{ENCODER}{_inside(k)}": v for k, v in windows(ours.audio, "").items()}
    constants |= text_positions(text["max_position_embeddings"], TEXT_MODEL)
    out = convert(state, HF_CLAP, ours, constants)
    return replace(out, tokenizer=TOKENIZER, table=replace(out.table, notes=(note, PADDING)))


def frontend_of(extractor: dict[str, Any] | None) -> tuple[FrontendConfig, str]:
    """Our front end with an extractor's numbers, and what there is to say of them.

    Raises ValueError for numbers that ours cannot have.
    """
    ours = FrontendConfig()
    if extractor is None:
        return ours, f"no {EXTRACTOR_FILES[0]}: its front end is taken to be FLAM's"
    if extractor.get("truncation", "fusion") != TRUNCATION:
        raise ValueError(
            f"the feature extractor has truncation={extractor.get('truncation', 'fusion')!r}, which needs a fusion "
            f"model and other mel filters (HTK); an unfused model's has {TRUNCATION!r}"
        )
    if extractor.get("sampling_rate", ours.sample_rate) != ours.sample_rate:
        raise ValueError(f"the feature extractor is for {extractor['sampling_rate']} Hz, ours for {ours.sample_rate}")
    theirs = replace(ours, **{mine: extractor[key] for key, mine in EXTRACTOR.items() if key in extractor})
    # What a file does not say has the class's own default, which is not LAION's.
    theirs = replace(theirs, low_hz=float(extractor.get("frequency_min", 0)), seconds=float(theirs.seconds))
    differing = [f"{k} {getattr(theirs, k):g} for {getattr(ours, k):g}" for k in EXTRACTOR.values()
                 if getattr(theirs, k) != getattr(ours, k)]  # fmt: skip
    return theirs, f"the front end has {', '.join(differing)}" if differing else "the front end is FLAM's"


def _inside(name: str) -> str:
    for ours, theirs in HF_CLAP.inside.items():
        name = name.replace(ours, theirs)
    return name


def to_hf_clap(model: FLAM) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any], Table]:
    """(state dict, config.json, preprocessor_config.json, what was taken and what was left) of a model as a ClapModel.

    Phrase heads have no place there and are left over. Raises ValueError for a model that a ClapModel cannot be.
    """
    config = model.config
    architecture = config.text.architecture
    is_clap = (config.aggregate, config.audio.last_block, config.text.tower) == ("mean", "attention", "roberta")
    if not is_clap or architecture.get("model_type") not in ("roberta", "xlm-roberta"):
        raise ValueError(
            "a ClapModel has a RoBERTa text tower with its pooler, and clips that are the mean of their frames; this "
            f"model has text {config.text.tower!r}, aggregate {config.aggregate!r}, last block "
            f"{config.audio.last_block!r}"
        )
    state: dict[str, Tensor] = {}
    left = []
    for name, value in model.state_dict().items():
        theirs = HF_CLAP.theirs(name)
        if theirs:
            parts = value.detach().cpu().chunk(len(theirs)) if len(theirs) > 1 else (value.detach().cpu(),)
            state |= {one: part.clone() for one, part in zip(theirs, parts, strict=True)}
        else:
            assert name.startswith(BESIDE), name
            left.append((name, "a ClapModel has no phrase heads: frames are scored by their cosines"))
    state["logit_scale_t"] = state["logit_scale_a"].clone()
    constants = {f"{ENCODER}{_inside(k)}": v for k, v in windows(config.audio, "").items() if not k.endswith("mask")}
    constants |= text_positions(architecture["max_position_embeddings"], TEXT_MODEL)
    audio = {
        "patch_embeds_hidden_size": config.audio.width, "hidden_size": config.audio.out_width,
        "depths": list(config.audio.depths), "num_attention_heads": list(config.audio.heads),
        "num_hidden_layers": len(config.audio.depths), "patch_size": config.audio.patch,
        "patch_stride": [config.audio.patch] * 2, "window_size": config.audio.window,
        "mlp_ratio": config.audio.mlp_ratio, "num_mel_bins": config.audio.mel_bins, "spec_size": config.audio.side,
        "drop_path_rate": config.audio.drop_path, "enable_fusion": False,
    }  # fmt: skip
    text = {key: architecture[key] for key in TEXT_SETTINGS}
    written = {
        "model_type": "clap", "architectures": ["ClapModel"], "projection_dim": config.embedding,
        "projection_hidden_act": "relu", "audio_config": audio, "text_config": text,
    }  # fmt: skip
    extractor = {
        "feature_extractor_type": "ClapFeatureExtractor", "padding": "pad", "truncation": TRUNCATION,
        **{key: getattr(config.frontend, mine) for key, mine in EXTRACTOR.items()},
    }  # fmt: skip
    if extractor["max_length_s"] != int(extractor["max_length_s"]):
        raise ValueError(f"a ClapModel takes whole seconds, this model {extractor['max_length_s']}")
    extractor["max_length_s"] = int(extractor["max_length_s"])
    taken = tuple(n for n in model.state_dict() if not n.startswith(BESIDE))
    return state | constants, written, extractor, Table("a FLAM, as a ClapModel", taken, (), tuple(left))


def save_hf_clap(model: FLAM, folder: Path) -> Table:
    """Writes a new folder that `transformers.ClapModel.from_pretrained` loads, with the tokenizer if there is one.

    Raises ValueError as `to_hf_clap`, and where there is something already.
    """
    if folder.exists():
        raise ValueError(f"{folder}: there already: name a new folder, or remove it")
    state, config, extractor, table = to_hf_clap(model)
    with replacing(folder, "ClapModel", (CONFIG,)) as draft:
        save_file({k: v.contiguous() for k, v in state.items()}, draft / "model.safetensors", metadata={"format": "pt"})
        (draft / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (draft / EXTRACTOR_FILES[0]).write_text(json.dumps(extractor, indent=2) + "\n")
        if model.tokenizer is not None:
            model.tokenizer.save(draft)
    return table

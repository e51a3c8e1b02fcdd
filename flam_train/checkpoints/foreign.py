"""What a path holds, ours or others', in our terms: an export, OpenFLAM's or LAION-CLAP's file, an HTS-AT checkpoint, a
folder of Hugging Face's ClapModel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from flam_train.checkpoints.conversion import Conversion, Table, alike, few
from flam_train.checkpoints.export import TOKENIZER, read_config, read_export
from flam_train.checkpoints.hf_clap import CONFIG, is_hf_clap, read_hf_clap
from flam_train.checkpoints.htsat import convert_htsat
from flam_train.checkpoints.htsat_names import SED_MODEL
from flam_train.checkpoints.laion import convert_laion
from flam_train.checkpoints.laion_names import AUDIO_BRANCH, TEXT_BRANCH
from flam_train.checkpoints.openflam import convert_openflam
from flam_train.checkpoints.openflam_names import FROZEN, HEADS
from flam_train.checkpoints.reading import read_json, read_state
from flam_train.models.flam import FLAMConfig

READ = "an export, OpenFLAM's or LAION-CLAP's file, an HTS-AT checkpoint, a folder of Hugging Face's ClapModel"
"""For messages: all that is recognised."""


def recognise(path: str | Path) -> Conversion:
    """The checkpoint at `path`, told by its names, not by the file's.

    Raises ValueError that names the path: nothing is there, it is none of READ, it is one that cannot be used, or
    something in it is not explained.
    """
    path = Path(path)
    if path.is_dir():
        return read_hf_clap(path) if _is_hf_clap(path) else _export(path)
    if not path.is_file():
        raise ValueError(f"there is nothing at {path}")
    state = read_state(path)
    try:
        return recognise_state(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def config_at(path: str | Path) -> FLAMConfig:
    """What a run that starts from `path` is built as: an export's own configuration, read without its weights; else
    that of `recognise`, with phrase heads, which others' models do not have. Raises ValueError as `recognise`."""
    path = Path(path)
    if path.is_dir() and not _is_hf_clap(path):
        return read_config(path)
    return replace(recognise(path).config, phrase_scale="phrase", phrase_bias="phrase")


def recognise_state(state: Mapping[str, Tensor]) -> Conversion:
    """As `recognise`, of the state dict of a file."""

    def has(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in state)

    if has(*HEADS.values(), FROZEN):
        return convert_openflam(state)
    if has(AUDIO_BRANCH) and has(TEXT_BRANCH):
        return convert_laion(state)
    if has(SED_MODEL, "patch_embed."):
        return convert_htsat(state)
    if has("model.audio."):
        raise ValueError("a run's checkpoint: give the export of the run, RUN_FOLDER/export")
    if has("frontend.bn0."):
        raise ValueError("the weights of an export: give its folder, which says what they are of")
    raise ValueError(f"none of {READ}: it has {', '.join(few(alike(state))) or 'no entries'}")


def _is_hf_clap(folder: Path) -> bool:
    """Raises ValueError for a folder of another model of Hugging Face's."""
    if is_hf_clap(folder):
        return True
    kind = read_json(folder / CONFIG).get("model_type") if (folder / CONFIG).is_file() else None
    if kind is not None:
        raise ValueError(f"{folder}: a model of Hugging Face's type {kind!r}: a text tower is given as text.name=")
    return False


def _export(folder: Path) -> Conversion:
    config, provenance, state = read_export(folder)
    tokenizer = str(folder / TOKENIZER) if (folder / TOKENIZER).is_dir() else ""
    source = f"an export of flam_train {provenance.get('flam_train', 'unknown')}"
    return Conversion(config, state, Table(source, tuple(state)), tokenizer)

"""What a path holds, ours or others', in our terms: an export, a run's checkpoint, OpenFLAM's or LAION-CLAP's file, an
HTS-AT checkpoint, a folder of Hugging Face's ClapModel; folders also from a hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from flam_train.checkpoints import hub
from flam_train.checkpoints.conversion import Conversion, Table, alike, few
from flam_train.checkpoints.export import FILES, TOKENIZER, read_config, read_export, read_provenance
from flam_train.checkpoints.hf_clap import CONFIG, is_hf_clap, read_hf_clap
from flam_train.checkpoints.hf_clap_names import BESIDE_WEIGHTS, WEIGHTS
from flam_train.checkpoints.htsat import convert_htsat
from flam_train.checkpoints.htsat_names import SED_MODEL
from flam_train.checkpoints.laion import convert_laion
from flam_train.checkpoints.laion_names import AUDIO_BRANCH, TEXT_BRANCH
from flam_train.checkpoints.openflam import convert_openflam
from flam_train.checkpoints.openflam_names import FROZEN, HEADS
from flam_train.checkpoints.reading import FOLDER_FILES, read_file, read_json, state_of
from flam_train.checkpoints.run_checkpoint import convert_run, is_run

READ = (
    "an export, a run's checkpoint, OpenFLAM's or LAION-CLAP's file, an HTS-AT checkpoint, a folder of Hugging Face's "
    "ClapModel"
)
"""For messages: all that is recognised."""


def recognise(path: str | Path, weights: bool = True) -> Conversion:
    """The checkpoint at `path`, told by its names, not by the file's.

    path: of a file or folder, or hf://OWNER/NAME[@REVISION] (`fetched`). weights: False leaves `state` empty where that
    saves reading it. Raises ValueError that names the path: nothing is there, it is none of READ, it is one that cannot
    be used, or something in it is not explained.
    """
    path = fetched(path)
    if path.is_dir():
        return read_hf_clap(path) if _is_hf_clap(path) else _export(path, weights)
    if not path.is_file():
        raise ValueError(f"there is nothing at {path}: give {READ}, where every node sees it")
    found = read_file(path)
    try:
        return convert_run(found, path) if is_run(found) else recognise_state(state_of(found, path))
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


def fetched(path: str | Path) -> Path:
    """Where `path` lies on this disk: of a repository on the hub the folder of its commit in the hub's cache, with what
    is read of an export or a ClapModel. Raises ValueError as `hub.local`, and for another kind of repository."""
    if not hub.is_hub(path):
        return Path(path)
    folder = hub.local(path, (CONFIG,))
    path = hub.pinned(str(path), folder.name)
    if not _is_hf_clap(folder):
        return hub.local(path, FILES)
    for weights in WEIGHTS:
        folder = hub.local(path, (*BESIDE_WEIGHTS, *weights))
        if any(file for pattern in weights for file in folder.glob(pattern)):
            return folder
    raise ValueError(f"{path}: no weights there: one of {', '.join(FOLDER_FILES)} is expected")


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


def _export(folder: Path, weights: bool) -> Conversion:
    if weights:
        config, provenance, state = read_export(folder)
    else:
        config, provenance, state = read_config(folder), read_provenance(folder), {}
    tokenizer = str(folder / TOKENIZER) if (folder / TOKENIZER).is_dir() else ""
    source = f"an export of flam_train {provenance.get('flam_train', 'unknown')}"
    return Conversion(config, state, Table(source, tuple(state)), tokenizer, built_here=True)

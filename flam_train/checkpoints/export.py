"""The export folder: what inference and evaluation read.

model.safetensors   the weights
config.json         FLAMConfig: architecture, front end, frame grid, text architecture and maximal length
provenance.json     where the weights came from, sha256 of them and of the other files, and the version of this layout
tokenizer/          the tokenizer's files: nothing is looked up on a hub
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from flam_train import __version__
from flam_train.checkpoints import hub
from flam_train.data.shards.tars import sha256_of
from flam_train.disk import naming, replacing
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.text import load_tokenizer

WEIGHTS, CONFIG, PROVENANCE, TOKENIZER = "model.safetensors", "config.json", "provenance.json", "tokenizer"

FILES = (CONFIG, PROVENANCE, WEIGHTS, f"{TOKENIZER}/*", "calibration*.json")
"""Of an export on a hub (`hub.local`); what has a star need not be there."""

EXPORT_VERSION = 1
"""Of the layout, and of what config.json means: one more where an older flam_train would read it wrongly."""


def save_export(model: FLAM, folder: str | Path, provenance: dict[str, Any]) -> Path:
    """Writes the export folder whole or not at all; of an older export of that name all but the weights' own files
    stays. Raises ValueError for a folder that is there and is no export.

    provenance: plain data, kept beside the weights' sha256 and the version of this package.
    """
    folder = Path(folder)
    with replacing(folder, "export", (PROVENANCE, CONFIG, WEIGHTS, TOKENIZER)) as draft:
        with naming(folder / WEIGHTS, draft / WEIGHTS):
            save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, draft / WEIGHTS)
        (draft / CONFIG).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
        if model.tokenizer is not None:
            model.tokenizer.save(draft / TOKENIZER)
        others = [draft / CONFIG, *sorted(path for path in (draft / TOKENIZER).rglob("*") if path.is_file())]
        facts = provenance | {
            "flam_train": __version__,
            "export": EXPORT_VERSION,
            "sha256": sha256_of(draft / WEIGHTS),
            "files": {path.relative_to(draft).as_posix(): sha256_of(path) for path in others},
        }
        (draft / PROVENANCE).write_text(json.dumps(facts, indent=2, default=str) + "\n")
    return folder


def load_export(folder: str | Path, device: str | torch.device = "cpu") -> FLAM:
    """The model of an export folder, in eval mode, `provenance` filled in. Needs no network.

    folder: or a repository on the hub, hf://OWNER/NAME or hf://OWNER/NAME@REVISION (`hub.local`); `provenance` tells
    its commit. Raises ValueError that names the file that is missing, altered or does not fit the configuration.
    """
    given, folder = folder, hub.local(folder, FILES)
    config, provenance, state = read_export(folder)
    tokenizer = None
    if (folder / TOKENIZER).is_dir():
        tokenizer = load_tokenizer(str(folder / TOKENIZER), config.text.max_tokens)
    model = FLAM(config, pretrained_text=False, tokenizer=tokenizer)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{folder}: {WEIGHTS} does not fit {CONFIG}: {error}") from error
    model.provenance = {**provenance, "folder": str(given)} | ({"commit": folder.name} if hub.is_hub(given) else {})
    return model.to(device).eval()


def read_export(folder: Path) -> tuple[FLAMConfig, dict[str, Any], dict[str, Tensor]]:
    """Configuration, provenance and state dict of an export. Raises ValueError as `load_export`."""
    config, provenance = _described(folder)
    for name, sha256 in {WEIGHTS: provenance.get("sha256"), **provenance.get("files", {})}.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: is missing, and {PROVENANCE} names it: copy the export again")
        found = sha256_of(folder / name)
        if found != sha256:
            raise ValueError(f"{folder / name}: sha256 {found} is not the one in {PROVENANCE}: copy the export again")
    return config, provenance, load_file(folder / WEIGHTS)


def read_config(folder: str | Path) -> FLAMConfig:
    """What an export's model is built from. Raises ValueError as `load_export`."""
    return _described(hub.local(folder, FILES))[0]


def read_provenance(folder: str | Path) -> dict[str, Any]:
    """Where an export's weights come from, and their sha256. Raises ValueError as `load_export`."""
    return _described(hub.local(folder, FILES))[1]


def _described(folder: Path) -> tuple[FLAMConfig, dict[str, Any]]:
    """The configuration and the provenance."""
    for name in (WEIGHTS, CONFIG, PROVENANCE):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is not an export: {name} is missing. "
                "flam-train writes an export as RUN_FOLDER/export at the end of a run"
            )
    try:
        provenance = json.loads((folder / PROVENANCE).read_text())
        version = provenance.get("export", 1)
        if version != EXPORT_VERSION:
            raise ValueError(
                f"an export of version {version}, and flam_train {__version__} reads version {EXPORT_VERSION}: install "
                f"the flam_train that wrote it ({provenance.get('flam_train', 'unknown')}), or export the run again"
            )
        if not isinstance(provenance.get("files", {}), dict):
            raise TypeError("files is no object")
        config = FLAMConfig.from_dict(json.loads((folder / CONFIG).read_text()))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: {CONFIG} or {PROVENANCE} is damaged or of another version: {error}") from error
    return config, provenance

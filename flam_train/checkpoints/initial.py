"""Starting from what others trained: an export, or OpenFLAM's checkpoint file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from flam_train.checkpoints.export import load_export
from flam_train.checkpoints.openflam import from_openflam, read_state
from flam_train.models.flam import FLAM
from flam_train.models.htsat import PRESETS

AUDIO_PART = ("frontend.", "audio.", "audio_projection.")
"""What is taken over when the text tower is another one."""


AUGMENTATION = ("drop_path", "mask_stripes", "mask_bins")
"""Settings that no weight depends on."""


def initialise(model: FLAM, path: str | Path) -> list[str]:
    """Loads the weights at `path` into `model`; returns the names that stay fresh.

    path: an export folder, or a file with OpenFLAM's state dict. With the same text tower everything must fit; with
    another one the audio part is taken over. Any other difference is a ValueError that lists it.
    """
    path = Path(path)
    if path.is_dir():
        given = load_export(path)
    elif path.is_file():
        given = _from_file(path, model)
    else:
        raise ValueError(f"init: no export folder or checkpoint file at {path}")
    ours, theirs = model.state_dict(), given.state_dict()
    differing = [
        f"{part}.{key} is {other!r}, here {mine!r}"
        for part in ("frontend", "audio")
        for key, mine, other in _differing(getattr(model.config, part), getattr(given.config, part))
    ]
    if differing:
        raise ValueError(f"init: {path} has another audio encoder: {'; '.join(differing)}")
    if given.config.text.tower == model.config.text.tower:
        taken = dict(theirs)
    else:
        taken = {k: v for k, v in theirs.items() if k.startswith(AUDIO_PART)}
    wrong = [k for k, v in taken.items() if k not in ours or ours[k].shape != v.shape]
    if wrong:
        raise ValueError(f"init: {path} does not fit this configuration: {', '.join(wrong[:10])}")
    fresh = sorted(set(ours) - set(taken))
    if given.config.text.tower == model.config.text.tower and fresh:
        raise ValueError(f"init: {path} lacks {', '.join(fresh[:10])}: choose the configuration it was trained with")
    model.load_state_dict(taken, strict=False)
    if not fresh:
        model.text.fresh = ()  # type: ignore[assignment]
    return fresh


def _differing(ours: Any, theirs: Any) -> list[tuple[str, Any, Any]]:
    """(key, ours, theirs) where two configurations differ, but for what only training knows."""
    pairs = ((f.name, getattr(ours, f.name), getattr(theirs, f.name)) for f in fields(ours))
    return [(key, a, b) for key, a, b in pairs if a != b and key not in AUGMENTATION]


def _from_file(path: Path, model: FLAM) -> FLAM:
    preset = next((name for name, config in PRESETS.items() if not _differing(model.config.audio, config)), None)
    if preset is None:
        raise ValueError(f"init: {path} can only start a model=tiny, base, large or base-12hz")
    try:
        return from_openflam(read_state(path), preset)
    except ValueError as error:
        raise ValueError(f"init: {error}") from error

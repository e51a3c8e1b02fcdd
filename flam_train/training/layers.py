"""Parameters by name: parts, patterns of names, and how deep a layer lies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from flam_train.settings import nearest

PARTS = {
    "audio": ("frontend", "audio"),
    "text": ("text",),
    "heads": ("audio_projection", "text_projection", "codebook", "scale_head", "bias_head", "logit_scale"),
}
"""What a part of the configuration means: names of FLAM's children."""

NUMBERED = re.compile(r"(?:^|\.)(layers|blocks|layer)\.(\d+)(?=\.)")
"""A stage of the audio encoder and its blocks; a layer of the text tower."""

INPUTS = ("frontend.", "audio.patch_embed.", "text.token.", "text.position.", "text.model.embeddings.")
"""What comes before the first layer."""


def part_of(name: str) -> str:
    """The part that a parameter of FLAM belongs to."""
    child = name.split(".", 1)[0]
    return next(part for part, children in PARTS.items() if child in children)


def is_meant(pattern: str, name: str) -> bool:
    """Whether a pattern means a parameter: a part (`text`), the beginning of its name up to a dot
    (`audio.layers.0`), or that with * for anything (`text.model.encoder.layer.*.attention`)."""
    if pattern in PARTS:
        return part_of(name) == pattern
    parts, pieces = name.split("."), pattern.split(".")
    return len(pieces) <= len(parts) and all(fnmatchcase(a, b) for a, b in zip(parts, pieces, strict=False))


def meant(where: str, patterns: Iterable[str], names: Sequence[str]) -> set[str]:
    """The names that any of the patterns means. Raises ValueError that begins with `where` for one that means none."""
    out: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if is_meant(pattern, name)}
        if not found:
            known = [*PARTS, *dict.fromkeys(name.rsplit(".", 1)[0] for name in names)]
            raise ValueError(f"{where}: {pattern!r} is no part and no layer: {nearest(pattern, known)}")
        out |= found
    return out


def depths(names: Sequence[str]) -> dict[str, int]:
    """How many layers lie between each parameter of an encoder and its end: 0 for what comes after the last layer. The
    heads, and what both encoders do not have, lie at 0."""
    place: dict[str, dict[str, tuple[int, ...]]] = {"audio": {}, "text": {}}
    for name in names:
        part = part_of(name)
        if part in place and (numbers := tuple(int(n) for _, n in NUMBERED.findall(name))):
            # What stands in a stage beside its blocks (the downsampling) belongs to its last one.
            place[part][name] = numbers if part == "text" or len(numbers) > 1 else (*numbers, -1)
    out = dict.fromkeys(names, 0)
    for part, found in place.items():
        last = {numbers[0]: max(n for n in found.values() if n[0] == numbers[0]) for numbers in found.values()}
        layers = sorted({n for n in found.values() if n[-1] >= 0})
        for name, numbers in found.items():
            own = last[numbers[0]] if numbers[-1] < 0 else numbers
            out[name] = len(layers) - layers.index(own)
        out |= {n: len(layers) + 1 for n in names if part_of(n) == part and n.startswith(INPUTS)}
    return out

"""From others' names to ours: what all converters share.

A converter is a pure function: a state dict in others' names goes in, a `Conversion` comes out. Its names are data
(`Names`), and every entry of the state dict is taken, or left over for a reason, or an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.htsat import PRESETS, HTSATConfig
from flam_train.models.text import TextConfig, load_tokenizer

AUDIO = "audio."

NO_TEXT = TextConfig("bytes")
"""In the configuration of what has no text tower: one that was never built, without an architecture."""

SHOWN = 3
"""Entries of a kind that an error or a table names."""

TOLERANCE = 1e-4
"""Of a constant, relative to its largest number: others computed theirs in other steps."""


@dataclass(frozen=True)
class Names:
    """What a format calls what we have.

    prefixes: ours -> theirs, how names begin; what is not there is not in the format. inside: ours -> theirs, within
    names of the audio encoder. joined: ours -> theirs, likewise, where one tensor of ours is several of theirs, one
    below the other. left: pattern of their names -> why they are not needed. refused: pattern -> why a checkpoint with
    such names cannot be used.
    """

    title: str
    prefixes: Mapping[str, str]
    inside: Mapping[str, str] = field(default_factory=dict)
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def theirs(self, name: str) -> tuple[str, ...]:
        """Their name of ours, or names where theirs are joined; none where the format has no such part."""
        prefix = next((p for p in self.prefixes if name.startswith(p)), None)
        if prefix is None:
            return ()
        several: tuple[str, ...] = (name[len(prefix) :],)
        if prefix == AUDIO:
            for ours, parts in self.joined.items():
                several = tuple(one.replace(ours, p) for one in several for p in (parts if ours in one else (ours,)))
            for ours, theirs in self.inside.items():
                several = tuple(one.replace(ours, theirs) for one in several)
        return tuple(self.prefixes[prefix] + one for one in several)

    def shape(self, state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
        """The shape of what we call `name`. Raises ValueError where it is not in the state dict."""
        parts = [state.get(one) for one in self.theirs(name)]
        if not parts or any(part is None for part in parts):
            raise ValueError(f"not a checkpoint of {self.title}: {' and '.join(self.theirs(name)) or name} is missing")
        shapes = [tuple(part.shape) for part in parts if part is not None]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes[0] else ()


@dataclass(frozen=True)
class Table:
    """What became of a checkpoint's entries: ours that were `taken`, ours that stay `fresh`, theirs that are `left`
    with the reason, and `notes` on what no weight says."""

    source: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A few, whatever the size of the checkpoint."""
        out = [f"from   {self.source}", f"taken  {_by_part(self.taken)}", f"fresh  {_by_part(self.fresh)}"]
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left:
            by_reason.setdefault(reason, []).append(name)
        out += [
            f"left   {len(names)}, {reason}: {', '.join(few(alike(names), 2))}" for reason, names in by_reason.items()
        ]
        return out + [f"note   {note}" for note in self.notes]


@dataclass(frozen=True)
class Conversion:
    """What a checkpoint is in our terms: the model, `state` in our names (float32 on the CPU), the `table`.

    tokenizer: a folder or a name on the model hub of the tokenizer beside its text tower; empty where there is none.
    built_here: by flam_train, so that `config` says of phrase heads what was chosen, not what others do not have.
    """

    config: FLAMConfig
    state: dict[str, Tensor]
    table: Table
    tokenizer: str = ""
    built_here: bool = False

    @property
    def has_text(self) -> bool:
        return self.config.text != NO_TEXT

    def model(self, tokenizer: str | None = None) -> FLAM:
        """In eval mode. tokenizer: a folder or hub name; None leaves it out, and only tokens are embedded. Raises
        ValueError where parts are missing."""
        if self.table.fresh:
            raise ValueError(f"{self.table.source} has no {_by_part(self.table.fresh)}: it is no whole model; start a "
                             "run from it with init=")  # fmt: skip
        tokens = load_tokenizer(tokenizer, self.config.text.max_tokens) if tokenizer else None
        model = FLAM(self.config, False, tokens)
        model.load_state_dict(self.state)
        return model.eval()


def convert(
    state: Mapping[str, Tensor],
    names: Names,
    config: FLAMConfig,
    constants: Mapping[str, Tensor],
) -> Conversion:
    """state: in others' names. config: what it is of. constants: entries that follow from the configuration, in their
    names: they are compared and left over. What the format has no name for stays fresh.

    Raises ValueError, in a few lines, for entries that are missing, unknown, of another shape or other constants.
    """
    refuse(state, names)
    rest = dict(state)
    ours, taken, fresh, missing, wrong = shapes_of(config), {}, [], [], []
    for name, like in ours.items():
        theirs = names.theirs(name)
        found = [rest.pop(one) for one in theirs if one in rest]
        if not theirs:
            fresh.append(name)
        elif not found and name.endswith("num_batches_tracked"):  # counts nothing that we need: some leave it out
            taken[name] = torch.zeros((), dtype=like.dtype)
        elif len(found) < len(theirs):
            missing += [one for one in theirs if one not in state]
        else:
            value = found[0] if len(found) == 1 else torch.cat(found)
            taken[name] = value.to(like.dtype)
            if value.shape != like.shape:
                wrong.append(f"shape {tuple(value.shape)} is not {tuple(like.shape)}: {' and '.join(theirs)}")
    left, unknown = [], []
    for name, value in rest.items():
        reason = next((why for pattern, why in names.left.items() if re.match(pattern, name)), None)
        if name in constants:
            reason = CONSTANT
            if not same(value, constants[name]):
                wrong.append(f"other numbers than this front end or encoder has: {name}")
        if reason is None:
            unknown.append(name)
        else:
            left.append((name, reason))
    told = [f"missing: {one}" for one in few(alike(missing))] + [f"unknown: {one}" for one in few(alike(unknown))]
    if told or wrong:
        raise ValueError("\n  ".join([f"not a checkpoint of {names.title} {size_of(config)}:", *told, *few(wrong)]))
    source = f"{names.title}, {size_of(config)}"
    return Conversion(config, taken, Table(source, tuple(taken), tuple(fresh), tuple(left)))


CONSTANT = "computed here, and the same"


def refuse(state: Iterable[str], names: Names) -> None:
    """Raises ValueError for the first name of a checkpoint that is known not to fit, and says why."""
    for pattern, why in names.refused.items():
        found = next((name for name in state if re.match(pattern, name)), None)
        if found is not None:
            raise ValueError(f"{names.title}: {why} (it has {found})")


def shapes_of(config: FLAMConfig) -> dict[str, Tensor]:
    """Names, shapes and dtypes of a model's state dict, without its memory (tensors on `meta`)."""
    with torch.device("meta"):
        return FLAM(config, pretrained_text=False, tokenizer=None).state_dict()


def same(theirs: Tensor, ours: Tensor) -> bool:
    """Whether a constant is ours but for rounding. Averaged checkpoints hold theirs as float."""
    if theirs.shape != ours.shape:
        return False
    apart = (theirs.double() - ours.double()).abs().max()
    return bool(apart <= TOLERANCE * ours.double().abs().max())


def audio_of(state: Mapping[str, Tensor], names: Names) -> HTSATConfig:
    """The audio encoder, told by shapes. Raises ValueError where its names are not there."""
    width, _, patch, _ = names.shape(state, "audio.patch_embed.proj.weight")
    depths: list[int] = []
    heads: list[int] = []
    while names.theirs(f"audio.layers.{len(depths)}.blocks.0.norm1.weight")[0] in state:
        stage = f"audio.layers.{len(depths)}.blocks."
        depths.append(0)
        while names.theirs(f"{stage}{depths[-1]}.norm1.weight")[0] in state:
            depths[-1] += 1
        rows, count = names.shape(state, f"{stage}0.attn.relative_position_bias_table")
        heads.append(count)
    if not depths:
        raise ValueError(f"not a checkpoint of {names.title}: no layers of an HTS-AT audio encoder are in it")
    hidden = names.shape(state, "audio.layers.0.blocks.0.mlp.fc1.weight")[0]
    return HTSATConfig(
        width=width,
        depths=tuple(depths),
        heads=tuple(heads),
        patch=patch,
        window=(round(rows**0.5) + 1) // 2,
        mlp_ratio=hidden / width,
        mel_bins=names.shape(state, "frontend.bn0.weight")[0],
    )


def roberta_of(state: Mapping[str, Tensor], names: Names, base: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of a RoBERTa tower, told by shapes. base: what they do not tell; heads are 64 wide, as in all
    sizes of RoBERTa. Raises ValueError where its names are not there."""
    layers = 0
    while names.theirs(f"text.model.encoder.layer.{layers}.output.dense.weight")[0] in state:
        layers += 1
    vocabulary, width = names.shape(state, "text.model.embeddings.word_embeddings.weight")
    return {
        **base,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(width // 64, 1),
        "intermediate_size": names.shape(state, "text.model.encoder.layer.0.intermediate.dense.weight")[0],
        "max_position_embeddings": names.shape(state, "text.model.embeddings.position_embeddings.weight")[0],
        "type_vocab_size": names.shape(state, "text.model.embeddings.token_type_embeddings.weight")[0],
    }


def size_of(config: FLAMConfig) -> str:
    """Which audio encoder, in a few words."""
    bare = replace(config.audio, drop_path=HTSATConfig.drop_path)
    known = next((name for name, preset in PRESETS.items() if preset == bare), None)
    return f"HTS-AT {known}" if known else f"HTS-AT of width {bare.width} and depths {list(bare.depths)}"


def alike(names: Iterable[str]) -> list[str]:
    """Names that differ in their numbers alone as one, with their count."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(name)
    return [members[0] if len(members) == 1 else f"{key} ({len(members)})" for key, members in groups.items()]


def few(lines: list[str], shown: int = SHOWN) -> list[str]:
    return lines if len(lines) <= shown else [*lines[:shown], f"... and {len(lines) - shown} more"]


def _by_part(names: Iterable[str]) -> str:
    """Counts by part of the model: `audio 184, text 199, logit_scale`; a part that is named as a whole has none."""
    names = list(names)
    count = Counter(name.split(".", 1)[0] for name in names)
    return ", ".join(part if part in names else f"{part} {n}" for part, n in count.items()) or "nothing"

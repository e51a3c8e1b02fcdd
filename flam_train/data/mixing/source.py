"""Mixtures from a bank: the same seeded specs and the same `render` for shards and for training.

`draw` (draw.py) says what is in a mixture; here it becomes audio: on the CPU when data_prep/simulate.py writes
shards, on the batch's device when a `MixtureSource` feeds the training.

Shape suffixes: B clips, R rows that are mixed, S samples, P pieces, N samples of a bank.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from flam_train.batch import Pieces
from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.draw import MixSpec, Piece, draw
from flam_train.data.mixing.item_cache import ItemCache
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.mixing.render import render
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.data.stream.clips import Clip
from flam_train.data.stream.order import Place
from flam_train.vocabulary import Vocabulary

__all__ = [
    "Bank",
    "MixRecipe",
    "MixSpec",
    "MixtureSource",
    "Piece",
    "Pieces",
    "draw",
    "pieces",
    "record",
    "render",
    "render_one",
]


def pieces(specs: Sequence[tuple[int, MixSpec]], bank: Bank, fade: int) -> Pieces:
    """The pieces of some rows of a batch: [(row, spec)]; addresses are those of `bank.load()`; `fade` in samples."""
    flat = [
        (row, int(bank.address[p.item]) + p.start, p.length, p.onset, p.gain)
        for row, spec in specs
        for p in spec.pieces
    ]
    return Pieces.of(flat, fade)


def render_one(spec: MixSpec, bank: Bank, recipe: MixRecipe) -> np.ndarray:
    """One mixture, int16 [S], reading only its own items from the bank's shards (a bank may be larger than memory)."""
    items = list(dict.fromkeys(p.item for p in spec.pieces))
    waveforms = [bank.waveform(item) for item in items]
    address = dict(zip(items, np.cumsum([0, *map(len, waveforms)]).tolist(), strict=False))
    flat = [(0, address[p.item] + p.start, p.length, p.onset, p.gain) for p in spec.pieces]
    silence_BS = torch.zeros((1, recipe.clip_samples), dtype=torch.int16)
    bank_N = torch.from_numpy(np.concatenate(waveforms))
    return render(Pieces.of(flat, recipe.fade_samples), bank_N, silence_BS)[0].numpy()


def record(spec: MixSpec, recipe: MixRecipe, bank: Bank, split: str = "") -> Record:
    """The description of a mixture as a sample of a shard: its whole spec stands in the details, and the ids of all
    that sounds in it, by which verify.py finds it in other corpora."""
    items = dict.fromkeys(p.item for p in spec.pieces)
    ids = sorted({name for item in items for name in bank.ids[item]})
    return Record(
        key=f"mix-{spec.seed}-{spec.number:08d}",
        duration=recipe.clip_seconds,
        captions=spec.captions,
        events=spec.events,
        source="simulated: " + ", ".join(dict.fromkeys(p.key for p in spec.pieces)),
        licence="; ".join(sorted({licence for item in items if (licence := bank.licence[item])})),
        split=split,
        details={"spec": spec.to_dict()} | ({"ids": ids} if ids else {}),
    )


@functools.cache
def silence(samples: int) -> np.ndarray:
    """int16 [S], one for all clips that are still to be mixed: not to be written to."""
    return np.zeros(samples, dtype=np.int16)


class MixtureSource:
    """Mixtures made while training: a `data.stream.clips.Source` whose clips are pieces still to be rendered.

    size   nominal number of mixtures a pass. Mixture numbers never repeat: the source's cursor is the number.
    base   where this bank's audio begins in the memory that the pieces are taken from, if several banks share it
    cache  bytes: the bank is not in memory; each clip brings the samples that its pieces need, read from the shards
           through a cache of this size. None: `bank.load()` is in the memory of whoever renders
    phrasings  of the captions, as in `draw`
    seed   of the stream of mixtures: number n is the mixture n that simulate.py writes with this seed
    """

    def __init__(
        self,
        name: str,
        bank: Bank,
        recipe: MixRecipe,
        size: int,
        seed: int,
        phrasings: str | None = "trained",
        base: int = 0,
        cache: int | None = None,
    ) -> None:
        if size < 1 or seed < 0:
            raise ValueError(
                f"online mixtures {name!r}: size must be at least 1 and seed at least 0, got {size} and {seed}"
            )
        self.name = name
        self.bank = bank
        self.recipe = recipe
        self.seed = seed
        self.phrasings = phrasings
        self.base = base
        self.items = None if cache is None else ItemCache(bank, cache)
        self.shard_sizes = np.array([size], dtype=np.int64)

    @property
    def corpora(self) -> list[Corpus]:
        return self.bank.corpora

    def remote_shard(self, place: Place) -> None:
        """None: a bank behind a URL is read when the run begins, or at random places."""

    @property
    def vocabulary(self) -> Vocabulary:
        return self.bank.vocabulary

    @property
    def annotates(self) -> list[str]:
        return self.bank.annotates

    def open_labels(self, most: int) -> set[str]:
        return set() if self.bank.vocabulary.classes else set(self.bank.labels)

    def spec(self, number: int) -> MixSpec:
        return draw(self.recipe, self.bank, self.seed, number, self.phrasings)

    def clip(self, place: Place, seed: int) -> Clip:
        return self.clips([place], seed)[0]

    def clips(self, places: Sequence[Place], seed: int) -> list[Clip]:
        """The clip at each place: zeros, its labels and captions, and `pieces` [(start, length, onset, gain)] in the
        samples of `bank.load()`, moved by `base`, or with their own `sounds`. A sound that cannot be read makes a bad
        sample."""
        # All are drawn before the first sound is decoded: between decodings drawing would take twice its time.
        specs = [self.spec(place.cursor) for place in places]
        return [self._clip(spec, place, seed) for spec, place in zip(specs, places, strict=True)]

    def _clip(self, spec: MixSpec, place: Place, seed: int) -> Clip:
        address = [self.base + int(self.bank.address[p.item]) + p.start for p in spec.pieces]
        sounds = None
        clip = Clip(
            key=f"{self.name}-{spec.number:08d}",
            waveform_S=silence(self.recipe.clip_samples),
            duration=self.recipe.clip_seconds,
            captions=spec.captions,
            events=spec.events,
            corpus=place.corpus,
            seed=seed,
            fade=self.recipe.fade_samples,
        )
        if self.items is not None:
            try:
                sounds = [self.items.read(p.item, p.start, p.length) for p in spec.pieces]
            except (ValueError, OSError) as error:
                return clip.failed(f"{self.name}: {error}")
        pieces = [(a, p.length, p.onset, p.gain) for a, p in zip(address, spec.pieces, strict=True)]
        return replace(clip, pieces=pieces, sounds=sounds)

"""Everything about a mixture, drawn as plain data before there is any audio.

`draw` is a pure function of (recipe, bank, seed, number) and knows the sounds by their level curves only: gains,
labels and captions are numbers in the spec, computed once, here. `source` makes audio of it.

Shape suffixes: H hops of a level curve.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.captions import Mention, describe_scene
from flam_train.data.mixing.levels import FLOOR_DB, HOP, LEVEL_HOP, level_of
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.shards.schema import Event

if TYPE_CHECKING:  # a bank loads into a tensor; drawing needs its numbers alone
    from flam_train.data.mixing.bank import Bank


@dataclass(frozen=True)
class Piece:
    """A stretch of one bank item in a mixture.

    event   number of the mixture's event it belongs to, -1 for the background
    item    the item's number in the bank, and its `key`
    start, length   samples of the item
    onset   sample of the mixture at which it begins
    gain    linear amplitude
    snr_db  level above the background, dB (0 for the background)
    """

    event: int
    item: int
    key: str
    label: str
    start: int
    length: int
    onset: int
    gain: float
    snr_db: float


@dataclass(frozen=True)
class MixSpec:
    """A mixture as plain data. `pieces[0]` is the background; `events` are where classes sound, in seconds;
    `kinds` says of each event number whether it is heard "once", was "split" or is a "repeat"."""

    seed: int
    number: int
    pieces: tuple[Piece, ...]
    events: tuple[Event, ...]
    captions: tuple[str, ...]
    kinds: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a record's details (events and captions stand in the record itself)."""
        out = asdict(self)
        del out["events"], out["captions"]
        return out | {"pieces": [asdict(p) for p in self.pieces], "kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any], events: Sequence[Event] = (), captions: Sequence[str] = ()) -> MixSpec:
        pieces = tuple(Piece(**p) for p in raw["pieces"])
        return cls(raw["seed"], raw["number"], pieces, tuple(events), tuple(captions), tuple(raw["kinds"]))


def draw(recipe: MixRecipe, bank: Bank, seed: int, number: int, phrasings: str | None = "trained") -> MixSpec:
    """Mixture `number` of the stream `seed`: a pure function of its arguments, without any audio.

    `phrasings`: "trained" or "held_out", the words of the captions; None: no captions. The mixture itself is the same.
    Raises ValueError if the bank has no event or no background of the clip's length.
    """
    rng = np.random.default_rng([seed, number])
    background = _background(recipe, bank, rng)
    count = int(rng.integers(recipe.events[0], recipe.events[1] + 1))
    takes = [_take(recipe, bank, rng, background.level_db) for _ in range(count)]
    # All is lowered together where something would be too loud, so the levels above the background stay as drawn.
    lower_db = max(0.0, *(t.gain_db + float(bank.peak_db[t.item]) - recipe.peak_db for t in (background, *takes)))

    pieces = [_piece(background, bank, -1, lower_db, (background.first, background.last))]
    kinds: list[str] = []
    mentions: list[Mention] = []
    segments: dict[str, list[tuple[float, float]]] = {}
    taken: list[tuple[int, int]] = []
    for take in takes:
        placed, sounding = _place(recipe, bank, rng, take, lower_db, len(kinds), taken)
        if not placed:
            continue
        pieces += placed
        kinds.append(take.kind)
        taken += [(p.onset, p.onset + p.length) for p in placed]
        label = placed[0].label
        segments.setdefault(label, []).extend(sounding)
        mentions.append(Mention(sounding[0][0], max(b for _, b in sounding), label, take.snr_db))
    events = [Event(a, b, label) for label, spans in segments.items() for a, b in _merge(spans, recipe)]
    events.sort(key=lambda e: (e.onset, e.offset, e.label))
    captions: list[str] = []
    if phrasings is not None:
        words = np.random.default_rng([seed, number, 1])
        captions = describe_scene(mentions, bank.vocabulary, phrasings, recipe.captions, recipe.caption_words, words)
    return MixSpec(seed, number, tuple(pieces), tuple(events), tuple(captions), tuple(kinds))


@dataclass(frozen=True)
class _Take:
    """What is taken of an item before it has a place: its hops [first, last), its gain and the level that gives."""

    item: int
    first: int
    last: int
    level_db: float
    gain_db: float
    snr_db: float = 0.0
    kind: str = "once"
    parts: int = 1
    copies: int = 1


def _pick(pool: np.ndarray, rng: np.random.Generator) -> int:
    """One of them, as `rng.choice` draws it, in a tenth of its time."""
    return int(pool[rng.integers(len(pool))])


def _background(recipe: MixRecipe, bank: Bank, rng: np.random.Generator) -> _Take:
    if not len(bank.events):
        raise ValueError("the bank has no events: add the folder of a bank that has some")
    fitting = bank.backgrounds_of(recipe.clip_samples)
    if not len(fitting):
        raise ValueError(
            f"the bank has no background of at least {recipe.clip_seconds} s: add a bank that has, "
            "for instance one made with data_prep/synthetic.py OUT --only-backgrounds"
        )
    item = _pick(fitting, rng)
    first = int(rng.integers(0, (bank.samples[item] - recipe.clip_samples) // HOP + 1))
    last = first + recipe.clip_samples // HOP
    # A background may be next to silent: it is not brought up from below the noise of 16 bit.
    level = max(level_of(bank.level(item)[first:last]), FLOOR_DB + 30.0)
    gain_db = 0.0 if recipe.background_db is None else float(rng.uniform(*recipe.background_db)) - level
    return _Take(item, first, last, level + gain_db, gain_db)


def _take(recipe: MixRecipe, bank: Bank, rng: np.random.Generator, background_db: float) -> _Take:
    """One event: which recording, how much of it, how loud, and whether it is split or repeated."""
    by_class = recipe.choose == "class"
    pool = bank.by_label[bank.labels[rng.integers(len(bank.labels))]] if by_class else bank.events
    item = _pick(pool, rng)
    share = rng.random()
    parts, copies, kind = 1, 1, "once"
    if share < recipe.split_share:
        parts, kind = int(rng.integers(recipe.split_parts[0], recipe.split_parts[1] + 1)), "split"
    elif share < recipe.split_share + recipe.repeat_share:
        copies, kind = int(rng.integers(recipe.repeat_times[0], recipe.repeat_times[1] + 1)), "repeat"
    snr_db = float(rng.uniform(*recipe.snr_db))
    level = bank.level(item).astype(np.float64)
    first, last = _crop(recipe, level, int(bank.first_hop[item]), int(bank.last_hop[item]), copies, rng)
    level_db = background_db + snr_db
    return _Take(item, first, last, level_db, level_db - level_of(level[first:last]), snr_db, kind, parts, copies)


def _piece(take: _Take, bank: Bank, event: int, lower_db: float, hops: tuple[int, int]) -> Piece:
    start, end = hops[0] * HOP, min(hops[1] * HOP, int(bank.samples[take.item]))
    key, label = bank.key[take.item], bank.label[take.item]
    gain = 10.0 ** ((take.gain_db - lower_db) / 20)
    return Piece(event, take.item, key, label, start, end - start, 0, gain, take.snr_db)


def _place(
    recipe: MixRecipe,
    bank: Bank,
    rng: np.random.Generator,
    take: _Take,
    lower_db: float,
    event: int,
    taken: list[tuple[int, int]],
) -> tuple[list[Piece], list[tuple[float, float]]]:
    """The pieces of an event and where it sounds, in seconds; nothing if it finds no place or cannot be heard."""
    level = bank.level(take.item) + (take.gain_db - lower_db)
    threshold = recipe.inactive_db
    if recipe.inactive_below_peak_db is not None:
        threshold = max(threshold, float(level.max()) - recipe.inactive_below_peak_db)
    active = level > threshold
    sounding = take.first + np.flatnonzero(active[take.first : take.last])
    if not len(sounding):
        return [], []
    # An event is cut to where it sounds.
    cuts = _cuts(int(sounding[0]), int(sounding[-1]) + 1, take.parts, rng)
    spans = list(pairwise(cuts)) * take.copies
    found = [_piece(take, bank, event, lower_db, span) for span in spans]
    onsets = _onsets(recipe, [piece.length for piece in found], taken, rng)
    if onsets is None:
        return [], []
    pieces = [replace(piece, onset=onset) for piece, onset in zip(found, onsets, strict=True)]
    heard = []
    for (a, b), piece in zip(spans, pieces, strict=True):
        padded = np.zeros(b - a + 2, dtype=bool)
        padded[1:-1] = active[a:b]
        edges = HOP * np.flatnonzero(padded[1:] != padded[:-1])
        for u, v in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            begin, end = piece.onset + u, piece.onset + min(v, piece.length)
            heard.append((begin / SAMPLE_RATE, end / SAMPLE_RATE))
    heard = _merge(heard, recipe)
    return (pieces, heard) if heard else ([], [])


def _crop(recipe: MixRecipe, level_H, first: int, last: int, copies: int, rng: np.random.Generator) -> tuple[int, int]:
    """The hops of the item that are used: a random stretch around one that sounds, short enough for all copies."""
    # A tenth of the clip stays free, so that repeated events have pauses and some freedom of place.
    longest = int(recipe.clip_samples // HOP * (1.0 if copies == 1 else 0.9 / copies))
    if recipe.event_seconds is not None:
        longest = min(longest, max(1, round(rng.uniform(*recipe.event_seconds) / LEVEL_HOP)))
    if last - first <= longest:
        return first, last
    loud = first + np.flatnonzero(level_H[first:last] > level_H[first:last].max() - 20.0)
    centre = _pick(loud, rng)
    earliest, latest = max(first, centre - longest + 1), min(centre, last - longest)
    begin = int(rng.integers(earliest, latest + 1))
    return begin, begin + longest


def _cuts(first: int, last: int, parts: int, rng: np.random.Generator) -> list[int]:
    """The hops at which [first, last) is cut in `parts`, both ends included; no part under 0.1 s if there is room."""
    parts = min(parts, last - first)
    least = min(round(0.1 / LEVEL_HOP), (last - first) // parts)
    inner = np.sort(rng.integers(0, last - first - parts * least + 1, parts - 1)) + least * np.arange(1, parts)
    return [first, *(first + inner).tolist(), last]


def _onsets(
    recipe: MixRecipe, lengths: list[int], taken: list[tuple[int, int]], rng: np.random.Generator
) -> list[int] | None:
    """Onsets, in order and without overlap among themselves, that keep to `at_once`; None if none was found."""
    slack = recipe.clip_samples - sum(lengths)
    before = np.array([0, *itertools.accumulate(lengths[:-1])], dtype=np.int64)
    for _ in range(recipe.tries):
        onsets = (np.sort(rng.integers(0, slack + 1, len(lengths))) + before).tolist()
        if all(
            _crowd(onset, onset + length, taken) < recipe.at_once for onset, length in zip(onsets, lengths, strict=True)
        ):
            return onsets
    return None


def _crowd(begin: int, end: int, taken: list[tuple[int, int]]) -> int:
    """The highest number of `taken` intervals that sound together somewhere in [begin, end)."""
    near = [(a, b) for a, b in taken if a < end and b > begin]
    return max((sum(a <= t < b for a, b in near) for t in [begin, *(a for a, _ in near if a > begin)]), default=0)


def _merge(spans: list[tuple[float, float]], recipe: MixRecipe) -> list[tuple[float, float]]:
    """Overlapping stretches joined, gaps bridged, then what is too short dropped; in order of time."""
    out: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if out and begin - out[-1][1] < recipe.bridge_seconds:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((begin, end))
    return [(a, b) for a, b in out if b - a >= recipe.shortest_seconds - 1e-9]

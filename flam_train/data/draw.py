"""Everything about a mixture, drawn as plain data before there is any audio.

`draw` is a pure function of (recipe, bank, seed, number) and knows the sounds by their level curves only: gains,
labels and captions are numbers in the spec, computed once, here. `data.mixing` makes audio of it.

Shape suffixes: H hops of a level curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.bank import FLOOR_DB, HOP, LEVEL_HOP, Bank, level_of
from flam_train.data.captions import Mention, describe_scene
from flam_train.data.recipe import MixRecipe
from flam_train.data.schema import Event


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


def draw(recipe: MixRecipe, bank: Bank, seed: int, number: int, phrasings: str = "trained") -> MixSpec:
    """Mixture `number` of the stream `seed`: a pure function of its arguments, without any audio.

    `phrasings`: "trained" or "held_out", the words of the captions; the mixture itself is the same with both.
    Raises ValueError if the bank has no event or no background of the clip's length.
    """
    rng = np.random.default_rng([seed, number])
    background, background_level = _background(recipe, bank, rng)
    pieces = [background]
    kinds: list[str] = []
    mentions: list[Mention] = []
    segments: dict[str, list[tuple[float, float]]] = {}
    taken: list[tuple[int, int]] = []
    for _ in range(rng.integers(recipe.events[0], recipe.events[1] + 1)):
        placed, kind, sounding = _event(recipe, bank, rng, background_level, len(kinds), taken)
        if not placed:
            continue
        pieces += placed
        kinds.append(kind)
        taken += [(p.onset, p.onset + p.length) for p in placed]
        label = placed[0].label
        segments.setdefault(label, []).extend(sounding)
        mentions.append(Mention(sounding[0][0], max(b for _, b in sounding), label, placed[0].snr_db))
    events = [Event(a, b, label) for label, spans in segments.items() for a, b in _merge(spans, recipe)]
    events.sort(key=lambda e: (e.onset, e.offset, e.label))
    words = np.random.default_rng([seed, number, 1])
    captions = describe_scene(mentions, bank.vocabulary, phrasings, recipe.captions, recipe.caption_words, words)
    return MixSpec(seed, number, tuple(pieces), tuple(events), tuple(captions), tuple(kinds))


def _background(recipe: MixRecipe, bank: Bank, rng: np.random.Generator) -> tuple[Piece, float]:
    """The background's piece, and its level after the gain in dBFS."""
    if not len(bank.events):
        raise ValueError("the bank has no events: add the folder of a bank that has some")
    fitting = bank.backgrounds[bank.samples[bank.backgrounds] >= recipe.clip_samples]
    if not len(fitting):
        raise ValueError(
            f"the bank has no background of at least {recipe.clip_seconds} s: add a bank that has, "
            "for instance one made with data_prep/synthetic.py OUT --only-backgrounds"
        )
    item = int(rng.choice(fitting))
    start = HOP * int(rng.integers(0, (bank.samples[item] - recipe.clip_samples) // HOP + 1))
    hops = bank.level(item)[start // HOP : (start + recipe.clip_samples) // HOP]
    level = max(level_of(hops), FLOOR_DB + 30.0)
    gain_db = 0.0 if recipe.background_db is None else rng.uniform(*recipe.background_db) - level
    gain_db = min(gain_db, recipe.peak_db - float(bank.peak_db[item]))
    gain = 10.0 ** (gain_db / 20)
    return Piece(-1, item, bank.key[item], "", start, recipe.clip_samples, 0, gain, 0.0), level + gain_db


def _event(
    recipe: MixRecipe,
    bank: Bank,
    rng: np.random.Generator,
    background_level: float,
    number: int,
    taken: list[tuple[int, int]],
) -> tuple[list[Piece], str, list[tuple[float, float]]]:
    """One event: its pieces (none if it found no place or cannot be heard), its kind, and where it sounds, seconds."""
    labels = list(bank.by_label)
    item = int(
        rng.choice(bank.by_label[labels[rng.integers(len(labels))]] if recipe.choose == "class" else bank.events)
    )
    kind_draw = rng.random()
    kind = (
        "split"
        if kind_draw < recipe.split_share
        else "repeat"
        if kind_draw < recipe.split_share + recipe.repeat_share
        else "once"
    )
    low, high = {"split": recipe.split_parts, "repeat": recipe.repeat_times}.get(kind, (1, 1))
    count = int(rng.integers(low, high + 1))
    snr_db = rng.uniform(*recipe.snr_db)

    level = bank.level(item).astype(np.float64)
    copies = count if kind == "repeat" else 1
    first, last = _crop(recipe, level, int(bank.first_hop[item]), int(bank.last_hop[item]), copies, rng)
    gain_db = background_level + snr_db - level_of(level[first:last])
    capped = min(gain_db, recipe.peak_db - float(bank.peak_db[item]))
    snr_db, gain_db = snr_db + capped - gain_db, capped
    threshold = recipe.inactive_db
    if recipe.inactive_below_peak_db is not None:
        threshold = max(threshold, level.max() + gain_db - recipe.inactive_below_peak_db)
    active = level + gain_db > threshold
    # The event is cut to where it sounds.
    sounding = first + np.flatnonzero(active[first:last])
    if not len(sounding):
        return [], kind, []
    first, last = int(sounding[0]), int(sounding[-1]) + 1

    cuts = _cuts(first, last, count if kind == "split" else 1, rng)
    spans = [(int(a), int(b)) for a, b in pairwise(cuts)] * copies
    lengths = [min(b * HOP, int(bank.samples[item])) - a * HOP for a, b in spans]
    onsets = _place(recipe, lengths, taken, rng)
    if onsets is None:
        return [], kind, []
    pieces, heard = [], []
    for (a, b), length, onset in zip(spans, lengths, onsets, strict=True):
        gain = 10.0 ** (gain_db / 20)
        pieces.append(Piece(number, item, bank.key[item], bank.label[item], a * HOP, length, onset, gain, snr_db))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], active[a:b], [False]])))
        begin = onset / SAMPLE_RATE
        for u, v in zip(edges[::2], edges[1::2], strict=True):
            heard.append((begin + float(u) * LEVEL_HOP, begin + min(float(v) * LEVEL_HOP, length / SAMPLE_RATE)))
    heard = _merge(heard, recipe)
    return (pieces, kind, heard) if heard else ([], kind, [])


def _crop(recipe: MixRecipe, level_H, first: int, last: int, copies: int, rng: np.random.Generator) -> tuple[int, int]:
    """The hops of the item that are used: a random stretch around one that sounds, short enough for all copies."""
    # A tenth of the clip stays free, so that repeated events have pauses and some freedom of place.
    longest = int(recipe.clip_samples // HOP * (1.0 if copies == 1 else 0.9 / copies))
    if recipe.event_seconds is not None:
        longest = min(longest, max(1, round(rng.uniform(*recipe.event_seconds) / LEVEL_HOP)))
    if last - first <= longest:
        return first, last
    loud = first + np.flatnonzero(level_H[first:last] > level_H[first:last].max() - 20.0)
    centre = int(rng.choice(loud))
    earliest, latest = max(first, centre - longest + 1), min(centre, last - longest)
    begin = int(rng.integers(earliest, latest + 1))
    return begin, begin + longest


def _cuts(first: int, last: int, parts: int, rng: np.random.Generator) -> list[int]:
    """The hops at which [first, last) is cut in `parts`, both ends included; no part under 0.1 s if there is room."""
    parts = min(parts, last - first)
    least = min(round(0.1 / LEVEL_HOP), (last - first) // parts)
    inner = np.sort(rng.integers(0, last - first - parts * least + 1, parts - 1)) + least * np.arange(1, parts)
    return [first, *(first + inner).tolist(), last]


def _place(
    recipe: MixRecipe, lengths: list[int], taken: list[tuple[int, int]], rng: np.random.Generator
) -> list[int] | None:
    """Onsets, in order and without overlap among themselves, that keep to `at_once`; None if none was found."""
    slack = recipe.clip_samples - sum(lengths)
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
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

"""The plan of a stream: which sample stands at position p is a pure function of (seed, p).

Positions never restart. The corpora of a stream are interleaved by weight in a fixed cycle; each has a cursor of its
own, a closed form of the position, and is reshuffled at each pass over it: shards are permuted and taken in blocks of
a few, and samples are shuffled within a block, so that reads stay nearly sequential. A corpus that is balanced takes
its samples in turn from two such orders, one as it lies and one by class. Any position costs the same, so resuming is
choosing where to begin.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from flam_train.data.stream.classes import ByClass

LONGEST_CYCLE = 1024
CACHED = 8
"""Passes and blocks of each corpus kept in memory; what falls out is computed again."""


def stable_seed(*parts: int | str) -> int:
    """An integer in [0, 2^63) from integers and strings: the same in every process, version and machine."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def permutation(count: int, seed: int) -> np.ndarray:
    """A permutation of range(count), int64. From raw bits: numpy promises these for good, `permutation` it does not."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


@dataclass(frozen=True)
class Place:
    """A sample of a stream.

    corpus  its number in the stream
    pass_   how many times the corpus was gone through before; -1 - n of sample n (from 0) that is drawn by class: no
            sample comes twice with the same one
    index   the sample's global row in the corpus
    cursor  how many samples of this corpus the stream took before
    """

    corpus: int
    pass_: int
    index: int
    cursor: int


class Order:
    """The plan of one stream. Holds no more than its corpora's shard sizes and a few blocks.

    shard_sizes   one array a corpus: samples of each shard (shards without samples are allowed)
    weights       shares of the corpora in the stream; 0 leaves a corpus out
    block_shards  shards whose samples are shuffled together
    names         of the corpora, for messages
    by_class      of each corpus, which share of its samples is drawn evenly over which classes; None: nothing is
    """

    def __init__(
        self,
        shard_sizes: Sequence[np.ndarray],
        weights: Sequence[float],
        seed: int,
        block_shards: int = 4,
        names: Sequence[str] | None = None,
        by_class: Sequence[ByClass | None] | None = None,
    ) -> None:
        names = names or [f"corpus {k}" for k in range(len(shard_sizes))]
        if not len(shard_sizes) == len(weights) == len(names):
            raise ValueError(
                f"{len(shard_sizes)} corpora, {len(weights)} weights and {len(names)} names: give one of each"
            )
        if block_shards < 1:
            raise ValueError(f"block_shards is {block_shards}: at least 1")
        self.cycle = Cycle(weights, names)
        self._corpora: list[_CorpusOrder | _BalancedOrder] = []
        for k, sizes in enumerate(shard_sizes):
            corpus = _CorpusOrder(np.asarray(sizes, dtype=np.int64), (seed, k), block_shards)
            if self.cycle.counts[k] and corpus.size == 0:
                raise ValueError(f"{names[k]} has no samples: prepare it again, or give it weight 0")
            share = by_class[k] if by_class else None
            self._corpora.append(corpus if share is None else _BalancedOrder(corpus, share, (seed, k)))

    def at(self, position: int) -> Place:
        """What stands at a position (from 0, without end)."""
        return self.range(position, position + 1)[0]

    def range(self, start: int, stop: int) -> list[Place]:
        """What stands at the positions from `start` to before `stop`."""
        if start < 0:
            raise ValueError(f"position {start}: positions begin at 0")
        return self._places(*self.cycle.split(np.arange(start, stop, dtype=np.int64)))

    def beside(self, place: Place, further: int) -> Place:
        """What comes `further` samples of the same corpus after a place."""
        return self._places(np.array([place.corpus]), np.array([place.cursor + further]))[0]

    def _places(self, corpora: np.ndarray, cursors: np.ndarray) -> list[Place]:
        passes, indices = np.zeros_like(cursors), np.zeros_like(cursors)
        for k in np.unique(corpora):
            mine = corpora == k
            passes[mine], indices[mine] = self._corpora[k].at(cursors[mine])
        columns = (column.tolist() for column in (corpora, passes, indices, cursors))
        return [Place(*row) for row in zip(*columns, strict=True)]


class Cycle:
    """Several things that take turns, each as often as its weight says, in a cycle that is repeated without end.

    counts  int64: how often each comes in one cycle
    """

    def __init__(self, weights: Sequence[float], names: Sequence[str]) -> None:
        self.counts = cycle_counts(weights, names)
        self._sequence = interleave(self.counts)
        taken = self._sequence[:, None] == np.arange(len(weights))
        self._before = np.concatenate([np.zeros((1, len(weights)), np.int64), np.cumsum(taken, axis=0, dtype=np.int64)])

    def split(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whose turn it is at each position (int64), and which of its own turns this is, from 0."""
        cycles, offsets = np.divmod(positions, len(self._sequence))
        whose = self._sequence[offsets]
        return whose, cycles * self.counts[whose] + self._before[offsets, whose]


class _BalancedOrder:
    """A share of the samples of a corpus evenly over its classes, the others in its own order.

    In each round every class comes once, in an order of that round; its clips are shuffled at each pass over them.
    """

    def __init__(self, plain: _CorpusOrder, by_class: ByClass, seed: tuple[int, int]) -> None:
        self.plain, self.by_class, self.seed = plain, by_class, (*seed, "class")
        self.cycle = Cycle([1.0 - by_class.share, by_class.share], ["as they lie", "by class"])
        self._rounds: OrderedDict[int, np.ndarray] = OrderedDict()
        self._orders: dict[int, tuple[int, np.ndarray]] = {}  # of each class the last pass, together as long as `rows`

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rounds": OrderedDict(), "_orders": {}}

    def at(self, cursors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `_CorpusOrder.at`."""
        whose, turns = self.cycle.split(cursors)
        passes, indices = np.empty_like(cursors), np.empty_like(cursors)
        lying = whose == 0
        passes[lying], indices[lying] = self.plain.at(turns[lying])
        passes[~lying] = -1 - turns[~lying]
        indices[~lying] = [self._drawn(turn) for turn in turns[~lying].tolist()]
        return passes, indices

    def _drawn(self, turn: int) -> int:
        """The global row of the sample that is drawn by class as number `turn`."""
        starts = self.by_class.starts
        round_, number = divmod(turn, len(starts) - 1)
        if round_ not in self._rounds:
            _keep(self._rounds, round_, permutation(len(starts) - 1, stable_seed(*self.seed, round_)))
        k = int(self._rounds[round_][number])
        first, size = int(starts[k]), int(starts[k + 1] - starts[k])
        pass_, rank = divmod(round_, size)
        if self._orders.get(k, (-1,))[0] != pass_:
            self._orders[k] = pass_, permutation(size, stable_seed(*self.seed, k, pass_))
        return int(self.by_class.rows[first + self._orders[k][1][rank]])


class _CorpusOrder:
    """The order within one corpus."""

    def __init__(self, sizes: np.ndarray, seed: tuple[int, int], block_shards: int) -> None:
        self.sizes, self.seed, self.block_shards = sizes, seed, block_shards
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.size = int(self.starts[-1])
        self._passes: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._blocks: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_passes": OrderedDict(), "_blocks": OrderedDict()}

    def at(self, cursors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(pass, global row) of the samples visited as number `cursors`."""
        passes, ranks = np.divmod(cursors, self.size)
        indices = np.empty_like(cursors)
        for pass_ in np.unique(passes).tolist():
            shards, block_starts = self._pass(pass_)
            here = np.flatnonzero(passes == pass_)
            # From the right: of several blocks that begin at one rank, all but the last are empty.
            blocks = np.searchsorted(block_starts, ranks[here], side="right") - 1
            for block in np.unique(blocks).tolist():
                inside = here[blocks == block]
                indices[inside] = self._block(pass_, block, shards)[ranks[inside] - block_starts[block]]
        return passes, indices

    def _pass(self, pass_: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in this pass' order, and the rank at which each block begins."""
        if pass_ not in self._passes:
            shards = permutation(len(self.sizes), stable_seed(*self.seed, pass_))
            ends = np.cumsum(self.sizes[shards])
            firsts = np.arange(0, len(shards), self.block_shards)
            _keep(self._passes, pass_, (shards, np.where(firsts > 0, ends[firsts - 1], 0)))
        return self._passes[pass_]

    def _block(self, pass_: int, block: int, shards: np.ndarray) -> np.ndarray:
        key = pass_, block
        if key not in self._blocks:
            inside = shards[block * self.block_shards : (block + 1) * self.block_shards]
            samples = np.concatenate([np.arange(self.starts[s], self.starts[s + 1]) for s in inside])
            _keep(self._blocks, key, samples[permutation(len(samples), stable_seed(*self.seed, pass_, block))])
        return self._blocks[key]


def _keep(cache: OrderedDict, key: object, value: object) -> None:
    cache[key] = value
    if len(cache) > CACHED:
        cache.popitem(last=False)


def cycle_counts(weights: Sequence[float], names: Sequence[str]) -> np.ndarray:
    """How often each corpus comes in one cycle of the stream: int64.

    Exact and short where the shares are simple fractions (1:1, 7:3); else the largest remainders over a cycle of
    1024, where every corpus with a weight comes at least once. ValueError for weights that are no shares.
    """
    for name, weight in zip(names, weights, strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight {weight!r} of {name} is not a number of at least 0")
    total = math.fsum(weights)
    if total <= 0:
        raise ValueError(f"all weights are 0 ({', '.join(names) or 'no corpus'}): give at least one corpus a weight")
    if sum(w > 0 for w in weights) > LONGEST_CYCLE:
        raise ValueError(f"more than {LONGEST_CYCLE} corpora in one stream: join some of them")
    shares = [Fraction(w / total).limit_denominator(LONGEST_CYCLE) for w in weights]
    length = math.lcm(*(share.denominator for share in shares))
    exact = all(abs(float(share) - w / total) < 1e-9 for share, w in zip(shares, weights, strict=True))
    if exact and sum(shares) == 1 and length <= LONGEST_CYCLE:
        return np.array([int(share * length) for share in shares], dtype=np.int64)
    quota = np.array(weights) / total * LONGEST_CYCLE
    counts = np.where(quota > 0, np.maximum(np.floor(quota), 1), 0).astype(np.int64)
    while counts.sum() != LONGEST_CYCLE:
        grow = counts.sum() < LONGEST_CYCLE
        remainder = np.where((quota > 0) & (grow | (counts > 1)), quota - counts, -np.inf if grow else np.inf)
        counts[int(np.argmax(remainder) if grow else np.argmin(remainder))] += 1 if grow else -1
    return counts


def interleave(counts: np.ndarray) -> np.ndarray:
    """One cycle: every corpus `counts[k]` times, spread as evenly as can be. int64 [sum of counts]."""
    credit = np.zeros(len(counts), dtype=np.int64)
    sequence = np.empty(int(counts.sum()), dtype=np.int64)
    for n in range(len(sequence)):
        credit += counts
        sequence[n] = np.argmax(credit)
        credit[sequence[n]] -= len(sequence)
    return sequence

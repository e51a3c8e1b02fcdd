"""What the coming steps will read from elsewhere, told to the cache in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from flam_train.data.shards.cache import ShardCache
from flam_train.data.shards.places import RemoteShards
from flam_train.data.shards.tars import ShardEntry
from flam_train.data.stream.clips import Source
from flam_train.data.stream.order import Place

Shard = tuple[RemoteShards, ShardEntry]


class Ahead:
    """Keeps the caches told of the shards of the present item and of the next `ahead` ones, in the order of reading.

    places  item -> the (source, place) pairs that the item reads
    total   number of items
    Every loader worker looks at all items, its own and the others': they share the cache, the first to ask fetches.
    """

    def __init__(
        self, places: Callable[[int], Iterable[tuple[Source, Place]]], total: int, ahead: int, remote: bool
    ) -> None:
        self.places, self.total, self.ahead, self.remote = places, total, ahead, remote
        self._coming: deque[tuple[int, list[Shard]]] = deque()
        self._next = 0

    def move_to(self, item: int) -> None:
        """`item` is read now."""
        if not self.remote:
            return
        if self._coming and item < self._coming[0][0]:  # begun anew
            self._coming.clear()
            self._next = item
        while self._coming and self._coming[0][0] < item:
            self._coming.popleft()
        stop = min(item + 1 + self.ahead, self.total)
        for later in range(max(self._next, item), stop):
            found = (source.remote_shard(place) for source, place in self.places(later))
            self._coming.append((later, list({s[1].sha256: s for s in found if s is not None}.values())))
        self._next = max(self._next, stop)
        wanted: dict[int, tuple[ShardCache, dict[str, tuple[str, ShardEntry]]]] = {}
        for _, shards in self._coming:
            for place, entry in shards:
                _, mine = wanted.setdefault(id(place.cache), (place.cache, {}))
                mine.setdefault(entry.sha256, (place.url, entry))
        for cache, mine in wanted.values():
            cache.want(list(mine.values()))

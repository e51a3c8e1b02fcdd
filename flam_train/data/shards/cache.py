"""Shards fetched from elsewhere (http, s3, a slow shared disk) into a bounded folder on this machine's own disk.

Every process of the machine shares the folder: a shard is fetched once, whichever rank or loader worker asks first.
Its name there is its sha256, so a corpus that was prepared again never meets its older shards.
"""

from __future__ import annotations

import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import numpy as np

from flam_train.data.shards.tars import ShardEntry, index_path, sha256_of
from flam_train.disk import locked

GIB = 1 << 30
LOCKS = 64
"""Lock files; a shard's is chosen by its sha256. Removing a lock file while others wait for it would be a race."""

TRIES, PAUSE = 4, 2.0
"""Attempts to fetch a file, and seconds before the second one; doubled before each further one."""

_Opened = TypeVar("_Opened")


def is_url(place: Path | str) -> bool:
    return "://" in str(place)


class ShardCache:
    """A folder of fetched shards. Pickles small.

    folder  on a local disk; None: in the folder for temporary files (TMPDIR), one for each user
    gib     GiB: the least recently used shards go when a new one would pass it. A reader that still holds a removed
            shard open (`corpus.OPEN_REMOTE` of each corpus in each process, at most) keeps its room until it is closed.
    """

    def __init__(self, folder: Path | str | None = None, gib: float = 50.0) -> None:
        if gib <= 0:
            raise ValueError(f"a cache of {gib} GiB holds nothing: give the size that the local disk can spare")
        # By number: in a container a user may have no name.
        self.folder = Path(folder or Path(tempfile.gettempdir()) / f"flam-shards-{os.getuid()}")
        self.limit = int(gib * GIB)
        self._forget()

    def _forget(self) -> None:
        self._wanted: list[tuple[str, ShardEntry]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def open(self, url: str, entry: ShardEntry, opener: Callable[[Path], _Opened]) -> _Opened:
        """`opener(path of the tar)`, fetched if it is not here; its index lies beside it.

        What is opened stays readable when the shard is removed to make room. Raises ValueError that names the source
        and the fix where the shard cannot be fetched or is not the manifest's.
        """
        tar = self._tar(entry)
        while True:
            self._fetch(url, entry)
            try:
                opened = opener(tar)
                os.utime(tar)  # its last use
                return opened
            except FileNotFoundError:
                continue  # another process made room in between

    def remove(self, entry: ShardEntry) -> None:
        """Forgets a shard whose copy here is damaged."""
        with locked(self.folder / ".lock"):
            self._tar(entry).unlink(missing_ok=True)

    def want(self, shards: list[tuple[str, ShardEntry]]) -> None:
        """Fetches in the background what will be read, in this order, as far as the cache holds it all at once.

        Replaces what was wanted before. What fails here is told where the shard is read.
        """
        with self._changed:
            self._wanted = shards
            self._changed.notify()
        if self._thread is None:
            # A daemon: a loader worker that is told to end must not wait for gigabytes.
            self._thread = threading.Thread(target=self._work, name="shard cache", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                wanted = self._wanted
            room = self.limit
            for url, entry in wanted:
                room -= entry.bytes
                if room < 0:
                    break  # it would push out what is read before it
                if self._has(entry):
                    with suppress(FileNotFoundError):
                        os.utime(self._tar(entry))  # others must not take it for the least used
                    continue
                with suppress(ValueError, OSError):
                    self._fetch(url, entry, wait=False)
                if self._wanted is not wanted:
                    break
            with self._changed:
                if self._wanted is wanted:
                    self._changed.wait()

    def _tar(self, entry: ShardEntry) -> Path:
        return self.folder / f"{entry.sha256}.tar"

    def _has(self, entry: ShardEntry) -> bool:
        tar = self._tar(entry)
        try:
            return tar.stat().st_size == entry.bytes and index_path(tar).is_file()
        except FileNotFoundError:
            return False

    def _fetch(self, url: str, entry: ShardEntry, wait: bool = True) -> None:
        """wait: for a process that fetches the same shard at this moment."""
        if self._has(entry):
            return
        source = f"{url}/{entry.name}"
        if entry.bytes > self.limit:
            raise ValueError(
                f"{source}: {entry.bytes / GIB:.3g} GiB do not fit into a cache of {self.limit / GIB:.3g} GiB: "
                "raise data.cache_gib"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self._lock_of(entry.sha256), wait) as held:
            if not held or self._has(entry):  # another process is at it, or was
                return
            draft = self._reserve(entry)
            try:
                download(source, draft)
                size = draft.stat().st_size
                if size != entry.bytes or sha256_of(draft) != entry.sha256:
                    raise ValueError(
                        f"{source}: not the shard of its manifest ({size} bytes, expected {entry.bytes}; its sha256 "
                        "is checked): copy the shard there again"
                    )
                self._fetch_index(f"{url}/{index_path(Path(entry.name))}", entry)
                _to_disk(draft)
                os.replace(draft, self._tar(entry))
            finally:
                draft.unlink(missing_ok=True)

    def _fetch_index(self, source: str, entry: ShardEntry) -> None:
        index = index_path(self._tar(entry))
        draft = index.with_name(f".{index.name}")
        try:
            download(source, draft)
            with draft.open("rb") as file:
                rows = len(np.load(file))
            if rows != entry.samples:
                raise ValueError(f"{source}: {rows} samples, the manifest says {entry.samples}: copy it there again")
            _to_disk(draft)
            os.replace(draft, index)
        except EOFError as error:
            raise ValueError(f"{source}: not an index ({error}): copy it there again") from error
        finally:
            draft.unlink(missing_ok=True)

    def _lock_of(self, sha256: str) -> Path:
        return self.folder / f".lock-{int(sha256[:8], 16) % LOCKS:02d}"

    def _reserve(self, entry: ShardEntry) -> Path:
        """An empty file whose name holds the room for a shard, after removing the least recently used ones."""
        draft = self.folder / f".{entry.sha256}.{entry.bytes}.part"
        while True:
            with locked(self.folder / ".lock"):
                # In this order: a shard that arrives in between is counted twice rather than not at all.
                coming = self._reserved(entry)
                shards = sorted(self._shards())
                here = sum(size for _, size, _ in shards)
                if coming + entry.bytes <= self.limit:
                    for _, size, tar in shards:
                        if here + coming + entry.bytes <= self.limit:
                            break
                        tar.unlink(missing_ok=True)
                        index_path(tar).unlink(missing_ok=True)
                        here -= size
                    draft.touch()
                    return draft
            time.sleep(0.2)  # all the room is taken by shards on their way: they become removable when they arrive

    def _shards(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, tar) of each."""
        out = []
        for tar in self.folder.glob("[!.]*.tar"):
            with suppress(FileNotFoundError):  # `remove` takes no part in the lock of a glob
                found = tar.stat()
                out.append((found.st_mtime, found.st_size, tar))
        return out

    def _reserved(self, entry: ShardEntry) -> int:
        """Bytes of the other shards on their way. What a process that died left behind is removed.

        The caller holds `entry`'s lock: nobody else is fetching a shard that has the same one.
        """
        total, mine = 0, self._lock_of(entry.sha256)
        for part in self.folder.glob(".*.part"):
            _, sha256, size, _ = part.name.split(".")
            lock = self._lock_of(sha256)
            with nullcontext(True) if lock == mine else locked(lock, wait=False) as held:
                if held:
                    part.unlink(missing_ok=True)
                else:
                    total += int(size)
        return total


def download(source: str, target: Path) -> None:
    """Copies a file of any place that fsspec reaches. ValueError as from `patiently`, or where it is not there."""
    try:
        patiently(source, lambda system, path: system.get_file(path, str(target)))
    except FileNotFoundError as error:
        raise ValueError(f"{source}: not there: copy the whole folder, indices and manifest too") from error


def patiently(source: str, action: Callable[[Any, str], _Opened]) -> _Opened:
    """`action(fsspec's file system, path)`, tried again after a broken connection.

    Raises FileNotFoundError at once; ValueError that names the source and the fix when it keeps failing.
    """
    for attempt in range(TRIES):
        system, path = file_system(source)
        try:
            return action(system, path)
        except FileNotFoundError:
            raise
        except Exception as error:  # each protocol's library has errors of its own
            if attempt == TRIES - 1:
                raise ValueError(
                    f"{source}: not fetched in {TRIES} attempts ({error!r}): check the address, the network, your "
                    "access and the room on this machine's disk"
                ) from error
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError


def file_system(url: str) -> tuple[Any, str]:
    """(fsspec's file system, path in it). Keys and endpoints come from fsspec's own configuration files and variables.

    Raises ValueError where the protocol is unknown or its package is missing.
    """
    try:
        return fsspec.core.url_to_fs(url, **_options(url.split("://")[0]))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url}: {error}: install what fsspec needs for it (pip install s3fs for s3://)") from error


@functools.cache
def _options(protocol: str) -> dict[str, Any]:
    if protocol not in ("http", "https"):
        return {}
    import aiohttp

    # aiohttp gives a whole file five minutes; what must not last is a connection on which nothing comes.
    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}}


def _to_disk(path: Path) -> None:
    """After a crash, a name must not stand for less than was written."""
    with path.open("rb") as file:
        os.fsync(file.fileno())

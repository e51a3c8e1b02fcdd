"""Where a corpus lies: a folder on this machine, or anywhere that fsspec reaches, through a bounded local cache.

Both places answer the same questions, so that reading a corpus knows nothing of the difference.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Protocol

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.cache import ShardCache, is_url, patiently
from flam_train.data.shards.schema import SCHEMA_VERSION
from flam_train.data.shards.tars import MANIFEST, ShardEntry, index_path, sha256_of
from flam_train.vocabulary import Vocabulary

SPLITS = ("train", "validation", "test")
"""Folders below one, each a corpus: what is trained on, what is chosen by, what is tested on."""


class Place(Protocol):
    """A folder of shards. `str(place)` is how messages name it. Must pickle."""

    def is_corpus(self) -> bool:
        """Whether there is a manifest."""
        ...

    def manifest(self) -> dict[str, Any]:
        """The checked content of manifest.json; ValueError that names the file and the fix."""
        ...

    def vocabulary(self, name: str) -> Vocabulary:
        """A file beside the manifest, else one of conf/vocabulary."""
        ...

    def check(self, entry: ShardEntry, verify: bool) -> None:
        """ValueError if the shard is not the manifest's; `verify` reads it all and compares its sha256."""
        ...

    def tar(self, entry: ShardEntry) -> BinaryIO:
        """Open, unbuffered."""
        ...

    def rows(self, entry: ShardEntry) -> np.ndarray:
        """The index (`tars.index_tar`), memory-mapped."""
        ...

    def renew(self, entry: ShardEntry) -> bool:
        """Whether there is another copy to be had of a shard that was found damaged; then the next reading gets it."""
        ...


def place_of(folder: Path | str, cache: ShardCache | None = None) -> Place:
    """The place of a folder or of a URL; the latter through `cache` (None: the default one)."""
    if is_url(folder):
        return RemoteShards(str(folder).rstrip("/"), cache or ShardCache())
    return LocalShards(Path(folder))


class LocalShards:
    """A folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.tars = folder

    def __str__(self) -> str:
        return str(self.tars)

    def is_corpus(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        if not self.folder.is_dir():
            raise ValueError(f"{self.folder}: is not there: mend the path, or prepare the corpus first")
        if not self.is_corpus():
            below = [p.parent for depth in ("*", "*/*") for p in self.folder.glob(f"{depth}/{MANIFEST}")]
            _refuse_above(self.folder, sorted(found.relative_to(self.folder).as_posix() for found in below))
            raise ValueError(
                f"{path}: missing: not a corpus, or its preparation was interrupted: prepare it with data_prep/, again"
            )
        manifest = checked_manifest(path.read_text(encoding="utf-8"), str(path))
        # The tars of an indexed folder may lie elsewhere than its indices.
        self.tars = self.folder / manifest.get("tars", ".")
        return manifest

    def vocabulary(self, name: str) -> Vocabulary:
        local = self.folder / name
        return Vocabulary.load(local if local.is_file() else name)

    def check(self, entry: ShardEntry, verify: bool) -> None:
        path = self.tars / entry.name
        fix = "write or copy this shard again (and then the manifest)"
        if not path.is_file():
            raise ValueError(f"{path}: in {self.folder / MANIFEST} but missing: {fix}")
        size = path.stat().st_size
        if size != entry.bytes:
            raise ValueError(
                f"{path}: {size} bytes, the manifest says {entry.bytes}: truncated or of another run: {fix}"
            )
        rows = len(self.rows(entry))
        if rows != entry.samples:
            index = index_path(self.folder / entry.name)
            raise ValueError(f"{index}: {rows} samples, the manifest says {entry.samples}: {fix}")
        if verify and sha256_of(path) != entry.sha256:
            raise ValueError(f"{path}: its sha256 is not the manifest's: damaged or changed: {fix}")

    def tar(self, entry: ShardEntry) -> BinaryIO:
        return open(self.tars / entry.name, "rb", buffering=0)

    def rows(self, entry: ShardEntry) -> np.ndarray:
        path = index_path(self.folder / entry.name)
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError, SyntaxError, TokenError) as error:  # the last two: numpy, of a damaged header
            raise ValueError(f"{path}: no readable index ({error}): write or copy this shard again") from error

    def renew(self, entry: ShardEntry) -> bool:
        return False


class RemoteShards:
    """A folder behind a URL. Its shards are fetched whole when they are first read, and checked by sha256 then."""

    def __init__(self, url: str, cache: ShardCache) -> None:
        self.url, self.cache = url, cache

    def __str__(self) -> str:
        return self.url

    def is_corpus(self) -> bool:
        return self._small(MANIFEST) is not None

    def manifest(self) -> dict[str, Any]:
        where = f"{self.url}/{MANIFEST}"
        text = self._small(MANIFEST)
        if text is None:
            # Not every URL can be listed.
            _refuse_above(self.url, sorted(s for s in SPLITS if self._small(f"{s}/{MANIFEST}") is not None))
            raise ValueError(f"{where}: missing: give the URL of a folder of prepared shards")
        manifest = checked_manifest(text.decode("utf-8"), where)
        if manifest.get("tars", ".") != ".":
            raise ValueError(
                f"{where}: its tars lie in another folder ({manifest['tars']}): index them beside the tars"
            )
        return manifest

    def vocabulary(self, name: str) -> Vocabulary:
        text = self._small(name) if name.endswith(".yaml") else None
        if text is None:
            return Vocabulary.load(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(text)
            try:
                return Vocabulary.load(path)
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), f"{self.url}/{name}")) from error

    def _small(self, name: str) -> bytes | None:
        """None: it is not there."""
        try:
            return patiently(f"{self.url}/{name}", lambda system, path: system.cat_file(path))
        except FileNotFoundError:
            return None

    def check(self, entry: ShardEntry, verify: bool) -> None:
        """Nothing yet: a shard is checked as it arrives."""

    def tar(self, entry: ShardEntry) -> BinaryIO:
        return self.cache.open(self.url, entry, lambda tar: open(tar, "rb", buffering=0))

    def rows(self, entry: ShardEntry) -> np.ndarray:
        return self.cache.open(self.url, entry, lambda tar: np.load(index_path(tar), mmap_mode="r"))

    def renew(self, entry: ShardEntry) -> bool:
        self.cache.remove(entry)
        return True


def _refuse_above(folder: Path | str, corpora: list[str]) -> None:
    """ValueError for a folder that holds corpora and is none, with the names of those."""
    if corpora:
        there = ", ".join(f"{name}/" for name in corpora[:8]) + (" ..." if len(corpora) > 8 else "")
        raise ValueError(f"{folder} has no {MANIFEST}; it has {there}: name one of them, like {folder}/{corpora[0]}")


def checked_manifest(text: str, where: str) -> dict[str, Any]:
    """The manifest of that text; ValueError, beginning with `where`, for one that cannot be read here."""
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}): write the manifest again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA_VERSION:
        version = manifest.get("schema") if isinstance(manifest, dict) else None
        raise ValueError(
            f"{where}: manifest version {version!r} is unknown (known here: {SCHEMA_VERSION}): update flam_train"
        )
    if manifest.get("sample_rate") != SAMPLE_RATE:
        raise ValueError(
            f"{where}: sample rate {manifest.get('sample_rate')!r}, not {SAMPLE_RATE}: prepare the corpus at 48 kHz"
        )
    missing = {"corpus", "samples", "vocabulary", "annotates", "shards"} - set(manifest)
    if missing:
        raise ValueError(f"{where}: {sorted(missing)[0]!r} is missing: write the manifest again")
    if manifest["samples"] != sum(e["samples"] for e in manifest["shards"]):
        raise ValueError(
            f"{where}: {manifest['samples']} samples are not the sum over its shards: write the manifest again"
        )
    return manifest

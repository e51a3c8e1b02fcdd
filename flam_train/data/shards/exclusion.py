"""Samples that training leaves out: files of their keys, and where these stand in a corpus.

A file has a line for each sample, `corpus<TAB>key<TAB>reason`; data_prep/verify.py writes them for those samples that
occur in test sets.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from flam_train.data.shards.cache import patiently
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.places import RemoteShards
from flam_train.data.shards.tars import ShardEntry, index_path, replace_with

FETCHED_AT_ONCE = 16
"""Indices of a corpus behind a URL."""


def write_excluded(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Writes (corpus, key, reason) lines, whole or not at all."""
    lines = ["\t".join(" ".join(part.split()) for part in row) + "\n" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_with(path, lambda file: file.write("".join(lines).encode()))


def read_excluded(paths: Iterable[Path | str]) -> dict[str, set[str]]:
    """Corpus -> keys of all files together. Empty lines and those that begin with '#' are passed over.

    Raises ValueError that names file, row and fix.
    """
    out: dict[str, set[str]] = {}
    for path in map(Path, paths):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: cannot be read ({error}): data_prep/verify.py --exclude writes it") from error
        for row, line in enumerate(io.StringIO(text), 1):
            if not line.strip() or line.startswith("#"):
                continue
            corpus, *rest = (part.strip() for part in line.split("\t"))
            if not corpus or not rest or not rest[0]:
                raise ValueError(f"{path}: row {row}: {line.strip()!r} is not corpus<TAB>key<TAB>reason: mend it")
            out.setdefault(corpus, set()).add(rest[0])
    return out


def rows_of(corpus: Corpus, keys: set[str]) -> tuple[np.ndarray, set[str]]:
    """Global rows of the samples with these keys, ascending, int64; and the keys that the corpus lacks.

    Only the indices are read. Those of a corpus behind a URL are fetched for it (about 80 bytes a sample), without the
    shards. Raises ValueError that names an index that is not there or not of its manifest.
    """
    wanted = {key.encode() for key in keys}
    starts = np.concatenate([[0], np.cumsum(corpus.shard_sizes)])
    found = [
        (start + row, key.decode())
        for start, indexed in zip(starts.tolist(), keys_of(corpus), strict=False)
        for row, key in enumerate(indexed)
        if key in wanted
    ]
    return np.array([row for row, _ in found], dtype=np.int64), keys - {key for _, key in found}


def keys_of(corpus: Corpus) -> Iterator[list[bytes]]:
    """The keys of each shard; of a corpus behind a URL from its indices alone. Raises ValueError as `rows_of`."""
    place = corpus.place
    if not isinstance(place, RemoteShards):
        for entry in corpus.entries:
            yield place.rows(entry)["key"].tolist()
        return
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        # In rounds: a map over all would hold every index at once.
        for first in range(0, len(corpus.entries), 4 * FETCHED_AT_ONCE):
            some = corpus.entries[first : first + 4 * FETCHED_AT_ONCE]
            yield from pool.map(lambda entry: _remote_keys(place.url, entry), some)


def _remote_keys(url: str, entry: ShardEntry) -> list[bytes]:
    source = f"{url}/{index_path(Path(entry.name))}"
    fix = "copy the whole folder there again, indices too"
    try:
        rows = np.load(io.BytesIO(patiently(source, lambda system, path: system.cat_file(path))))
    except FileNotFoundError as error:
        raise ValueError(f"{source}: not there, and samples to leave out are found by it: {fix}") from error
    except (ValueError, EOFError) as error:
        raise ValueError(f"{source}: not an index ({error}): {fix}") from error
    if len(rows) != entry.samples:
        raise ValueError(f"{source}: {len(rows)} samples, the manifest says {entry.samples}: {fix}")
    return rows["key"].tolist()


class Kept:
    """What is left of a corpus without some of its samples, and where it stands. 16 bytes for each sample left out.

    excluded     their global rows in the corpus, ascending, int64
    shard_sizes  int64, samples of each shard that are kept
    """

    def __init__(self, shard_sizes: np.ndarray, excluded: np.ndarray) -> None:
        starts = np.concatenate([[0], np.cumsum(shard_sizes)])
        self.excluded = excluded
        self.shard_sizes = shard_sizes - np.diff(np.searchsorted(excluded, starts))
        self._kept_before = excluded - np.arange(len(excluded))

    def row(self, index: int) -> int:
        """The global row of kept sample `index`."""
        return index + int(np.searchsorted(self._kept_before, index, side="right"))

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """The numbers among the kept samples of those global rows (int64) that are kept."""
        rows = rows[~np.isin(rows, self.excluded)]
        return rows - np.searchsorted(self.excluded, rows)

    def fingerprint(self) -> str:
        """Of which rows are left out."""
        return hashlib.blake2b(self.excluded.astype("<i8").tobytes(), digest_size=16).hexdigest()


class LeftOut:
    """What the files of `data.exclude` leave out of a run. Raises ValueError as `read_excluded` does."""

    def __init__(self, files: Iterable[Path | str]) -> None:
        self.keys = read_excluded(files)
        self._found: dict[str, tuple[Corpus, Kept, set[str]]] = {}

    def kept(self, where: str, corpus: Corpus) -> Kept | None:
        """What is left of a corpus; None: all of it, the files are of other corpora. `where` it stands in the settings.

        Raises ValueError if nothing is left, and as `rows_of` does.
        """
        if corpus.name not in self.keys:
            return None
        rows, unknown = rows_of(corpus, self.keys[corpus.name])
        if len(rows) == len(corpus):
            raise ValueError(f"{where}: data.exclude names every clip of {corpus.folder}: take this corpus out")
        kept = Kept(corpus.shard_sizes, rows)
        self._found[where] = corpus, kept, unknown
        return kept

    def from_bank(self, where: str, corpus: Corpus, rows: list[int]) -> None:
        """What a bank left out of a corpus, if any of it bears the name of another one."""
        if rows and where not in self._found:
            self._found[where] = corpus, Kept(corpus.shard_sizes, np.array(rows, dtype=np.int64)), set()

    def report(self) -> list[str]:
        """A line for each corpus, and one where the files name samples that are in none."""
        lines = [
            f"{where}: {len(kept.excluded):,} of {len(corpus):,} clips are left out (data.exclude)"
            for where, (corpus, kept, _) in self._found.items()
        ]
        for name in dict.fromkeys(corpus.name for corpus, _, _ in self._found.values()):
            # A corpus may lie in several folders.
            unknown = set.intersection(*(lacks for corpus, _, lacks in self._found.values() if corpus.name == name))
            if unknown:
                lines.append(
                    f"warning: data.exclude names {len(unknown):,} keys that are not in {name} (the first: "
                    f"{min(unknown)!r}): if it was prepared again, run data_prep/verify.py again too"
                )
        return lines

    def fingerprints(self) -> dict[str, str]:
        """Which rows are left out of each corpus: plain data for a checkpoint."""
        return {where: kept.fingerprint() for where, (_, kept, _) in self._found.items()}

    def check_same(self, before: dict[str, str]) -> None:
        """ValueError unless the same rows are left out as `before`: the fingerprints of a run that is to go on."""
        now = self.fingerprints()
        for where in sorted(before.keys() | now.keys()):
            if before.get(where) != now.get(where):
                raise ValueError(
                    f"{where}: data.exclude leaves out other clips than when this run began: go on with the same "
                    "files, give another run_dir or name, or start anew with overwrite=true"
                )

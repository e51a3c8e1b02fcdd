"""Label files that are not read, and what they speak of: nobody may take that for absent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flam_train.data.labels.attached import Unread
from flam_train.data.labels.giving import speaks_of_itself
from flam_train.data.labels.matching import Names, recording_of
from flam_train.data.labels.recognise import SUFFIXES, parse, recognise
from flam_train.data.labels.rows import Caption, Named, Row, Wanted
from flam_train.data.labels.split_lists import CALLED


def look(path: Path, file: str, wanted: Wanted, names: Names, called: bool = False) -> Unread | None:
    """What a file is of which nothing was taken; None: it holds no labels. With `called` it speaks also of what it is
    called like."""
    data = path.read_bytes()
    try:
        recognise(data, str(path), wanted)
    except ValueError:
        return None
    own = {recording_of(path.name)} if called else set()
    try:
        read, _ = parse(data, str(path), wanted)
    except ValueError as error:
        return Unread(file, _known(own, names, path), str(error).removeprefix(f"{path}: "))
    every: list[Row | Named | Caption] = [*read.rows, *read.without, *read.captions, *read.unknown]
    if not every:
        return None
    named = {r.recording for r in every if r.recording is not None} | set(read.of)
    return Unread(file, _known(named | (own if speaks_of_itself(read) else set()), names, path))


def _known(named: Iterable[str], names: Names, path: Path) -> frozenset[int]:
    found = set()
    for name in named:
        try:
            found.add(names.find(name, str(path)))
        except ValueError:  # of several recordings: it speaks of one of them, and nobody knows which
            continue
    return frozenset(n for n in found if n is not None)


def near(folder: Path, labels: Path) -> Iterator[Path]:
    """Files that may hold labels of the same recordings: below the folder of recordings, beside a label file, and in
    the folders of other splits."""
    seen = set()
    beside = [labels.parent.iterdir()] if labels.is_file() else []
    split = labels.parent if labels.is_file() else labels
    if split.name.casefold() in " ".join(CALLED.values()).split():
        beside.append(path for other in split.parent.iterdir() if other.is_dir() for path in other.iterdir())
    for path in (path for found in (folder.rglob("*"), *beside) for path in found):
        real = path.resolve()
        taken = real == labels.resolve() or (labels.is_dir() and real.is_relative_to(labels.resolve()))
        if path.suffix.lower() in SUFFIXES and path.is_file() and not taken and real not in seen:
            seen.add(real)
            if not path.name.startswith("."):
                yield path


def elsewhere(folder: Path, labels: Path, wanted: Wanted, names: Names) -> Iterator[tuple[Path, Unread]]:
    """Label files near `labels` that were not given."""
    for path in sorted(near(folder, labels)):
        found = look(path, path.name, wanted, names, called=True)
        if found is not None:
            yield path, found

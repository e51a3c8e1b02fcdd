"""Label files that are not read, and what they speak of: nobody may take that for absent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from flam_train.data.labels.attached import Unread
from flam_train.data.labels.giving import speaks_of_itself
from flam_train.data.labels.matching import Names, recording_of
from flam_train.data.labels.recognise import SUFFIXES, parse, recognise
from flam_train.data.labels.rows import Caption, Named, Row, Wanted
from flam_train.data.labels.split_lists import CALLED
from flam_train.data.labels.tables import tells_times
from flam_train.data.preparation.audio_folders import files_below

ABOVE = 3
"""Folders above label files, with their own, that may be those of a split."""

_FOLD = re.compile(r"((?:fold|split|part|set)[\W_]*)\d+")
_SPLITS = frozenset(" ".join(CALLED.values()).split())


def look(path: Path, file: str, wanted: Wanted, names: Names, called: bool = False) -> Unread | None:
    """What a file is of which nothing was taken; None: it holds no labels. With `called` it speaks also of what it is
    called like."""
    data = path.read_bytes()
    try:
        format = recognise(data, str(path), wanted).format
    except ValueError:
        return None
    if format == "table" and not tells_times(data, str(path), wanted):
        return None
    own = {recording_of(path.name)} if called else set()
    try:
        read, _ = parse(data, str(path), wanted)
    except ValueError as error:
        return Unread(file, _known(own, names, path), str(error).removeprefix(f"{path}: "))
    every: list[Row | Named | Caption] = [*read.rows, *read.without, *read.captions, *read.unknown, *read.tags]
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


def _pattern(name: str) -> str:
    """A folder's name without what tells splits and folds apart: `labels_train` and `labels_test` are of one."""
    name = _FOLD.sub(r"\1*", name.casefold())
    return "".join("*" if word in _SPLITS else word for word in re.findall(r"[^\W_]+|[\W_]+", name))


def near(folder: Path, labels: Path) -> Iterator[Path]:
    """Files that may hold labels of the same recordings: below the folder of recordings, beside a label file, and in
    the folders of other splits."""
    seen = set()
    beside: list[Iterable[Path]] = [labels.parent.iterdir()] if labels.is_file() else []
    split = labels.parent if labels.is_file() else labels
    for one in (split, *split.absolute().parents)[:ABOVE]:
        pattern, above = _pattern(one.name), one.absolute().parent
        if pattern != one.name and os.access(above, os.R_OK):  # whose names may not be read holds no split of ours
            others = [p for p in above.iterdir() if _pattern(p.name) == pattern and p.name != one.name]
            beside += [files_below(other, None) for other in others if other.is_dir()]
    for path in (path for found in (files_below(folder, None), *beside) for path in found):
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

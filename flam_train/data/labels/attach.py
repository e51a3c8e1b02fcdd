"""Label files matched with the recordings they speak of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from flam_train.data.labels import captions as caption_tables
from flam_train.data.labels.recognise import FORMATS, SUFFIXES, parse
from flam_train.data.labels.rows import Caption, Labels, Named, Row, Wanted, fault
from flam_train.data.preparation.recordings import THROUGH_FFMPEG
from flam_train.settings import nearest

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64", *THROUGH_FFMPEG)
"""How the names of recordings end, in any case."""

_RAVEN = re.compile(r"(\.Table\.\d+)?\.selections\.txt$", re.IGNORECASE)


@dataclass
class Labelled:
    """A recording with what the label files say about it.

    name      its path below the folder
    rows      (label file, row, what the row counts), in the order of the files
    captions  sentences about it
    spoken    whether any label file speaks of it, if only to say that it has no event
    """

    path: Path
    name: str
    rows: list[tuple[str, Row, str]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    spoken: bool = False


def find_audio(folder: Path) -> list[Path]:
    """All recordings below a folder, hidden files left out. ValueError if there is none."""
    found = sorted(p for p in files_below(folder) if p.suffix.lower() in AUDIO)
    if not found:
        raise ValueError(f"{folder}: no recordings ({', '.join(AUDIO)}): check the folder")
    return found


def files_below(folder: Path) -> Iterable[Path]:
    """Files below a folder, none that is hidden or lies in a hidden folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder: check the path")
    hidden = lambda p: any(part.startswith(".") for part in p.relative_to(folder).parts)  # noqa: E731
    return (p for p in folder.rglob("*") if p.is_file() and not hidden(p))


def without_suffix(name: str, suffixes: Sequence[str] = AUDIO) -> str:
    """A name without the suffix of an audio file; other dots stay, as in `Y00pbt6aJV8Y_350.000_360.000`."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in suffixes else name


def recording_of(label_file: str) -> str:
    """The name of the recording that a label file lies beside, without a suffix."""
    if _RAVEN.search(label_file):
        return without_suffix(_RAVEN.sub("", label_file))
    return without_suffix(without_suffix(label_file, SUFFIXES))


class Names:
    """Finds recordings by what label files call them: path or name, with or without suffix."""

    def __init__(self, recordings: Sequence[Labelled]) -> None:
        self._known: dict[str, set[int]] = defaultdict(set)
        for n, r in enumerate(recordings):
            for name in (r.name, PurePosixPath(r.name).name):
                self._known[name].add(n)
                self._known["/" + without_suffix(name)].add(n)  # a slash in front: a name without its suffix
        self._paths = [r.name for r in recordings]
        self._names = [PurePosixPath(r.name).name for r in recordings]

    def find(self, name: str, file: str, row: int | None = None, unit: str = "row") -> int | None:
        """Its number, or None. A name of several recordings is a ValueError."""
        # As written first: names may begin with a space.
        for path in dict.fromkeys((name, name.strip(), name.strip().replace("\\", "/"))):
            base = path.rsplit("/", 1)[-1]
            for known in (path, "/" + without_suffix(path), base, "/" + without_suffix(base)):
                found = self._known.get(known, set())
                if len(found) > 1:
                    listed = ", ".join(self._paths[n] for n in sorted(found)[:3])
                    raise fault(
                        file, f"{name!r} may be any of {len(found)} recordings ({listed}): give its path", row, unit
                    )
                if found:
                    return next(iter(found))
        return None

    def nearest(self, name: str) -> str:
        return nearest(name.rsplit("/", 1)[-1], self._names)


@dataclass
class Attached:
    """All recordings of a folder, and how each label file was read: format -> [(file, why)]."""

    recordings: list[Labelled]
    formats: dict[str, list[tuple[str, str]]]


def attach(
    folder: Path,
    labels: Path | None = None,
    wanted: Wanted | None = None,
    format: str | None = None,
    captions: Path | None = None,
) -> Attached:
    """Reads the recordings of a folder and the labels of `labels` (None: the files beside the recordings; a folder: all
    label files in it; a file: that one), and sentences from the table `captions`.

    Raises ValueError that names file, row and fix: also for a recording that is named and not there.
    """
    wanted = wanted or Wanted()
    recordings = [Labelled(p, p.relative_to(folder).as_posix()) for p in find_audio(folder)]
    names = Names(recordings)
    out = Attached(recordings, defaultdict(list))
    used: dict[int, str] = {}
    for path in _label_files(folder, labels, format, names, captions):
        base = labels if labels is not None and labels.is_dir() else path.parent if labels is not None else folder
        file = path.relative_to(base).as_posix()
        read, found = parse(path.read_bytes(), str(path), wanted, format)
        out.formats[found.format].append((file, found.why))
        own = names.find(recording_of(file), str(path))
        if _speaks_of_itself(read):
            if own is None:
                raise fault(
                    str(path),
                    f"names no recordings and none is called {recording_of(path.name)!r} ({names.nearest(path.name)}): "
                    "rename it, add a column with file names, or remove it",
                )
            if own in used:
                raise fault(
                    str(path),
                    f"{recordings[own].name} has labels in {used[own]} too: choose with --format, or --labels",
                )
            used[own] = file
        _give(recordings, names, own, read, str(path))
    if captions is not None:
        _give(recordings, names, None, caption_tables.parse(_bytes(captions), str(captions), wanted), str(captions))
    return out


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: no such file: check the path")
    return path.read_bytes()


def _label_files(
    folder: Path, labels: Path | None, format: str | None, names: Names, captions: Path | None
) -> list[Path]:
    """The label files, sorted. Beside recordings only those that are called like one."""
    if labels is not None and not labels.is_dir():
        _bytes(labels)
        return [labels]
    suffixes = FORMATS[format].suffixes if format else SUFFIXES
    inside = labels or folder
    found = sorted(p for p in files_below(inside) if p.suffix.lower() in suffixes)
    if captions is not None:
        found = [p for p in found if p.resolve() != captions.resolve()]
    if labels is not None:
        if not found:
            raise ValueError(f"{labels}: no label files ({', '.join(suffixes)}): check the folder")
        return found
    beside = [p for p in found if names.find(recording_of(p.relative_to(folder).as_posix()), str(p)) is not None]
    if not beside and captions is None:
        hint = f"give a table with --labels, like {found[0]}" if found else "give them with --labels"
        raise ValueError(f"{folder}: no label file is called like a recording ({', '.join(suffixes)}): {hint}")
    return beside


def _speaks_of_itself(read: Labels) -> bool:
    """Whether anything in it is about the recording that the file is called like; so it is of an empty file."""
    every: list[Row | Named | Caption] = [*read.rows, *read.without, *read.captions]
    return not every or any(r.recording is None for r in every)


def _give(recordings: list[Labelled], names: Names, own: int | None, read: Labels, file: str) -> None:
    """Each row to its recording."""
    unknown: Counter[str] = Counter()
    first: tuple[str, int] | None = None
    found: dict[str, int | None] = {}
    if _speaks_of_itself(read) and own is not None:
        recordings[own].spoken = True
    every: list[Row | Named | Caption] = [*read.rows, *read.without, *read.captions]
    for r in every:
        n = own
        if r.recording is not None:
            if r.recording not in found:
                found[r.recording] = names.find(r.recording, file, r.row or None, read.unit)
            n = found[r.recording]
        if n is None:
            assert r.recording is not None
            unknown[r.recording] += 1
            first = first or (r.recording, r.row)
            continue
        if isinstance(r, Row):
            recordings[n].rows.append((file, r, read.unit))
        if isinstance(r, Caption):
            recordings[n].captions.append(r.text)
        else:
            recordings[n].spoken = True
    if first is not None:
        more = f" (and {sum(unknown.values()) - 1} more rows, {len(unknown)} names)" if unknown.total() > 1 else ""
        raise fault(
            file,
            f"{first[0]!r} is not in the folder{more}, {names.nearest(first[0])}: fetch it, or remove its rows",
            first[1],
            read.unit,
        )

"""Finding a corpus' recordings on disk, whatever those who fetched them called the files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flam_train.data.sound.suffixes import SUFFIXES

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")

# An id has eleven characters and may begin with 'Y', '-' or '_': only the length tells a leading 'Y' from the id's own.
_STEM = re.compile(r"Y?([A-Za-z0-9_-]{11})(?:_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?)?")
_VGGSOUND = re.compile(r"0\d{5}")


def files_below(folder: Path, suffixes: Sequence[str] | None = SUFFIXES) -> Iterator[Path]:
    """Every sound file (or file of other `suffixes`; None: of any) below a folder, in no order. Hidden folders and the
    `._` files of macOS are left out; links to folders are followed, but no folder is entered twice: of several ways to
    it the first by name is taken. Raises OSError for a folder that may not be read."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise error

    seen = set()
    for at, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            fits = suffixes is None or os.path.splitext(name)[1].lower() in suffixes
            if fits and not name.startswith("._"):
                yield Path(at, name)


def preferred(paths: list[Path]) -> Path:
    """The one to read of several files of one recording: by format, then by name."""
    return min(paths, key=lambda path: (SUFFIXES.index(path.suffix.lower()), str(path)))


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """{name without the ending: file}."""
    found = defaultdict(list)
    for path in paths:
        found[path.stem].append(path)
    return {stem: preferred(alike) for stem, alike in found.items()}


def parse_youtube_stem(stem: str) -> tuple[str, str | None] | None:
    """(id, start as written or None) of a name `Y<id>`, `<id>`, `<id>_<start>` or `<id>_<start>_<end>`, with or
    without the 'Y'; None for another name."""
    match = _STEM.fullmatch(stem)
    return None if match is None else (match[1], match[2])


class YouTubeFiles:
    """The recordings below a folder by YouTube id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, list[tuple[str | None, Path]]] = defaultdict(list)
        for path in files_below(folder):
            parsed = parse_youtube_stem(path.stem)
            if parsed is not None:
                self._found[parsed[0]].append((parsed[1], path))

    def find(self, youtube_id: str, start: float | None = None, alone: bool = True) -> Path:
        """The file of a clip; one that is not there, if none is.

        start  seconds into the video. A file whose name says so (in seconds, or in milliseconds as AudioSet Strong
               does) is preferred; one whose name says another start is another clip. None: not known, but one of
               AudioSet's; a name with six digits and a leading zero is that of VGGSound's clip of the video.
        alone  whether this is the only clip of the video in question: if not, the name must say the start
        """
        found = self._found.get(youtube_id, [])
        if start is None:
            exact = [path for at, path in found if at is None]
            exact = exact or [path for at, path in found if at is not None and not _VGGSOUND.fullmatch(at)]
        else:
            # As names say it, to the millisecond: 1.001 s times 1000 is not 1001 in binary.
            ways = {round(1000 * start), round(1e6 * start)}
            exact = [path for at, path in found if at is not None and round(1000 * float(at)) in ways]
            if not exact and alone:
                exact = [path for at, path in found if at is None]
        return preferred(exact) if exact else self.folder / f"Y{youtube_id}.wav"

"""Which recording a label file means: by path, folder by folder."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from flam_train.data.labels.birdnet import NAMES
from flam_train.data.labels.recognise import SUFFIXES
from flam_train.data.labels.rows import fault
from flam_train.data.preparation.recordings import THROUGH_FFMPEG
from flam_train.settings import nearest

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64", *THROUGH_FFMPEG)
"""How the names of recordings end, in any case."""

_RAVEN = re.compile(r"(\.Table\.\d+)?\.selections\.(txt|csv|tsv)$", re.IGNORECASE)

Path_ = tuple[str, ...]
"""The folders and the name of a path."""


def without_suffix(name: str, suffixes: Sequence[str] = AUDIO) -> str:
    """A name without the suffix of an audio file; other dots stay, as in `Y00pbt6aJV8Y_350.000_360.000`."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in suffixes else name


def recording_of(label_file: str) -> str:
    """The name of the recording that a label file lies beside, without a suffix."""
    tool = next((end for end in NAMES if label_file.casefold().endswith(end.casefold())), "")
    if tool:
        return without_suffix(label_file[: -len(tool)])
    if _RAVEN.search(label_file):
        return without_suffix(_RAVEN.sub("", label_file))
    return without_suffix(without_suffix(label_file, SUFFIXES))


def parts_of(path: str) -> Path_:
    """The folders and the name of a path or `file:` address, of any system; letters that look alike are one (NFC)."""
    if re.match(r"(file|https?):", path, re.IGNORECASE):
        path = unquote(path.split(":", 1)[1])
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    return tuple(part for part in path.split("/") if part not in ("", ".", ".."))


class Names:
    """Finds recordings by what label files call them.

    A name and a recording's path belong together when one ends with the other, folder by folder: `x.wav`,
    `siteA/x.wav` and `/data/siteA/x.wav` all mean `siteA/x.wav`, and `siteB/x.wav` does not. The suffix may differ, or
    lack, where no recording has the same.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        self._parts = [parts_of(path) for path in paths]
        self._known: dict[str, list[int]] = defaultdict(list)
        for n, parts in enumerate(self._parts):
            self._known[without_suffix(parts[-1])].append(n)

    def called(self, name: str) -> list[str]:
        """The paths of recordings of this name, in any folder."""
        parts = parts_of(name)
        return [self._paths[n] for n in self._known.get(without_suffix(parts[-1]), [])] if parts else []

    def exactly(self, path: str) -> list[int]:
        """Recordings of this very path, but for the suffix: what lies beside a label file."""
        parts = parts_of(path)
        alike = self._known.get(without_suffix(parts[-1]), []) if parts else []
        return [n for n in alike if self._parts[n][:-1] == parts[:-1]]

    def find(
        self, name: str, file: str, row: int | None = None, unit: str = "row", beside: str | None = None
    ) -> int | None:
        """Its number, or None. A name that several recordings may bear is a ValueError.

        beside  the folder, below that of the recordings, in which the label file lies: of several, its own is meant
        """
        for parts in dict.fromkeys((parts_of(name), parts_of(name.strip()))):  # names may begin with a space
            found = self._belonging(parts)
            if len(found) > 1:
                found = self._likeliest(found, parts, None if beside is None else parts_of(beside))
            if len(found) > 1:
                listed = ", ".join(self._paths[n] for n in found[:3])
                raise fault(
                    file, f"{name!r} may be any of {len(found)} recordings ({listed}): give its path", row, unit
                )
            if found:
                return found[0]
        return None

    def _belonging(self, parts: Path_) -> list[int]:
        alike = self._known.get(without_suffix(parts[-1]), []) if parts else []
        folders = [n for n in alike if _one_ends_with_the_other(self._parts[n][:-1], parts[:-1])]
        return [n for n in folders if self._parts[n][-1] == parts[-1]] or folders

    def _likeliest(self, found: list[int], parts: Path_, beside: Path_ | None) -> list[int]:
        """The one beside the label file; else of this very path; else with which it shares the most folders."""
        if beside is not None:
            own = [n for n in found if self._parts[n][:-1] in ((*beside, *parts[:-1]), beside)]
            if len(own) == 1:
                return own
        same = [n for n in found if self._parts[n][:-1] == parts[:-1]]
        if len(same) == 1:
            return same
        shared = [min(len(self._parts[n]), len(parts)) for n in found]
        return [n for n, s in zip(found, shared, strict=True) if s == max(shared)]

    def nearest(self, name: str) -> str:
        """Words for a message: what a name that is not there may have meant."""
        parts = parts_of(name) or ("",)
        if parts[-1] in {own[-1] for own in self._parts}:  # the name is there, in other folders
            return nearest("/".join(parts), self._paths)
        return nearest(parts[-1], [own[-1] for own in self._parts])


def _one_ends_with_the_other(a: Iterable[str], b: Iterable[str]) -> bool:
    return all(x == y for x, y in zip(reversed(tuple(a)), reversed(tuple(b)), strict=False))

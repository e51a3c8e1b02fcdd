"""Which recording a label file means: by path, folder by folder."""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from flam_train.data.labels.birdnet import NAMES
from flam_train.data.labels.detected import OF_CHANNEL, TAGGED, tag_of
from flam_train.data.labels.locations import as_uploaded, path_of
from flam_train.data.labels.recognise import SUFFIXES
from flam_train.data.labels.rows import fault
from flam_train.data.sound import suffixes as sounds
from flam_train.settings import nearest

_RAVEN = re.compile(r"(\.Table\.\d+)?\.selections\.(txt|csv|tsv)$", re.IGNORECASE)

Path_ = tuple[str, ...]
"""The folders and the name of a path."""


def without_suffix(name: str, suffixes: Sequence[str] = sounds.SUFFIXES) -> str:
    """A name without the suffix of an audio file; other dots stay, as in `Y00pbt6aJV8Y_350.000_360.000`."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in suffixes else name


def recording_of(label_file: str) -> str:
    """The name of the recording that a label file lies beside, without a suffix."""
    return without_suffix(called_like(label_file))


def called_like(label_file: str) -> str:
    """The same with the suffix of the recording, if the label file's name has it: `a.wav.txt`."""
    tool = next((end for end in NAMES if label_file.casefold().endswith(end.casefold())), "")
    if tool:
        return label_file[: -len(tool)]
    return _RAVEN.sub("", label_file) if _RAVEN.search(label_file) else without_suffix(label_file, SUFFIXES)


def parts_of(path: str) -> Path_:
    """The folders and the name of a path or URL, of any system; letters that look alike are one (NFC)."""
    found = path_of(path)
    if found == path.strip().replace("\\", "/"):  # no URL: names may begin and end with spaces
        found = path.replace("\\", "/")
    path = unicodedata.normalize("NFC", found)
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
        self._folders = {parts[:-1] for parts in self._parts}
        # By name and last folder, since there may be thousands of one name.
        self._known: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._exact: dict[Path_, list[int]] = defaultdict(list)
        for n, parts in enumerate(self._parts):
            name = without_suffix(parts[-1])
            self._known[name][parts[-2] if len(parts) > 1 else ""].append(n)
            self._exact[(*parts[:-1], name)].append(n)

    def called(self, name: str) -> list[str]:
        """The paths of recordings of this name, in any folder."""
        parts = parts_of(name)
        return [self._paths[n] for found in self._named(parts).values() for n in found] if parts else []

    def exactly(self, path: str) -> list[int]:
        """Recordings of this very path, but for the suffix."""
        return self._at(parts_of(path))

    def meant_by(self, label_file: str) -> tuple[str, int | None]:
        """(path of the recording that a label file is called like, with its suffix if the file's name has it; the
        channel that it is of, None: of all): results of detection have tags and channels behind names (`detected`)."""
        called = self._untagged(called_like(label_file))
        channel = OF_CHANNEL.search(called)
        if channel is None or self._at(parts_of(called)):
            return called, None
        return self._untagged(called[: channel.start()]), int(channel[1])

    def _untagged(self, path: str) -> str:
        parts = path.split("/")
        tags = [TAGGED.search(part) for part in parts]
        return "/".join(self._tagged.get(tag[1], part) if tag else part for tag, part in zip(tags, parts, strict=True))

    @functools.cached_property
    def _tagged(self) -> dict[str, str]:
        """{tag: name of a recording or a folder of them}"""
        return {tag_of(part): part for path in self._paths for part in path.split("/")}

    def beside(self, label_file: str) -> list[int]:
        """Recordings that lie beside a label file that is called like them."""
        parts = parts_of(self.meant_by(label_file)[0])
        return self._same_suffix(self._at(parts), parts)

    def uploaded(self, name: str) -> int | None:
        """The only recording whose name this one may have become when it was uploaded to a server."""
        parts = parts_of(name)
        found = self._uploaded.get(without_suffix(parts[-1]), []) if len(parts) == 1 else []
        return found[0] if len(found) == 1 else None

    @functools.cached_property
    def _uploaded(self) -> dict[str, list[int]]:
        out: dict[str, list[int]] = defaultdict(list)
        for name, folders in self._known.items():
            out[as_uploaded(name)] += [n for found in folders.values() for n in found]
        return out

    def find(
        self, name: str, file: str, row: int | None = None, unit: str = "row", beside: str | None = None
    ) -> int | None:
        """Its number, or None. A name that several recordings may bear is a ValueError.

        beside  the folder, below that of the recordings, in which the label file lies: of several, its own is meant
        """
        if beside is not None and ".." in name.replace("\\", "/").split("/"):
            name = posixpath.normpath(f"{beside}/" + name.replace("\\", "/"))
            if not name.startswith(".."):  # it leads to one place among the recordings, and means no other
                beside, name = None, name if self.exactly(name) else ""
        own = None if beside is None else parts_of(beside)
        for parts in dict.fromkeys((parts_of(name), parts_of(name.strip()))):  # names may begin with a space
            found = self._beside(own, parts)
            if not found:
                found = self._belonging(parts)
                if own and len(parts) == 1 and own in self._folders:  # a label file among recordings is of those
                    found = [n for n in found if self._parts[n][: len(own)] == own]
            if len(found) > 1:
                listed = ", ".join(self._paths[n] for n in found[:3])
                what = f"{name!r} may be any of {len(found)} recordings ({listed}): give its path"
                raise fault(file, what, row, unit)
            if found:
                return found[0]
        return None

    def _named(self, parts: Path_) -> dict[str, list[int]]:
        return self._known.get(without_suffix(parts[-1]), {}) if parts else {}

    def _at(self, parts: Path_) -> list[int]:
        return self._exact.get((*parts[:-1], without_suffix(parts[-1])), []) if parts else []

    def _beside(self, own: Path_ | None, parts: Path_) -> list[int]:
        """Those that lie where the label file does, or where the name leads from there."""
        if own is None or not parts:
            return []
        found = self._at((*own, *parts))
        if not found and _one_ends_with_the_other(own, parts[:-1]):
            found = self._at((*own, parts[-1]))
        return self._same_suffix(found, parts)

    def _belonging(self, parts: Path_) -> list[int]:
        """All that it may mean: of several the one of this very path, else with which it shares the most folders."""
        by_folder = self._named(parts)
        if len(parts) > 1:
            by_folder = {folder: by_folder[folder] for folder in ("", parts[-2]) if folder in by_folder}
        found = [n for group in by_folder.values() for n in group]
        found = [n for n in found if _one_ends_with_the_other(self._parts[n][:-1], parts[:-1])]
        found = self._same_suffix(sorted(found), parts)
        same = [n for n in found if self._parts[n][:-1] == parts[:-1]]
        if len(found) < 2 or len(same) == 1:
            return same if len(same) == 1 else found
        shared = [min(len(self._parts[n]), len(parts)) for n in found]
        return [n for n, s in zip(found, shared, strict=True) if s == max(shared)]

    def _same_suffix(self, found: list[int], parts: Path_) -> list[int]:
        return [n for n in found if self._parts[n][-1] == parts[-1]] or found

    def nearest(self, name: str) -> str:
        """Words for a message: what a name that is not there may have meant."""
        parts = parts_of(name) or ("",)
        elsewhere = self.called(name)
        if elsewhere:  # the name is there, in other folders
            return nearest("/".join(parts), elsewhere)
        return nearest(parts[-1], [own[-1] for own in self._parts])


def _one_ends_with_the_other(a: Sequence[str], b: Sequence[str]) -> bool:
    return all(x == y for x, y in zip(reversed(a), reversed(b), strict=False))

"""Which recordings are meant by files, folders, globs and lists, and where the results of each lie.

Names may be of any bytes: what is no UTF-8 stands in them as Python's surrogates.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from flam_train.data.labels.detected import CLIPS, EVENTS, TAGGED, tag_of
from flam_train.data.preparation.audio_folders import files_below
from flam_train.data.sound.suffixes import SUFFIXES

ELSEWHERE = "elsewhere"
"""The folder of a result folder for what does not lie beside it."""

MOST_BYTES = 180
"""Of a name in a result folder: behind it stand an ending, and what a draft is called by. File systems take 255."""

_OWN = {CLIPS, ELSEWHERE, EVENTS, "hours", "silent", "summary", "settings"}
"""What recordings, or folders of them, may not be called there: an ending would make it another file's name."""

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Recording:
    """path: as it was given, or below the folder that was given. place: below the result folder, with `/`; an ending
    makes the name of a result of it. name: what tables call it (`Places`)."""

    path: Path
    place: str
    name: str


def recordings_of(
    arguments: Sequence[str],
    out: Path | str | None = None,
    stdin: BinaryIO | None = None,
    relative_to: Path | str | None = None,
) -> list[Recording]:
    """What the arguments mean, in their order, within folders by name; a file that comes twice is taken once.

    arguments  files; folders, whose sound files (`suffixes.SUFFIXES`) are looked for at any depth, without hidden
               folders and macOS' `._` files, no folder twice; globs (`**` for any depth) that the shell left;
               `@LIST`, a text file with a file or folder a line, relative to the list, blank lines and lines that begin
               with # left out; `-`, the same on standard input, relative to the working folder. Where these hold zero
               bytes, as of `find -print0`, they and not lines end a path
    out        the result folder: what lies in it is not looked at again, unless the argument itself lies in it
    stdin      instead of the process's own
    Each has its own place and name, of its path, `out` and `relative_to` alone (`Places`).
    Raises ValueError that names the argument and the fix: nothing there, a glob without match, a folder or a list
    without recordings, standard input that is closed, no folder `relative_to`.
    """
    places, found, seen = Places(out, relative_to), [], set()
    if not arguments:
        raise ValueError("no recording: give files, folders, globs, @LIST or -")
    for path in _paths(arguments, None if out is None else Path(out), stdin):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            found.append(Recording(path, places.of(path), places.name_of(path)))
    if not found:
        raise ValueError(f"nothing but what --out {out} holds: give the recordings themselves, or another --out")
    taken: dict[str, Path] = {}
    for recording in found:
        other = taken.setdefault(_folded(recording.place), recording.path)
        if other != recording.path:
            raise ValueError(f"{recording.path} and {other} would share their results: give them another --out each")
    return found


def part_of(recordings: Sequence[Recording], part: tuple[int, int]) -> list[Recording]:
    """Those of the I-th of N parts (I from 1): every N-th by place, whatever order they were given in."""
    number, count = part
    if not 1 <= number <= count:
        raise ValueError(f"part {number}/{count}: give I/N with I from 1 to N, like 3/8")
    return sorted(recordings, key=lambda r: os.fsencode(r.place))[number - 1 :: count]


def decoded(text: str) -> str:
    """What a locale without UTF-8 left undecoded of an argument or a name, in UTF-8 where it is that."""
    try:
        return text if text.isprintable() else os.fsencode(text).decode()
    except UnicodeError:
        return text


class Places:
    """Where results lie: as their recordings lie below a folder, `relative_to`, or else the one that holds the result
    folder; the others by their whole path below ELSEWHERE. Recordings are called by their path from that folder, too,
    the others by their whole one.

    A place depends on the file, that folder, and the names beside the file: not on what else is given, nor on where
    the process was started. No two files share one, on disks that do not tell `a.wav` from `A.WAV` neither: of such
    names side by side all but the small one get a tag (~ and a hash), as do names that are too long for an ending,
    hold control characters or bytes that are no text, or are the result folder's own.
    """

    def __init__(self, out: Path | str | None = None, relative_to: Path | str | None = None) -> None:
        if relative_to is not None and not os.path.isdir(relative_to):
            raise ValueError(f"--relative-to {relative_to}: no such folder: give one that holds recordings")
        base = os.path.dirname(os.path.abspath(out)) if out is not None else os.getcwd()
        self._base = base if relative_to is None else os.path.abspath(relative_to)
        self._alike: dict[str, Counter[str]] = {}

    def of(self, path: Path | str) -> str:
        rest = self.name_of(path)
        inside = not rest.startswith("/")
        folder, rest = self._base if inside else "/", rest.lstrip("/")
        names = []
        for number, name in enumerate(rest.split("/")):
            own = inside and number == 0 and _folded(name) in _OWN
            names.append(_safe(name, own or self._is_double(folder, name)))
            folder = os.path.join(folder, name)
        return "/".join(names if inside else [ELSEWHERE, *names])

    def name_of(self, path: Path | str) -> str:
        return os.path.abspath(path).removeprefix(self._base.rstrip("/") + "/")

    def _is_double(self, folder: str, name: str) -> bool:
        """Whether it stands beside others that differ in case or accents' form alone, and is not the small one."""
        if folder not in self._alike:
            try:
                self._alike[folder] = Counter(map(_folded, os.listdir(folder)))
            except PermissionError:  # one may pass through it, and not list it
                self._alike[folder] = Counter()
        folded = _folded(name)
        return name != folded and self._alike[folder][folded] > 1


def _safe(name: str, tag: bool) -> str:
    """The name, or what can be shown of it with a tag: of different names different ones."""
    shown = "".join("_" if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
    if not tag and shown == name and len(os.fsencode(name)) <= MOST_BYTES and not TAGGED.search(name):
        return name
    short = shown.encode()[: MOST_BYTES - 9].decode(errors="ignore")
    return f"{short}~{tag_of(name)}"


def _folded(name: str) -> str:
    """As disks see it that know neither case nor how an accent is written."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _paths(arguments: Iterable[str], out: Path | None, stdin: BinaryIO | None) -> Iterator[Path]:
    own = _Own(out)
    several = len(set(arguments)) > 1
    for argument in arguments:
        if not argument:
            raise ValueError("a recording's name is empty: give a path (is a variable unset?)")
        if argument == "-":
            lines, what, base = _from(_stdin(stdin)), "standard input", Path()
        elif argument.startswith("@"):
            path = Path(argument[1:])
            if not os.path.isfile(path):
                raise ValueError(f"{argument}: no such list: give the path of a text file, or ./{argument} for a file")
            lines, what, base = _from(path.read_bytes()), str(path), path.parent
        else:
            yield from _given(argument, own, several)
            continue
        if not lines:
            raise ValueError(f"{what}: holds no path: write one a line")
        for number, line in lines:
            path = base / line
            if not os.path.exists(path):
                raise ValueError(f"{what}, line {number}: {path} is not there: mend the line, or remove it")
            yield from _there(path, own, several or len(lines) > 1)


def _from(data: bytes) -> list[tuple[int, str]]:
    """(number, path) of the lines that have one."""
    if b"\0" in data:
        return [(n, os.fsdecode(path)) for n, path in enumerate(data.split(b"\0"), 1) if path]
    lines = [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    return [(n, os.fsdecode(p)) for n, p in enumerate(lines, 1) if p.strip() and not p.startswith(b"#")]


def _stdin(stdin: BinaryIO | None) -> bytes:
    if stdin is None:
        if sys.stdin is None:  # what Python makes of a descriptor that is closed
            raise ValueError("-: standard input is closed: pipe paths into it, or give them as arguments")
        stdin = sys.stdin.buffer
    try:
        return stdin.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"-: standard input cannot be read ({error}): pipe paths into it") from error


def _given(argument: str, own: _Own, several: bool) -> Iterator[Path]:
    """The files of an argument that is a file, a folder, or a glob."""
    wild = _WILD.search(argument)
    if os.path.lexists(argument) or wild is None:
        yield from _there(Path(argument), own, several)
        return
    fixed = os.path.dirname(argument[: wild.start()])
    root = Path(fixed or ".")
    matched = _matched(argument, root, argument[len(fixed) :])
    if not matched:
        raise ValueError(f"{argument}: matches nothing: mend the pattern, or give a folder")
    sounds = [path for path in matched if _is_sound(path) and not own.has(path, root)]
    if not sounds:
        raise ValueError(
            f"{argument}: matches nothing that is called like a recording{own.but}: mend the pattern, or name files "
            "one by one, whatever they are called"
        )
    yield from sounds


def _matched(pattern: str, root: Path, below: str) -> list[Path]:
    """The files that match, and those below folders that do. below: the pattern's part below `root`."""
    parts = [part for part in below.split("/") if part]
    if "**" in parts:  # Python's own follows links around and around
        return [file for file in _sorted(root, None) if _matches(file.relative_to(root).parts, parts)]
    paths = [Path(path) for path in sorted(glob.glob(pattern), key=os.fsencode)]
    return [file for path in paths for file in (_sorted(path, None) if path.is_dir() else [path])]


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a path, or a folder above it, is one that a glob means, part for part. Wildcards mean no hidden names."""
    if not parts:
        return True
    if parts[0] == "**":
        return any(_matches(names[n:], parts[1:]) for n in range(len(names)))
    return (
        bool(names)
        and fnmatch.fnmatchcase(names[0], parts[0])
        and (not names[0].startswith(".") or parts[0].startswith("."))
        and _matches(names[1:], parts[1:])
    )


def _there(path: Path, own: _Own, several: bool) -> Iterator[Path]:
    """The file, or the files below a folder."""
    if os.path.isfile(path):
        if not own.has_clip(path):
            yield path
        return
    if not os.path.isdir(path):
        raise ValueError(f"{path}: is not there, or no file: mend the path")
    if own.is_out(path):
        if several:  # a shell's `*` names it beside the recordings
            return
        raise ValueError(f"{path}: is the folder of results, too: give another --out, like {path / 'detected'}")
    sounds = [file for file in _sorted(path) if not own.has(file, path)]
    if not sounds:
        some = ", ".join(SUFFIXES[:5])
        raise ValueError(f"{path}: holds no recording ({some} ...){own.but}: give a folder that does, or files")
    yield from sounds


def _sorted(folder: Path, suffixes: Sequence[str] | None = SUFFIXES) -> list[Path]:
    return sorted(files_below(folder, suffixes), key=os.fsencode)


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


class _Own:
    """What the result folder holds."""

    def __init__(self, out: Path | None) -> None:
        self._out = None if out is None else os.path.realpath(out)
        self.but = "" if out is None else f" but those in --out {out}"

    def is_out(self, folder: Path) -> bool:
        return os.path.realpath(folder) == self._out

    def has(self, path: Path, root: Path) -> bool:
        """Whether a file that was found below `root` is a result: it lies in the result folder, and `root` does not."""
        if self._out is None:
            return False
        return self.has_clip(path) or (_below(path, self._out) and not _below(root, self._out))

    def has_clip(self, path: Path) -> bool:
        return self._out is not None and _below(path, os.path.join(self._out, CLIPS))


def _below(path: Path, folder: str) -> bool:
    """Whether it lies in the folder, or is it; links to folders are followed, one that is the file itself is not."""
    real = os.path.join(os.path.realpath(path.parent), path.name) if path.is_file() else os.path.realpath(path)
    return real == folder or real.startswith(folder.rstrip("/") + "/")

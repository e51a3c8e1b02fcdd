"""Label files matched with the recordings they speak of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flam_train.data.labels import captions as caption_tables
from flam_train.data.labels.attached import Attached, Labelled
from flam_train.data.labels.detected import is_of_all, is_of_clips
from flam_train.data.labels.giving import Giving, speaks_of_itself
from flam_train.data.labels.matching import Names, called_like, without_suffix
from flam_train.data.labels.recognise import FORMATS, SUFFIXES, Recognised, parse, recognise
from flam_train.data.labels.rows import Labels, Wanted, fault
from flam_train.data.labels.unread import look
from flam_train.data.preparation import audio_folders
from flam_train.data.sound import suffixes as sounds


def find_audio(folder: Path) -> list[Path]:
    """All recordings below a folder, hidden files left out. ValueError if there is none."""
    found = sorted(p for p in files_below(folder) if p.suffix.lower() in sounds.SUFFIXES)
    if not found:
        raise ValueError(f"{folder}: no recordings ({', '.join(sounds.SUFFIXES[:8])}, ...): check the folder")
    for path in (folder.absolute(), *found):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            raise ValueError(f"{name}: its name is not UTF-8: rename it (convmv does so for whole folders)") from error
    return found


def files_below(folder: Path) -> Iterable[Path]:
    """Files below a folder, none that is hidden or lies in a hidden folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder: check the path")
    return (p for p in audio_folders.files_below(folder, None) if p.is_file() and not p.name.startswith("."))


def attach(
    folder: Path,
    labels: Path | None = None,
    wanted: Wanted | None = None,
    format: str | None = None,
    captions: Path | None = None,
    others: Sequence[Path] = (),
) -> Attached:
    """All recordings of a folder with their labels: of label files called like the recordings and beside them, or in
    the folder or file `labels`; and the captions of a table. `others` are files that hold something else.

    ValueError that names file, row and fix: also for a recording that is named and not there.
    """
    wanted = wanted or Wanted()
    recordings = [Labelled(p, p.relative_to(folder).as_posix()) for p in find_audio(folder)]
    names = Names([r.name for r in recordings])
    out = Attached(recordings)
    giving = Giving(out, names, beside=labels is None)
    used: dict[int, tuple[str, str]] = {}
    passed = {path.resolve() for path in (captions, *others) if path is not None}
    files, rest = _label_files(folder, labels, format, names, passed)
    for path in files:
        file = path.relative_to(_base(folder, labels)).as_posix()
        data = path.read_bytes()
        meant, channel = names.meant_by(file)
        called = without_suffix(meant)
        of_all = is_of_all(path, called_like(path.name))
        if labels is not None and labels.is_dir() and (of_all or (is_of_clips(path) and path.parent != labels)):
            out.passed.append(file)  # it says again what others say, or speaks of pieces
            continue
        if labels is not None and labels.is_dir() and format is None and not names.called(called):
            try:  # a folder of label files may hold other things
                recognise(data, str(path), wanted)
            except ValueError:
                out.passed.append(file)
                continue
        read, found = parse(data, str(path), wanted, format)
        if channel is not None:
            read = replace(read, rows=[row._replace(channel=channel) for row in read.rows])
        if of_all and speaks_of_itself(read) and not read.of:
            raise fault(
                str(path),
                "holds events of several recordings, one after the other, and does not say whose: give the folder that "
                f"holds those of each, --labels {path.parent}",
            )
        out.note(file, str(path), read, found)
        own = _own(meant, file, str(path), read, names, labels is None)
        if speaks_of_itself(read):
            if own is None:
                raise fault(
                    str(path),
                    f"names no recordings and none is called {called!r} ({names.nearest(called)}): rename it, name "
                    "the column with file names, --columns filename=NAME, or remove it",
                )
            other, kind = used.setdefault(own, (file, found.format))
            if kind != found.format:  # of one format they are parts, and what is in both counts once
                raise fault(
                    str(path),
                    f"{recordings[own].name} has labels in {other} too, as {kind}: choose with --format, or remove one",
                )
        giving.give(read, str(path), own, _inside(path, folder, labels), called)
    for path in rest:
        here = names.exactly(names.meant_by(path.relative_to(folder).as_posix())[0])
        found_unread = look(path, path.relative_to(folder).as_posix(), wanted, names)
        if found_unread is not None and not (here and all(recordings[n].spoken for n in here)):
            like = names.nearest(names.meant_by(found_unread.file)[0])
            like = like if like.startswith("did you mean") else ""  # not all that there are
            out.unread.append(replace(found_unread, like=like))
    if captions is not None:
        read = caption_tables.parse(_bytes(captions), str(captions), wanted)
        out.note(captions.name, str(captions), read, Recognised("captions", "--captions says so"))
        giving.give(read, str(captions), None, _inside(captions, folder, None))
    giving.conclude()
    return out


def _base(folder: Path, labels: Path | None) -> Path:
    """Below which the paths of label files are those of recordings."""
    if labels is None:
        return folder
    return labels if labels.is_dir() else labels.parent


def _inside(path: Path, folder: Path, labels: Path | None) -> str | None:
    """The folder of a label file as one of the recordings' folders, if it may be one."""
    for base in (folder, labels):
        if base is not None and base.is_dir() and path.is_relative_to(base):
            return path.parent.relative_to(base).as_posix()
    return None


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: no such file: check the path")
    return path.read_bytes()


def _label_files(
    folder: Path, labels: Path | None, format: str | None, names: Names, passed: set[Path]
) -> tuple[list[Path], list[Path]]:
    """The label files, sorted; beside recordings those that are called like one, and all others."""
    if labels is not None and not labels.is_dir():
        _bytes(labels)
        return [labels], []
    suffixes = FORMATS[format].suffixes if format else SUFFIXES
    found = sorted(p for p in files_below(labels or folder) if p.suffix.lower() in SUFFIXES)
    found = [p for p in found if p.resolve() not in passed]
    if labels is not None:
        found = [p for p in found if p.suffix.lower() in suffixes]
        if not found:
            raise ValueError(f"{labels}: no label files ({', '.join(suffixes)}): check the folder")
        return found, []
    called = [p for p in found if names.exactly(names.meant_by(p.relative_to(folder).as_posix())[0])]
    beside = [p for p in called if p.suffix.lower() in suffixes]
    if not beside and not passed:
        raise ValueError(
            f"{folder}: no label file is called like a recording ({', '.join(suffixes)}): {_hint(folder, found, names)}"
        )
    return beside, [p for p in found if p not in set(beside)]


def _hint(folder: Path, found: list[Path], names: Names) -> str:
    """What to do about label files that are not called like recordings."""
    for path in found:
        other = look(path, path.name, Wanted(), names)
        if other is not None and other.recordings:
            return f"give a table with --labels, like {path}"
    for path in found:
        elsewhere = names.called(names.meant_by(path.name)[0])
        if elsewhere:
            return (
                f"{path} may be of {elsewhere[0]}, in another folder: put it beside, or give the folder of label "
                "files with --labels"
            )
    some = f"call {found[0].relative_to(folder)} like its recording, " if found else ""
    return f"{some}or give them with --labels".removeprefix("or " if not some else "")


def _own(called: str, file: str, where: str, read: Labels, names: Names, beside: bool) -> int | None:
    """The recording that a label file as a whole is about: the one it is called like; one that lies elsewhere may link
    to it."""
    exact = names.beside(file)
    if beside:
        return names.find(called, where) if len(exact) > 1 else exact[0] if exact else None
    if not speaks_of_itself(read):
        return None
    for url in read.of:
        if (n := names.find(url, where)) is not None:
            return n
    if len(exact) == 1:
        return exact[0]
    if not read.of:
        return names.find(called, where)
    alike = names.called(called)
    if alike:
        raise fault(
            where,
            f"links to {read.of[0]!r}, which is not in the folder, and is called like {alike[0]}: mend the link, or "
            "put it beside its recording",
        )
    return None

"""Label files matched with the recordings they speak of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flam_train.data.labels import captions as caption_tables
from flam_train.data.labels.attached import Attached, Labelled
from flam_train.data.labels.giving import Giving, speaks_of_itself
from flam_train.data.labels.matching import AUDIO, Names, recording_of, without_suffix
from flam_train.data.labels.recognise import FORMATS, SUFFIXES, Recognised, parse
from flam_train.data.labels.rows import Caption, Labels, Named, Row, Wanted, fault


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


def attach(
    folder: Path,
    labels: Path | None = None,
    wanted: Wanted | None = None,
    format: str | None = None,
    captions: Path | None = None,
) -> Attached:
    """All recordings of a folder with their labels: of label files called like the recordings and beside them, or in
    the folder or file `labels`; and the captions of a table.

    ValueError that names file, row and fix: also for a recording that is named and not there.
    """
    wanted = wanted or Wanted()
    recordings = [Labelled(p, p.relative_to(folder).as_posix()) for p in find_audio(folder)]
    names = Names([r.name for r in recordings])
    out = Attached(recordings)
    giving = Giving(out, names)
    used: dict[int, str] = {}
    beside, others = _label_files(folder, labels, format, names, captions)
    for path in beside:
        base = labels if labels is not None and labels.is_dir() else path.parent if labels is not None else folder
        file = path.relative_to(base).as_posix()
        read, found = parse(path.read_bytes(), str(path), wanted, format)
        out.note(file, str(path), read, found)
        own = _own(file, str(path), read, names, labels is None)
        if speaks_of_itself(read):
            if own is None:
                raise fault(
                    str(path),
                    f"names no recordings and none is called {without_suffix(path.name, SUFFIXES)!r} "
                    f"({names.nearest(path.name)}): rename it, add a column with file names, or remove it",
                )
            if own in used:
                raise fault(
                    str(path),
                    f"{recordings[own].name} has labels in {used[own]} too: choose with --format, or --labels",
                )
            used[own] = file
        inside = path.parent.relative_to(folder).as_posix() if path.is_relative_to(folder) else None
        giving.give(read, str(path), own, inside)
    for path in others:
        spoken = _spoken_in(path, wanted, format, names)
        if spoken is not None:
            out.unmatched[path.relative_to(folder).as_posix()] = len(spoken)
    if captions is not None:
        read = caption_tables.parse(_bytes(captions), str(captions), wanted)
        out.note(captions.name, str(captions), read, Recognised("captions", "--captions says so"))
        inside = captions.parent.relative_to(folder).as_posix() if captions.is_relative_to(folder) else None
        giving.give(read, str(captions), None, inside)
    giving.conclude()
    return out


def spoken_elsewhere(found: Attached, folder: Path, labels: Path, wanted: Wanted) -> dict[str, list[str]]:
    """{label file: recordings it speaks of} of label files beside the one that was given, of recordings that the given
    one does not mention: those of another split, say. They are no negatives."""
    names = Names([r.name for r in found.recordings])
    out: dict[str, list[str]] = {}
    for path in sorted(p for p in labels.parent.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES):
        if path.resolve() == labels.resolve() or path.name.startswith("."):
            continue
        spoken = _spoken_in(path, wanted, None, names, called=True)
        silent = [found.recordings[n].name for n in sorted(spoken or ()) if not found.recordings[n].spoken]
        if silent:
            out[path.name] = silent
    return out


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: no such file: check the path")
    return path.read_bytes()


def _label_files(
    folder: Path, labels: Path | None, format: str | None, names: Names, captions: Path | None
) -> tuple[list[Path], list[Path]]:
    """The label files, sorted; beside recordings those that are called like one, and those that are not."""
    if labels is not None and not labels.is_dir():
        _bytes(labels)
        return [labels], []
    suffixes = FORMATS[format].suffixes if format else SUFFIXES
    found = sorted(p for p in files_below(labels or folder) if p.suffix.lower() in suffixes)
    if captions is not None:
        found = [p for p in found if p.resolve() != captions.resolve()]
    if labels is not None:
        if not found:
            raise ValueError(f"{labels}: no label files ({', '.join(suffixes)}): check the folder")
        return found, []
    called = {p: bool(names.exactly(recording_of(p.relative_to(folder).as_posix()))) for p in found}
    beside = [p for p in found if called[p]]
    if not beside and captions is None:
        elsewhere = next((p for p in found if names.called(recording_of(p.name))), None)
        hint = f"give a table with --labels, like {found[0]}" if found else "give them with --labels"
        if elsewhere is not None:
            other = names.called(recording_of(elsewhere.name))[0]
            hint = f"{elsewhere} may be of {other}, in another folder: put it beside, or give label files with --labels"
        raise ValueError(f"{folder}: no label file is called like a recording ({', '.join(suffixes)}): {hint}")
    return beside, [p for p in found if not called[p]]


def _own(file: str, where: str, read: Labels, names: Names, beside: bool) -> int | None:
    """The recording that a label file as a whole is about: the one it is called like, or else one that it links to."""
    called = recording_of(file)
    if beside:
        found = names.exactly(called)
        if len(found) > 1:
            return names.find(called, where)  # a.wav and a.flac: told as a fault, with both
        return found[0] if found else None
    own = names.find(called, where)
    return own if own is not None else next((n for url in read.of if (n := names.find(url, where)) is not None), None)


def _spoken_in(path: Path, wanted: Wanted, format: str | None, names: Names, called: bool = False) -> set[int] | None:
    """The recordings that a file names, and with `called` the one it is called like; None: it holds no labels."""
    try:
        read, _ = parse(path.read_bytes(), str(path), wanted, format)
    except ValueError:
        return None
    every: list[Row | Named | Caption] = [*read.rows, *read.without, *read.captions]
    if not every:
        return None
    named = {r.recording for r in every if r.recording is not None} | set(read.of)
    found = set()
    for name in named | ({recording_of(path.name)} if called and speaks_of_itself(read) else set()):
        try:
            found.add(names.find(name, str(path)))
        except ValueError:  # of several recordings: it speaks of one of them, and nobody knows which
            continue
    return {n for n in found if n is not None}

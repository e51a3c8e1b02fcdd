"""Files half written that killed processes have left in a result folder: removed when nobody writes there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from flam_train.data.labels.detected import CLIPS, DONE, EVENTS, HOURS, SETTINGS, SILENT, SUMMARY, TAGGED
from flam_train.data.sound.reading import NO_LOCKS
from flam_train.data.sound.suffixes import SUFFIXES
from flam_train.detection.recordings import Recording
from flam_train.disk import PROBES, locked

WRITING = ".lock-writing"
"""Held, shared, by each process that writes results: whoever has it alone knows that all drafts are of dead ones."""

_DRAFT = re.compile(r"\.(.+)\.[0-9]{1,7}")
"""Of a file: its name and a process."""

_OF_ALL = re.compile("|".join(map(re.escape, (HOURS, SETTINGS, SILENT, SUMMARY))) + rf"|{EVENTS}\..+")
_OF_A_RECORDING = re.compile(rf"(?i:.+({'|'.join(map(re.escape, SUFFIXES))})|.+{TAGGED.pattern[:-1]})\..+")
_PROBE = re.compile(rf"{re.escape(PROBES)}[a-z0-9_]{{8}}")
_CLIPS = re.compile(rf"\.{CLIPS}-[a-z0-9_]{{8}}")
_OLDER_CLIPS = re.compile(rf"\.{CLIPS}-old-[a-z0-9_]{{8}}")
"""As `disk.replacing` calls them."""


@contextmanager
def writing(folder: Path, recordings: Sequence[Recording] = ()) -> Iterator[None]:
    """While this process writes in a result folder. Drafts that are there go before, if no other process writes there.

    recordings: whose drafts are known by their names, too, besides those of what is called like a sound file
    Where the file system has no locks nobody knows who writes: drafts stay.
    """
    with ExitStack() as stack:
        try:
            with locked(folder / WRITING, wait=False) as alone:
                if alone:
                    _remove_drafts(folder, {recording.place.rpartition("/")[2] for recording in recordings})
            stack.enter_context(locked(folder / WRITING, shared=True))
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def _remove_drafts(folder: Path, names: set[str]) -> None:
    for place, folders, files in os.walk(folder):
        top = place == str(folder)
        if top:
            for name in filter(_CLIPS.fullmatch, folders):
                shutil.rmtree(folder / name)
            for name in filter(_OLDER_CLIPS.fullmatch, folders):
                _put_back(folder / name, folder / CLIPS)
        folders[:] = [name for name in folders if not name.startswith(".") or (top and name == DONE)]
        for name in files:
            draft = _DRAFT.fullmatch(name)
            if (top and _PROBE.fullmatch(name)) or (draft and _is_own(draft[1], top, names)):
                os.unlink(os.path.join(place, name))


def _put_back(older: Path, clips: Path) -> None:
    """The clips that were about to be replaced, if the new ones are not there; else they stay where they are, for files
    of others may be among them."""
    if not clips.exists() and (older / clips.name).exists():
        os.replace(older / clips.name, clips)
    with suppress(OSError):
        older.rmdir()


def _is_own(result: str, top: bool, names: set[str]) -> bool:
    """Whether it is what a result is called."""
    if (top and _OF_ALL.fullmatch(result)) or _OF_A_RECORDING.fullmatch(result):
        return True
    parts = result.split(".")
    return any(".".join(parts[:n]) in names for n in range(1, len(parts)))

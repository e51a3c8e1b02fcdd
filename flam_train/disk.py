"""Disks: whether there is room to write, asked before the work begins, and what is told where there was none."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, or of a user's share of it, without room."""

PROBE = 1 << 20
"""Bytes that there must be room for."""

PROBES = ".flam-"
"""How files of so many begin, which are there for a moment."""


@contextmanager
def locked(path: Path, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Holds a lock among processes and threads; the system frees it when its holder dies. False: another holds it.

    shared: others may hold it too, if they share it as well."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def check_writable(folder: Path, option: str) -> None:
    """ValueError that names `option`, what the folder was given by, unless files can be written in it.

    A folder that is not there yet is not made: what is tried is the nearest one above it. Nothing is left behind.
    """
    try:
        there = existing(folder)
        if not there.is_dir():
            raise ValueError(f"{option} {folder}: {there} is a file: name a folder, or move that file away")
        descriptor, name = tempfile.mkstemp(prefix=PROBES, dir=there)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                if file.write(bytes(PROBE)) < PROBE:  # the next byte would find no room
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
        finally:
            Path(name).unlink(missing_ok=True)  # another process may have taken it for one of a dead one
    except OSError as error:
        fix = "make room there" if error.errno in FULL else "make it writable"
        raise ValueError(
            f"{option} {folder}: cannot be written to ({error.strerror}): {fix}, or name another"
        ) from error


@contextmanager
def replacing(folder: Path, what: str, own: Sequence[str]) -> Iterator[Path]:
    """A draft that becomes `folder`, whole or not at all, at the end of the block; what was there before goes then.

    own: names of what such a folder has, `what` it is. A folder that is there must be empty or have the first of them,
    else ValueError; whatever else lies in it stays.
    """
    there = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if there and not (folder / own[0]).exists():
        raise ValueError(f"{folder}: is there, and is no {what} ({own[0]} is missing): name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(draft, 0o755)
        yield draft
        for path in draft.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            os.replace(folder, old / folder.name)
            os.replace(draft, folder)
            for path in (old / folder.name).iterdir():
                if path.name not in own and not (folder / path.name).exists():
                    os.replace(path, folder / path.name)
            shutil.rmtree(old)
        else:
            os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextmanager
def naming(path: Path, draft: Path) -> Iterator[None]:
    """What the disk says while `path` is written, to its `draft` at first, becomes an OSError that names it."""
    try:
        yield
    except ValueError:  # a fault of what is to be written, told already
        raise
    except Exception as error:
        said = said_by_disk(error)
        if said is None or said.filename not in (None, str(draft)):
            raise
        raise OSError(said.errno or errno.EIO, said.strerror or str(said), str(path)) from error


def said_by_disk(error: BaseException | None) -> OSError | None:
    """The OSError behind an error, None where there is none: torch's writer ends with an error of its own, safetensors
    quotes the number, and NumPy's has no number."""
    while error is not None and not isinstance(error, OSError):
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__context__
    return error

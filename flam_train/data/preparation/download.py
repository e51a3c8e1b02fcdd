"""Fetching the published files of a corpus: resumable, checked against the published checksums, unpacked once."""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from flam_train.data.preparation import published
from flam_train.data.preparation.published import Archive, checksum_of, is_final, stated
from flam_train.data.shards.tars import replace_with

SEVEN_ZIP = ("7zz", "7z", "7za")

LOCK = ".download.lock"

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR}
"""Errors of the disk, not of the connection: trying again does not help."""

Progress = Callable[[str, int, int], None]
"""Called with (what is done with which file, bytes so far, bytes in all or 0)."""


def download(archives: Sequence[Archive], folder: Path, show: Progress = lambda name, done, total: None) -> None:
    """Brings all archives into `folder` and unpacks them there.

    What was brought, checked and unpacked has a mark beside it, `.NAME.done`, and is left alone; of several runs at
    once one works and the others wait. A run that was stopped goes on at the byte it had reached. Raises ValueError
    that names the address and the fix.
    """
    for archive in archives:
        name = PurePosixPath(archive.name)
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise ValueError(f"{archive.url}: its name {archive.name!r} leads out of the folder: it is not fetched")
    if any(archive.unpack == "7-zip" for archive in archives):
        seven_zip()  # asked for before hours of downloading
    with _alone(folder, show):
        for archive in archives:
            path = folder / PurePosixPath(archive.name)
            mark = path.with_name(f".{path.name}.done")
            if _is_done(archive, path, mark):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            checksum = archive.checksum or stated(archive.url)
            if path.is_file():
                show(f"checking {archive.name}", 0, 0)
            if not (path.is_file() and checksum_of(path, checksum) == checksum):
                _bring(replace(archive, checksum=checksum), path, show)
            if archive.unpack is not None:
                show(f"unpacking {archive.name}", 0, 0)
                (_unpack_through_7_zip if archive.unpack == "7-zip" else _unpack)(path, path.parent)
            text = f"{checksum} {path.stat().st_size}"
            replace_with(mark, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]


@contextmanager
def _alone(folder: Path, show: Progress) -> Iterator[None]:
    """While one process of many fetches into the folder. The lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show("waiting for another download into this folder", 0, 0)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_done(archive: Archive, path: Path, mark: Path) -> bool:
    """An archive may be deleted once it is unpacked; what is used as it is must be there."""
    if not mark.is_file():
        return False
    checksum, _, size = mark.read_text().partition(" ")
    there = archive.unpack is not None or (path.is_file() and str(path.stat().st_size) == size)
    return there and archive.checksum in (None, checksum)


def _bring(archive: Archive, path: Path, show: Progress) -> None:
    draft = path.with_name(f"{path.name}.part")
    stuck = 0
    while True:
        have = draft.stat().st_size if draft.is_file() else 0
        try:
            complete = _continue(archive, draft, have, show)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in DISK:
                raise ValueError(
                    f"{draft}: cannot be written ({error.strerror}): make room or mend it, and run again"
                ) from error
            if is_final(error):
                raise ValueError(
                    f"{archive.url}: answered {error.code} {error.reason}: download {archive.name} by hand into "  # type: ignore[union-attr]
                    f"{path.parent}"
                ) from error
            complete, why = False, str(error) or repr(error)
        else:
            why = "the connection ended early"
        if complete:
            break
        stuck = 0 if draft.is_file() and draft.stat().st_size > have else stuck + 1
        if stuck == published.TRIES:
            raise ValueError(
                f"{archive.url}: {published.TRIES} attempts brought nothing ({why}): run it again later, it goes on at "
                f"{have:,} bytes, or download {archive.name} by hand into {path.parent}"
            )
        time.sleep(published.PAUSE)
    show(f"checking {archive.name}", 0, 0)
    found = checksum_of(draft, archive.checksum or "")
    if found != archive.checksum:
        draft.unlink()
        raise ValueError(
            f"{archive.url}: its checksum is {found}, published is {archive.checksum}: damaged on the way or changed "
            f"there; run it again, or download {archive.name} by hand into {path.parent}"
        )
    os.replace(draft, path)


def _continue(archive: Archive, draft: Path, have: int, show: Progress) -> bool:
    """Fetches from byte `have` on; whether the file is complete."""
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=published.TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left behind byte `have`
            return True
        raise
    with answer:
        resumed = answer.status == 206
        length = int(answer.headers.get("Content-Length") or 0)
        done = have if resumed else 0  # a server that knows no ranges begins anew
        total = done + length if length else 0
        with draft.open("ab" if resumed else "wb") as file:
            while block := answer.read(published.BLOCK):
                file.write(block)
                done += len(block)
                show(archive.name, done, total)
            file.flush()
            os.fsync(file.fileno())
    return not total or done == total


def _unpack(path: Path, folder: Path) -> None:
    """Beside the archive. Raises ValueError for a member that would lie elsewhere, or a broken archive."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # drops leading slashes and '..' by itself
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be unpacked beside it ({error}): make room or mend it, and run again"
        ) from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: cannot be unpacked ({error}): remove it and run again") from error


def seven_zip() -> str:
    """The program 7-Zip under one of its names. Raises ValueError that says how to get it."""
    found = next(filter(None, map(shutil.which, SEVEN_ZIP)), None)
    if found is None:
        raise ValueError(
            f"these archives are unpacked by 7-Zip, and none of {', '.join(SEVEN_ZIP)} is installed: install it (the "
            "packages 7zip, p7zip-full or conda's p7zip), or download and unpack them by hand"
        )
    return found


def _unpack_through_7_zip(path: Path, folder: Path) -> None:
    """Beside the archive; 7-Zip itself writes nothing outside of it."""
    done = subprocess.run([seven_zip(), "x", "-y", f"-o{folder}", "--", str(path)], capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ValueError(f"{path}: cannot be unpacked ({why[-1]}): remove it and run again")

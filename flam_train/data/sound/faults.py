"""What may be wrong with a sound file, and who says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import soundfile

FIX = "replace it, or leave it out"


class Fault(ValueError):
    """What is wrong with some sound, and the fix; whoever knows the file's name adds it."""

    def __init__(self, what: str, fix: str = FIX) -> None:
        super().__init__(what)
        self.fix = fix


class Unusable(ValueError):
    """An audio file that cannot be used, with its name and the fix: it is listed as missing, and the corpus goes on."""


class NoFfmpeg(ValueError):
    """ffmpeg is needed and not installed: no fault of the file, so the run ends."""


class Unwritten(OSError):
    """A copy of what is decoded could not be written: no fault of the recording, so the run ends."""


FAULTY = (Fault, soundfile.LibsndfileError, OSError)
"""What opening and reading raise."""


def in_words(error: soundfile.LibsndfileError) -> str:
    """Without the address of an object that libsndfile's own message has in it."""
    return error.error_string.rstrip(".") or f"libsndfile's error {error.code}"


def reason(error: Exception) -> str:
    """Which fault it is, in words."""
    if isinstance(error, soundfile.LibsndfileError):
        return f"unreadable or truncated audio ({in_words(error)})"
    return f"unreadable audio ({error.strerror or error})" if isinstance(error, OSError) else str(error)


@contextmanager
def named(path: object, faults: type[Exception] | tuple[type[Exception], ...] = FAULTY) -> Iterator[None]:
    """Faults within become Unusable with the name of the file, or of what else has samples."""
    try:
        yield
    except Unwritten:
        raise
    except faults as error:
        fix = error.fix if isinstance(error, Fault) else FIX
        raise Unusable(f"{path}: {reason(error)}: {fix}") from error

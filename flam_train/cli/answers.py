"""What a command says when it ends before its time, and the exit code it leaves with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from flam_train.disk import FULL

MISTAKES = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Of what a system may answer: that a path was wrong. Everything else is a disk that is full, or broken."""

ENDS = (ValueError, OSError, KeyboardInterrupt)
"""What `answer` has an answer to."""


def answer(error: BaseException) -> tuple[int, str]:
    """(exit code, a line): 1 where the disk failed, 2 for a user's mistake, 130 for Ctrl-C."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "\nstopped; the same command goes on\n"
    if isinstance(sys.stdout, _Printed) and sys.stdout.error is error:
        sys.stdout.error = None  # it is told here
    if isinstance(error, BrokenPipeError):  # whoever reads has seen enough, like `head`
        return 1, ""
    if isinstance(error, OSError):
        fix = "make room" if error.errno in FULL else "mend it"
        where, what = error.filename or "the disk", error.strerror or error
        code = 2 if isinstance(error, MISTAKES) else 1
        return code, f"error: {where}: {what}: {fix}, and run the same command again\n"
    return 2, f"error: {error}\n"


@contextmanager
def printing() -> Iterator[None]:
    """Around all of a command, or its decorator: what it has printed has arrived when it ends. Where it cannot, that is
    told, and a command that had done its work leaves with exit code 1.

    Streams that are closed stay so, but no file that is opened gets their numbers: what a library writes to standard
    output would end up in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    real = sys.stdout
    if real is None or isinstance(real, _Printed):
        yield
        return
    printed = _Printed(real)
    sys.stdout = cast(TextIO, printed)
    try:
        yield
    except SystemExit as left:
        if left.code or printed.arrived():
            raise
    except OSError as error:
        if error is not printed.error or printed.arrived():
            raise
    else:
        if printed.arrived():
            return
    finally:
        sys.stdout = real
    sys.exit(1)


class _Printed:
    """Standard output that is named by what goes wrong with it, and does not go wrong twice: argparse passes over that,
    and the interpreter tells it too late.

    error: what went wrong, as long as nobody has told it
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._named():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    def arrived(self) -> bool:
        """Whether all of it has. What nobody has told, it tells."""
        if self.error is None:
            with suppress(OSError):
                self.flush()
        if self.error is None:
            return True
        print(answer(self.error)[1], end="", file=sys.stderr)
        return False

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError, ValueError):  # of a stream without a file; what else is written goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self.error = OSError(error.errno, error.strerror, "standard output")
            raise self.error from error

"""What a command says when it ends before its time, and the exit code it leaves with."""

from __future__ import annotations

import os
import sys

from flam_train.disk import FULL

MISTAKES = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Of what a system may answer: that a path was wrong. Everything else is a disk that is full, or broken."""

ENDS = (ValueError, OSError, KeyboardInterrupt)
"""What `answer` has an answer to."""


def answer(error: BaseException) -> tuple[int, str]:
    """(exit code, a line): 1 where the disk failed, 2 for a user's mistake, 130 for Ctrl-C."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "\nstopped; the same command goes on\n"
    if isinstance(error, BrokenPipeError):  # whoever reads has seen enough, like `head`; nor may the exit write more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, ""
    if isinstance(error, OSError):
        fix = "make room" if error.errno in FULL else "mend it"
        where, what = error.filename or "the disk", error.strerror or error
        code = 2 if isinstance(error, MISTAKES) else 1
        return code, f"error: {where}: {what}: {fix}, and run the same command again\n"
    return 2, f"error: {error}\n"

"""Scripts run in the test's own process: starting another one costs more than what they do."""

from __future__ import annotations

import io
import runpy
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from checkout import ROOT


@dataclass(frozen=True)
class Done:
    """As subprocess.CompletedProcess."""

    returncode: int
    stdout: str
    stderr: str


def script(name: str, *arguments: object) -> Done:
    """`python NAME ARGUMENTS`, of the project's root. An error that is not answered ends up in stderr, with code 1."""
    return program(lambda: runpy.run_path(str(ROOT / name), run_name="__main__"), name, *arguments)


def program(main: Callable[[], object], name: str, *arguments: object) -> Done:
    """The same of a command's function, which may return its exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", [name, *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            left_with = main()
            code = left_with if isinstance(left_with, int) else 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        except Exception:
            traceback.print_exc()
            code = 1
    return Done(code, out.getvalue(), err.getvalue())

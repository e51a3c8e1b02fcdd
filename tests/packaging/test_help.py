"""--help answers at once: no program imports what computes before it knows what to do."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from checkout import ROOT

HEAVY = ("torch", "lightning", "transformers", "matplotlib", "scipy.signal", "pandas")

ENTRIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
PROGRAMS = [
    *sorted(str(path) for folder in ("data_prep", "eval") for path in (ROOT / folder).glob("*.py")),
    *ENTRIES,
]

ALL_HELP = """
import contextlib, importlib, io, runpy, sys
heavy, programs = set(sys.argv[1].split(",")), sys.argv[2:]
for program in programs:
    sys.argv, said = [program, "--help"], io.StringIO()
    module, _, function = program.partition(":")
    code = None
    try:
        with contextlib.redirect_stdout(said):
            if function:
                code = getattr(importlib.import_module(module), function)()
            else:
                runpy.run_path(program, run_name="__main__")
    except SystemExit as left:
        code = left.code or 0
    assert code == 0, f"{program} --help: exit code {code}"
    assert len(said.getvalue()) > 200, f"{program} --help says little"
    found = heavy & set(sys.modules)
    assert not found, f"{program} --help imports {found}"
"""


def test_no_help_imports_what_computes():
    """In one process, one after the other: the first that imports something is named."""
    words = [sys.executable, "-c", ALL_HELP, ",".join(HEAVY), *PROGRAMS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    assert len(PROGRAMS) > 25

"""`make test-everywhere`: the fast tests under what differs between machines; each has the same outcome everywhere.

    python tests/every_machine.py [tests/unit ...] [--only NAME ...] [--workers 2]

Processors of other generations (their instructions, so the order of sums and the last bits), one and two threads, and
the order of the tests. Prints a table and every test whose outcomes differ; exit code 1 if there is one or one fails.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def processor(torch: str, mkl: str, onednn: str, numpy_without: tuple[str, ...]) -> dict[str, str]:
    """The environment in which the libraries take this one for an older one."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    without = [x for x in found if x.startswith(numpy_without)]
    settings = {"MKL_ENABLE_INSTRUCTIONS": mkl, "ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": torch}
    return settings | {"NPY_DISABLE_CPU_FEATURES": " ".join(without)}


OWN: dict[str, str] = {}
AVX2 = processor("avx2", "AVX2", "AVX2", ("AVX512", "X86_V4"))
OLDEST = processor("default", "SSE4_2", "SSE41", ("",))
TWO = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}

VARIATIONS: dict[str, tuple[dict[str, str], list[str]]] = {
    "own": (OWN, []),
    "own, 2 threads": (OWN | TWO, []),
    "own, reversed": (OWN, ["--reverse"]),
    "avx2": (AVX2, []),
    "avx2, 2 threads": (AVX2 | TWO, []),
    "oldest": (OLDEST, []),
    "oldest, 2 threads": (OLDEST | TWO, []),
}
"""{name: (environment, options of pytest)}; one thread unless it says two."""

SETTINGS = {name for env, _ in VARIATIONS.values() for name in env}


@dataclass(frozen=True)
class Ran:
    outcomes: dict[str, str]
    seconds: float
    cpu_seconds: float


def run(name: str, paths: list[str], workers: int, log: Path) -> Ran:
    env, options = VARIATIONS[name]
    options = [*options, "-n", str(workers), "--dist", "loadfile"] if workers else options
    env = {name: text for name, text in os.environ.items() if name not in SETTINGS} | env
    report = log.with_suffix(".xml")
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", f"--junitxml={report}"]
    began, used = time.monotonic(), children()
    with log.open("w") as file:
        subprocess.run([*command, *options, *paths], cwd=ROOT, env=env, stdout=file, stderr=file)
    return Ran(outcomes(report), time.monotonic() - began, children() - used)


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def outcomes(report: Path) -> dict[str, str]:
    """{test: passed, failed, error or skipped} of pytest's report; nothing where there is none."""
    if not report.is_file():
        return {}
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = [part.tag for part in case if part.tag in ("failure", "error", "skipped")]
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
        found[name] = kinds[0].replace("failure", "failed") if kinds else "passed"
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["tests"], help="[tests]")
    parser.add_argument("--only", nargs="+", default=[*VARIATIONS], choices=VARIATIONS, metavar="NAME")
    parser.add_argument("--workers", type=int, default=2, help="processes that share the tests, 0: none [%(default)s]")
    parser.add_argument("--logs", type=Path, help="a folder for what pytest says [a temporary one]")
    args = parser.parse_args(argv)
    folder = args.logs or Path(tempfile.mkdtemp(prefix="every-machine-"))
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Ran] = {}
    print(f"{'':20}{'passed':>8}{'skipped':>8}{'failed':>8}{'seconds':>9}{'of CPU':>9}", flush=True)
    for name in args.only:
        ran = found[name] = run(
            name, args.paths, args.workers, folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"
        )
        kinds = list(ran.outcomes.values())
        bad = kinds.count("failed") + kinds.count("error")
        counts = f"{kinds.count('passed'):8}{kinds.count('skipped'):8}{bad:8}"
        print(f"{name:20}{counts}{ran.seconds:9.0f}{ran.cpu_seconds:9.0f}", flush=True)
    lines = [f"{name}: pytest ran no test, see its log" for name, ran in found.items() if not ran.outcomes]
    for test in sorted({test for ran in found.values() for test in ran.outcomes}):
        got = {name: ran.outcomes.get(test, "not there") for name, ran in found.items()}
        if len(set(got.values())) > 1 or set(got.values()) & {"failed", "error"}:
            lines.append(f"{test}: {', '.join(f'{name}: {outcome}' for name, outcome in got.items())}")
    print("\n".join(lines) or "every test has the same outcome everywhere")
    print(f"what pytest said: {folder}")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())

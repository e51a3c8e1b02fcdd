"""Half an hour of faults: every minute something happens to a run of two processes, and its end is still the same.

    python tests/soak.py --minutes 30 --every 60 [--seed 0] [--folder FOLDER]      # make soak

First a run is left alone. Then the same run is started again and again; at random moments, one in `--every` seconds on
the average, it is killed with kill -9 (all of it, one rank, or one data worker), signalled as a scheduler does
(SIGUSR1, SIGTERM), stopped for a while, or its last checkpoint's draft is left half written. Whatever it ends with,
the same command goes on. When a run is done, its keys, losses, curves and weights are compared, bit for bit, and the
next one begins. Clips are drawn by class and augmented meanwhile, some have tags alone, and the running mean of the
weights is kept. Prints a report and exits with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS / "samples"), str(TESTS / "end_to_end")]

from recorded_runs import RecordedRun, assert_same  # noqa: E402
from tiny_runs import write_corpus  # noqa: E402

RANKS = 2
LENGTH = ["steps=400", "trainer.checkpoint_every=10", "trainer.validate_every=50", "data.workers=1", "optim.ema=0.9"]
LENGTH += ["augment=finetune", "data.frame.synthetic.balance=0.5", "data/weak=[custom]", "weak_batch=4"]
LENGTH += ["data.weak.custom.balance=0.5"]

Fault = Callable[[RecordedRun, subprocess.Popen, random.Random], None]


def kill_all(run: RecordedRun, process: subprocess.Popen, chance: random.Random) -> None:
    run.kill(process)


def half_written(run: RecordedRun, process: subprocess.Popen, chance: random.Random) -> None:
    """A kill in the midst of writing leaves this behind."""
    run.kill(process)
    run.run.mkdir(parents=True, exist_ok=True)
    (run.run / ".last.ckpt.draft").write_bytes(chance.randbytes(100_000))


def kill_rank(run: RecordedRun, process: subprocess.Popen, chance: random.Random) -> None:
    kill_of(run.ranks_alive(), chance)


def kill_worker(run: RecordedRun, process: subprocess.Popen, chance: random.Random) -> None:
    kill_of(run.workers_alive(), chance)


def kill_of(found: list[int], chance: random.Random) -> None:
    if found:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)


def send(kind: signal.Signals) -> Fault:
    def fault(run: RecordedRun, process: subprocess.Popen, chance: random.Random) -> None:
        for pid in (*run.ranks_alive(), *run.workers_alive()):
            with suppress(ProcessLookupError):
                os.kill(pid, kind)

    return fault


def stand_still(run: RecordedRun, process: subprocess.Popen, chance: random.Random) -> None:
    found = run.ranks_alive()
    if found:
        pid = chance.choice(found)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(1, 15))
            os.kill(pid, signal.SIGCONT)


FAULTS: dict[str, Fault] = {
    "kill -9 of all": kill_all,
    "kill -9 of a rank": kill_rank,
    "kill -9 of a data worker's server or worker": kill_worker,
    "SIGUSR1": send(signal.SIGUSR1),
    "SIGTERM": send(signal.SIGTERM),
    "a rank stands still for 1 to 15 s": stand_still,
    "kill -9 and a half-written checkpoint": half_written,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=60, help="seconds between two faults, on the average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="[a temporary one]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return soak(args.folder or Path(temporary), args.minutes * 60, args.every, random.Random(args.seed))


def soak(folder: Path, seconds: float, every: float, chance: random.Random) -> int:
    corpora = write_corpus(folder / "train", 24, 0), write_corpus(folder / "test", 5, 1)
    options = [*LENGTH, f"data.weak.custom.path={write_corpus(folder / 'tags', 10, 2, tagged=True)}"]
    want = RecordedRun(folder / "undisturbed", corpora, *options, ranks=RANKS)
    began = time.monotonic()
    if want.finish(timeout=3600):
        print(want.said[-3000:])
        return 1
    print(f"undisturbed: {len(want.steps())} steps in {time.monotonic() - began:.0f} s", flush=True)
    counts: collections.Counter[str] = collections.Counter()
    began, starts, done = time.monotonic(), 0, 0
    due = began + chance.expovariate(1 / every)
    while time.monotonic() - began < seconds:
        run = RecordedRun(folder / f"run-{done}", corpora, *options, ranks=RANKS)
        while True:
            process = run.start()
            starts += 1
            while process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() > due:
                    name = chance.choice(list(FAULTS))
                    print(f"{time.monotonic() - began:5.0f} s  step {run.lines() // RANKS:4d}  {name}", flush=True)
                    FAULTS[name](run, process, chance)
                    counts[name] += 1
                    due = time.monotonic() + chance.expovariate(1 / every)
            if process.returncode == 0:
                break
            run.kill(process)  # what a launcher that was killed leaves behind
        try:
            assert_same(run, want)
        except AssertionError as error:
            print(f"run {done} is another one: {error}\n{run.said[-2000:]}")
            return 1
        done += 1
        print(f"{time.monotonic() - began:5.0f} s  run {done}: the same, bit for bit", flush=True)
    print(
        f"{done} runs of {len(want.steps())} steps, {starts} starts, {sum(counts.values())} faults, every run the same:"
    )
    for name, count in counts.most_common():
        print(f"  {count:3d}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

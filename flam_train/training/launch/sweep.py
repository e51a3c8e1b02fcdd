"""The points of a sweep as runs, one after the other, each a process of its own.

A sweep stops as a run does: whoever asks it to (Ctrl-C, SIGTERM, SIGUSR1) asks the point that runs, which finishes its
step and saves, and none is begun after it. What ends a point otherwise ends that point alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import flam_train
from flam_train.training.configuration import Config
from flam_train.training.fault_tolerance.interrupt import AGAIN, REQUESTS
from flam_train.training.launch.points import Planned
from flam_train.training.run import nothing_left

STOPPED = 130
"""Exit code of Ctrl-C."""


def check_settings(planned: Sequence[Planned], here: bool = True) -> None:
    """Raises ValueError that names the point whose settings are none. here: the points run on this machine."""
    for one in planned:
        try:
            Config.read(one.conf if here else anywhere(one.conf))
        except ValueError as error:
            raise ValueError(f"{one.name}: {error}") from error


def anywhere(conf: dict[str, Any]) -> dict[str, Any]:
    """Settings as a machine without GPUs may read them: the one that submits jobs, say."""
    return conf | {"trainer": conf["trainer"] | {"accelerator": "auto"}}


def still_to_run(planned: Sequence[Planned]) -> list[Planned]:
    """Those that are not done, wherever they are to run; what is said of the others goes to stderr. Raises ValueError
    that names a point whose folder cannot go on."""
    out = []
    for one in planned:
        try:
            why = nothing_left(anywhere(one.conf))
        except ValueError as error:
            raise ValueError(f"{one.name}: {error}") from error
        if why:
            print(f"{one.name}: {why}", file=sys.stderr)
        else:
            out.append(one)
    return out


def run_points(planned: Sequence[Planned], flags: Sequence[str] = ()) -> int:
    """Runs those that are not done, and prints what became of each. The exit code: 0; 1 where a point failed; AGAIN or
    STOPPED where the sweep was asked to stop, or a point was.

    flags: of `flam-train`, for what is to be done with each point instead of training it.
    """
    outcomes = {point.name: "not begun" for point in planned}
    code = 0
    with relayed() as relay:
        for n, point in enumerate(planned, 1):
            print(f"\n[{n} of {len(planned)}] {point.name}", file=sys.stderr, flush=True)
            left, outcomes[point.name] = _run(point, flags, relay)
            code = max(code, int(left != 0))
            if relay.asked or left in (AGAIN, STOPPED):
                if n < len(planned) or left:
                    code = _stopped(relay, left)
                break
    print(f"\n{table(planned, outcomes)}", flush=True)
    return code


def _run(point: Planned, flags: Sequence[str], relay: Relay) -> tuple[int, str]:
    """(the exit code, what became of the point)."""
    try:
        why = "" if flags else nothing_left(point.conf)
    except ValueError as error:
        print(f"flam-train: {error}", file=sys.stderr)
        return 2, "failed"
    if why:
        print(f"run folder {point.folder}: {why}", file=sys.stderr)
        return 0, "was done"
    left = relay.run(command(point, flags))
    if left in (AGAIN, STOPPED) or (relay.asked and left < 0):
        return left, "stopped"
    if left < 0:
        return left, f"killed by {signal.Signals(-left).name}"
    return left, f"failed, exit code {left}" if left else "done"


def _stopped(relay: Relay, left: int) -> int:
    """The exit code of a sweep that does not go on."""
    if left == 1:  # the point was stopped, and what it did is not all saved
        return 1
    if relay.asked is None:
        return left
    return STOPPED if relay.asked is signal.SIGINT else AGAIN


def table(planned: Sequence[Planned], outcomes: dict[str, str]) -> str:
    wide = max(len(one.name) for one in planned)
    lines = [f"{one.name:<{wide}}  {outcomes[one.name]}" for one in planned]
    return "\n".join((f"the points of {planned[0].folder.parent}", *lines))


def command(point: Planned, flags: Sequence[str]) -> list[str]:
    """With -P, so that the package is the one that runs now, whatever folder of its name lies in this one."""
    return [sys.executable, "-P", "-m", "flam_train.cli.train", *flags, *point.overrides]


class Relay:
    """Runs one process after the other, and passes on to it what this one is asked for. asked: for what."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.process: subprocess.Popen | None = None

    def run(self, words: Sequence[str]) -> int:
        """The exit code, below 0 where a signal ended it; its output goes where that of this process goes."""
        root, env = Path(flam_train.__file__).resolve().parents[1], dict(os.environ)
        if str(root) != sysconfig.get_path("purelib"):  # a checkout
            env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), env.get("PYTHONPATH"))))
        if self.asked is not None:
            return AGAIN
        self.process = subprocess.Popen(words, env=env)
        if self.asked is not None:  # while it was being started
            self.pass_on(self.asked)
        return self.process.wait()

    def ask(self, number: int, frame: FrameType | None) -> None:
        kind = signal.Signals(number)
        self.asked = kind if self.asked is None else max(self.asked, kind, key=REQUESTS.index)
        self.pass_on(kind)

    def pass_on(self, kind: signal.Signals) -> None:
        """A terminal gives Ctrl-C to the process as well, for which a second one means to stop at once: so it is passed
        on as SIGTERM, beside which Ctrl-C counts."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM if kind is signal.SIGINT else kind)


@contextmanager
def relayed() -> Iterator[Relay]:
    relay = Relay()
    before = {kind: signal.signal(kind, relay.ask) for kind in REQUESTS}
    try:
        yield relay
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)

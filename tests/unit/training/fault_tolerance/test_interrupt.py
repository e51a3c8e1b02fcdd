"""Requests to stop: heard whatever thread a signal wakes, and not by processes that serve the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from flam_train.training.fault_tolerance.interrupt import (
    REQUESTS,
    SCHEDULERS,
    StopRequested,
    signals_are_requests,
    start_deaf,
)
from flam_train.training.health import Requests


@pytest.fixture
def requests():
    asked = Requests()
    with signals_are_requests(asked, *SCHEDULERS):
        yield asked


def test_of_two_signals_the_stronger_counts_and_the_first_is_told(requests, capfd):
    for kind in (signal.SIGUSR1, signal.SIGTERM):
        os.kill(os.getpid(), kind)
    assert REQUESTS[requests.asked - 1] is signal.SIGUSR1
    assert capfd.readouterr().err == "\nstopping after this step; SIGUSR1\n"


@pytest.mark.parametrize("others", [0, 1])
def test_what_comes_while_processes_are_started_is_heard(others, requests):
    """others: threads that block nothing, as the one that keeps the folder's lock."""
    ended, served = threading.Event(), []
    threads = [threading.Thread(target=ended.wait) for _ in range(others)]
    for thread in threads:
        thread.start()

    def start():
        served.append(subprocess.Popen(["sleep", "60"]))
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)

    start_deaf(start)
    ended.set()
    for thread in threads:
        thread.join()
    assert REQUESTS[requests.asked - 1] is signal.SIGUSR1
    for kind in SCHEDULERS:
        served[0].send_signal(kind)
    time.sleep(0.2)
    assert served[0].poll() is None  # deaf
    served[0].kill()
    served[0].wait()


SERVER = """
import multiprocessing, os, signal, time
from multiprocessing import forkserver, resource_tracker
from flam_train.data.stream import order
from flam_train.data.stream.server import start_server
from flam_train.training.fault_tolerance.interrupt import SCHEDULERS, start_deaf
start_deaf(lambda: start_server(order))
assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(SCHEDULERS)
served = forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid
with multiprocessing.get_context("forkserver").Pool(1):
    for kind in SCHEDULERS:
        for pid in served:
            os.kill(pid, kind)
    time.sleep(0.5)
    for pid in served:
        assert open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z", "it died of the signal"
"""


def test_the_server_of_the_data_workers_does_not_hear_them():
    subprocess.run([sys.executable, "-c", SERVER], check=True)


def test_handlers_are_put_back(requests):
    before = {kind: signal.getsignal(kind) for kind in REQUESTS}
    with signals_are_requests(Requests(), *REQUESTS):
        assert signal.getsignal(signal.SIGINT) is not before[signal.SIGINT]
    assert {kind: signal.getsignal(kind) for kind in REQUESTS} == before
    with pytest.raises(StopRequested), signals_are_requests(Requests(), *SCHEDULERS):
        raise StopRequested(signal.SIGTERM)
    # A second signal, to a process that is leaving as it was asked to, must not cut that short.
    assert [signal.getsignal(kind) for kind in SCHEDULERS] == [signal.SIG_IGN] * 2

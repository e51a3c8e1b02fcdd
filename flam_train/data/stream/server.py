"""The process that others are forked from: loader workers, and those that write or check shards."""

from __future__ import annotations

from multiprocessing import forkserver
from types import ModuleType


def start_server(*modules: ModuleType) -> None:
    """Starts the process that workers are forked from; without effect where there is one.

    Forked from this process they would inherit the locks of its OpenMP and torchaudio threads, and could hang on them.
    What they need, `modules`, is imported there, once for all. (Modules, not names: the server passes over a name that
    does not import.)
    """
    forkserver.set_forkserver_preload([module.__name__ for module in modules])
    forkserver.ensure_running()

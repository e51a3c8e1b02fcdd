"""The process that loader workers are forked from."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, multiprocessing
from flam_train.data.stream.workers import start_server
start_server()
with multiprocessing.get_context("forkserver").Pool(1) as pool:
    print(json.dumps(sorted(pool.apply(eval, ("set(__import__('sys').modules)",)))))
"""


def test_workers_find_what_they_need_and_nothing_of_the_trainer():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    there = set(json.loads(done.stdout))
    assert {"torch", "flam_train.data.stream.collate", "flam_train.data.mixing.source"} <= there
    assert not {"lightning", "hydra", "wandb"} & there

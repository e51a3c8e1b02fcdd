"""flam-train that notes what each step of each rank took and gave: `python recorded_train.py NOTES KEY=VALUE ...`.

A line a step is appended to NOTES/rank-R.jsonl before the optimiser moves: step, the keys of both batches, the losses
in hexadecimal. A step that is taken again after a run was killed has a second line. The environment disturbs it:

    FAULT=KIND:RANK:STEP   what one rank meets there: die (in the step; validation, saved: there), hang, stop, nan,
                           error, full (a disk, when it writes a checkpoint)
    STOP_AT=STEP           all of them are asked to stop after so many steps, as a scheduler does
    COPY=FROM:TO           the second rank reads TO, its node's own copy
    SKEW=SECONDS           the second rank's clock goes wrong, and its host has another name
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock


def noted(self, norm=None):
    judge(self, norm)
    line = {"step": self.step, **self.keys, **{k: float(v).hex() for k, v in self.losses.items()}}
    with (FOLDER / f"rank-{rank()}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    if self.step + 2 == int(os.environ.get("STOP_AT", -1)):
        os.kill(os.getpid(), signal.SIGTERM)


def faulty(self, batch, step):
    audio, text = embed(self, batch, step)
    kind, where, when = os.environ.get("FAULT", "none:0:0").split(":")
    if kind == "none" or (rank(), step.step) != (int(where), int(when)):
        return audio, text
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "hang":
        time.sleep(3600)
    if kind == "error":
        raise ValueError("shard-000001.tar: this node has lost it")
    if kind == "nan":
        audio.frame_BTD.data[-1, 0, 0] = float("nan")
    return audio, text


def killed_in_validation(self, batch, batch_idx, dataloader_idx=0):
    kind, where, when = os.environ.get("FAULT", "none:0:0").split(":")
    if kind == "validation" and (rank(), self.trainer.global_step) == (int(where), int(when)):
        os.kill(os.getpid(), signal.SIGKILL)
    validation_step(self, batch, batch_idx, dataloader_idx)


def disturbed_when_saved(self, checkpoint, path, storage_options=None):
    kind, where, when = os.environ.get("FAULT", "none:0:0").split(":")
    here = (rank(), checkpoint["global_step"]) == (int(where), int(when))
    full = mock.patch("torch.save", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with full if here and kind == "full" else nullcontext():
        save_checkpoint(self, checkpoint, path, storage_options)
    if here and kind == "saved":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":  # data workers import this file, and need not import all that
    from flam_train.cli.train import main
    from flam_train.distributed import rank
    from flam_train.training.fault_tolerance.checkpoint import AtomicCheckpointIO
    from flam_train.training.health import Health
    from flam_train.training.module import FLAMModule

    save_checkpoint = AtomicCheckpointIO.save_checkpoint
    judge, embed, validation_step = Health.judge, FLAMModule.embed, FLAMModule.validation_step
    FOLDER = Path(sys.argv[1])
    FOLDER.mkdir(parents=True, exist_ok=True)
    Health.judge, FLAMModule.embed = noted, faulty
    FLAMModule.validation_step = killed_in_validation
    AtomicCheckpointIO.save_checkpoint = disturbed_when_saved
    if "SKEW" in os.environ and os.environ["RANK"] == "1":
        now = time.time
        time.time = lambda: now() + float(os.environ["SKEW"])
        socket.gethostname = lambda: "elsewhere"
    copied, own = os.environ["COPY"].split(":") if "COPY" in os.environ and os.environ["RANK"] == "1" else ("", "")
    sys.exit(main([text.replace(copied, own) if copied else text for text in sys.argv[2:]]))

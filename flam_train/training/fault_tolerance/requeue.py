"""A SLURM job puts itself back into the queue."""

from __future__ import annotations

import os
import signal
import subprocess


def requeue() -> str:
    """Asks SLURM for it. Returns what came of it, in a line; nothing outside of a job."""
    env = os.environ
    if "SLURM_JOB_ID" not in env:
        return ""
    job = env["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in env:
        job = f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    # It may be signalled with this process: srun ends what is left of a step whose first task has left.
    before = {kind: signal.signal(kind, signal.SIG_IGN) for kind in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        return f"job {job} is not requeued: there is no scontrol here; submit it again"
    except subprocess.TimeoutExpired:
        return f"job {job} is not requeued: scontrol did not answer for two minutes; submit it again"
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    if done.returncode:
        return f"job {job} is not requeued ({done.stderr.strip()}): submit it again (sbatch --requeue allows it)"
    return f"job {job} is requeued and goes on from its last checkpoint"

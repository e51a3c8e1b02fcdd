"""What a job asks of SLURM, and what it says where it cannot."""

from __future__ import annotations

import pytest

from flam_train.training.fault_tolerance.requeue import requeue


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A scontrol that notes what it is asked; its exit code is that of the file `code`."""
    script = tmp_path / "scontrol"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ ! -f {tmp_path}/no ] || {{ echo "Access denied" >&2; exit 1; }}\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_requeue(scontrol, monkeypatch):
    assert requeue() == ""  # no job
    assert not (scontrol / "asked").exists()
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert requeue() == "job 77 is requeued and goes on from its last checkpoint"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert requeue().startswith("job 70_3 is requeued")
    assert (scontrol / "asked").read_text() == "requeue 77\nrequeue 70_3\n"
    (scontrol / "no").touch()
    assert requeue() == "job 70_3 is not requeued (Access denied): submit it again (sbatch --requeue allows it)"
    monkeypatch.setenv("PATH", str(scontrol / "nothing"))
    assert requeue() == "job 70_3 is not requeued: there is no scontrol here; submit it again"

"""The sbatch files on a real SLURM of two nodes on this machine: `make slurm-test`."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from checkout import ROOT
from tiny_runs import flam_train

from flam_train.data.shards.corpus import Corpus

pytestmark = pytest.mark.slow

CANNOT = 77
"""Exit code of local_cluster.sh for what this machine lacks."""

LIMIT = 400
"""Seconds that a job may take, with other work on the machine."""

TASKS = ["--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1"]
ONE_A_NODE = [*TASKS, "--ntasks-per-node=1"]
"""Where four tasks show no more than two: each imports torch twice, on this one machine."""

TRAIN = [
    "experiment=demo", "model=test", "text=bytes", "optim.freeze=[]", "steps=4", "global_batch=4", "frame_batch=8",
    "data.workers=0", "trainer.validate_every=4", "trainer.checkpoint_every=2", "trainer.log_every=1",
    "trainer.accelerator=cpu",
]  # fmt: skip
"""`make demo`, tiny."""


class Cluster:
    """Submits from a folder of its own, which looks like a checkout with its environment."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.env = os.environ | settings | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        (folder / ".venv").symlink_to(sys.prefix)
        for name in ("eval", "data_prep", "slurm"):
            (folder / name).symlink_to(ROOT / name)

    def run(self, *command: object) -> str:
        done = subprocess.run(
            [*map(str, command)], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=LIMIT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *arguments: object) -> str:
        """The job's number."""
        return self.run("sbatch", "--parsable", "--output=%A-%a.log", *arguments).strip()

    def log(self, job: str) -> str:
        """Of an array all logs."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{job}-*.log")))

    def until(self, job: str, reached: Callable[[str], object]) -> str:
        """What scontrol shows of the job as soon as that is reached."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            shown = self.run("scontrol", "show", "job", "--oneliner", job).strip()
            if reached(shown):
                return shown
            time.sleep(0.5)
        pytest.fail(f"not reached within {LIMIT} s: {shown}\n{self.log(job)}")

    def sbatch(self, *arguments: object) -> tuple[int, str]:
        """The job's exit code and its log; of an array the highest and all logs."""
        job = self.submit(*arguments)
        ended = self.until(job, over)  # sbatch --wait looks only every 32 seconds
        codes = re.findall(r"ExitCode=(\d+):(\d+)", ended)  # with a code, or by a signal
        return max(int(number) for pair in codes for number in pair), self.log(job)


def over(shown: str) -> bool:
    return not re.search(r"JobState=(PENDING|CONFIGURING|RUNNING|COMPLETING)", shown)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="flam-slurm-"))  # sockets want short paths
    script, env = str(ROOT / "slurm" / "local_cluster.sh"), os.environ | {"FLAM_SLURM_DIR": str(home / "cluster")}
    try:
        started = subprocess.run([script, "start"], env=env, capture_output=True, text=True)
        if started.returncode == CANNOT:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        lines = [line.removeprefix("export ") for line in started.stdout.splitlines()]
        yield Cluster(tmp_path_factory.mktemp("submitted"), dict(line.split("=", 1) for line in lines))
    finally:
        subprocess.run([script, "stop"], env=env, check=True)
        left = list(home.iterdir())
        shutil.rmtree(home)
        assert left == [], f"left behind by stop: {left}"


@pytest.fixture(scope="module")
def shards(cluster) -> Path:
    """As `make demo` makes them."""
    cluster.run(sys.executable, "data_prep/synthetic.py", "bank", "--instances", 2)
    for split in ("train", "test"):
        cluster.run(
            sys.executable, "data_prep/simulate.py", f"shards/synthetic/{split}", "--bank", f"bank/{split}",
            "--recipe", "demo", "--count", 16, "--audio", "wav", "--per-shard", 8,
        )  # fmt: skip
    return cluster.folder / "shards"


@pytest.fixture(scope="module")
def trained(cluster, shards) -> tuple[Path, str]:
    """The run folder and the log."""
    code, log = cluster.sbatch(*TASKS, "slurm/train.sbatch", *TRAIN, "run_dir=runs/demo")
    assert code == 0, log
    return cluster.folder / "runs" / "demo", log


def losses(run: Path) -> dict[int, float]:
    with (run / "metrics.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return {int(row["step"]): float(row["value"]) for row in rows if row["name"] == "loss/total"}


def test_four_tasks_on_two_nodes_are_checked_and_train_what_one_process_trains(trained, cluster, tmp_path):
    run, log = trained
    assert "2 nodes, 4 processes by srun" in log
    for node in ("n1", "n2"):
        (line,) = [line for line in log.splitlines() if line.startswith(f"{node} ")]
        assert "2 processes" in line
        assert "2 of 2 shard folders read" in line
    assert "all is well" in log
    for rank in range(4):
        assert f"GLOBAL_RANK: {rank}," in log  # Lightning's own words
    assert (run / "export" / "model.safetensors").is_file()
    alone = tmp_path / "alone"
    flam_train(*TRAIN, f"shards={cluster.folder}/shards", f"run_dir={alone}")
    ours, theirs = losses(run), losses(alone)
    assert list(ours) == list(theirs) == [0, 1, 2, 3]
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-3)


def test_a_job_that_is_cancelled_or_whose_time_is_nearly_up_saves_and_goes_on(cluster, shards):
    """SIGTERM of scancel; SIGUSR1 to all tasks, as `--signal=SIGUSR1@180` sends it."""
    run, steps = cluster.folder / "runs" / "again", 40
    line = [
        *ONE_A_NODE,
        "slurm/train.sbatch",
        *TRAIN,
        "run_dir=runs/again",
        f"steps={steps}",
        "trainer.validate_every=40",
    ]
    line.append("trainer.checkpoint_every=100")

    def after(step: int) -> Callable[[str], bool]:
        return lambda shown: (run / "metrics.csv").is_file() and max(losses(run), default=0) > step

    job = cluster.submit(*line)
    cluster.until(job, after(3))
    cluster.run("scancel", job)
    cluster.until(job, over)
    said = cluster.log(job)
    assert said.count("stopped by SIGTERM; the same command goes on") == 1
    assert "requeued" not in said
    done = torch.load(run / "last.ckpt", weights_only=True)["global_step"]
    assert 3 < done == max(losses(run)) + 1 < steps

    job = cluster.submit(*line)
    cluster.until(job, after(done + 3))
    cluster.run("scancel", "--signal=USR1", job)
    cluster.until(job, lambda shown: "Restarts=1" in shown and "JobState=PENDING" in shown)
    # Else SLURM waits for two minutes; asked while the job is still completing, it forgets.
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert "JobState=COMPLETED" in cluster.until(job, over)
    said = cluster.log(job)
    begun = [int(step) for step in re.findall(r"going on at step (\d+)", said)]
    assert begun[0] == done < begun[1]
    assert f"job {job} is requeued and goes on from its last checkpoint" in said
    assert list(losses(run)) == list(range(steps))
    assert (run / "export" / "model.safetensors").is_file()


def test_a_sweep_is_a_job_for_each_point_and_again_for_what_is_missing(cluster, shards):
    """One trains, one cannot: its shards are not there. None is queued twice, nor what is done."""
    line = [
        "slurm/sweep.sh", *TASKS, "--nodes=1", "--ntasks-per-node=1", "--output=%A-%a.log", *TRAIN,
        "run_dir=runs/sweep", "data.frame.synthetic.path=shards/synthetic/train,gone",
    ]  # fmt: skip

    def jobs(*more: str) -> dict[str, str]:
        """point -> the job's number, or what is said instead."""
        return dict(said.split(": ", 1) for said in cluster.run(*line[:1], *more, *line[1:]).splitlines())

    first = jobs("--hold")
    assert len(first) == 2
    numbers = [said.removeprefix("job ") for said in first.values()]
    assert jobs() == dict.fromkeys(first, "is in the queue")
    for name, number in zip(first, numbers, strict=True):
        assert f"JobName={name} " in cluster.run("scontrol", "show", "job", "--oneliner", number)
        cluster.run("scontrol", "release", number)
    good, bad = (cluster.until(number, over) for number in numbers)
    assert "JobState=COMPLETED" in good, cluster.log(numbers[0])
    assert "JobState=FAILED" in bad, cluster.log(numbers[1])
    assert re.search("problem .*gone: is not there", cluster.log(numbers[1]))
    (run,) = (cluster.folder / "runs/sweep").glob("*/export")
    done, failed = first
    assert done.startswith(run.parent.name + "~")

    again = jobs("--hold")
    assert list(again) == [failed]
    cluster.run("scancel", again[failed].removeprefix("job "))


def test_a_job_that_cannot_run_says_why_before_it_trains(cluster, shards):
    wrong = ["run_dir=runs/none", "global_batch=5", "data.frame.synthetic.path=nowhere"]
    code, log = cluster.sbatch(*ONE_A_NODE, "slurm/train.sbatch", *TRAIN, *wrong)
    assert code != 0
    problems = [line for line in log.splitlines() if line.startswith("problem")]
    assert len(problems) == 2
    assert "all nodes: global_batch=5" in problems[0]
    assert "all nodes: data.frame.synthetic.path: nowhere: is not there" in problems[1]
    assert not (cluster.folder / "runs" / "none").exists()
    assert "GLOBAL_RANK" not in log


def test_evaluation_runs_on_all_tasks(trained, cluster):
    run, _ = trained
    protocol = {
        "kind": "sed",
        "title": "demo",
        "shards": "synthetic/test",
        "clips": 16,
        "scoring": {"metrics": ["auroc"]},
    }
    (cluster.folder / "demo.yaml").write_text(yaml.safe_dump(protocol))
    code, log = cluster.sbatch(
        *ONE_A_NODE,
        "slurm/eval.sbatch",
        run / "export",
        "--shards",
        "shards",
        "--out",
        "results",
        "--only",
        "demo.yaml",
        "--device",
        "cpu",
    )
    assert code == 0, log
    assert "waiting for 2 processes" in log
    found = [json.loads(path.read_text()) for path in (cluster.folder / "results").glob("*.json")]
    assert found
    assert all(result["clips_evaluated"] == 16 for result in found)


def test_a_corpus_is_prepared_in_parts_and_merged(cluster):
    folder = cluster.folder / "recordings"
    folder.mkdir()
    for n in range(6):
        noise = np.random.default_rng(n).normal(scale=0.1, size=3 * 48_000)
        soundfile.write(folder / f"clip{n}.wav", noise, 48_000)
        (folder / f"clip{n}.txt").write_text("0.5\t1.5\tnoise\n")
    code, log = cluster.sbatch(
        "--array=1-2", "--cpus-per-task=1", "slurm/prep_array.sbatch",
        "data_prep/custom.py", "recordings", "prepared", "--test-share", 0,
    )  # fmt: skip
    assert code == 0, log
    cluster.run(sys.executable, "data_prep/merge.py", "prepared")
    corpus = Corpus(cluster.folder / "prepared" / "train")
    assert sorted(corpus.record(n).events[0].label for n in range(len(corpus))) == ["noise"] * 6


def test_recordings_are_searched_in_parts(trained, cluster):
    run, _ = trained
    folder = cluster.folder / "night"
    folder.mkdir()
    for n in range(5):
        soundfile.write(folder / f"{n}.wav", np.random.default_rng(n).normal(scale=0.1, size=12 * 8_000), 8_000)
    (folder / "bad.wav").write_text("no sound")
    code, log = cluster.sbatch(
        "--array=1-2", "--cpus-per-task=1", "--gpus-per-node=0", "slurm/detect_array.sbatch",
        run / "export", "night", "--phrases", "rain", "--out", "found", "--threshold", 0,
    )  # fmt: skip
    assert code == 3, log
    assert "5 done, 1 failed" in log
    with (cluster.folder / "found" / "summary.csv").open(newline="") as file:
        assert sorted(row["status"] for row in csv.DictReader(file)) == ["done"] * 5 + ["failed"]
    assert len((cluster.folder / "found" / "events.tsv").read_text().splitlines()) == 1 + 5

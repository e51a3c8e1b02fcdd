"""`flam-train -m`: each point a run of its own; what is missing is done by the same line again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from in_process import script
from same_runs import assert_same_run
from tiny_runs import TINY, flam_train, metrics, on_shards, write_corpus

from flam_train.cli.sweep import plan
from flam_train.cli.train import main
from flam_train.training.configuration import CONFIG

BATCHES = ["global_batch=4", "frame_batch=4"]


def tiny(corpora, folder: Path, *more: str) -> list[str]:
    return [*TINY, *on_shards(*corpora), *BATCHES, f"run_dir={folder}", *more]


def refused(capsys, *line: str) -> str:
    assert main([*line]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert "Traceback" not in found.err
    return found.err


def test_every_point_is_shown(corpora, tmp_path, capsys):
    line = tiny(corpora, tmp_path / "sweep", "seed=0,1", "name=1e-4,b", "-m", "--print")
    assert main(line) == 0
    out = capsys.readouterr().out
    names = [f"seed={seed},name={name}" for seed in (0, 1) for name in ("1e-4", "b")]
    assert re.findall("^--- # (.*)$", out, re.MULTILINE) == names
    shown = list(yaml.safe_load_all(out))
    assert [(conf["seed"], conf["name"]) for conf in shown] == [(0, "1e-4"), (0, "b"), (1, "1e-4"), (1, "b")]
    assert [conf["run_dir"] for conf in shown] == [str(tmp_path / "sweep" / name) for name in names]
    assert not (tmp_path / "sweep").exists()


def test_each_line_of_a_point_composes_to_what_was_planned(corpora, tmp_path, capsys):
    """Folders with a space, `=` and commas, a choice of a group, a user's own files."""
    (tmp_path / "own/optim").mkdir(parents=True)
    (tmp_path / "own/optim/mine.yaml").write_text("defaults: [adamw]\nlr: 0.125\n")
    line = tiny(corpora, tmp_path / "a b", "optim=glob(mine)", "loss=flam,paper")
    found = plan(line, tmp_path / "own")
    assert [one.folder.name for one in found] == ["optim=mine,loss=flam", "optim=mine,loss=paper"]
    for one in found:
        assert main([*one.overrides, "--print"]) == 0
        assert yaml.safe_load(capsys.readouterr().out) == one.conf
        assert one.conf["optim"]["lr"] == 0.125


def test_where_points_lie_without_a_run_dir():
    assert [str(one.folder) for one in plan(["experiment=demo", "seed=0,1"])] == [
        "runs/demo/seed=0", "runs/demo/seed=1",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="several folders, runs/a and runs/b: say in which, run_dir="):
        plan(["name=a,b"])
    assert [str(one.folder) for one in plan(["name=a,b", "run_dir=here"])] == ["here/name=a", "here/name=b"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["seed=0,1", "optim.lrr=1"], "flam-train: seed=0: no key 'optim.lrr' in the configuration: did you mean"),
        (["optim.lr=1e-3,-1"], "flam-train: optim.lr=-1: optim.lr: -1 must be above 0"),
        (["optim.lr=1e-3,fast"], "flam-train: optim.lr=fast: optim.lr: 'fast' is not a number"),
        (["model=tiny,tinny"], "flam-train: model=tinny: model=tinny: no such choice: did you mean tiny?"),
        (["run_dir=a,b"], "run_dir is not swept"),
        (["seed=0"], "-m: nothing has several values"),
        (["seed=0,1", "hydra/launcher=joblib"], "Hydra's launchers take no part"),
    ],
)
def test_a_mistake_is_found_before_the_first_point(more, message, corpora, tmp_path, capsys):
    keys = {text.partition("=")[0] for text in more}
    line = [text for text in tiny(corpora, tmp_path / "sweep") if text.partition("=")[0] not in keys]
    assert message in refused(capsys, "-m", *line, *more)
    assert not (tmp_path / "sweep").exists()


def test_several_values_without_m_are_answered(capsys):
    for swept in ("seed=0,1", "seed=range(0,3)", "name='a',b"):
        assert f"{swept}: several values: -m trains with each of them" in refused(capsys, swept)


def test_a_sweep_is_started_once(monkeypatch, capsys):
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "2")
            assert "start it once, not by torchrun or srun" in refused(capsys, "-m", "seed=0,1")


def test_a_run_is_no_folder_of_a_sweep(corpora, finished, capsys):
    assert "holds a run of its own" in refused(capsys, "-m", *tiny(corpora, finished), "seed=0,1")


def test_points_for_a_scheduler(corpora, finished, tmp_path, capsys):
    """Without those that are done; a name is of one folder."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/seed=0").symlink_to(finished)
    line = tiny(corpora, tmp_path / "sweep", "seed=0,1", "trainer.accelerator=gpu", "name=flam")
    assert main(["--points", *line]) == 0  # where it is submitted from there may be no GPU
    found = capsys.readouterr()
    assert found.err.splitlines()[-1] == "seed=0: all 4 steps are done"
    (words,) = found.out.splitlines()
    assert words.startswith("'seed=1~")
    assert words.split()[1:3] == ["model=test", "text=bytes"]
    assert main(["--points", *tiny(corpora, tmp_path / "other", "seed=1,2")]) == 0
    assert words.split()[0] not in capsys.readouterr().out


def test_overwriting_a_run_leaves_the_runs_in_its_folder(corpora, finished, tmp_path):
    """A run whose name is a sweep's lies in the same folder. Nor does it touch what no run has written."""
    from flam_train.training.run import remove_run

    for name in ("export", "notes", "failed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    for name in ("last.ckpt", "step-00000004.ckpt", ".last.ckpt.draft", "metrics.csv", "thesis.txt", ".lock"):
        (tmp_path / name).write_text("")
    (tmp_path / CONFIG).write_text("training: mine\n")  # not a run's
    before = sorted(tmp_path.rglob("*"))
    remove_run(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / CONFIG).write_text("name: x\nrun_dir: here\n")
    (tmp_path / "seed=0").mkdir()
    (tmp_path / "seed=0" / CONFIG).write_text("")
    remove_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes", "seed=0", "thesis.txt"]


@pytest.mark.slow
@pytest.mark.ci
def test_a_failed_point_is_named_and_the_others_go_on(corpora, finished, tmp_path):
    """The same line again does what is missing, and what all have reached is compared."""
    train, test = corpora
    (here := tmp_path / "here").symlink_to(train)
    line = tiny((train, test), tmp_path / "sweep", "-m", f"data.frame.synthetic.path={tmp_path / 'gone'},{here}")
    line.remove(f"data.frame.synthetic.path={train}")
    first, second = plan([text for text in line if text != "-m"])
    done = flam_train(*line, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'gone'}: is not there" in done.stderr
    assert f"[1 of 2] {first.name}\n" in done.stderr
    assert f"\n{first.name}  failed, exit code 2\n" in done.stdout
    assert re.search(f"\n{re.escape(second.name)} +done\n", done.stdout)
    assert_same_run(second.folder, finished)
    before = (second.folder / "last.ckpt").stat().st_mtime_ns

    write_corpus(tmp_path / "gone", 12, 3)
    again = flam_train(*line)
    assert f"\n{first.name}  done\n" in again.stdout
    assert re.search(f"\n{re.escape(second.name)} +was done\n", again.stdout)
    assert (second.folder / "last.ckpt").stat().st_mtime_ns == before
    compared = script("eval/compare.py", tmp_path / "sweep")
    assert compared.returncode == 0, compared.stderr
    assert f"| data.frame.synthetic.path={here} | 1 |" in compared.stdout


@pytest.mark.slow
def test_what_is_asked_of_points_is_asked_of_each(corpora, tmp_path):
    line = tiny(corpora, tmp_path / "sweep", "-m", "--dry-run", "global_batch=4,3")
    line.remove("global_batch=4")
    done = flam_train(*line)
    assert done.stdout.count("nothing was trained") == 2
    assert "4 of 7 clips" in done.stdout
    assert not (tmp_path / "sweep").exists()
    checked = flam_train(*line[:-2], "--check", "global_batch=4,3")
    assert checked.stdout.count("all is well") == 2
    assert not (tmp_path / "sweep").exists()


class Sweep:
    """The same line again and again, in a session of its own."""

    def __init__(self, folder: Path, corpora, *more: str) -> None:
        self.folder, self.line = folder, tiny(corpora, folder / "sweep", "-m", *more)
        self.log = folder / "log.txt"

    def start(self) -> subprocess.Popen:
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        with self.log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flam_train.cli.train", *self.line],
                cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def point(self, name: str) -> Path:
        return self.folder / "sweep" / name

    def until_step(self, process: subprocess.Popen, name: str, step: int) -> None:
        end, path = time.monotonic() + 200, self.point(name) / "metrics.csv"
        while not (path.is_file() and re.search(f"^{step},", path.read_text(), re.MULTILINE)):
            assert process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def outcomes(self) -> dict[str, str]:
        lines = self.log.read_text().rpartition("the points of ")[2].splitlines()[1:]
        return {name: what for name, what in (re.split("  +", line) for line in lines if line)}


def child_of(pid: int) -> int:
    """The process that it has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(found) == 1, found
    return int(found[0])


@pytest.mark.slow
def test_points_that_are_killed_or_stopped_go_on(corpora, tmp_path):
    """kill -9 of a point, Ctrl-C in a terminal, SIGTERM: at the end each point is the run that was left alone."""
    long = ["steps=40", "trainer.validate_every=15"]
    sweep = Sweep(tmp_path, corpora, "seed=0,1", *long)
    (tmp_path / "alone").mkdir()
    for seed in (0, 1):
        flam_train(*tiny(corpora, tmp_path / f"alone/{seed}", *long, f"seed={seed}"))

    process = sweep.start()
    sweep.until_step(process, "seed=0", 5)
    os.kill(child_of(process.pid), signal.SIGKILL)
    sweep.until_step(process, "seed=1", 3)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(200) == 130
    assert sweep.outcomes() == {"seed=0": "killed by SIGKILL", "seed=1": "stopped"}
    assert "stopped by SIGINT" in sweep.log.read_text()

    process = sweep.start()
    sweep.until_step(process, "seed=0", 12)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(200) == 75
    assert sweep.outcomes() == {"seed=0": "stopped", "seed=1": "not begun"}
    said = sweep.log.read_text()
    assert re.search(r"seed=0, going on at step [1-9]", said)
    assert "stopped by SIGTERM; the same command goes on" in said

    assert sweep.start().wait(400) == 0
    assert sweep.outcomes() == {"seed=0": "done", "seed=1": "done"}
    assert sweep.log.read_text().count(", going on at step") == 2
    for seed in (0, 1):
        assert_same_run(sweep.point(f"seed={seed}"), tmp_path / f"alone/{seed}")
        assert len({step for step, name in metrics(sweep.point(f"seed={seed}")) if name == "loss/total"}) == 40

"""What wandb is told of a run that goes on."""

from __future__ import annotations

from types import SimpleNamespace

from needs import WANDB

from flam_train.training.loggers import METRICS, SteppedWandbLogger

pytestmark = WANDB


class Run(SimpleNamespace):
    """As much of a wandb run as the logger asks for."""

    def log(self, values: dict, step: int) -> None:
        self.points.append((step, values["loss/total"]))


def logger(folder, offline: bool, has: int, resumed: int) -> SteppedWandbLogger:
    """has: steps that the server has already."""
    own = folder / "wandb" / "offline-run-20260102_000000-abc"
    (own / "files").mkdir(parents=True)
    rows = [f"{step},loss/total,{step / 8}" for step in range(12)]
    (folder / METRICS).write_text("\n".join(["step,name,value", *rows, "12,loss/to"]))
    out = SteppedWandbLogger(folder, resumed, name="run", id="abc", mode="offline")
    out._experiment = Run(points=[], starting_step=has, offline=offline, id="abc", dir=str(own / "files"))
    return out


def test_a_server_is_told_what_it_lacks_and_nothing_twice(tmp_path):
    wandb = logger(tmp_path, offline=False, has=8, resumed=10)
    for step in (10, 11):
        wandb.log_metrics({"loss/total": 100.0 + step}, step)
    assert wandb.experiment.points == [(8, 1.0), (9, 1.125), (10, 110.0), (11, 111.0)]


def test_a_server_that_has_more_than_the_checkpoint_keeps_what_it_has(tmp_path):
    wandb = logger(tmp_path, offline=False, has=11, resumed=10)
    for step in (10, 11):
        wandb.log_metrics({"loss/total": 100.0 + step}, step)
    assert wandb.experiment.points == [(11, 111.0)]


def test_the_newest_offline_run_has_all_of_it(tmp_path):
    earlier = tmp_path / "wandb" / "offline-run-20260101_000000-abc"
    other = tmp_path / "wandb" / "offline-run-20260101_000000-xyz"
    earlier.mkdir(parents=True)
    other.mkdir()
    wandb = logger(tmp_path, offline=True, has=0, resumed=3)
    wandb.log_metrics({"loss/total": 3.0}, 3)
    assert wandb.experiment.points == [(0, 0.0), (1, 0.125), (2, 0.25), (3, 3.0)]
    there = {path.name for path in (tmp_path / "wandb").iterdir()}
    assert there == {"earlier", "offline-run-20260102_000000-abc", other.name}
    assert (tmp_path / "wandb" / "earlier" / earlier.name).is_dir()

"""`resume=extend`: no clip is repeated or left out, the schedule is the new one, and it happens once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
import yaml
from recorded_runs import RecordedRun, assert_same
from same_runs import stopped_after
from tiny_runs import conf, metrics

from flam_train.training.configuration import Config
from flam_train.training.optim import OptimConfig, groups_of, lr_factor
from flam_train.training.run import build, train

EXTEND = ["resume=extend", "steps=7", "global_batch=6", "frame_batch=2", "optim.lr=1e-3", "optim.schedule=linear"]


def test_a_run_that_is_extended_is_the_run_that_was_as_long_from_the_start(corpora, tmp_path):
    """Where the schedule does not know the length; the first part ends with a step that only its end validates."""
    settings = ["optim.schedule=constant", "trainer.validate_every=2", "trainer.checkpoint_every=1"]
    train(conf(corpora, tmp_path / "whole", *settings, "steps=5"))
    for steps in (3, 5):
        train(conf(corpora, tmp_path / "parts", *settings, f"steps={steps}", "resume=extend"))
    both = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("parts", "whole")]
    assert both[0]["global_step"] == both[1]["global_step"] == 5
    for name, weight in both[1]["state_dict"].items():
        assert torch.equal(both[0]["state_dict"][name], weight), name
    curves = [
        {key: v for key, v in metrics(tmp_path / name).items() if key[1].startswith(("loss/", "optim/"))}
        for name in ("parts", "whole")
    ]
    assert curves[0] == curves[1]


def test_it_happens_once(corpora, tmp_path, monkeypatch, capsys):
    """And the same command goes on exactly, also where a step of it is all that was done."""
    folder = tmp_path / "run"
    train(conf(corpora, folder))
    with pytest.raises(ValueError, match=r"optim\.lr was 0\.0005, is 0\.001.*or with these by resume=extend"):
        train(conf(corpora, folder, *EXTEND[1:]))
    with stopped_after(4, monkeypatch):
        train(conf(corpora, folder, *EXTEND))  # killed before a step was taken
    with stopped_after(5, monkeypatch):
        train(conf(corpora, folder, *EXTEND, "trainer.checkpoint_every=1"))
    assert capsys.readouterr().err.count("resume=extend: from step 4 on") == 1
    train(conf(corpora, folder, *EXTEND))
    assert "resume=extend: from" not in capsys.readouterr().err
    train(conf(corpora, folder, *EXTEND[1:]))
    assert "all 7 steps are done" in capsys.readouterr().err
    changed = {
        "frame_batch": [4, 2],
        "global_batch": [4, 6],
        "optim.lr": [0.0005, 0.001],
        "optim.schedule": ["cosine", "linear"],
        "steps": [4, 7],
    }
    kept = yaml.safe_load((folder / "config.yaml").read_text())
    assert kept.pop("extended") == [{"step": 4, "changed": changed}]
    assert torch.load(folder / "last.ckpt", weights_only=True)["run"]["extended"] == [{"step": 4, "changed": changed}]
    config = Config.read(kept)
    for step in range(4, 7):
        factor = lr_factor(step, config.optim, 7)
        assert float(metrics(folder)[step, "optim/lr"]) == pytest.approx(1e-3 * factor), step


@pytest.mark.parametrize("decays", [(1.0, 0.5), (0.5, 1.0)])
def test_layers_may_learn_at_other_rates(decays, corpora, tmp_path):
    """The optimiser then has other groups; each parameter keeps its means."""
    was, now = ([f"optim.layer_decay={decay}", "trainer.checkpoint_every=1"] for decay in decays)
    train(conf(corpora, tmp_path, *was, "steps=2"))
    before = means(tmp_path, decays[0], corpora)
    with pytest.MonkeyPatch.context() as patch, stopped_after(2, patch):
        train(conf(corpora, tmp_path, *now, "steps=4", "resume=extend"))
    after = means(tmp_path, decays[1], corpora)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], mean) for name, mean in after.items())
    assert len(after) > 20
    train(conf(corpora, tmp_path, *now, "steps=4", "resume=extend"))
    rates = {group["initial_lr"] for group in torch.load(tmp_path / "last.ckpt")["optimizer_states"][0]["param_groups"]}
    assert (len(rates) > 1) == (decays[1] < 1)


def means(folder: Path, decay: float, corpora) -> dict[str, torch.Tensor]:
    """Adam's first mean of each parameter, of a run with this decay."""
    state = torch.load(folder / "last.ckpt", weights_only=True)["optimizer_states"][0]
    model = build(conf(corpora, folder)).module.model
    names = [n for group in groups_of(model, OptimConfig(layer_decay=decay)).values() for n in group]
    return {name: state["state"][at]["exp_avg"] for at, name in enumerate(names) if at in state["state"]}


def test_what_cannot_be_trained_changes_nothing(corpora, tmp_path):
    train(conf(corpora, tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for wrong, why in (
        (["resume=extend", "steps=8", "global_batch=3", "accumulate=2"], "global_batch=3 does not divide"),
        (["overwrite=true", "init=/nope"], "there is nothing at /nope"),
        (["overwrite=true", f"data.global.synthetic.path={tmp_path}/nope"], "nope"),
        (["overwrite=true", f"init={tmp_path}/export"], "lies in the run folder"),
        (["overwrite=true", "global_batch=3", "accumulate=2"], "global_batch=3 does not divide"),
    ):
        with pytest.raises(ValueError, match=why):
            train(conf(corpora, tmp_path, *wrong))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_its_last_checkpoint_a_run_begins_again_and_removes_nothing(corpora, tmp_path, monkeypatch):
    """Only overwrite=true does: the other checkpoints may be all that is left of days."""
    train(conf(corpora, tmp_path))
    (tmp_path / "last.ckpt").rename(tmp_path / "step-00000004.ckpt")
    (tmp_path / "best.ckpt").write_bytes(b"the best")
    with stopped_after(1, monkeypatch):
        train(conf(corpora, tmp_path))
    assert (tmp_path / "step-00000004.ckpt").is_file()
    assert (tmp_path / "best.ckpt").read_bytes() == b"the best"
    assert (tmp_path / "export/model.safetensors").is_file()
    with stopped_after(1, monkeypatch):
        train(conf(corpora, tmp_path, "overwrite=true"))
    assert not (tmp_path / "best.ckpt").exists()


def finished_parts(folder: Path, corpora, ranks: int = 1) -> RecordedRun:
    run = RecordedRun(folder, corpora, ranks=ranks)
    assert run.finish() == 0, run.said[-3000:]
    run.overrides += EXTEND
    return run


def assert_every_clip_in_turn(run: RecordedRun, corpora) -> None:
    """What the ranks took of both streams is their plan, without gap or repetition."""
    whole = build(conf(corpora, run.run)).data
    for name, stream in (("global", whole.captions), ("frame", whole.events)):
        taken = [key for step in range(7) for rank in range(run.ranks) for key in run.steps(rank)[step][f"{name} keys"]]
        assert len(taken) == 4 * 4 + 3 * (6 if name == "global" else 2)
        assert taken == [clip.key for clip in stream.clips(0, len(taken))[0]]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.ci), 2])
def test_kill_9_of_a_run_that_is_extended(ranks, corpora, tmp_path):
    want = finished_parts(tmp_path / "undisturbed", corpora, ranks)
    assert want.finish() == 0, want.said[-3000:]
    assert_every_clip_in_turn(want, corpora)
    run, last = finished_parts(tmp_path / "killed", corpora, ranks), ranks - 1
    for fault in (f"die:{last}:4", "saved:0:6", f"die:{last}:6"):
        assert run.finish(FAULT=fault) != 0, run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert run.said.count("resume=extend: from step 4 on") == 1
    assert_same(run, want)


@pytest.mark.slow
@pytest.mark.ci
def test_kill_9_as_the_checkpoint_is_rewritten(corpora, tmp_path):
    """It is the old one or the new one."""
    want = finished_parts(tmp_path / "undisturbed", corpora)
    assert want.finish() == 0, want.said[-3000:]
    run = finished_parts(tmp_path / "killed", corpora)
    assert run.finish(FAULT="saved:0:4") == -signal.SIGKILL, run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, want)

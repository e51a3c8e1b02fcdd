"""Every choice of the configuration builds, every experiment trains, every mistake is answered in a line."""

from __future__ import annotations

import pytest
import yaml
from tiny_runs import TINY, on_shards

from flam_train.cli.train import compose_conf, main
from flam_train.inference import load_model
from flam_train.paths import conf_dir
from flam_train.training.run import build, train

EXPERIMENTS = sorted(p.stem for p in (conf_dir() / "experiment").glob("*.yaml"))


def overrides_for(experiment: str, corpora, bank, finished) -> list[str]:
    out = [*TINY, "steps=1", "trainer.validate_every=1"]
    loaded = compose_conf([f"experiment={experiment}", *_placeholders(experiment)])
    for kind in ("global", "frame"):
        for name, entry in (loaded["data"].get(kind) or {}).items():
            if "bank" in entry:
                out.append(f"data.{kind}.{name}.bank=[{bank}]")
            else:
                out.append(f"data.{kind}.{name}.path={corpora[0]}")
            if entry.get("validation"):
                out.append(f"data.{kind}.{name}.validation={corpora[1]}")
        out.append(f"{kind}_batch={2 if loaded[f'{kind}_batch'] else 0}")
    if loaded["init"]:
        out.append(f"init={finished / 'export'}")
    return out


def _placeholders(experiment: str) -> list[str]:
    text = (conf_dir() / "experiment" / f"{experiment}.yaml").read_text()
    out = [f"data.{k}.custom.path=x" for k in ("global", "frame") if f"override /data/{k}: [custom]" in text]
    return out + (["init=x"] if "init: ???" in text else [])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains(experiment, corpora, bank, finished, tmp_path):
    overrides = overrides_for(experiment, corpora, bank, finished)
    folder = train(compose_conf([f"experiment={experiment}", *overrides, f"run_dir={tmp_path / 'run'}"]))
    assert load_model(folder).provenance["steps"] == 1


@pytest.mark.parametrize("group", ["model", "text", "loss", "optim", "trainer", "logger", "data/global", "data/frame"])
def test_every_choice_composes_and_instantiates(group, corpora, bank, tmp_path):
    for file in sorted((conf_dir() / group).glob("*.yaml")):
        name = file.stem
        overrides = [*TINY, *on_shards(*corpora), f"run_dir={tmp_path}"]
        if group.startswith("data/"):
            kind = group.split("/")[1]
            overrides = [o for o in overrides if not o.startswith(f"data.{kind}.")]
            where = "bank" if "bank:" in file.read_text() else "path"
            overrides.append(f"{group}=[{name}]")
            several = file.read_text().startswith(f"# @package data.{kind}\n")  # a file may select several corpora
            for entry in yaml.safe_load(file.read_text()) if several else [name]:
                overrides.append(f"data.{kind}.{entry}.{where}={bank if where == 'bank' else corpora[0]}")
                overrides.append(f"++data.{kind}.{entry}.validation={corpora[1]}")
        elif group == "model":
            # At tiny size: the choice with its widths cut down, but its depths, patch and frames as they are.
            overrides = [o for o in overrides if o != "model=test"] + [f"model={name}"]
        elif group == "text" and name != "bytes":
            assert compose_conf([*overrides, f"text={name}"])["text"]["tower"] == name
            continue
        else:
            overrides.append(f"{group}={name}")
        build(compose_conf(overrides))


def test_dry_run_says_everything_and_writes_nothing(corpora, tmp_path, capsys):
    overrides = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=4", f"run_dir={tmp_path / 'run'}"]
    assert main([*overrides, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for expected in ("4 of 8 clips", "parameters learn", "memory", "label_BCT [4,", "activations about"):
        assert expected in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=dmeo"], "experiment=dmeo: no such choice: did you mean demo?"),
        (["model=tinny"], "did you mean tiny?"),
        (["data/frame=[synthetc]"], "did you mean synthetic?"),
        (["optim.lrr=3"], "no key 'optim.lrr' in the configuration: did you mean optim.lr"),
        (["dta/frame=[x]"], "did you mean data/frame?"),
        (["experiment=finetune"], "has no value yet"),
        (["optim.lr=fast"], "optim.lr: 'fast' is not a number"),
        (["loss.unannotated=masq"], "loss.unannotated: 'masq' is not known: did you mean mask?"),
        (["optim.freeze=[txt]"], "did you mean text?"),
        (["optim.schedule=cosin"], "did you mean cosine?"),
        (["global_batch=0", "frame_batch=0"], "one must be over 0"),
        (["data.frame.synthetic.path=/nowhere"], "/nowhere"),
        (["steps=0"], "at least one step"),
        (["trainer.precision=f16"], "trainer.precision"),
    ],
)
def test_mistakes_are_answered_in_a_line(overrides, message, corpora, tmp_path, capsys):
    base = [o for o in [*TINY, *on_shards(*corpora)] if o.split("=")[0] not in {p.split("=")[0] for p in overrides}]
    if overrides[0].startswith("data/frame") or overrides[0].startswith("experiment=finetune"):
        base = TINY
    assert main([*base, f"run_dir={tmp_path}", *overrides]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_ones_own_configuration_folder(corpora, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\noptim: {lr: 0.25}\n")
    found = compose_conf(["experiment=mine"], tmp_path)
    assert found["name"] == "mine"
    assert found["optim"]["lr"] == 0.25

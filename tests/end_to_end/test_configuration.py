"""Every choice of the configuration builds, every experiment trains, every mistake is answered in a line."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml
from needs import HAS_WANDB
from others_weights import multilingual_folder
from tiny_runs import TINY, damage, on_shards, tiny_roberta, write_corpus

from flam_train.cli.train import compose_conf, main
from flam_train.inference import load_model
from flam_train.models.text import minilm_from_package
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


@pytest.mark.parametrize(
    "group", ["model", "text", "augment", "loss", "optim", "trainer", "logger", "data/global", "data/frame"]
)
def test_every_choice_composes_and_instantiates(group, corpora, bank, finished, tmp_path):
    for file in sorted((conf_dir() / group).glob("*.yaml")):
        name = file.stem
        overrides = [*TINY, *on_shards(*corpora), f"run_dir={tmp_path}"]
        overrides += [f"init={finished / 'export'}"] if name == "as_init" else []
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
            overrides = [o for o in overrides if o != "model=test"] + [f"model={name}"]
            overrides += ["frame_batch=0"] if name in ("flam_global", "mga_clap") else []
        elif name == "roberta":
            overrides += ["text=roberta", f"text.name={tiny_roberta(tmp_path / 'roberta')}"]
        elif name == "multilingual":
            overrides += [f"text={name}", f"text.name={multilingual_folder(tmp_path / name)}"]
        elif (name == "minilm" and minilm_from_package() is None) or (name == "wandb" and not HAS_WANDB):
            continue
        else:
            overrides.append(f"{group}={name}")
        build(compose_conf(overrides))


def test_dry_run_says_everything_and_writes_nothing(corpora, tmp_path, capsys):
    overrides = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=4", f"run_dir={tmp_path / 'run'}"]
    assert main(["--dry-run", *overrides]) == 0
    out = capsys.readouterr().out
    for expected in ("4 of 8 clips", "parameters learn", "memory", "label_BCT [4,", "(text) in float32"):
        assert expected in out
    assert not (tmp_path / "run").exists()


def test_dry_run_of_micro_batches(corpora, tmp_path, capsys):
    folder = write_corpus(tmp_path / "train", 12, 0)
    damage(folder, 0.34)
    overrides = [*TINY, *on_shards(folder, None), "global_batch=4", "frame_batch=4", f"run_dir={tmp_path / 'run'}"]
    found = []
    for more in (["accumulate=1"], ["accumulate=4"], ["accumulate=4", "trainer.precision=64-true"]):
        assert main([*overrides, "--dry-run", *more]) == 0
        out = capsys.readouterr().out
        assert "4 of 8 clips (8 on each process" in out
        assert "label_BCT [4," in out
        audio = re.search(r"activations about ([\d.]+) MB \(audio\) and [\d.]+ [kM]?B \(text\) in float(32|64)", out)
        found.append((float(audio[1]), audio[2], out.count("bad sample"), "4 micro-batches of 2" in out))
    (whole, *_), (share, *_), (double, *_) = found
    assert [rest for _, *rest in found] == [["32", 2, False], ["32", 2, True], ["64", 2, True]]
    assert share < 0.7 * whole
    assert 1.5 * share < double < 2.1 * share


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
        (["loss.hard_negative=-1"], "loss.hard_negative: -1 must be at least 0"),
        (["augment=finetunne"], "augment=finetunne: no such choice: did you mean finetune?"),
        (["optim.freeze=[txt]"], "did you mean text?"),
        (["optim.schedule=cosin"], "did you mean cosine?"),
        (["global_batch=0", "frame_batch=0"], "one must be over 0"),
        (["data.frame.synthetic.path=/nowhere"], "data.frame.synthetic.path: /nowhere: is not there"),
        (["data.frame.synthetic.validation=/nowhere"], "data.frame.synthetic.validation: /nowhere: is not there"),
        (["++data.frame.synthetic.bank=/nowhere"], "data.frame.synthetic.bank: /nowhere: is not there"),
        (["data.exclude=/nowhere"], "data.exclude: /nowhere: cannot be read"),
        (["augment.background=/nowhere"], "augment.background: /nowhere: is not there"),
        (["steps=0"], "steps: 0 must be at least 1"),
        (["trainer.precision=f16"], "trainer.precision"),
        (["model.audio=foo"], "model.audio: 'foo' is not known: there are tiny"),
        (["model.audio.heads=[3,2,2,2]"], "model.audio.heads: stage 0: width 8 does not divide by 3 heads"),
        (["+model.audio.window=5"], "model.audio.window: 5 does not divide the stages' sides of 64, 32, 16, 8"),
        (["+model.frontend.seconds=inf"], "model.frontend.seconds: inf is not a number"),
        (["+model.frontend.mask_stripes=65"], "model.frontend.mask_stripes: 65 must be at most mel_bins, 64"),
        (["text.max_tokens=100000000"], "text.max_tokens: 1e+08 must be at least 3 and at most"),
        (["+text.architecture={a: 1}"], "text.architecture: is filled in when the tower is built"),
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


def test_weights_of_corpora_that_are_left_out_are_passed_over():
    found = compose_conf(["experiment=openflam", "data/frame=[desed]", "data/global=[]", "global_batch=0"])
    assert {name: entry["weight"] for name, entry in found["data"]["frame"].items()} == {
        "desed_real": 3, "desed_synthetic": 10,
    }  # fmt: skip
    assert not found["data"]["global"]
    for own in ("data.frame.urbansed.weight=2", "data.frame.urbansed={weight:2}", "data.frame.desed_real=null"):
        with pytest.raises(ValueError, match=r"data\.frame\.\w+: \w+ is not among data/frame"):
            compose_conf(["experiment=openflam", "data/frame=[desed]", own])


def test_a_misspelt_corpus_of_ones_own_experiment_is_told(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndata: {frame: {synthetik: {weight: 5.0}}}\n"
    )
    with pytest.raises(ValueError, match=r"data\.frame\.synthetik: no corpus .*did you mean synthetic"):
        compose_conf(["experiment=mine"], tmp_path)


def test_ones_own_configuration_folder(corpora, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\noptim: {lr: 0.25}\n")
    found = compose_conf(["experiment=mine"], tmp_path)
    assert found["name"] == "mine"
    assert found["optim"]["lr"] == 0.25


def test_threads_are_told_to_sleep_before_torch_is_there():
    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); from flam_train.cli.train import main; "
        "assert 'torch' not in sys.modules; main(['--print']); "
        "assert 'torch' not in sys.modules; sys.exit(os.environ['OMP_WAIT_POLICY'] != 'PASSIVE')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

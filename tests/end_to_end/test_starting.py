"""A run starts from an export alone, from another run's checkpoint, from a hub; then it needs none of them."""

from __future__ import annotations

import shutil

import huggingface_hub.constants as constants
import pytest
import torch
import yaml
from hub_server import Repository, files_of
from hub_server import hub as hub_of
from recorded_runs import RecordedRun, assert_same
from same_runs import assert_same_run, stopped_after
from tiny_runs import TINY, conf, on_shards, tiny_roberta

from flam_train.checkpoints.initial import start
from flam_train.cli.train import compose_conf, main
from flam_train.inference import load_model
from flam_train.training.averaging import Averaging
from flam_train.training.fault_tolerance.checkpoint import AtomicCheckpointIO
from flam_train.training.run import train

CHOSEN = ("model=test", "text=bytes")
BARE = [option for option in TINY if option not in CHOSEN]


def started(corpora, folder, *overrides: str) -> dict:
    """As `conf`, but nothing says what the model is."""
    batches = ["global_batch=4", "frame_batch=4"]
    return compose_conf([*BARE, *on_shards(*corpora), f"run_dir={folder}", *batches, *overrides])


@pytest.fixture(scope="module")
def roberta(corpora, tmp_path_factory):
    """The export of a run with a text model: neither the run nor the text model's folder is there any more."""
    folder = tmp_path_factory.mktemp("roberta")
    name = tiny_roberta(folder / "text")
    train(conf(corpora, folder / "run", "text=roberta", f"text.name={name}", "steps=1", "model.phrase_bias=one"))
    shutil.rmtree(name)
    (folder / "run/export").rename(folder / "export")
    shutil.rmtree(folder / "run")
    return folder / "export"


@pytest.mark.slow
@pytest.mark.ci
def test_an_export_alone_is_enough(roberta, corpora, tmp_path, monkeypatch, capsys):
    """To begin, and after a kill not even that: to go on, to export, to be looked at beforehand."""
    export = shutil.copytree(roberta, tmp_path / "given")
    train(started(corpora, tmp_path / "whole", f"init={export}"))
    settings = started(corpora, tmp_path / "run", f"init={export}")
    with stopped_after(2, monkeypatch):
        train(settings)
    shutil.rmtree(export)
    kept = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert (kept["text"]["tower"], kept["text"]["max_tokens"]) == ("roberta", 77)
    assert (kept["model"]["audio"]["width"], kept["model"]["phrase_bias"], kept["init"]) == (8, "one", str(export))
    capsys.readouterr()
    overrides = [*BARE, *on_shards(*corpora), f"run_dir={tmp_path / 'run'}", "global_batch=4", "frame_batch=4"]
    overrides += [f"init={export}"]
    before = (tmp_path / "run/last.ckpt").read_bytes()
    assert main(["--dry-run", *overrides]) == 0
    told = capsys.readouterr().out
    assert f"run folder   {tmp_path / 'run'}, goes on at step 2" in told
    assert "events of rank 0, step 2: " in told
    assert main(["--dry-run", *overrides, "model.phrase_bias=phrase"]) == 2
    assert "model.phrase_bias was 'one', is 'phrase'" in capsys.readouterr().err
    assert main(["--check", *overrides]) == 0
    assert (tmp_path / "run/last.ckpt").read_bytes() == before
    assert main(overrides) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    whole, model = load_model(tmp_path / "whole/export"), load_model(tmp_path / "run/export")
    assert torch.equal(*(m.embed_text(["a siren"]).text_CD for m in (whole, model)))
    assert whole.provenance["init"] == model.provenance["init"]
    assert model.provenance["init"]["sha256"] == load_model(roberta).provenance["sha256"]
    assert main(["--dry-run", *overrides]) == 0
    assert ", all 4 steps are done" in capsys.readouterr().out


@pytest.mark.slow
def test_two_ranks_go_on_without_it(roberta, corpora, tmp_path):
    """The node that goes on need not be the one that has begun."""

    def run_from(folder, init):
        run = RecordedRun(folder, corpora, "trainer.checkpoint_every=2", ranks=2)
        run.overrides = [o for o in run.overrides if o not in CHOSEN] + [f"init={init}"]
        return run

    want = run_from(tmp_path / "undisturbed", roberta)
    assert want.finish() == 0, want.said[-3000:]
    export = shutil.copytree(roberta, tmp_path / "given")
    run = run_from(tmp_path / "killed", export)
    assert run.finish(FAULT="saved:0:2") != 0, run.said[-3000:]
    shutil.rmtree(export)
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, want)
    provenance = load_model(run.run / "export").provenance
    assert provenance["init"]["sha256"] == load_model(roberta).provenance["sha256"]


@pytest.mark.slow
@pytest.mark.ci
def test_a_text_tower_that_is_there_may_be_frozen(corpora, roberta, tmp_path, capsys):
    """Whether it is that of the weights, or another pretrained one; what is fresh may not."""
    text = tiny_roberta(tmp_path / "text")
    minilm = ["text=minilm", f"text.name={text}"]
    for more in ([], minilm):
        overrides = [*BARE, *on_shards(*corpora), f"run_dir={tmp_path / 'run'}", "global_batch=2", "frame_batch=2"]
        overrides = [o for o in overrides if not o.startswith("optim.freeze")] + [f"init={roberta}"]
        assert main(["--dry-run", *overrides, *more, "optim.freeze=[text]"]) == 0
        assert ("text as init: roberta" if not more else "text is minilm") in capsys.readouterr().out
    assert main(["--dry-run", *overrides, *minilm, "optim.freeze=[scale_head]"]) == 2
    assert "scale_head" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ci
def test_another_runs_checkpoint_with_its_running_mean(corpora, tmp_path, monkeypatch):
    """`last.ckpt`, `best.ckpt`: what was validated, with the tokenizer of its folder; then its folder may go."""
    other = tmp_path / "other"
    train(conf(corpora, other, "optim.ema=0.5", "trainer.monitor=val/synthetic/auroc_macro", "model.phrase_bias=one"))
    for name in ("last.ckpt", "best.ckpt"):
        found = AtomicCheckpointIO().load_checkpoint(other / name)
        model, table = start({"as_init": True}, {"tower": "as_init"}, str(other / name))
        assert table.source == f"a run's checkpoint, the running mean of its weights after {found['global_step']} steps"
        for key, value in model.named_parameters():
            assert torch.equal(value, found["average"][f"model.{key}"])
        assert not torch.equal(model.scale_head[0].weight, found["state_dict"]["model.scale_head.0.weight"])
    exported = load_model(other / "export").state_dict()
    model, _ = start({"as_init": True}, {"tower": "as_init"}, str(other / "last.ckpt"))
    assert all(torch.equal(v, exported[k]) for k, v in model.state_dict().items())

    begun, begin = [], Averaging.on_train_start

    def noted(self, trainer, pl_module):
        begun.append(pl_module.model.scale_head[0].weight.detach().clone())
        begin(self, trainer, pl_module)

    monkeypatch.setattr(Averaging, "on_train_start", noted)
    train(started(corpora, tmp_path / "whole", f"init={other / 'last.ckpt'}", "optim.ema=0.5"))
    assert torch.equal(begun[0], exported["scale_head.0.weight"])
    settings = started(corpora, tmp_path / "run", f"init={other / 'last.ckpt'}", "optim.ema=0.5")
    with stopped_after(2, monkeypatch):
        train(settings)
    shutil.rmtree(other)
    train(settings)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.ci
def test_a_hub_is_asked_at_the_start_alone(roberta, corpora, tmp_path, monkeypatch, capsys):
    with hub_of() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        server.repositories["lab/flam"] = Repository()
        commit = server.repositories["lab/flam"].push(files_of(roberta))
        train(started(corpora, tmp_path / "whole", f"init={roberta}"))
        settings = started(corpora, tmp_path / "run", "init=hf://lab/flam")
        with stopped_after(2, monkeypatch):
            train(settings)
        told = capsys.readouterr().err
        assert "init   hf://lab/flam" in told
        server.repositories["lab/flam"].push({"README.md": b"# emptied"})
        shutil.rmtree(tmp_path / "cache")
        server.asked.clear()
        train(settings)
        assert server.asked == []
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    provenance = load_model(tmp_path / "run/export").provenance
    assert provenance["init"]["commit"] == commit
    assert provenance["config"]["init"] == "hf://lab/flam"

"""Which step is exported: the last or the best, its weights or their running mean; and when a run ends by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from recorded_runs import RecordedRun, assert_equal, assert_same
from safetensors.torch import load_file
from tiny_runs import conf, metrics

from flam_train.cli.convert import main as convert
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream.dataset import ClipsDataset
from flam_train.inference import load_model
from flam_train.training.run import train
from flam_train.training.validation import CorpusValidation

MONITOR = "val/synthetic/auroc_macro"
CHOICE = [f"trainer.monitor={MONITOR}", "steps=5", "export=both", "optim.ema=0.6"]

RECALL = "trainer.monitor=val/synthetic/audio_to_text_R@1"
"""Of five clips: it can improve five times at the most, so patience always has an end."""


def checkpoint(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def chosen(corpora, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "chosen"
    train(conf(corpora, folder, *CHOICE))
    return folder


def test_the_last_step_is_validated_and_each_export_says_what_was_found_at_its_step(chosen):
    found = {step: float(v) for (step, name), v in metrics(chosen).items() if name == MONITOR}
    assert set(found) == {1, 3, 4}
    best = max(found, key=lambda step: (found[step], -step))
    for export, name, step in (("export", "last.ckpt", 4), ("export-best", "best.ckpt", best)):
        said = json.loads((chosen / export / "provenance.json").read_text())
        assert (said["steps"], said["checkpoint"]) == (step + 1, name)
        assert said["validation"]["step"] == step + 1
        assert said["validation"][MONITOR] == found[step]
        assert said["data"]["frame"]["synthetic"][0]["samples"] == 12
        assert said["config"]["export"] == "both"


def test_the_running_mean_is_what_was_validated_and_exported(chosen, corpora):
    for export, name in (("export", "last.ckpt"), ("export-best", "best.ckpt")):
        weights, kept = load_file(chosen / export / "model.safetensors"), checkpoint(chosen / name)
        assert kept["average"]
        for key, mean in kept["average"].items():
            assert torch.equal(weights[key.removeprefix("model.")], mean), key
        assert any(not torch.equal(kept["state_dict"][key], mean) for key, mean in kept["average"].items())
        model, corpus = load_model(chosen / export), Corpus(corpora[1])
        validation, clips = CorpusValidation(corpus, model.grid, 16), ClipsDataset(corpus, model.grid.seconds, 16)
        with torch.no_grad():
            for n in range(len(clips)):
                validation.update(model, model.embed_audio(clips[n].waveform_BS), clips[n])
        said = json.loads((chosen / export / "provenance.json").read_text())["validation"]
        assert {f"val/synthetic/{k}": v for k, v in validation.compute().items()} == pytest.approx(
            {k: v for k, v in said.items() if k != "step"}, abs=1e-6
        )


def test_any_checkpoint_of_a_run_becomes_an_export(chosen, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        convert(["checkpoint", str(chosen / "best.ckpt"), str(tmp_path / "out")])
    assert ended.value.code == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    for name in ("model.safetensors", "provenance.json", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (chosen / "export-best" / name).read_bytes()
    for path, message in ((tmp_path / "no.ckpt", "no.ckpt: is not there"), (chosen / "metrics.csv", "metrics.csv: ")):
        with pytest.raises(SystemExit) as ended:
            convert(["checkpoint", str(path), str(tmp_path / "none")])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_run_that_is_done_makes_the_exports_that_are_asked_for_later(chosen, corpora, tmp_path, capsys):
    folder = shutil.copytree(chosen, tmp_path / "run")
    shutil.rmtree(folder / "export-best")
    shutil.rmtree(folder / "export")
    train(conf(corpora, folder, *CHOICE, "export=best"))
    weights = [one / "model.safetensors" for one in (folder / "export", chosen / "export-best", chosen / "export")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    train(conf(corpora, folder, *CHOICE))
    assert weights[0].read_bytes() == weights[2].read_bytes()
    assert "going on" not in capsys.readouterr().err
    (folder / "best.ckpt").unlink()
    with pytest.raises(ValueError, match=r"export=both: there is no \S+best\.ckpt: val/synthetic/auroc_macro was"):
        train(conf(corpora, folder, *CHOICE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["export=best"], r"export=best: best by what\? Set trainer\.monitor"),
        (["trainer.patience=2"], r"trainer\.patience=2: with what\? Set trainer\.monitor"),
        (["export=first"], r"export: 'first' is not known"),
        (["optim.ema=1"], r"optim\.ema: 1 must be at least 0 and below 1"),
    ],
)
def test_what_is_chosen_by_nothing_is_refused(options, message, corpora, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(conf(corpora, tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_patience_ends_a_run_which_may_go_on_with_more_of_it(corpora, tmp_path, monkeypatch, capsys):
    values = iter([0.5, 0.7, 0.7, 0.6, 0.8, 0.1, 0.2, 0.3])
    monkeypatch.setattr(CorpusValidation, "compute", lambda self: {"auroc_macro": next(values)})
    options = [f"trainer.monitor={MONITOR}", "trainer.validate_every=1", "steps=8", "export=best"]
    options += ["trainer.checkpoint_every=3"]
    folder = tmp_path / "run"
    train(conf(corpora, folder, *options, "trainer.patience=2"))
    last = checkpoint(folder / "last.ckpt")
    assert (last["global_step"], last["callbacks"]["Checkpoints"]["stale"]) == (4, 2)
    assert json.loads((folder / "export/provenance.json").read_text())["steps"] == 2
    assert f"the run ends at step 4: 2 validations without a better {MONITOR}" in capsys.readouterr().err
    train(conf(corpora, folder, *options, "trainer.patience=2"))
    assert "ended after 4 steps, 2 validations without a better" in capsys.readouterr().err
    train(conf(corpora, folder, *options, "trainer.patience=3"))
    assert checkpoint(folder / "last.ckpt")["global_step"] == 8
    assert json.loads((folder / "export/provenance.json").read_text())["steps"] == 5
    found = [float(v) for (_, name), v in sorted(metrics(folder).items()) if name == MONITOR]
    assert found == pytest.approx([0.5, 0.7, 0.7, 0.6, 0.8, 0.1, 0.2, 0.3])


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.ci), 2])
def test_kill_9_with_a_running_mean_and_patience(ranks, corpora, tmp_path):
    options = ["steps=40", "optim.ema=0.9", RECALL, "trainer.patience=3", "export=both", "trainer.validate_every=1"]
    want, run = (RecordedRun(tmp_path / name, corpora, *options, ranks=ranks) for name in ("undisturbed", "killed"))
    assert want.finish() == 0, want.said[-3000:]
    ends = max(want.steps())
    assert 3 <= ends < 39
    assert all(max(want.steps(rank)) == ends for rank in range(ranks))
    for fault in (f"die:{ranks - 1}:1", "saved:0:2", f"validation:{ranks - 1}:3", f"die:{ranks - 1}:{ends}"):
        assert run.finish(FAULT=fault) not in (0, None), run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, want)
    for name in ("last.ckpt", "best.ckpt"):
        a, b = checkpoint(run.run / name), checkpoint(want.run / name)
        assert_equal(a["average"], b["average"])
        assert a["callbacks"]["Checkpoints"]["stale"] == b["callbacks"]["Checkpoints"]["stale"]
    weights = [one.run / "export-best/model.safetensors" for one in (run, want)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert run.finish() == 0
    assert "ended after" in run.said

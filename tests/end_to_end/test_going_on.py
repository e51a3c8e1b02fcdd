"""A run goes on with the same data wherever it lies now, and with no other; longer or otherwise when it is told to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from same_runs import assert_same_run, stopped_after
from tiny_runs import TINY, conf, tiny_roberta, write_bank, write_corpus

from flam_train.checkpoints.export import save_export
from flam_train.cli.train import compose_conf
from flam_train.inference import load_model
from flam_train.models.kept_text import KeptText
from flam_train.training.fault_tolerance.checkpoint import AtomicCheckpointIO
from flam_train.training.run import train


def begun(settings: dict, monkeypatch, steps: int = 2) -> None:
    with stopped_after(steps, monkeypatch):
        train(settings)


def altered(folder: Path, change) -> None:
    """The last checkpoint, after `change(checkpoint)`."""
    files = AtomicCheckpointIO()
    found = files.load_checkpoint(folder / "last.ckpt")
    change(found)
    files.save_checkpoint(found, folder / "last.ckpt")


def test_a_moved_or_respelled_folder_is_the_same_data(corpora, finished, tmp_path, monkeypatch):
    """Of shards, and of the run itself."""
    begun(conf(corpora, tmp_path / "run"), monkeypatch)
    train_, test = (shutil.copytree(folder, tmp_path / "moved" / folder.name) for folder in corpora)
    (tmp_path / "run").rename(tmp_path / "other name")
    train(conf((train_ / ".." / train_.name, test), tmp_path / "moved/../other name", f"shards={tmp_path}"))
    assert_same_run(tmp_path / "other name", finished)
    kept = yaml.safe_load((tmp_path / "other name/config.yaml").read_text())
    assert kept["data"]["frame"]["synthetic"]["validation"] == str(test)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_kept_of_a_frozen_text_tower_changes_no_bit(corpora, finished, tmp_path, monkeypatch, accumulate):
    """A run that goes on has none of it: it is made again, beside other phrases than the first time."""
    rows = []
    made = KeptText._made
    monkeypatch.setattr(KeptText, "_made", lambda self, tower, some: rows.append(len(some)) or made(self, tower, some))
    frozen = [f"init={finished / 'export'}", "optim.freeze=[text]", f"accumulate={accumulate}", "steps=6"]
    train(conf(corpora, tmp_path / "whole", *frozen))
    assert rows[0] > 0
    assert rows[-1] < rows[0]
    begun(conf(corpora, tmp_path / "again", *frozen), monkeypatch, 3)
    train(conf(corpora, tmp_path / "again", *frozen))
    assert_same_run(tmp_path / "again", tmp_path / "whole")


@pytest.mark.parametrize("which", ["train", "test"])
def test_other_shards_at_the_same_path_are_refused_by_name(which, tmp_path, monkeypatch):
    folders = write_corpus(tmp_path / "train", 12, 0), write_corpus(tmp_path / "test", 5, 1)
    settings = conf(folders, tmp_path / "run")
    begun(settings, monkeypatch)
    before = (tmp_path / "run/config.yaml").read_bytes()
    shutil.rmtree(tmp_path / which)
    write_corpus(tmp_path / which, 12, 2)
    where = r"data\.frame\.synthetic: train" if which == "train" else "val/synthetic: test"
    with pytest.raises(ValueError, match=f"{where}: has other shards than when this run began: .*overwrite=true"):
        train(settings)
    assert (tmp_path / "run/config.yaml").read_bytes() == before


@pytest.mark.slow
@pytest.mark.ci
def test_other_labels_of_the_same_shards_are_refused(tmp_path, monkeypatch):
    folder = write_corpus(tmp_path / "train", 12, 0)
    settings = conf((folder, None), tmp_path / "run")
    begun(settings, monkeypatch)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["annotates"].pop()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"data\.frame\.synthetic: train: has other classes, phrasings or annotations"):
        train(settings)


@pytest.mark.slow
@pytest.mark.ci
def test_another_bank_or_recipe_is_refused(tmp_path, monkeypatch):
    bank, recipe = write_bank(tmp_path / "bank"), tmp_path / "mine.yaml"
    text = (ROOT / "conf/mixing/paper.yaml").read_text()
    recipe.write_text(text)
    options = [*TINY, f"run_dir={tmp_path / 'run'}", "global_batch=3", "frame_batch=3"]
    for kind in ("global", "frame"):
        options += [f"data/{kind}=[online]", f"data.{kind}.online.bank=[{bank}]", f"data.{kind}.online.recipe={recipe}"]
    settings = compose_conf(options)
    begun(settings, monkeypatch)
    recipe.write_text(text.replace("snr_db: [6, 30]", "snr_db: [7, 30]"))
    assert recipe.read_text() != text
    with pytest.raises(ValueError, match=r"data\.frame\.online: bank: is mixed by another recipe"):
        train(settings)
    recipe.write_text(text)
    shutil.rmtree(bank)
    write_bank(bank, 1)
    with pytest.raises(ValueError, match=r"data\.frame\.online: bank: has other shards"):
        train(settings)
    shutil.rmtree(bank)
    train(compose_conf([o.replace(str(bank), str(write_bank(tmp_path / "moved" / "bank"))) for o in options]))


@pytest.mark.slow
@pytest.mark.ci
def test_what_a_run_started_from_need_not_be_there_to_go_on(corpora, finished, tmp_path, monkeypatch):
    """Neither the export that its architecture, weights and tokenizer are of, nor a text model's folder."""
    export = shutil.copytree(finished / "export", tmp_path / "export")
    options = ["model=as_init", "text=as_init", f"init={export}"]  # over those that `conf` chooses
    want = conf(corpora, tmp_path / "undisturbed", *options)
    train(want)
    settings = conf(corpora, tmp_path / "run", *options)
    begun(settings, monkeypatch)
    (tmp_path / "export").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"init=\S+other: is not there to compare with init=\S+export"):
        train(settings | {"init": str(tmp_path / "other")})
    train(settings)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")

    begun(settings | {"init": str(tmp_path / "moved"), "overwrite": True}, monkeypatch)
    (tmp_path / "moved").rename(tmp_path / "again")
    train(settings | {"init": str(tmp_path / "again")})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.ci
def test_other_weights_to_start_from_are_refused(corpora, finished, tmp_path, monkeypatch):
    settings = conf(corpora, tmp_path / "run", f"init={finished / 'export'}")
    begun(settings, monkeypatch)
    model = load_model(finished / "export")
    save_export(model.requires_grad_(False), tmp_path / "same", {})
    for parameter in model.parameters():
        parameter += 1
    save_export(model, tmp_path / "other", {})
    with pytest.raises(ValueError, match=r"init=\S+other: has other weights than init=\S+export"):
        train(settings | {"init": str(tmp_path / "other")})
    with pytest.raises(ValueError, match=r"init was '\S+export', is None"):
        train(settings | {"init": None})
    train(settings | {"init": str(tmp_path / "same")})


@pytest.mark.slow
@pytest.mark.ci
def test_a_text_models_folder_need_not_be_there_to_go_on(corpora, tmp_path, monkeypatch):
    name = tiny_roberta(tmp_path / "roberta")
    settings = conf(corpora, tmp_path / "run", "text=roberta", f"text.name={name}")
    begun(settings, monkeypatch)
    shutil.rmtree(name)
    train(settings)
    assert load_model(tmp_path / "run/export").embed_text(["a siren"]).text_CD.shape == (1, 16)


def test_keys_that_a_newer_version_adds_take_their_defaults(corpora, finished, tmp_path, monkeypatch):
    settings = conf(corpora, tmp_path / "run")
    begun(settings, monkeypatch)

    def older(checkpoint):
        told = checkpoint["run"]["conf"]
        del (
            told["loss"]["hard_negative"],
            told["resume"],
            told["data"]["phrases_per_clip"],
            told["model"]["phrase_scale"],
        )
        del told["data"]["frame"]["synthetic"]["weight"], told["text"]["max_tokens"]

    altered(tmp_path / "run", older)
    with pytest.raises(ValueError, match=r"\(loss\.hard_negative was 0\.0, is 0\.15\): give"):
        train(settings | {"loss": settings["loss"] | {"hard_negative": 0.15}})
    train(settings)
    assert_same_run(tmp_path / "run", finished)


def test_a_checkpoint_of_before_goes_on_and_says_what_could_not_be_compared(
    corpora, finished, tmp_path, monkeypatch, capsys
):
    """With the folders it names: whether others are the same cannot be told."""
    settings = conf(corpora, tmp_path / "run")
    begun(settings, monkeypatch)

    def older(checkpoint):
        del checkpoint["run"], checkpoint["DataModule"]["content"], checkpoint["DataModule"]["since"]
        checkpoint["DataModule"]["left_out"] = {}

    altered(tmp_path / "run", older)
    shutil.rmtree(tmp_path / "run/tokenizer")
    moved = shutil.copytree(corpora[0], tmp_path / "train")
    with pytest.raises(ValueError, match=r"data\.frame\.synthetic\.path was '\S+', is '\S+'"):
        train(conf((moved, corpora[1]), tmp_path / "run"))
    capsys.readouterr()
    train(settings)
    assert capsys.readouterr().err.count("it could not be compared") == 1
    assert_same_run(tmp_path / "run", finished)

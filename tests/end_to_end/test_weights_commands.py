"""Others' weights by the commands: looked at, turned into exports and back, and trained from."""

from __future__ import annotations

import pytest
import torch
from others_weights import TINY_AUDIO, TINY_TEXT, clap_folder, clap_model, small_state
from tiny_runs import TINY, on_shards

from flam_train.checkpoints.htsat_names import AUDIOSET
from flam_train.checkpoints.laion_names import LAION
from flam_train.cli import convert
from flam_train.cli.train import main
from flam_train.inference import load_model


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    torch.save({"state_dict": {f"module.{k}": v for k, v in small_state(LAION).items()}}, folder / "laion.pt")
    torch.save({"state_dict": small_state(AUDIOSET)}, folder / "htsat.ckpt")
    clap_folder(folder / "hf", clap_model(TINY_AUDIO, TINY_TEXT))
    return folder


def converted(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        convert.main([str(word) for word in arguments])
    return int(left.value.code or 0)


def test_look(given, capsys):
    assert converted("look", given / "htsat.ckpt") == 0
    out = capsys.readouterr().out
    assert out.startswith("from   HTS-AT (AudioSet)")
    assert "fresh  " in out
    assert converted("look", given) == 2
    assert "not an export" in capsys.readouterr().err


def test_a_clap_becomes_an_export_and_a_clap_again(given, tmp_path, capsys):
    from transformers import ClapModel

    assert converted("clap", given / "hf", tmp_path / "export") == 0
    out = capsys.readouterr().out
    assert "fresh  nothing" in out
    model = load_model(tmp_path / "export")
    assert model.default_method == "cosine"
    assert model.provenance["source"].endswith(": hf")
    assert model.embed_text(["rain"]).text_CD.shape == (1, 16)
    assert converted("to-hf-clap", tmp_path / "export", tmp_path / "again") == 0
    theirs, again = (ClapModel.from_pretrained(path).state_dict() for path in (given / "hf", tmp_path / "again"))
    assert all(torch.equal(v, theirs[k]) for k, v in again.items())
    assert converted("clap", given / "laion.pt", tmp_path / "laion", "--tokenizer", given / "hf") == 0
    assert len(load_model(tmp_path / "laion").provenance["source_sha256"]) == 64
    assert converted("clap", given / "htsat.ckpt", tmp_path / "none") == 2
    assert "it is no whole model; start a run from it with init=" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/last.ckpt").write_text("hours of training")
    assert converted("clap", given / "hf", tmp_path / "mine") == 2
    assert "mine: is there, and is no export" in capsys.readouterr().err
    assert converted("to-openflam", tmp_path / "export", tmp_path / "mine/last.ckpt") == 2
    assert "last.ckpt: is there: name a new file" in capsys.readouterr().err
    assert (tmp_path / "mine/last.ckpt").read_text() == "hours of training"
    assert converted("checkpoint", tmp_path / "mine", tmp_path / "out") == 2
    assert "mine: is a folder: give a checkpoint in it, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "fresh"),
    [
        ("laion.pt", "text=bytes", {"text", "text_projection", "scale_head", "bias_head", "logit_scale"}),
        (
            "htsat.ckpt",
            "text=bytes",
            {"text", "text_projection", "scale_head", "bias_head", "logit_scale", "audio_projection"},
        ),
        ("hf", "text=as_init", {"scale_head", "bias_head"}),
    ],
)
def test_a_run_starts_from_it(given, corpora, tmp_path, capsys, name, text, fresh):
    run = [*TINY, *on_shards(*corpora), "steps=1", f"run_dir={tmp_path / 'run'}", f"init={given / name}", text]
    assert main(["--dry-run", *run]) == 0
    out = capsys.readouterr().out
    assert f"init   {given / name}" in out
    told = next(line.removeprefix("  fresh  ") for line in out.splitlines() if line.startswith("  fresh"))
    assert {part.split()[0] for part in told.split(", ")} == fresh
    assert main(run) == 0
    assert load_model(tmp_path / "run" / "export").provenance["steps"] == 1

"""The paper's table from an export and prepared shards, through the commands; checkpoints converted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkout import ROOT
from tiny_runs import TINY, on_shards, write_corpus

from flam_train.checkpoints.export import load_export
from flam_train.cli import convert, scripts
from flam_train.cli.train import compose_conf
from flam_train.evaluation.parts import PART_CLIPS
from flam_train.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """An export, and shards where two protocols look for theirs."""
    folder = tmp_path_factory.mktemp("protocols")
    corpus = write_corpus(folder / "shards/urbansed/test", 6, 3, name="urbansed-test")
    write_corpus(folder / "shards/audiocaps/test", 6, 4, name="audiocaps-test")
    overrides = [*TINY, *on_shards(corpus), "steps=1", "global_batch=2", "frame_batch=2", f"run_dir={folder / 'run'}"]
    return train(compose_conf(overrides)), folder / "shards"


def flam_eval(name: str, *arguments: object) -> int:
    """In this process; the exit code."""
    with pytest.raises(SystemExit) as left:
        scripts.main([name, *map(str, arguments)])
    return left.value.code or 0


@pytest.fixture(autouse=True)
def _arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["flam-eval"])


def metrics(folder: Path) -> dict[str, dict]:
    return {p.stem: json.loads(p.read_text())["metrics"] for p in folder.glob("*.json")}


def test_from_an_export_to_the_paper_s_table(trained, tmp_path, capsys):
    export, shards = trained
    out = tmp_path / "results"
    assert flam_eval("protocols", export, "--shards", shards, "--out", out, "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert "not evaluated: clotho (Clotho 2.1, evaluation): no shards below" in printed
    assert sorted(p.name for p in (out / "scores").iterdir()) == ["audiocaps.safetensors", "urbansed.safetensors"]
    first = metrics(out)
    assert sorted(first) == ["retrieval-audiocaps", "sed-trained-urbansed"]
    for path in out.glob("*.json"):
        path.unlink()
    assert flam_eval("protocols", "--recompute", "--out", out, "--figures") == 0
    assert metrics(out) == first
    assert "not evaluated: clotho" in capsys.readouterr().out
    drawn = {"f1", "reliability", "psd-roc", "classes"}
    wanted = {f"urbansed-trained-{kind}.png" for kind in drawn} | {"audiocaps-examples.png"}
    assert {p.name for p in (out / "figures").iterdir()} == wanted
    assert flam_eval("table", out, "--paper", "--out", tmp_path / "table", "--figures", out / "figures") == 0
    assert (tmp_path / "table.html").read_text().count("data:image/png;base64,") == len(wanted)
    text = (tmp_path / "table.md").read_text()
    assert "OpenFLAM" in text
    assert "ours" in text


def test_make_table_refuses_an_export_that_is_not_there(tmp_path):
    """Also where an earlier one was converted to OUT."""
    (tmp_path / "out/export").mkdir(parents=True)
    python = Path(sys.executable).parent
    command = ["make", "-o", "venv", "table", f"EXPORT={tmp_path}/typo", f"OUT={tmp_path}/out", f"BIN={python}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert f"EXPORT={tmp_path}/typo: no such folder or file" in done.stderr


def test_another_method_says_that_it_replaces(trained, tmp_path, capsys):
    export, shards = trained
    arguments = ("sed", export, shards / "urbansed/test", "--out", tmp_path, "--metrics", "auroc", "--device", "cpu")
    for method, said in (("unbiased", False), ("unbiased", False), ("biased", True)):
        assert flam_eval(*arguments, "--method", method) == 0
        assert ("replaces an older result (method 'unbiased')" in capsys.readouterr().err) == said
    (file,) = tmp_path.glob("*.json")
    file.write_text("{}")
    assert flam_eval(*arguments) == 0  # an evaluation is not lost for what it replaces
    assert f"replaces an older result ({file}: not a result" in capsys.readouterr().err
    assert metrics(tmp_path)[file.stem]


def test_another_corpus_of_the_same_name_says_that_it_replaces(trained, tmp_path, capsys):
    """Each of two banks' mixtures in a folder `test` is called `test` unless --corpus says otherwise."""
    export, _ = trained
    for n, folder in enumerate((tmp_path / "a" / "test", tmp_path / "b" / "test")):
        write_corpus(folder, 2, n)
        arguments = (export, folder, "--out", tmp_path / "out", "--metrics", "auroc", "--device", "cpu")
        assert flam_eval("sed", *arguments) == 0
        assert ("replaces an older result (other shards)" in capsys.readouterr().err) == bool(n)


def test_mistakes(trained, tmp_path, capsys):
    export, shards = trained
    for arguments, message in (
        (("protocols", export, "--shards", tmp_path), "none of the sets is there: prepare one"),
        (
            ("protocols", export, "--shards", shards, "--only", "clotho"),
            "no shards there: prepare Clotho 2.1, evaluation",
        ),
        (("protocols", export, "--shards", shards, "--only", "clothos"), "no eval named 'clothos'"),
        (("protocols", tmp_path, "--shards", shards), "not an export"),
        (("protocols", "--recompute", "--only", "clotho", "--out", tmp_path), "clotho.safetensors: not readable"),
        (("protocols", export, "--shards", shards, "--device", "foo"), "--device foo: "),
        (("sed", export, shards / "urbansed/test", "--median", "2"), "median_frames: 2: a median takes an odd number"),
        (("sedd",), "did you mean sed?"),
    ):
        assert flam_eval(*arguments) == 2
        assert message in capsys.readouterr().err
    assert flam_eval("protocols", "--shards", shards) == 2  # neither an export nor --recompute
    assert flam_eval("--help") == 0
    assert "zero-shot    Zero-shot classification" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_under_a_launcher(launcher, trained, tmp_path):
    """Two processes share the scoring: the numbers of one. srun is played by its variables, one process each."""
    export, _ = trained
    shards = tmp_path / "shards"
    write_corpus(shards / "urbansed/test", PART_CLIPS + 6, 3, name="urbansed-test")  # a part for each
    write_corpus(shards / "audiocaps/test", 6, 4, name="audiocaps-test")

    def command(out: str) -> list[str]:
        script = str(ROOT / "eval/protocols.py")
        return [script, str(export), "--shards", str(shards), "--device", "cpu", "--out", str(tmp_path / out)]

    # In a batch script's own step there is but one process, whatever the job's number of tasks.
    batch = os.environ | {"SLURM_JOB_ID": "5", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}
    done = subprocess.run([sys.executable, *command("1")], capture_output=True, text=True, timeout=300, env=batch)
    assert done.returncode == 0, done.stderr
    if launcher == "torchrun":
        started = [[sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *command("2")]]
        steps = [os.environ]
    else:
        started = [[sys.executable, *command("2")]] * 2
        step = batch | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
        steps = [step | {"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in range(2)]
    running = [
        subprocess.Popen(one, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for one, env in zip(started, steps, strict=True)
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert metrics(tmp_path / "1") == metrics(tmp_path / "2")


def test_what_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "a.pth").write_text("x")
    torch.save({"state_dict": {"audio_branch.x": torch.zeros(1)}}, tmp_path / "b.pth")
    torch.save([1], tmp_path / "c.pth")
    for name, message in (
        ("a.pth", "not a checkpoint of plain tensors (nothing is read that could run code)"),
        ("b.pth", "is missing"),
        ("c.pth", "not a state dict"),
        ("d.pth", "no such file"),
    ):
        with pytest.raises(SystemExit) as left:
            convert.main(
                ["openflam", str(tmp_path / name), str(tmp_path / "out"), "--audio", "tiny", "--tokenizer", ""]
            )
        assert left.value.code == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_openflam_s_file_becomes_an_export_and_a_file_again(tmp_path, capsys):
    """With weights of random numbers and a tokenizer of bytes: the real ones are the user's to bring."""
    from flam_train.checkpoints.openflam import ROBERTA_BASE, to_openflam
    from flam_train.models.flam import FLAM, FLAMConfig, audio_preset
    from flam_train.models.text import ByteBackend, TextConfig, Tokenizer

    model = FLAM(FLAMConfig(audio=audio_preset("tiny"), text=TextConfig("roberta", "", 77, ROBERTA_BASE)), False).eval()
    state = to_openflam(model)
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "theirs.pth")
    Tokenizer(ByteBackend(), 77).save(tmp_path / "tokenizer")
    file, out = str(tmp_path / "theirs.pth"), tmp_path / "export"
    for arguments in (
        ["openflam", file, str(out), "--audio", "tiny", "--tokenizer", str(tmp_path / "tokenizer")],
        ["to-openflam", str(out), str(tmp_path / "again.pth")],
    ):
        with pytest.raises(SystemExit) as left:
            convert.main(arguments)
        assert left.value.code == 0
    export = load_export(out)
    assert export.provenance["source"] == "OpenFLAM's theirs.pth"
    assert export.embed_text(["a dog barks"]).text_CD.shape == (1, 512)
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())

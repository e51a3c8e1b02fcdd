"""hf://OWNER/NAME: what is fetched and what is not, without a network, and what is told where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from fnmatch import fnmatch

import huggingface_hub.constants as constants
import pytest
import torch
from checkout import ROOT
from hub_server import Repository, files_of
from hub_server import hub as hub_of
from in_process import program, script
from others_weights import TINY_AUDIO, TINY_TEXT, clap_folder, clap_model
from shard_samples import corpus

from flam_train.checkpoints import hub
from flam_train.checkpoints.export import FILES, read_config, save_export
from flam_train.checkpoints.foreign import fetched, recognise
from flam_train.checkpoints.initial import start
from flam_train.cli.convert import main as convert
from flam_train.evaluation import read_results
from flam_train.inference import load_model
from flam_train.models.flam import FLAM
from flam_train.training.content import check_same_init, init_commit, init_sha256

PARTS = ["config.json", "model.safetensors", "provenance.json", "tokenizer/tokenizer_config.json"]


def point_at(url, monkeypatch):
    """What HF_ENDPOINT does when the client is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture(scope="module")
def export(tmp_path_factory, small_config):
    return save_export(FLAM(small_config), tmp_path_factory.mktemp("made") / "export", {"run": "tiny"})


@pytest.fixture
def server(tmp_path, monkeypatch, export):
    """With lab/flam, an export beside a card and pictures, and an empty cache."""
    with hub_of() as server:
        point_at(server.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        server.repositories["lab/flam"] = Repository()
        server.repositories["lab/flam"].push(files_of(export) | {"README.md": b"# FLAM", "onnx/audio.onnx": b"0" * 99})
        yield server


def test_a_model_is_fetched_once(server, export):
    model, given = load_model("hf://lab/flam"), load_model(export)
    assert server.fetched() == PARTS  # neither the card nor what else there is
    assert model.provenance == given.provenance | {
        "folder": "hf://lab/flam",
        "commit": server.repositories["lab/flam"].branches["main"],
    }
    for name, weight in given.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    assert torch.equal(model.embed_text(["a dog"]).text_CD, given.embed_text(["a dog"]).text_CD)
    assert read_config("hf://lab/flam") == given.config
    assert server.fetched() == []


def test_what_is_new_is_fetched_and_a_revision_stays(server, export):
    repository = server.repositories["lab/flam"]
    old = hub.local("hf://lab/flam", FILES)
    repository.push(files_of(export), "v1/final")
    server.fetched()
    repository.push(files_of(export) | {"provenance.json": b"{}"})
    new = hub.local("hf://lab/flam", FILES)
    assert server.fetched() == ["provenance.json"]  # the others are the same bytes
    assert (new / "provenance.json").read_bytes() == b"{}"
    for revision in (old.name, "v1/final"):
        found = hub.local(f"hf://lab/flam@{revision}", FILES)
        assert (found / "provenance.json").read_bytes() == (export / "provenance.json").read_bytes()


@pytest.mark.parametrize("how", ["offline", "down", "gone"])
def test_without_a_network_the_cache_is_enough(how, server, monkeypatch):
    folder = hub.local("hf://lab/flam", FILES)
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "down":
        server.down = True
    else:
        point_at("http://127.0.0.1:9", monkeypatch)
    server.asked.clear()
    assert hub.local("hf://lab/flam", FILES) == folder
    assert hub.local(f"hf://lab/flam@{folder.name}", FILES) == folder
    assert how == "down" or server.asked == []
    load_model("hf://lab/flam")


@pytest.mark.parametrize(
    ("how", "address", "told"),
    [
        ("", "hf://lab/other", r"hf://lab/other: no such repository on http://127.*: mend the name.*hf auth login"),
        ("gated", "hf://lab/flam", r"hf://lab/flam: its owner asks.*: accept .* on http://127.*/lab/flam, and log in"),
        ("", "hf://lab/flam@v9", r"hf://lab/flam@v9: no such revision: name a branch, a tag or a commit of lab/flam"),
        ("", "hf://lab", r"hf://lab: write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION"),
        ("", "hf://lab/flam/export", r"hf://lab/flam/export: write hf://OWNER/NAME"),
        ("", "hf://lab/a..b", r"hf://lab/a..b: no name of a repository: "),
        ("offline", "hf://lab/flam", r"hf://lab/flam: not in the cache .*cache, and offline: fetch it once without"),
        (
            "gone",
            "hf://lab/flam",
            r"hf://lab/flam: http://127.0.0.1:9 cannot be reached, .*no whole copy .*: try",
        ),
        ("down", "hf://lab/flam", r"hf://lab/flam: http://127.* cannot be reached, .*503.*: try again"),
    ],
)
def test_what_is_told_where_it_cannot_be_had(how, address, told, server, monkeypatch):
    server.repositories["lab/flam"].gated = how == "gated"
    server.down = how == "down"
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if how == "gone":
        point_at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ValueError, match=told):
        hub.local(address, FILES)


def test_another_kind_of_repository_costs_no_gigabytes(server):
    server.repositories["lab/bert"] = Repository()
    server.repositories["lab/bert"].push({"config.json": b"{}", "model.safetensors": b"0" * 99})
    with pytest.raises(ValueError, match=r"hf://lab/bert lacks provenance.json: give one that has RUN_FOLDER/export's"):
        load_model("hf://lab/bert")
    assert server.fetched() == ["config.json"]
    files = ("config.json", "model.safetensors", "vocab*")  # another reader may want just these
    assert sorted(p.name for p in hub.local("hf://lab/bert", files).iterdir()) == ["config.json", "model.safetensors"]


def test_a_whole_copy_or_none(server, export, monkeypatch):
    """Only the small files are in the cache: that is no export."""
    hub.local("hf://lab/flam", ("config.json",))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"hf://lab/flam.*(lacks|not in the cache)"):
        load_model("hf://lab/flam")


def test_commands_take_it(server, tmp_path):
    """With a revision, and a mistake is told in a line."""
    repository = server.repositories["lab/flam"]
    commit = repository.branches["main"]
    shards = corpus(tmp_path / "shards", (2,)).folder
    done = script("eval/retrieval.py", f"hf://lab/flam@{commit}", shards, "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    (found,) = (result for _, result in read_results([tmp_path / "results"]))
    assert (found.model["folder"], found.model["commit"]) == (f"hf://lab/flam@{commit}", commit)
    done = program(
        convert, "flam-convert", "card", "hf://lab/flam", tmp_path / "results", "--out", tmp_path / "card.md"
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2" in (tmp_path / "card.md").read_text()
    for name, *rest in (("sed", shards), ("zero_shot", shards), ("protocols", "--only", "esc50", "--shards", shards)):
        done = script(f"eval/{name}.py", "hf://lab/other", *rest, "--out", tmp_path / "results")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "hf://lab/other: no such repository" in done.stderr
    done = program(convert, "flam-convert", "to-openflam", "hf://lab/flam@v9", tmp_path / "x.pth")
    assert (done.returncode, done.stderr[:29]) == (2, "error: hf://lab/flam@v9: no s")


AS_INIT = {"as_init": True}, {"tower": "as_init"}


def test_a_run_starts_from_an_export(server, export):
    model, _ = start(*AS_INIT, "hf://lab/flam")
    assert server.fetched() == PARTS
    given = load_model(export)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in given.state_dict().items())
    commit = server.repositories["lab/flam"].branches["main"]
    assert (init_commit("hf://lab/flam"), init_commit(str(export)), init_commit(None)) == (commit, None, None)
    assert init_sha256("hf://lab/flam") == init_sha256(str(export))


def clap_files(tmp_path, **how) -> dict[str, bytes]:
    """how: of saving the weights."""
    model = clap_model(TINY_AUDIO, TINY_TEXT)
    folder = clap_folder(tmp_path / "clap", model)
    if how.pop("binary", False):
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    elif how:
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, **how)
    return files_of(folder)


@pytest.mark.parametrize(
    ("how", "weights"),
    [
        ({}, ["model.safetensors"]),
        ({"max_shard_size": "100kB"}, ["model-0000*-of-*.safetensors", "model.safetensors.index.json"]),
        ({"binary": True}, ["pytorch_model.bin"]),
    ],
)
def test_a_run_starts_from_a_clap_model(how, weights, server, tmp_path):
    """Of its two kinds of weights one is fetched, of others' files none."""
    files = clap_files(tmp_path, **how)
    beside = {"README.md": b"#", "tf_model.h5": b"0", "onnx/model.onnx": b"0"}
    if "binary" not in how:
        beside["pytorch_model.bin"] = b"0"
    server.repositories["lab/clap"] = Repository()
    server.repositories["lab/clap"].push(files | beside)
    model, table = start(*AS_INIT, "hf://lab/clap")
    assert server.fetched() == sorted(files)
    assert all(any(fnmatch(name, one) for name in files) for one in weights)
    given = recognise(tmp_path / "clap")
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in given.state.items())
    assert model.embed_text(["犬 吠"]).text_CD.shape == (1, 16)
    assert table.notes[:2] == (
        "text as init: roberta",
        "model as init: HTS-AT of width 8 and depths [1, 2, 1, 1], embedding 16",
    )
    assert init_sha256("hf://lab/clap") == init_sha256(str(tmp_path / "clap")) is not None
    assert server.fetched() == []
    server.down = True
    start(*AS_INIT, "hf://lab/clap")


def test_what_is_neither_is_told_before_it_is_fetched(server):
    server.repositories["lab/bert"] = Repository()
    server.repositories["lab/bert"].push({"config.json": b'{"model_type": "bert"}', "model.safetensors": b"0" * 99})
    with pytest.raises(ValueError, match=r"init: .*type 'bert': a text tower is given as text\.name="):
        start(*AS_INIT, "hf://lab/bert")
    assert server.fetched() == ["config.json"]
    server.repositories["lab/bert"].push({"config.json": b'{"model_type": "clap"}', "README.md": b"#"})
    with pytest.raises(ValueError, match=r"init: hf://lab/bert@\w+: no weights there: one of model\.safetensors, "):
        start(*AS_INIT, "hf://lab/bert")


def test_a_run_that_goes_on_does_not_ask_the_hub(server, export, tmp_path):
    sha256 = init_sha256("hf://lab/flam")
    server.asked.clear()
    check_same_init("hf://lab/flam", "hf://lab/flam", sha256)
    with pytest.raises(ValueError, match=r"init=hf://lab/flam@v1: is not there to compare with init=hf://lab/flam"):
        check_same_init("hf://lab/flam@v1", "hf://lab/flam", sha256)
    check_same_init(str(export), "hf://lab/flam", sha256)  # a copy
    other = FLAM(read_config(export))
    torch.nn.init.constant_(other.logit_scale, 1.0)
    with pytest.raises(ValueError, match="has other weights than init=hf://lab/flam"):
        check_same_init(str(save_export(other, tmp_path / "other", {})), "hf://lab/flam", sha256)
    assert server.asked == []


def test_processes_of_a_node_fetch_once(server, tmp_path):
    """As the ranks of a run start: all at once, with one cache."""
    env = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    code = f"from flam_train.checkpoints.hub import local; print(local('hf://lab/flam', {FILES}))"
    ranks = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    places = [rank.communicate()[0].strip() for rank in ranks]
    assert {rank.returncode for rank in ranks} == {0}
    assert places == [places[0]] * 3
    assert places[0].endswith(server.repositories["lab/flam"].branches["main"])
    assert server.fetched() == PARTS


def test_folders_stay_what_they_are(export, server):
    assert hub.local(export, FILES) == hub.local(str(export), FILES) == fetched(export) == export
    assert server.asked == []


def test_the_environment_says_which_hub_and_whether(server, tmp_path):
    """As a user calls it, in processes of their own: once with a network, then without."""
    code = f"from flam_train.checkpoints.hub import local; print(local('hf://lab/flam', {FILES}).name)"
    env = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "ignore"}
    for offline in ("0", "1"):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=env | {"HF_HUB_OFFLINE": offline}, capture_output=True, text=True)
        assert done.stdout.strip() == server.repositories["lab/flam"].branches["main"], done.stderr
        assert server.fetched() == (PARTS if offline == "0" else [])

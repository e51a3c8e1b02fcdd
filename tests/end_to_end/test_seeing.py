"""What a run shows of itself: losses by corpus, settings, pictures, a profile. Without them it is the same run."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import pytest
import torch
from needs import WANDB
from same_runs import assert_same_run, of_the_run, stopped_after, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_surviving import wandb_records
from tiny_runs import TINY, conf, flam_train_on_ranks, metrics, on_shards, write_corpus

from flam_train.cli.train import compose_conf
from flam_train.data import Corpus
from flam_train.inference import load_model
from flam_train.training import pictures
from flam_train.training.run import train


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("other") / "other", 8, 3, name="other")


def of_two(other: Path) -> list[str]:
    """Both streams have a second corpus."""
    out = []
    for kind in ("global", "frame"):
        out += [f"data/{kind}=[synthetic,custom]", f"data.{kind}.custom.path={other}"]
        out.append(f"data.{kind}.custom.validation=null")
    return out


def pictures_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder / "validation")) for path in (folder / "validation").rglob("*.png")}


def shown(folder: Path) -> dict[str, list[int]]:
    """{name of a picture in TensorBoard: its steps}"""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def assert_parts_and_whole(found: dict[tuple[int, str], str], steps: int) -> None:
    """A weighted mean of the corpora's losses lies between them."""
    for step in range(steps):
        for loss in ("global", "sed"):
            parts = {n: float(v) for (s, n), v in found.items() if s == step and n.startswith(f"loss/{loss}/")}
            whole = float(found[step, f"loss/{loss}"])
            assert parts, (step, loss)
            assert min(parts.values()) * (1 - 1e-5) <= whole <= max(parts.values()) * (1 + 1e-5), (step, loss)


@pytest.mark.slow
def test_a_run_that_is_seen_is_the_run_that_is_not(corpora, other, finished, tmp_path, monkeypatch, capfd):
    more = of_two(other)
    train(conf(corpora, tmp_path / "unseen", *more, "steps=8", "trainer.validate_every=4"))
    seen = ["steps=8", "trainer.validate_every=4", "trainer.pictures=2", "trainer.profile=2"]
    train(conf(corpora, tmp_path / "seen", *more, *seen))
    assert_same_run(tmp_path / "seen", tmp_path / "unseen")
    assert_parts_and_whole(metrics(tmp_path / "seen"), 8)
    assert not [name for _, name in metrics(finished) if name.count("/") > 1 and name.startswith("loss/")]

    names = ("synthetic-clip-1.png", "synthetic-clip-2.png", "synthetic-retrieval.png")
    assert pictures_of(tmp_path / "seen") == {f"step-{n:08d}/{name}" for n in (4, 8) for name in names}
    assert not (tmp_path / "unseen" / "validation").exists()
    assert not (tmp_path / "unseen" / "profile").exists()
    tags = {f"pictures/synthetic/{name}" for name in ("clip-1", "clip-2", "retrieval")}
    assert shown(tmp_path / "seen") == {tag: [3, 7] for tag in tags}

    packed = (tmp_path / "seen" / "profile" / "step-00000005.json.gz").read_bytes()
    trace = json.loads(gzip.decompress(packed))
    ranges = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    for name in ("forward", "backward", "optimizer"):
        assert ranges.count(name) == 2, name
    assert ranges.count("between steps") == 1
    table = (tmp_path / "seen" / "profile" / "step-00000005.txt").read_text()
    assert table.startswith("steps 6 to 7 of the run")
    assert "aten::" in table
    capfd.readouterr()

    # Stopped before a validation and gone on: the same pictures, and nothing twice.
    with stopped_after(3, monkeypatch):
        train(conf(corpora, tmp_path / "stopped", *more, *seen))
    assert "nothing was recorded" in capfd.readouterr().err
    train(conf(corpora, tmp_path / "stopped", *more, *seen))
    assert_same_run(tmp_path / "stopped", tmp_path / "unseen")
    for name in pictures_of(tmp_path / "seen"):
        want, got = (tmp_path / run / "validation" / name for run in ("seen", "stopped"))
        assert got.read_bytes() == want.read_bytes(), name
    assert set(shown(tmp_path / "stopped")) == tags
    # The second part had five steps before the profile, and then none: it says so.
    assert "nothing was recorded" in capfd.readouterr().err


@pytest.mark.slow
def test_pictures_are_those_of_the_averaged_weights(corpora, tmp_path):
    more = ["optim.ema=0.999", "trainer.pictures=1", "trainer.validate_every=2", "optim.lr=1e-2"]
    train(conf(corpora, tmp_path / "run", *more))
    told = json.loads((tmp_path / "run/validation/step-00000004/synthetic.json").read_text())["clips"][0]["phrases"]
    waveform_BS = torch.from_numpy(Corpus(corpora[1]).waveform(0))[None]
    found_KT = torch.tensor([row["scores"] for row in told])
    model = load_model(tmp_path / "run/export")
    average_KT = scores(model, waveform_BS, [row["phrase"] for row in told])
    model.load_state_dict({name.removeprefix("model."): x for name, x in weights(tmp_path / "run").items()})
    learned_KT = scores(model, waveform_BS, [row["phrase"] for row in told])
    assert torch.allclose(found_KT, average_KT, atol=3e-4)
    assert not torch.allclose(found_KT, learned_KT, atol=3e-3)


@torch.no_grad()
def scores(model, waveform_BS: torch.Tensor, phrases: list[str]) -> torch.Tensor:
    return model.localize(model.embed_audio(waveform_BS).frame_BTD, model.embed_text(phrases))[0]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("a fault of ours")])
@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_ends_no_run(error, corpora, finished, tmp_path, monkeypatch, capfd):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr(pictures, "save_figure", failing)
    train(conf(corpora, tmp_path / "run", "trainer.pictures=1"))
    assert_same_run(tmp_path / "run", finished)
    told = capfd.readouterr().err
    for step in (2, 4):
        assert f"pictures of synthetic at step {step} were not drawn: the run goes on" in told
    assert str(error) in told


@pytest.mark.slow
def test_two_ranks_show_what_one_does(corpora, other, tmp_path):
    common = [*TINY, *on_shards(*corpora), *of_two(other), "global_batch=4", "frame_batch=4", "steps=2"]
    common += ["trainer.precision=64-true", "trainer.pictures=2"]
    train(compose_conf([*common, f"run_dir={tmp_path / 'one'}"]))
    flam_train_on_ranks(2, *common, "trainer.profile=1", f"run_dir={tmp_path / 'two'}")
    one, two = of_the_run(tmp_path / "one"), of_the_run(tmp_path / "two")
    assert one.keys() == two.keys()
    by_corpus = {key for key in one if key[1].startswith("loss/") and key[1].count("/") == 2}
    assert {name for _, name in by_corpus} >= {"loss/sed/synthetic", "loss/sed/custom"}
    for key in by_corpus:
        assert float(two[key]) == pytest.approx(float(one[key]), rel=1e-8), key
    assert pictures_of(tmp_path / "one") == pictures_of(tmp_path / "two")
    told = [
        json.loads((tmp_path / run / "validation/step-00000002/synthetic.json").read_text()) for run in ("one", "two")
    ]
    assert [c["key"] for c in told[0]["clips"]] == [c["key"] for c in told[1]["clips"]]
    for a, b in zip(told[0]["captions"], told[1]["captions"], strict=True):
        assert (a["caption"], a["right_rank"]) == (b["caption"], b["right_rank"])
        assert [x["clip"] for x in a["found"]] == [x["clip"] for x in b["found"]]


@WANDB
@pytest.mark.slow
def test_wandb_has_settings_and_pictures(corpora, tmp_path):
    train(conf(corpora, tmp_path / "run", "logger=wandb", "trainer.pictures=1", "steps=2", "optim.lr=3e-4"))
    import wandb

    wandb.finish()  # as at the end of the process: until then its file may lack what was logged last
    (kept,) = (tmp_path / "run/wandb").glob("offline-run-*")
    there = {path.name.split("_")[0] for path in (kept / "files/media/images/pictures/synthetic").iterdir()}
    assert there == {"clip-1", "retrieval"}
    (record,) = kept.glob("*.wandb")
    from wandb.proto import wandb_internal_pb2

    config = {}
    for data in wandb_records(record.read_bytes()):
        found = wandb_internal_pb2.Record.FromString(data)
        config |= {item.key: json.loads(item.value_json) for item in found.config.update}
    assert config["optim"]["lr"] == 3e-4
    assert config["steps"] == 2
    assert config["trainer"]["monitor"] is None

"""Training as a user runs it, on a corpus of twelve clips: what is written, what goes on, what stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
import yaml
from checkout import ROOT
from http_folder import serve
from needs import WANDB
from same_runs import assert_same_run, of_the_run, stopped_after, weights
from tiny_runs import (
    TINY,
    conf,
    damage,
    flam_train,
    flam_train_on_ranks,
    harm,
    metrics,
    on_shards,
    tiny_roberta,
    write_corpus,
)

from flam_train.cli.train import compose_conf, main
from flam_train.inference import load_model
from flam_train.models.text import minilm_from_package
from flam_train.training.fault_tolerance.lock import RunLock
from flam_train.training.loggers import CSVLogger
from flam_train.training.module import FLAMModule
from flam_train.training.progress import Progress
from flam_train.training.run import build, train


def test_what_a_run_leaves(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"config.yaml", "metrics.csv", "last.ckpt", "export", "curves.png", "tensorboard"} <= names
    assert not [n for n in names if n.startswith(".")]
    found = metrics(finished)
    for step in range(4):
        for name in ("global", "sed", "prior", "total"):
            assert (step, f"loss/{name}") in found
        value = {n: float(found[step, f"loss/{n}"]) for n in ("global", "sed", "prior", "total")}
        assert value["total"] == pytest.approx(value["global"] + 200 * value["sed"] + value["prior"], rel=1e-4)
    for step in (1, 3):
        assert 0 <= float(found[step, "val/synthetic/auroc_macro"]) <= 1
        assert 0 <= float(found[step, "val/synthetic/text_to_audio_R@1"]) <= 1
    assert (finished / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list((finished / "tensorboard").glob("events*"))
    model = load_model(finished / "export")
    assert model.provenance["steps"] == 4
    assert model.provenance["config"]["steps"] == 4
    data = model.provenance["data"]
    assert set(data) == {"global", "frame"}
    for corpora in data.values():  # whose recordings it learned from, and that these are they
        (corpus,) = corpora["synthetic"]
        assert corpus["samples"] > 0
        assert len(corpus["sha256"]) == 64
    assert model.embed_text(["a siren"]).text_CD.shape == (1, 16)


def test_a_run_that_goes_on_is_the_run_that_never_stopped(corpora, finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    full = conf(corpora, folder)
    with stopped_after(2, monkeypatch):
        train(full)
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 2
    train(full)
    assert_same_run(folder, finished)


@pytest.mark.parametrize("first", [1, 2])
def test_what_is_unfrozen_goes_on_where_it_was(first, corpora, tmp_path, monkeypatch):
    """Stopped right after the step from which the audio encoder learns, and right before it."""
    start, folder = tmp_path / "start", tmp_path / "stopped"
    train(conf(corpora, start, "steps=1"))
    more = (f"optim.unfreeze={{audio:{first}}}", "optim.layer_decay=0.7", "optim.freeze=[scale_head]",
            f"init={start / 'export'}", "optim.weight_decay=0.1")  # fmt: skip
    train(conf(corpora, tmp_path / "whole", *more))
    with stopped_after(2, monkeypatch):
        train(conf(corpora, folder, *more))
    given, then = weights(start), weights(folder)
    train(conf(corpora, folder, *more))
    assert_same_run(folder, tmp_path / "whole")
    encoder = [name for name in given if name.startswith(("model.audio.", "model.frontend."))]
    assert all(torch.equal(given[name], then[name]) for name in encoder) == (first == 2)
    assert all(torch.equal(given[n], then[n]) for n in given if n.startswith("model.scale_head"))
    assert any(not torch.equal(given[n], then[n]) for n in given if n.startswith("model.text."))


@pytest.mark.parametrize("frozen", ["[]", "[text]"])
def test_what_learns_drops_and_what_is_frozen_does_not(frozen, corpora, tmp_path, monkeypatch):
    """Also a tower that transformers gives in eval mode, also after a validation."""
    modes = []

    def noted(self, batch, step):
        text = self.model.text
        modes.append((text.training, any(m.training for m in text.modules()), self.model.audio.training))
        return embed(self, batch, step)

    embed = FLAMModule.embed
    monkeypatch.setattr(FLAMModule, "embed", noted)
    text = tiny_roberta(tmp_path / "text")
    start = conf(corpora, tmp_path / "start", "text=roberta", f"text.name={text}", "steps=1")
    train(start)
    train(conf(corpora, tmp_path / "run", "text=roberta", f"text.name={text}", f"init={tmp_path / 'start/export'}",
               f"optim.freeze={frozen}"))  # fmt: skip
    learns = frozen == "[]"
    assert modes == [(True, True, True)] + 4 * [(learns, learns, True)]


def test_ctrl_c_finishes_the_step_and_loses_nothing(corpora, finished, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    arguments = [*TINY, *on_shards(*corpora), f"run_dir={folder}", "global_batch=4", "frame_batch=4"]
    begin = Progress.on_train_batch_start

    def interrupted(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        begin(self, trainer, pl_module, batch, batch_idx)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Progress, "on_train_batch_start", interrupted)
    assert main(arguments) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    told = capfd.readouterr().err
    assert "stopping after this step" in told
    assert "goes on from the last checkpoint" in told
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 3
    monkeypatch.undo()
    assert main(arguments) == 0
    assert "going on at step 3" in capfd.readouterr().err
    assert_same_run(folder, finished)


def test_a_finished_run_does_nothing_again(corpora, finished):
    before = (finished / "last.ckpt").read_bytes()
    train(conf(corpora, finished))
    assert (finished / "last.ckpt").read_bytes() == before


def test_other_settings_do_not_go_on(corpora, finished):
    with pytest.raises(ValueError, match=r"optim\.lr was 0\.0005, is 1.*seed was 0, is 5.*overwrite=true"):
        train(conf(corpora, finished, "seed=5", "optim.lr=1"))


def test_two_processes_train_as_one(corpora, tmp_path):
    """The joined batch is the same, so the losses are, up to the order of float32 sums."""
    common = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=4", "optim.lr=1e-4"]
    common.append("trainer.monitor=val/synthetic/auroc_macro")
    train(compose_conf([*common, f"run_dir={tmp_path / 'one'}"]))
    flam_train_on_ranks(2, *common, f"run_dir={tmp_path / 'two'}")
    one, two = of_the_run(tmp_path / "one"), of_the_run(tmp_path / "two")
    for name in ("loss/global", "loss/sed", "loss/prior"):
        assert float(two[0, name]) == pytest.approx(float(one[0, name]), rel=1e-4), name
        assert float(two[3, name]) == pytest.approx(float(one[3, name]), rel=2e-2), name
    assert one.keys() == two.keys()
    name = "val/synthetic/auroc_macro"
    assert float(two[1, name]) == pytest.approx(float(one[1, name]), abs=0.05)


def test_micro_batches_train_as_the_undivided_batch(corpora, tmp_path, monkeypatch):
    """In float64, from the loader's workers on; a run may go on in other micro-batches."""
    exact = ["trainer.precision=64-true", "steps=2", "trainer.checkpoint_every=1"]
    train(conf(corpora, tmp_path / "one", *exact))
    train(conf(corpora, tmp_path / "four", *exact, "accumulate=4", "data.workers=1"))
    with stopped_after(1, monkeypatch):
        train(conf(corpora, tmp_path / "both", *exact, "accumulate=2"))
    train(conf(corpora, tmp_path / "both", *exact, "accumulate=4"))
    want = of_the_run(tmp_path / "one")
    for name in ("four", "both"):
        found = of_the_run(tmp_path / name)
        assert found.keys() == want.keys()
        for key in found:
            assert float(found[key]) == pytest.approx(float(want[key]), rel=1e-9), key
    with pytest.raises(ValueError, match="global_batch=4 does not divide by 1 ranks x 3 micro-batches"):
        train(conf(corpora, tmp_path / "three", "accumulate=3"))
    with pytest.raises(ValueError, match="accumulate: 0 must be at least 1"):
        train(conf(corpora, tmp_path / "none", "accumulate=0"))


def test_shards_behind_a_url_train_as_those_on_disk(corpora, finished, tmp_path):
    common = [*TINY, "global_batch=4", "frame_batch=4", f"data.cache_folder={tmp_path / 'cache'}"]
    with serve(corpora[0].parent) as server:
        shards = on_shards(f"{server.url}/train", f"{server.url}/test")
        with pytest.raises(ValueError, match=r"data.cache_gib=1e-06: two blocks of 4 shards.*raise it"):
            build(compose_conf([*common, *shards, "data.cache_gib=1e-6"]))
        train(compose_conf([*common, *shards, f"run_dir={tmp_path / 'run'}"]))
    assert server.asked["shard-000000.tar"] == 2  # of each corpus once, for both streams and every validation
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(corpora, tmp_path):
    overrides = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=3", f"run_dir={tmp_path}"]
    done = flam_train(*overrides, torchrun=2, check=False)
    assert done.returncode
    assert "frame_batch=3 does not divide by 2 ranks" in done.stderr


@pytest.mark.skipif(minilm_from_package() is None, reason="needs the extra `demo`")
def test_a_real_tower_frozen_with_workers_and_a_monitor(corpora, tmp_path):
    """What users choose and the other tests leave out for speed."""
    folder = tmp_path / "run"
    options = ["text=minilm", "optim.freeze=[text]", "data.workers=1", "steps=2"]
    train(conf(corpora, folder, *options, "trainer.monitor=val/synthetic/auroc_macro"))
    assert (folder / "best.ckpt").is_file()
    last, best = (torch.load(folder / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    assert last["callbacks"]["Checkpoints"]["best"] == best["callbacks"]["Checkpoints"]["best"] > 0
    fresh = build(conf(corpora, folder, *options)).module.state_dict()
    moved = {k for k, v in last["state_dict"].items() if not torch.equal(v, fresh[k])}
    assert moved
    assert not [k for k in moved if k.startswith("model.text.")]


def test_bf16(corpora, tmp_path):
    train(conf(corpora, tmp_path / "run", "trainer.precision=bf16-mixed", "steps=2", "trainer.validate_every=2"))
    found = metrics(tmp_path / "run")
    assert all(float(v) == float(v) for (_, name), v in found.items() if name.startswith("loss/"))
    assert (1, "val/synthetic/auroc_macro") in found


def test_compiled_encoder_is_the_same_encoder(small_config):
    from flam_train.models.flam import FLAM

    model = FLAM(small_config).eval()
    waveform_BS = torch.randn(2, 480_000)
    want = model.embed_audio(waveform_BS).frame_BTD
    model.audio.compile(backend="aot_eager")  # traces without graph breaks or a C++ compiler
    assert torch.allclose(model.embed_audio(waveform_BS).frame_BTD, want, atol=1e-5)
    assert not [k for k in model.state_dict() if "_orig_mod" in k]


@pytest.mark.parametrize("off", ["global_batch=0", "frame_batch=0"])
def test_two_processes_with_one_objective(off, corpora, tmp_path):
    """DDP waits for ever on a parameter without gradient: what the other objective would train must not learn."""
    overrides = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=4", off, "steps=2"]
    flam_train_on_ranks(2, *overrides, f"run_dir={tmp_path / 'run'}", "model.phrase_bias=one")
    named = {name for _, name in metrics(tmp_path / "run") if name.startswith("loss/")}
    assert named == {"loss/total"} | ({"loss/sed", "loss/prior"} if off.startswith("global") else {"loss/global"})


def test_online_streams_never_mix_the_same_clips(bank, tmp_path):
    overrides = [*TINY, f"run_dir={tmp_path}", "data/global=[online]", "data/frame=[online]"]
    overrides += [f"data.{kind}.online.bank=[{bank}]" for kind in ("global", "frame")]
    run = build(compose_conf([*overrides, "global_batch=3", "frame_batch=3", "trainer.validate_every=4"]))
    batch = run.data.steps_of(0, 1)[0]
    mixed = [run.module.rendered(part) for part in (batch.captions, batch.events)]
    assert all(wave_BS.abs().amax(1).min() > 100 for wave_BS in mixed)
    assert not any(torch.equal(a, b) for a in mixed[0] for b in mixed[1])


def test_a_bank_that_is_read_as_needed_trains_as_the_one_in_memory(bank, tmp_path):
    overrides = [*TINY, "data/global=[online]", "data/frame=[online]", "global_batch=3", "frame_batch=3"]
    overrides += [f"data.{kind}.online.bank=[{bank}]" for kind in ("global", "frame")]
    train(compose_conf([*overrides, f"run_dir={tmp_path / 'memory'}"]))
    streamed = [f"data.{kind}.online.memory_gib=0.001" for kind in ("global", "frame")]
    train(compose_conf([*overrides, *streamed, f"run_dir={tmp_path / 'streamed'}"]))
    assert build(compose_conf([*overrides, *streamed])).module.memory_N is None
    assert_same_run(tmp_path / "streamed", tmp_path / "memory")
    with pytest.raises(ValueError, match=r"data.frame.online.memory_gib: 0 must be above 0"):
        build(compose_conf([*overrides, "data.frame.online.memory_gib=0"]))
    more = [o.replace("0.001", "0.002") for o in streamed]  # memory may change when a run goes on
    train(compose_conf([*overrides, *more, f"run_dir={tmp_path / 'streamed'}"]))
    both = ["data/frame=[online,esc10]", f"data.frame.esc10.bank=[{bank}]", "data.frame.esc10.validation=null"]
    with pytest.raises(ValueError, match=r"data.frame: one bank is in memory and another is not.*memory_gib"):
        build(compose_conf([*overrides, *both, "data.frame.online.memory_gib=0.001", "data.frame.esc10.recipe=paper"]))


def test_loss_that_is_not_finite_stops_with_step_and_keys(corpora, tmp_path):
    with pytest.raises(ValueError, match=r"step \d: a loss is not finite.*of rank 0; the clips of each rank: .*failed"):
        train(conf(corpora, tmp_path / "run", "optim.lr=1e30", "optim.clip=0"))
    (report,) = (tmp_path / "run/failed").glob("step-0000000*-rank-0000.json")
    found = json.loads(report.read_text())
    assert [key[:5] for key in found["frame keys"]] == ["clip-"] * 4
    assert set(found["losses"]) == {"global", "sed", "prior"}


def test_bad_samples_are_masked_and_counted_until_there_are_too_many(tmp_path, capsys, monkeypatch):
    folder = write_corpus(tmp_path / "train", 12, 0)
    damage(folder, 0.34)
    with pytest.raises(ValueError, match=r"step 0: 2 of 8 samples are bad, over 1%.*shard-00000"):
        train(conf((folder, None), tmp_path / "a", "loss.bad_grace=0"))
    capsys.readouterr()
    monkeypatch.setattr("flam_train.training.health.time", SimpleNamespace(monotonic=lambda: 0.0))
    train(conf((folder, None), tmp_path / "b", "loss.max_bad_share=0.9"))
    found = [float(v) for (_, name), v in metrics(tmp_path / "b").items() if name == "data/bad_samples"]
    assert sorted(found) == found
    assert 1 <= found[-1] <= 32
    error = capsys.readouterr().err
    assert "bad sample" in error
    assert error.count("bad sample") == 1  # one in ten seconds, and this clock stands still


@pytest.mark.parametrize("fault", ["missing", "truncated", "altered"])
def test_a_bad_shard_stops_the_run_or_is_skipped(fault, corpora, tmp_path, capsys):
    folder = write_corpus(tmp_path / "train", 12, 0)
    tar = folder / "shard-000001.tar"
    harm(tar, fault)
    verify = "data.verify=true"
    with pytest.raises(ValueError, match=r"shard-000001\.tar: .*(write or copy this shard again)"):
        train(conf((folder, None), tmp_path / "a", verify))
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").iterdir())
    options = [verify, "data.bad_shards=skip"]
    with pytest.raises(ValueError, match=r"samples are bad, over 1%.*shard-000001\.tar"):
        train(conf((folder, None), tmp_path / "b", *options, "loss.bad_grace=0"))
    train(conf((folder, None), tmp_path / "c", *options, "loss.max_bad_share=0.9"))
    assert (
        capsys.readouterr().err.count(f"skipped on {socket.gethostname()}: {tar}: ") == 4
    )  # global and frame, b and c
    bad = [float(v) for (_, name), v in metrics(tmp_path / "c").items() if name == "data/bad_samples"]
    assert 8 <= bad[-1] <= 24
    with pytest.raises(ValueError, match=r"data\.bad_shards: 'ignore' is not known"):
        train(conf((folder, None), tmp_path / "d", "data.bad_shards=ignore"))


def test_two_jobs_do_not_share_a_folder(corpora, finished, tmp_path):
    folder = tmp_path / "run"
    for overwrite in ("false", "true"):
        with RunLock(folder):
            (folder / "config.yaml").write_text("a: 1\nrun_dir: here\n")
            with pytest.raises(ValueError, match=r"run: process \d+ on .* is training in this folder"):
                train(conf(corpora, folder, f"overwrite={overwrite}"))
            assert (folder / "config.yaml").read_text() == "a: 1\nrun_dir: here\n"  # nothing of the other's is lost
    (folder / "failed").mkdir()
    train(conf(corpora, folder, "overwrite=true"))
    assert not (folder / "failed").exists()
    assert_same_run(folder, finished)


def test_a_command_that_a_scheduler_starts_again_goes_on_whatever_it_says_of_overwriting(
    corpora, finished, tmp_path, monkeypatch
):
    anew = conf(corpora, tmp_path / "run", "overwrite=true")
    with stopped_after(2, monkeypatch):
        train(anew)
    for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "1")
        (tmp_path / "run/failed").mkdir(exist_ok=True)
        train(anew)
        monkeypatch.delenv(name)
        assert (tmp_path / "run/failed").exists()
    assert_same_run(tmp_path / "run", finished)
    train(anew)
    assert not (tmp_path / "run/failed").exists()


def test_a_row_that_was_cut_off_is_no_row(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n0,a,1.0\n1,a,2.0\n1")
    CSVLogger(tmp_path, resumed_step=5).log_metrics({"a": 3.0}, 5)
    assert path.read_text().split() == ["step,name,value", "0,a,1.0", "1,a,2.0", "5,a,3.0"]


@WANDB
def test_wandb_offline(corpora, tmp_path):
    folder = tmp_path / "run"
    train(conf(corpora, folder, "logger=wandb", "steps=2"))
    assert list((folder / "wandb").glob("offline-run-*"))


@pytest.mark.slow
@pytest.mark.ci
def test_ctrl_c_and_the_same_command_again(corpora, tmp_path):
    overrides = [*TINY, *on_shards(*corpora), "steps=40", "global_batch=4", "frame_batch=4", "data.workers=1"]
    command = [sys.executable, "-m", "flam_train.cli.train", *overrides, f"run_dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "last.ckpt").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopping after this step" in error
    assert "goes on from the last checkpoint" in error
    done = flam_train(*overrides, f"run_dir={tmp_path / 'run'}")
    assert "going on at step" in done.stderr
    assert (tmp_path / "run" / "export" / "config.json").is_file()
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["steps"] == 40

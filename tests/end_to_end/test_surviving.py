"""A run that is killed, signalled or short of disk is the run that was left alone, bit for bit."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from needs import WANDB
from recorded_runs import RecordedRun, assert_same
from tiny_runs import TINY, conf, metrics, on_shards

from flam_train.cli.train import main
from flam_train.training.fault_tolerance.interrupt import AGAIN
from flam_train.training.run import train

SHORT = ["steps=16", "trainer.validate_every=7", "trainer.checkpoint_every=2", "data.workers=1"]
LONG = [*SHORT, "steps=40"]


def finished(folder: Path, corpora, *options: str, ranks: int = 1) -> RecordedRun:
    run = RecordedRun(folder, corpora, *options, ranks=ranks)
    assert run.finish() == 0, run.said[-3000:]
    return run


@pytest.fixture(scope="module")
def undisturbed(corpora, tmp_path_factory) -> RecordedRun:
    run = finished(tmp_path_factory.mktemp("undisturbed"), corpora, *LONG)
    assert len(run.steps()) == 40
    return run


def killed(folder: Path, corpora, times: int, seed: int, options: list[str], ranks: int = 1) -> RecordedRun:
    run, chance = RecordedRun(folder, corpora, *options, ranks=ranks), random.Random(seed)
    kills = 0
    while kills < times:
        assert run.kill_at_random(chance), f"the run ended after {kills} kills"
        kills += 1
    assert run.finish() == 0, run.said[-3000:]
    return run


@pytest.mark.slow
@pytest.mark.ci
def test_kill_9_at_random_moments(corpora, tmp_path):
    want = finished(tmp_path / "undisturbed", corpora, *SHORT)
    run = killed(tmp_path / "killed", corpora, 3, 1, SHORT)
    assert_same(run, want)
    assert tensorboard(run) == tensorboard(want)


@pytest.mark.slow
def test_kill_9_at_25_random_moments(corpora, undisturbed, tmp_path):
    kills = 0
    for part in range(5):
        run = killed(tmp_path / str(part), corpora, 5, 100 + part, LONG)
        kills += 5
        assert_same(run, undisturbed)
        assert tensorboard(run) == tensorboard(undisturbed)
    assert kills == 25


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.ci), 2])
def test_kill_9_where_a_part_begins_to_learn(ranks, corpora, tmp_path):
    options = ["steps=6", "optim.unfreeze={audio: 3}", "trainer.checkpoint_every=1", "data.workers=0"]
    want = finished(tmp_path / "undisturbed", corpora, *options, ranks=ranks)
    run = RecordedRun(tmp_path / "killed", corpora, *options, ranks=ranks)
    for fault in (f"die:{ranks - 1}:3", "saved:0:4", f"die:{ranks - 1}:4"):  # in its first step, right after it
        assert run.finish(FAULT=fault) != 0, run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, want)


@pytest.mark.slow
def test_kill_9_of_two_ranks(corpora, tmp_path):
    want = finished(tmp_path / "undisturbed", corpora, *LONG, ranks=2)
    run = killed(tmp_path / "killed", corpora, 3, 7, LONG, ranks=2)
    assert_same(run, want)
    assert tensorboard(run) == tensorboard(want)


@pytest.mark.slow
@pytest.mark.parametrize("step", [7, pytest.param(14, marks=pytest.mark.ci)])
def test_kill_9_in_a_validation(step, corpora, tmp_path):
    """Also in the last one: it is not left out when the run goes on."""
    short = [*LONG[1:], "steps=14", "trainer.checkpoint_every=7", "trainer.monitor=val/synthetic/auroc_macro"]
    want, run = (RecordedRun(tmp_path / name, corpora, *short) for name in ("undisturbed", "killed"))
    assert want.finish() == 0, want.said[-3000:]
    assert run.finish(FAULT=f"validation:0:{step}") == -signal.SIGKILL, run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert (13, "val/synthetic/auroc_macro") in metrics(run.run)
    assert_same(run, want)
    best = [torch.load(one.run / "best.ckpt", weights_only=True)["global_step"] for one in (run, want)]
    assert best[0] == best[1]


@pytest.mark.slow
@WANDB
def test_kill_9_right_after_a_checkpoint(corpora, undisturbed, tmp_path):
    """What no later checkpoint has is in the curves by then. wandb's own process lives on and writes what it has."""
    run = RecordedRun(tmp_path, corpora, *LONG, "logger=wandb")
    for step in (2, 8, 14, 20):  # 14 is validated first
        assert run.finish(FAULT=f"saved:0:{step}") == -signal.SIGKILL, run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert run.lines() == 40  # no step was lost or taken twice
    assert_same(run, undisturbed)
    assert tensorboard(run) == tensorboard(undisturbed)
    assert_wandb(run)


def tensorboard(run: RecordedRun) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return {tag: values for tag, values in found.items() if not tag.startswith("speed/")}


@pytest.mark.slow
@WANDB
def test_a_signal_to_the_process_group_of_two_ranks(corpora, tmp_path):
    """Started without torchrun, ranks, data workers and wandb's process are in one group."""
    two = [*SHORT, "trainer.devices=2", "logger=wandb"]
    want, run = (RecordedRun(tmp_path / name, corpora, *two) for name in ("undisturbed", "signalled"))
    want.ranks = run.ranks = 1  # of launchers
    assert want.finish() == 0, want.said[-3000:]
    process = run.start()
    run.until_lines(process, 6)
    os.killpg(process.pid, signal.SIGTERM)
    assert run.wait(process) == AGAIN, run.said[-3000:]
    assert run.finish() == 0, run.said[-3000:]
    assert run.lines() == 2 * 16
    assert "Traceback" not in run.said
    assert run.steps(1) == want.steps(1)
    assert_same(run, want)
    assert_wandb(run)


@pytest.mark.slow
@pytest.mark.ci
@WANDB
def test_the_schedulers_signals_to_every_process(corpora, undisturbed, tmp_path):
    """Data workers and wandb's process live through it, for they serve the step that is being finished."""
    run = RecordedRun(tmp_path, corpora, *LONG, "data.workers=2", "logger=wandb")
    for kind in (signal.SIGUSR1, signal.SIGTERM):
        process = run.start()
        run.until_lines(process, 6)
        os.killpg(process.pid, kind)
        assert run.wait(process) == AGAIN, run.said[-3000:]
        done = max(run.steps()) + 1
        assert torch.load(run.run / "last.ckpt", weights_only=True)["global_step"] == done < 40
        assert f"stopping after this step; {kind.name}" in run.said
        assert f"stopped by {kind.name}; the same command goes on" in run.said
    assert run.finish() == 0, run.said[-3000:]
    assert run.lines() == 40  # no step was lost or taken twice
    assert "Traceback" not in run.said
    assert "exited unexpectedly" not in run.said
    assert_same(run, undisturbed)
    assert_wandb(run)


def assert_wandb(run: RecordedRun) -> None:
    """Its curves are those of metrics.csv, without gap or double point."""
    found = wandb_points(run)
    assert {"loss/total", "optim/lr", "val/synthetic/auroc_macro"} <= set(found)
    for name, points in found.items():
        want = {step: float(v) for (step, n), v in metrics(run.run).items() if n == name}
        assert {step: value for step, value in points} == pytest.approx(want), name
        assert len(points) == len(want), f"{name} has double points"


def wandb_points(run: RecordedRun) -> dict[str, list[tuple[int, float]]]:
    """Of the one offline run that is to be synchronised."""
    from wandb.proto import wandb_internal_pb2

    out: dict[str, list[tuple[int, float]]] = {}
    (path,) = (run.run / "wandb").glob("offline-run-*/*.wandb")
    for data in wandb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        items = {(item.key or "/".join(item.nested_key)): item.value_json for item in record.history.item}
        for name, value in items.items():
            if name.startswith(("loss/", "val/", "optim/")):
                out.setdefault(name, []).append((int(items["_step"]), json.loads(value)))
    return out


def wandb_records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format: blocks of 32 KiB, of records with checksum, length, kind (whole, first, middle, last)."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if not kind:
            return
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_a_full_disk_costs_a_checkpoint_and_no_more(corpora, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    save, saves = torch.save, []

    def full(*arguments, **options):
        saves.append(1)
        if len(saves) in (2, 3):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*arguments, **options)

    kept = []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        patch.setattr(
            "flam_train.training.progress.Progress.on_train_batch_end", lambda *a: kept.append(step_of(folder))
        )
        train(conf(corpora, folder, "steps=8"))
    assert kept == [0, 0, 2, 2, 2, 2, 2, 2]  # after each step: those of steps 4 and 6 did not come
    said = capfd.readouterr().err
    assert said.count("last.ckpt: not written (No space left on device") == 2
    assert "the older one stays; make room" in said
    assert step_of(folder) == 8
    assert not [p for p in folder.iterdir() if p.name.startswith(".last")]


def test_a_disk_that_is_full_at_the_end_is_no_success(corpora, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    command = [*TINY, *on_shards(*corpora), f"run_dir={folder}", "global_batch=4", "frame_batch=4"]
    save = torch.save

    def full(checkpoint, *arguments, **options):
        if checkpoint["global_step"] == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(checkpoint, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert main(command) == 1
    said = f"flam-train: {folder}/last.ckpt: No space left on device: make room; the same command goes on"
    assert said in capfd.readouterr().err
    assert step_of(folder) == 2
    assert not (folder / "export").exists()
    assert main(command) == 0
    assert step_of(folder) == 4
    assert (folder / "export").is_dir()
    steps = [step for step, name in metrics(folder) if name == "loss/total"]
    assert steps == [0, 1, 2, 3]


def step_of(folder: Path) -> int:
    last = folder / "last.ckpt"
    return torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0

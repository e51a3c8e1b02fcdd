"""What one rank of a real run meets: all stop, soon, one message names it, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket

import pytest
from recorded_runs import SCRIPT, RecordedRun, assert_same
from tiny_runs import harm, metrics, write_corpus

from flam_train.training.fault_tolerance.watch import SILENT, Told, verdict

STEPS = ["steps=6", "trainer.validate_every=3", "trainer.checkpoint_every=2"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return write_corpus(folder / "train", 12, 0), write_corpus(folder / "test", 5, 1)


@pytest.fixture(scope="module")
def undisturbed(corpora, tmp_path_factory) -> RecordedRun:
    run = RecordedRun(tmp_path_factory.mktemp("undisturbed"), corpora, *STEPS, ranks=2)
    assert run.finish() == 0, run.said[-3000:]
    return run


def disturbed(run: RecordedRun, fault: str, seconds: float, **env: str) -> str:
    """What it says until all its processes have ended, which they do by themselves: torch waits for half an hour."""
    process = run.start(FAULT=fault, **env)
    run.until_lines(process, 2 * int(fault.split(":")[2]))
    assert run.wait(process, timeout=seconds + 200)
    return run.said


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.ci)])
def test_a_rank_dies(rank, corpora, undisturbed, tmp_path):
    run = RecordedRun(tmp_path, corpora, *STEPS, ranks=2)
    said = disturbed(run, f"die:{rank}:3", 0)
    message = "rank 0 cannot be reached any more" if rank == 0 else "rank 1 ("
    assert said.count(f"flam-train: {message}") == 1
    assert f"all processes stop, the same command goes on from {run.run}/last.ckpt" in said
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, undisturbed)


def test_a_loss_that_is_not_finite_in_one_rank(corpora, tmp_path):
    run = RecordedRun(tmp_path, corpora, *STEPS, ranks=2)
    said = disturbed(run, "nan:1:3", 0)
    assert said.count("flam-train: step 3: a loss is not finite") == 1
    assert f"embeddings that are not: of rank 1; the clips of each rank: {run.run}/failed" in said
    for rank in (0, 1):
        found = json.loads((run.run / f"failed/step-00000003-rank-000{rank}.json").read_text())
        assert (found["rank"], found["step"], len(found["frame keys"])) == (rank, 3, 2)
        assert max(run.steps(rank)) == 2  # both stopped at the same step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "seconds", "message"),
    [
        ("hang:1:3", 8, "nothing has moved for 8 s: rank 1 ("),
        ("hang:0:3", 8, "nothing has moved for 8 s: rank 0 ("),
        ("stop:1:3", SILENT, "rank 1 ("),
        ("error:1:3", 0, "rank 1 ("),
    ],
)
def test_a_rank_hangs_or_fails(fault, seconds, message, corpora, undisturbed, tmp_path):
    run = RecordedRun(tmp_path, corpora, *STEPS, "trainer.hang_seconds=8", ranks=2)
    said = disturbed(run, fault, seconds)
    assert said.count(f"flam-train: {message}") == 1
    if fault.startswith("error"):
        assert "stopped at step 3: ValueError: shard-000001.tar: this node has lost it" in said
        assert f"flam-train on {socket.gethostname()}: shard-000001.tar: this node has lost it" in said
    for pid in run.ranks_alive():  # one that was stopped hears no signal but this
        os.kill(pid, signal.SIGKILL)
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["missing", "truncated", "altered"])
def test_a_shard_is_bad_on_one_node(fault, corpora, undisturbed, tmp_path):
    """It is named with its node; the run stops at its start, or that node skips its samples while the other has all."""
    copy = shutil.copytree(corpora[0], tmp_path / "copy")
    harm(copy / "shard-000001.tar", fault)
    on_copy = {"COPY": f"{corpora[0]}:{copy}"}
    run = RecordedRun(tmp_path / "stops", corpora, *STEPS, "data.verify=true", ranks=2)
    assert run.finish(**on_copy) != 0
    assert run.said.count(f"flam-train on {socket.gethostname()}: {copy}/shard-000001.tar: ") == 1, run.said[-3000:]
    assert not run.lines()
    assert not run.ranks_alive()

    skipping = ["data.verify=true", "data.bad_shards=skip", "loss.max_bad_share=0.9"]
    run = RecordedRun(tmp_path / "skips", corpora, *STEPS, *skipping, ranks=2)
    assert run.finish(**on_copy) == 0, run.said[-3000:]
    assert f"skipped on {socket.gethostname()}: {copy}/shard-000001.tar: " in run.said
    keys = [[(step["global keys"], step["frame keys"]) for step in one.steps(0).values()] for one in (run, undisturbed)]
    assert keys[0] == keys[1]
    bad = [float(value) for (_, name), value in metrics(run.run).items() if name == "data/bad_samples"]
    assert 0 < bad[-1] <= 24  # of the 48 clips of both ranks


@pytest.mark.slow
def test_altered_samples_are_named_with_their_node(corpora, tmp_path):
    """Unless shards are verified at the start, an altered one is found as its samples are read."""
    copy = shutil.copytree(corpora[0], tmp_path / "copy")
    harm(copy / "shard-000001.tar", "altered")
    run = RecordedRun(tmp_path / "run", corpora, *STEPS, "loss.bad_grace=0", ranks=2)
    assert run.finish(COPY=f"{corpora[0]}:{copy}") != 0
    (message,) = [line for line in run.said.splitlines() if line.startswith("flam-train: ")]
    assert "samples are bad, over 1%" in message
    assert f"{socket.gethostname()}: synthetic: {copy}/shard-000001.tar: sample" in message


@pytest.mark.slow
def test_a_disk_that_is_full_is_known_to_all_ranks(corpora, undisturbed, tmp_path):
    run = RecordedRun(tmp_path, corpora, *STEPS, ranks=2)
    assert run.finish(FAULT="full:0:4", STOP_AT="4") != 0
    assert run.said.count("flam-train: stopped by SIGTERM; but ") == 1, run.said[-3000:]
    assert run.finish(FAULT="full:0:6") != 0
    assert run.said.count(f"flam-train: {run.run}/last.ckpt: No space left on device: make room") == 1
    assert 'Traceback (most recent call last):\n  File "' + str(SCRIPT) not in run.said
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, undisturbed)


@pytest.mark.slow
def test_another_clock_and_another_name_change_nothing(corpora, undisturbed, tmp_path):
    run = RecordedRun(tmp_path, corpora, *STEPS, ranks=2)
    assert "rank 1 (elsewhere, " in disturbed(run, "die:1:3", 0, SKEW="86400")
    assert run.finish(SKEW="-86400") == 0, run.said[-3000:]
    assert_same(run, undisturbed)


def told(*facts: dict, at: float = 100.0) -> list[Told]:
    common = {
        "host": "n1",
        "step": 5,
        "phase": "in a step",
        "moves": 9,
        "idle": 1.0,
        "suspects": False,
        "error": "",
        "where": "a.py:3 f",
        "waits": True,
        "collectives": 7,
    }
    return [Told(json.dumps(common | {"pid": rank} | fact), fact.get("at", at)) for rank, fact in enumerate(facts)]


def test_verdicts():
    assert verdict(told({}, {}), 101, 60) == ""
    assert verdict(told({}, {"at": 70.0}), 101, 60) == ""  # silent for a while: nobody misses it yet
    assert verdict(told({}, {"at": 100 - SILENT}), 101, 60).startswith(
        "rank 1 (n1, process 1) has ended: no word for 41 s"
    )
    assert verdict(told({"suspects": True}, {"at": 90.0}), 101, 60).startswith("rank 1 (n1, process 1) has ended")
    assert verdict([*told({}), Told("", 50.0)], 101, 60).startswith(
        "rank 1 has ended: no word for 51 s, before its first"
    )
    assert (
        verdict(told({}, {"error": "OSError: gone"}), 101, 60)
        == "rank 1 (n1, process 1) stopped at step 5: OSError: gone"
    )
    late = told({"idle": 61}, {"idle": 70, "moves": 8, "phase": "waiting for data"}, {"idle": 61})
    said = "nothing has moved for 60 s: rank 1 (n1, process 1) at step 5, "
    assert verdict(late, 101, 60) == f"{said}waiting for data, a.py:3 f"
    assert verdict(late, 101, 0) == ""
    assert verdict(told({"idle": 61}, {"idle": 3}), 101, 60) == ""
    behind = told({"idle": 61}, {"idle": 61, "collectives": 6}, {"idle": 61})
    assert verdict(behind, 101, 60) == f"{said}in a step, a.py:3 f"
    assert verdict(told({}, {"leaving": True, "at": 1.0}, {"leaving": True, "at": 1.0}), 101, 60) == ""
    assert verdict(told({"leaving": True, "at": 1.0}, {"leaving": True, "at": 1.0}), 101, 60) == ""
    # The others wait for it, and leave no more.
    assert "rank 1 (n1, process 1) has ended" in verdict(told({"leaving": True}, {"at": 1.0}), 101, 60)
    hanging = told({"leaving": True}, {"idle": 61})
    assert verdict(hanging, 101, 60) == f"{said}in a step, a.py:3 f"
    busy = told({"idle": 61}, {"idle": 61, "waits": False, "where": "b.py:9 g"}, {"idle": 61})
    assert verdict(busy, 101, 60) == f"{said}in a step, b.py:9 g"  # the others wait for it in a collective
    assert verdict(told(*[{"idle": 61}] * 5), 101, 60).endswith("process 2) at step 5, in a step, a.py:3 f and 2 more")

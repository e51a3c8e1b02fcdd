"""The same run on other numbers of ranks: the same clips in the same order, and the same losses up to rounding."""

from __future__ import annotations

import pytest
from recorded_runs import RecordedRun
from tiny_runs import write_corpus

EXACT = ["trainer.precision=64-true", "trainer.validate_every=1000", "trainer.checkpoint_every=10"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return write_corpus(folder / "train", 12, 0), write_corpus(folder / "test", 5, 1)


def on_parts(folder, corpora, parts: list[tuple[int, int]], *overrides: str) -> list[dict]:
    """What each step took and gave; parts: (ranks, the step where that part of the run is asked to stop)."""
    out: list[dict] = []
    run = RecordedRun(folder, corpora, *overrides)
    for ranks, last in parts:
        run.wait(run.start(ranks, STOP_AT=str(last)))
        notes = [run.steps(rank) for rank in range(ranks)]
        assert [max(mine) for mine in notes] == [last - 1] * ranks, run.said[-3000:]
        for step in range(len(out), last):
            keys = {kind: [key for mine in notes for key in mine[step][kind]] for kind in ("global keys", "frame keys")}
            out.append(keys | {name: float.fromhex(notes[0][step][name]) for name in ("global", "sed", "prior")})
        for path in run.notes.glob("*.jsonl"):
            path.unlink()
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts", [pytest.param([(1, 2), (2, 4)], marks=pytest.mark.ci), [(4, 2), (1, 4), (2, 6), (4, 8)]]
)
def test_other_numbers_of_ranks_take_the_same_clips_in_the_same_order(parts, corpora, tmp_path):
    """One rank's keys of a step are those of the ranks, one after another."""
    steps = [*EXACT, f"steps={parts[-1][1]}"]
    one = on_parts(tmp_path / "one", corpora, [(1, parts[-1][1])], *steps)
    assert_close(on_parts(tmp_path / "parts", corpora, parts, *steps), one, 1e-9)


@pytest.mark.slow
def test_fifty_steps_in_float64(corpora, tmp_path):
    steps = [*EXACT, "steps=50"]
    one = on_parts(tmp_path / "one", corpora, [(1, 50)], *steps)
    for name, parts in (("four", [(4, 50)]), ("parts", [(4, 20), (1, 30), (2, 50)])):
        assert_close(on_parts(tmp_path / name, corpora, parts, *steps), one, 1e-9)


@pytest.mark.slow
def test_the_first_step_in_float32(corpora, tmp_path):
    steps = ["trainer.validate_every=1000", "steps=1"]
    one = on_parts(tmp_path / "one", corpora, [(1, 1)], *steps)
    assert_close(on_parts(tmp_path / "four", corpora, [(4, 1)], *steps), one, 1e-5)


def assert_close(got: list[dict], want: list[dict], tolerance: float) -> None:
    assert len(got) == len(want)
    for step, (a, b) in enumerate(zip(got, want, strict=True)):
        for kind in ("global keys", "frame keys"):
            assert a[kind] == b[kind], step
        for name in ("global", "sed", "prior"):
            assert a[name] == pytest.approx(b[name], rel=tolerance), (step, name)

"""Runs with sampling by class, augmentation and tags: exact over stops, kills, ranks, micro-batches; refusals."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from http_folder import serve
from recorded_runs import RecordedRun, assert_same
from same_runs import assert_same_run, of_the_run, stopped_after
from test_elastic import EXACT, assert_close, on_parts
from tiny_runs import TINY, conf, harm, on_shards, write_bank, write_corpus

from flam_train.cli.train import compose_conf, main
from flam_train.training.description import describe
from flam_train.training.launch import node
from flam_train.training.run import build, train


@pytest.fixture(scope="session")
def everything(bank, tmp_path_factory) -> list[str]:
    """Overrides that switch everything on, for all three streams."""
    tags = write_corpus(tmp_path_factory.mktemp("tags") / "tags", 10, 2, tagged=True)
    shares = ["augment.mix_share=0.7", "augment.background_share=0.7", "augment.band_share=0.7"]
    balance = [f"data.{kind}.synthetic.balance=0.5" for kind in ("+global", "frame")]
    return [
        "augment=finetune",
        f"augment.background=[{bank}]",
        *shares,
        *[b.replace("data.+", "+data.") for b in balance],
        *["data/weak=[custom]", f"data.weak.custom.path={tags}", "weak_batch=4", "data.weak.custom.balance=0.5"],
    ]


@pytest.mark.slow
@pytest.mark.ci
def test_a_run_that_goes_on_is_the_run_that_never_stopped(corpora, everything, tmp_path, monkeypatch):
    train(conf(corpora, tmp_path / "want", *everything))
    with stopped_after(2, monkeypatch):
        train(conf(corpora, tmp_path / "run", *everything))
    train(conf(corpora, tmp_path / "run", *everything))
    assert_same_run(tmp_path / "run", tmp_path / "want")
    for other in (["augment=none"], ["data.frame.synthetic.balance=0.25"]):
        with pytest.raises(ValueError, match=r"augment\.shift_seconds was 5|data\.frame\.synthetic\.balance was 0\.5"):
            train(conf(corpora, tmp_path / "run", *everything, *other))


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_backgrounds_wherever_they_lie(corpora, bank, tmp_path, monkeypatch):
    def given(place: Path) -> dict:
        return conf(corpora, tmp_path / "run", f"augment.background=[{place}]")

    with stopped_after(2, monkeypatch):
        train(given(bank))
    other = write_bank(tmp_path / "train", seed=1)
    with pytest.raises(ValueError, match=r"augment\.background: train: has other shards than when this run began"):
        train(given(other))
    train(given(Path(shutil.copytree(bank, tmp_path / "moved"))))


@pytest.mark.slow
@pytest.mark.ci
def test_micro_batches_train_as_the_undivided_batch(corpora, everything, tmp_path):
    exact = [*everything, "trainer.precision=64-true", "steps=2"]
    train(conf(corpora, tmp_path / "one", *exact))
    train(conf(corpora, tmp_path / "four", *exact, "accumulate=4"))
    want, found = of_the_run(tmp_path / "one"), of_the_run(tmp_path / "four")
    assert found.keys() == want.keys()
    for key in found:
        assert float(found[key]) == pytest.approx(float(want[key]), rel=1e-9), key


@pytest.mark.slow
@pytest.mark.ci
def test_off_is_the_run_without_them(corpora, finished, tmp_path):
    off = ["augment=none", "augment.mix_db=[0,0]", "augment.background_share=1", "data.frame.synthetic.balance=0"]
    train(conf(corpora, tmp_path / "run", *off))
    assert_same_run(tmp_path / "run", finished)


def test_what_is_said_and_what_it_was_made_of(corpora, bank, everything, tmp_path):
    run = build(conf(corpora, tmp_path, *everything))
    assert (
        "  augment shift by up to 5 s, mix 0.7 of the clips with events, background in 0.7, band limits in"
        in describe(run)
    )
    assert [c["name"] for c in run.data.provenance()["augment"]["background"]] == ["train"]
    plain = build(conf(corpora, tmp_path))
    assert "augment" not in describe(plain)
    assert set(plain.data.provenance()) == {"global", "frame"}


def test_mixtures_made_while_training_are_augmented_too(bank, tmp_path):
    overrides = [*TINY, "data/global=[]", "data/frame=[online]", f"data.frame.online.bank=[{bank}]", "global_batch=0"]
    overrides += ["data.frame.online.recipe=demo", "frame_batch=4", f"run_dir={tmp_path / 'run'}"]
    plain = build(compose_conf(overrides))
    run = build(
        compose_conf([*overrides, "augment.mix_share=1", "augment.gain_db=[-6,-6]", f"augment.background=[{bank}]"])
    )
    found, want = (one.data.steps_of(0, 1)[0].events for one in (run, plain))
    counts = [len(draws.added) for draws in found.augment.draws]
    assert set(counts) <= {0, 1}  # a background, no other clip: they are mixtures already
    waveform_BS, plain_BS = run.module.rendered(found), plain.module.rendered(want)
    assert waveform_BS.dtype == torch.float32
    for row, count in enumerate(counts):
        if not count:
            torch.testing.assert_close(waveform_BS[row], plain_BS[row] * (10 ** (-6 / 20) / 32768))


def test_balance_is_refused_where_classes_are_not_known(bank, corpora, tmp_path):
    mixed = [*TINY, "data/global=[]", "data/frame=[online]", f"data.frame.online.bank=[{bank}]", "global_batch=0"]
    with pytest.raises(ValueError, match=r"data\.frame\.online\.balance: mixtures are drawn by their recipe"):
        build(
            compose_conf([*mixed, "frame_batch=4", "+data.frame.online.balance=0.5", "data.frame.online.recipe=demo"])
        )
    folder = write_corpus(tmp_path / "train", 12, 0)
    harm(folder / "shard-000001.tar", "missing")
    skipping = ["data.bad_shards=skip", "data.frame.synthetic.balance=0.5"]
    with pytest.raises(ValueError, match=r"data\.frame\.synthetic\.balance: all ranks must find the same classes"):
        build(conf((folder, None), tmp_path / "run", *skipping))
    with pytest.raises(ValueError, match=r"data\.frame\.synthetic\.balance: 2 must be at least 0 and at most 1"):
        build(conf(corpora, tmp_path / "run", "data.frame.synthetic.balance=2"))


def test_balanced_shards_behind_a_url_need_a_cache_for_all_of_them(corpora, tmp_path):
    sizes = [entry["bytes"] for entry in json.loads((corpora[0] / "manifest.json").read_text())["shards"]]
    gib = 0.75 * sum(sizes) / (1 << 30)
    with serve(corpora[0].parent) as server:
        shards = on_shards(f"{server.url}/train", None)
        options = [f"data.cache_folder={tmp_path / 'cache'}", "global_batch=0", "frame_batch=4", "data.block_shards=1"]
        common = [*TINY, *shards, *options]
        with pytest.raises(ValueError, match=r"\(all of one with a balance\) take"):
            build(compose_conf([*common, f"data.cache_gib={gib}", "data.frame.synthetic.balance=0.5"]))
        assert build(compose_conf([*common, "data.frame.synthetic.balance=0.5"])).data.events.by_class[0] is not None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment.background=[/nowhere]", r"augment\.background: .*/nowhere"),
        ("augment.shift_seconds=11", r"augment\.shift_seconds=11: clips last 10 s"),
        ("augment.mix_share=2", r"augment\.mix_share: 2 must be"),
    ],
)
def test_what_is_wrong_is_named(override, message, corpora, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(conf(corpora, tmp_path, override))


def test_check_reads_backgrounds_and_counts_what_travels(corpora, everything, tmp_path, capsys):
    common = [*TINY, *on_shards(*corpora), f"run_dir={tmp_path}", "global_batch=4", "frame_batch=4", "data.workers=1"]
    assert main([*common, *everything, "--check"]) == 0
    assert "4 of 4 shard folders read" in capsys.readouterr().out
    assert main([*common, "augment.background=[/nowhere]", "--check"]) == 2
    assert "/nowhere" in capsys.readouterr().out
    plain, full = (node.loader_bytes(build(compose_conf([*common, *more])).config, 1, 1) for more in ([], everything))
    assert full / plain == (4 * 2 + 4 * 3 + 4 * 3) / 8


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("ranks", [1, 2])
def test_kill_9_at_random_moments(ranks, corpora, everything, tmp_path):
    options = [*everything, "steps=16", "trainer.validate_every=7", "trainer.checkpoint_every=2", "data.workers=1"]
    want, run = (RecordedRun(tmp_path / name, corpora, *options, ranks=ranks) for name in ("undisturbed", "killed"))
    assert want.finish() == 0, want.said[-3000:]
    chance = random.Random(ranks)
    for kills in range(2):
        assert run.kill_at_random(chance), f"the run ended after {kills} kills"
    assert run.finish() == 0, run.said[-3000:]
    assert_same(run, want)


@pytest.mark.slow
def test_other_numbers_of_ranks_take_the_same_clips_and_draws(corpora, everything, tmp_path):
    steps = [*EXACT, *everything, "steps=4"]
    one = on_parts(tmp_path / "one", corpora, [(1, 4)], *steps)
    assert_close(on_parts(tmp_path / "parts", corpora, [(2, 2), (4, 4)], *steps), one, 1e-9)

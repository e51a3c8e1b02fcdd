"""Samples that training leaves out: their files, where they stand, and runs without them."""

from __future__ import annotations

import numpy as np
import pytest
from http_folder import serve
from shard_samples import corpus
from tiny_runs import TINY, on_shards, write_corpus

from flam_train.data.shards.cache import ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.exclusion import Kept, LeftOut, read_excluded, rows_of, write_excluded
from flam_train.data.shards.tars import index_path
from flam_train.data.stream.clips import ShardSource
from flam_train.data.stream.dataset import Stream
from flam_train.data.stream.order import Place


def test_kept_rows_are_those_of_the_plain_list():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(0, 6, rng.integers(1, 7)).astype(np.int64)
        total = int(sizes.sum())
        excluded = np.flatnonzero(rng.random(total) < rng.random())
        kept = Kept(sizes, excluded.astype(np.int64))
        plain = [row for row in range(total) if row not in set(excluded.tolist())]
        assert [kept.row(i) for i in range(len(plain))] == plain
        shard_of = np.repeat(np.arange(len(sizes)), sizes)
        assert kept.shard_sizes.tolist() == np.bincount(shard_of[plain], minlength=len(sizes)).tolist()


def test_ten_million_samples_cost_nothing():
    sizes = np.full(20_000, 500, dtype=np.int64)
    kept = Kept(sizes, np.arange(0, 10_000_000, 1000, dtype=np.int64))
    assert kept.shard_sizes.sum() == 9_990_000
    assert kept.row(0) == 1
    assert kept.row(9_989_999) == 9_999_999


def test_excluded_files(tmp_path):
    path = tmp_path / "x.txt"
    write_excluded(path, [("a", "k1", "why\tso\n"), ("b", "k2", "youtube:-_é in c")])
    assert path.read_text(encoding="utf-8") == "a\tk1\twhy so\nb\tk2\tyoutube:-_é in c\n"
    (tmp_path / "y.txt").write_bytes("\ufeff# by hand\r\n\r\na\tk3\r\na\tk1\t\r\n".encode())
    assert read_excluded([path, tmp_path / "y.txt"]) == {"a": {"k1", "k3"}, "b": {"k2"}}
    path.write_text("a\tk\n\na k\n")
    with pytest.raises(ValueError, match=r"x\.txt: row 3: 'a k' is not corpus<TAB>key"):
        read_excluded([path])
    with pytest.raises(ValueError, match=r"none\.txt: cannot be read"):
        read_excluded([tmp_path / "none.txt"])


def test_streams_take_all_but_the_excluded(tmp_path):
    whole = corpus(tmp_path / "a", (3, 1, 4))
    gone = {"toy-0-1", "toy-1-0", "toy-2-3", "toy-7-7"}
    rows, unknown = rows_of(whole, gone)
    assert rows.tolist() == [1, 3, 7]
    assert unknown == {"toy-7-7"}
    source = ShardSource(whole, 0.1, Kept(whole.shard_sizes, rows))
    stream = Stream("global", [source], [1.0], 5, seed=0)
    keys = {whole.key(i) for i in range(8)} - gone
    for first in range(0, 20, 5):  # each pass visits each of them once
        taken, _ = stream.clips(first, first + 5)
        assert {clip.key for clip in taken} == keys
        assert not any(clip.error for clip in taken)
    plain = ShardSource(whole, 0.1)
    assert np.array_equal(source.clip(Place(0, 0, 4, 4), 1).waveform_S, plain.clip(Place(0, 0, 6, 6), 1).waveform_S)
    assert source.clip(Place(0, 0, 4, 4), 1).seed == plain.clip(Place(0, 0, 6, 6), 1).seed


def test_excluded_samples_behind_a_url_are_found_by_the_indices_alone(tmp_path):
    local = corpus(tmp_path / "a", (2, 3, 2))
    gone = {"toy-0-1", "toy-2-0"}
    with serve(tmp_path / "a") as server:
        remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
        rows, unknown = rows_of(remote, gone)
        assert rows.tolist() == rows_of(local, gone)[0].tolist() == [1, 5]
        assert not unknown
        assert not any(name.endswith(".tar") for name in server.asked)
        source = ShardSource(remote, 0.1, Kept(remote.shard_sizes, rows))
        assert source.clip(Place(0, 0, 4, 4), 0).key == "toy-2-1"
        assert source.remote_shard(Place(0, 0, 4, 4))[1].name == "shard-000002.tar"
        index_path(tmp_path / "a" / "shard-000001.tar").unlink()
        with pytest.raises(ValueError, match=r"shard-000001\.index\.npy: not there"):
            rows_of(remote, gone)


def test_what_is_left_out_is_told_and_kept_to(tmp_path):
    a, b = corpus(tmp_path / "a", (3, 2)), corpus(tmp_path / "b", (1, 1), name="other")
    path = tmp_path / "x.txt"
    write_excluded(path, [("toy", "toy-0-0", ""), ("toy", "gone", ""), ("elsewhere", "k", ""), ("other", "no", "")])
    left_out = LeftOut([path])
    kept = left_out.kept("data.frame.toy", a)
    assert kept is not None
    assert kept.shard_sizes.tolist() == [2, 2]
    assert left_out.report() == [
        "data.frame.toy: 1 of 5 clips are left out (data.exclude)",
        "warning: data.exclude names 1 keys that are not in toy (the first: 'gone'): if it was prepared again, run "
        "data_prep/verify.py again too",
    ]
    before = left_out.fingerprints()
    left_out.check_same(before)
    with pytest.raises(ValueError, match=r"data\.frame\.toy: data\.exclude leaves out other clips than when"):
        LeftOut([]).check_same(before)
    assert LeftOut([path]).kept("x", corpus(tmp_path / "c", (1,), name="third")) is None
    write_excluded(path, [("other", f"other-{k}-0", "") for k in (0, 1)])
    with pytest.raises(ValueError, match="names every clip"):
        LeftOut([path]).kept("data.frame.other", b)


def test_a_run_leaves_them_out_and_goes_on_with_the_same_only(tmp_path, monkeypatch, capsys):
    from flam_train.cli.train import main
    from flam_train.training import run as module

    path = tmp_path / "x.txt"
    write_excluded(path, [("train", f"clip-{n:03d}", "") for n in (0, 5, 7)])
    shards = write_corpus(tmp_path / "train")
    options = ["global_batch=0", "frame_batch=2", f"run_dir={tmp_path / 'run'}"]
    command = [*TINY, *on_shards(shards), *options, f"data.exclude=[{path}]"]
    build_trainer, build = module.build_trainer, module.build
    seen: list[str] = []

    def watched(*arguments):
        built = build(*arguments)
        clip = built.data.events.sources[0].clip
        monkeypatch.setattr(built.data.events.sources[0], "clip", lambda *a: (c := clip(*a), seen.append(c.key))[0])
        return built

    def stopped(*arguments):
        trainer = build_trainer(*arguments)
        trainer.fit_loop.epoch_loop.max_steps = 2
        return trainer

    monkeypatch.setattr(module, "build_trainer", stopped)
    monkeypatch.setattr(module, "build", watched)
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "data.frame.synthetic: 3 of 12 clips are left out (data.exclude)" in told
    assert "synthetic (9 clips of" in told
    monkeypatch.setattr(module, "build_trainer", build_trainer)
    text = path.read_text()
    path.write_text(text.replace("clip-005", "clip-006"))
    assert main(command) == 2
    assert "leaves out other clips than when this run began" in capsys.readouterr().err
    assert main([*command[:-1], "data.exclude=null"]) == 2
    assert "leaves out other clips than when this run began" in capsys.readouterr().err
    # Not the file but what it leaves out must be the same.
    path.write_text("# of today\n" + text)
    assert main(command) == 0
    assert "going on at step 2" in capsys.readouterr().err
    assert len(seen) >= 8
    assert not {"clip-000", "clip-005", "clip-007"} & set(seen)

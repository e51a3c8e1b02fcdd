"""Shards behind a URL are the shards of the folder, through a cache that is bounded, shared and checked."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch.multiprocessing as mp
from http_folder import serve
from shard_samples import corpus

from flam_train.data import cache as module
from flam_train.data.cache import GIB, LOCKS, ShardCache
from flam_train.data.clips import ShardSource
from flam_train.data.corpus import Corpus
from flam_train.data.dataset import Steps, Stream
from flam_train.data.order import Place
from flam_train.data.tars import ShardEntry, index_path

SIZES = (3, 2, 4, 1, 2, 3)


@pytest.fixture
def local(tmp_path) -> Corpus:
    return corpus(tmp_path / "there", SIZES, audio="wav")


@pytest.fixture
def server(local):
    with serve(local.folder) as server:
        yield server


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


def room_for(shards: float, local: Corpus) -> float:
    return shards * max(e.bytes for e in local.entries) / GIB


def content(found: Corpus) -> list:
    return [(found.key(n), found.record(n), found.waveform(n).tobytes()) for n in range(len(found))]


def held(folder: Path) -> int:
    return sum(tar.stat().st_size for tar in folder.glob("*.tar"))


def test_it_is_the_corpus_of_the_folder(local, server, tmp_path):
    remote = Corpus(server.url + "/", cache=ShardCache(tmp_path / "cache", 1))
    assert remote.remote
    assert not local.remote
    assert remote.name == local.name
    assert not server.asked["shard-000000.tar"], "shards are fetched when they are read"
    assert content(remote) == content(local)
    again = pickle.loads(pickle.dumps(remote))
    assert content(again) == content(local)
    assert all(server.asked[e.name] == 1 for e in local.entries)
    assert server.url + "/shard-000001.tar: sample 1 ('toy-1-1')" == remote.where(4)


def test_a_vocabulary_beside_the_manifest_comes_along(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "mine.yaml").write_text("corpus: mine\nclasses:\n  dog:\n    phrasings: [a dog]\n")
    local = corpus(folder, (2,), vocabulary="mine.yaml")
    with serve(folder) as server:
        assert Corpus(server.url, cache=ShardCache(tmp_path / "cache")).vocabulary == local.vocabulary


def test_file_urls_copy_from_a_slow_disk(local, tmp_path):
    remote = Corpus(local.folder.resolve().as_uri(), cache=ShardCache(tmp_path / "cache"))
    assert content(remote) == content(local)
    assert held(tmp_path / "cache") == sum(e.bytes for e in local.entries)


def test_the_cache_never_holds_more_than_its_size_and_forgets_the_least_used(local, server, tmp_path):
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache", room_for(2, local)))
    for _ in range(2):
        for n in range(len(remote)):
            assert np.array_equal(remote.waveform(n), local.waveform(n))
            assert held(tmp_path / "cache") <= remote.place.cache.limit
    left = {tar.stem for tar in (tmp_path / "cache").glob("*.tar")}
    assert local.entries[-1].sha256 in left
    indices = {index.name.split(".")[0] for index in (tmp_path / "cache").glob("*.index.npy")}
    assert indices == left


def test_what_is_open_stays_readable_when_its_room_is_needed(local, server, tmp_path):
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache", room_for(1, local)))
    first = remote.waveform(0)
    remote.waveform(len(remote) - 1)
    assert not (tmp_path / "cache" / f"{local.entries[0].sha256}.tar").exists()
    assert np.array_equal(remote.waveform(0), first)
    assert server.asked["shard-000000.tar"] == 1


def read_all(rank: int, url: str, folder: str) -> None:
    remote = Corpus(url, cache=ShardCache(folder, 1))
    for n in np.random.default_rng(rank).permutation(len(remote)):
        remote.waveform(int(n))


def test_processes_share_what_one_has_fetched(local, server, tmp_path):
    mp.spawn(read_all, args=(server.url, str(tmp_path / "cache")), nprocs=3)
    assert {name: server.asked[name] for name in server.asked if name.endswith(".tar")} == {
        e.name: 1 for e in local.entries
    }


def test_broken_connections_are_tried_again(local, server, tmp_path):
    server.break_off["shard-000000.tar"] = server.break_off["shard-000000.index.npy"] = module.TRIES - 1
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    assert np.array_equal(remote.waveform(0), local.waveform(0))
    assert server.asked["shard-000000.tar"] == module.TRIES


def test_what_cannot_be_fetched_is_a_bad_sample_that_names_its_url(local, server, tmp_path):
    server.break_off["shard-000001.tar"] = 1000
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    with pytest.raises(OSError, match=rf"{server.url}/shard-000001.tar: not fetched in {module.TRIES} attempts"):
        remote.waveform(3)
    clip = ShardSource(remote, 0.1).clip(Place(0, 0, 3, 3), 0)
    assert f"{server.url}/shard-000001.tar" in clip.error
    assert not clip.waveform_S.any()
    (local.folder / "shard-000002.index.npy").unlink()
    with pytest.raises(OSError, match=r"shard-000002.index.npy: not there: copy the whole folder"):
        remote.waveform(5)
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("shard-000000.tar", "not the shard of its manifest"), ("shard-000000.index.npy", "not the index of its shard")],
)
def test_another_file_than_the_manifests_is_refused_and_not_kept(name, message, local, server, tmp_path):
    shutil.copy(local.folder / name.replace("0.", "2.", 1), local.folder / name)
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    with pytest.raises(ValueError, match=rf"{name}: {message}.*copy"):
        remote.waveform(0)
    assert not list((tmp_path / "cache").glob("*.tar"))
    assert not list((tmp_path / "cache").glob(".*part"))


def test_mistakes_are_answered(local, server, tmp_path):
    with pytest.raises(ValueError, match=r"nothere/manifest.json: missing: give the URL"):
        Corpus(server.url + "/nothere")
    with pytest.raises(ValueError, match=r"manifest.json: cannot be read.*check the address"):
        Corpus("http://127.0.0.1:9/shards")
    with pytest.raises(ValueError, match="nosuch"):
        Corpus("nosuch://bucket/shards")
    with pytest.raises(ValueError, match="holds nothing"):
        ShardCache(tmp_path, 0)
    small = Corpus(server.url, cache=ShardCache(tmp_path / "cache", room_for(0.1, local)))
    with pytest.raises(ValueError, match=r"do not fit.*raise data.cache_gib"):
        small.waveform(5)


def test_drafts_of_a_process_that_died_make_no_difference(local, server, tmp_path):
    cache = ShardCache(tmp_path / "cache", room_for(1, local))
    cache.folder.mkdir()
    mine = local.entries[2].sha256
    other = f"{(int(mine[:8], 16) + 1) % 16**8:08x}{mine[8:]}"
    twin = f"{(int(mine[:8], 16) + LOCKS) % 16**8:08x}{mine[8:]}"  # has the same lock
    for sha256 in (mine, other, twin):
        (cache.folder / f".{sha256}.{local.entries[2].bytes}.part").write_bytes(b"half")
    assert np.array_equal(Corpus(server.url, cache=cache).waveform(5), local.waveform(5))
    assert not list(cache.folder.glob(".*part"))


def test_soon_fetches_in_the_background(local, server, tmp_path):
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    remote.soon(5)
    remote.soon(6)
    wanted = tmp_path / "cache" / f"{local.entries[2].sha256}.tar"
    deadline = time.monotonic() + 60
    while not wanted.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    remote.waveform(5)
    assert server.asked["shard-000002.tar"] == 1


def test_a_background_failure_is_told_where_the_shard_is_read(local, server, tmp_path):
    server.break_off["shard-000002.tar"] = module.TRIES
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    remote.soon(5)
    remote.soon(0)
    deadline = time.monotonic() + 60
    while not (tmp_path / "cache" / f"{local.entries[0].sha256}.tar").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert np.array_equal(remote.waveform(5), local.waveform(5))


class Noted:
    """A remote source that keeps what it is told."""

    def __init__(self, name: str) -> None:
        self.name, self.shard_sizes, self.remote = name, np.array([50, 50]), True
        self.told: list[Place] = []

    def soon(self, place: Place) -> None:
        self.told.append(place)


def test_steps_announce_each_coming_item_of_their_rank_once():
    source = Noted("far")
    stream = Stream("global", [source], [1.0], 6, 0)
    steps = Steps(10, stream, None, lambda clips, places, step: None, rank=1, world=2, ahead=3)
    stream.clips = lambda start, stop: ([], [])
    want = []
    for item, coming in [(2, (3, 4, 5)), (4, (6, 7)), (3, ()), (8, (9,))]:  # a worker's share of the items
        steps[item]
        for later in coming:
            want += stream.order.range(later * 6 + 3, later * 6 + 6)
        assert source.told == want


def test_the_default_folder_is_ones_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = ShardCache().folder
    assert folder.parent == tmp_path
    assert folder.name.startswith("flam-shards-")


def test_entries_of_a_shard_prepared_again_never_meet(local, server, tmp_path):
    cache = ShardCache(tmp_path / "cache")
    before = Corpus(server.url, cache=cache).waveform(0)
    corpus(local.folder, SIZES, audio="wav", name="other")
    os.sync()
    after = Corpus(server.url, cache=cache)
    assert after.key(0) == "other-0-0"
    assert not np.array_equal(after.waveform(0), before)


def test_entry_and_index_lie_side_by_side(local, tmp_path):
    entry: ShardEntry = local.entries[0]
    cache = ShardCache(tmp_path / "cache")
    rows = cache.open(local.folder.as_uri(), entry, lambda tar: np.load(index_path(tar)))
    assert len(rows) == entry.samples

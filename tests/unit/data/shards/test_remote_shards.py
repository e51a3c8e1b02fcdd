"""Shards behind a URL are the shards of the folder, through a cache that is bounded, shared and checked."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch.multiprocessing as mp
from http_folder import serve
from shard_samples import corpus

from flam_train.data.shards import cache as module
from flam_train.data.shards.cache import GIB, LOCKS, PAUSE, ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.places import place_of
from flam_train.data.shards.tars import ShardEntry, index_path
from flam_train.data.stream.ahead import Ahead
from flam_train.data.stream.clips import ShardSource
from flam_train.data.stream.dataset import Steps, Stream
from flam_train.data.stream.order import Place
from flam_train.evaluation.windows import Reading
from flam_train.frames import FrameGrid

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
    mp.start_processes(read_all, (server.url, str(tmp_path / "cache")), 3, start_method="forkserver")
    assert {name: server.asked[name] for name in server.asked if name.endswith(".tar")} == {
        e.name: 1 for e in local.entries
    }


def test_broken_connections_are_tried_again(local, server, tmp_path):
    server.break_off["shard-000000.tar"] = server.break_off["shard-000000.index.npy"] = module.TRIES - 1
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    assert np.array_equal(remote.waveform(0), local.waveform(0))
    assert server.asked["shard-000000.tar"] == module.TRIES


@pytest.mark.parametrize(("pause", "seconds"), [(0.5, 0.7), pytest.param(PAUSE, 5.0, marks=pytest.mark.slow)])
def test_a_server_that_dies_for_a_while_costs_time_and_no_sample(pause, seconds, local, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", pause)  # 0.5 + 1 + 2 s, as 2 + 4 + 8 s bridge the restart of a server
    with serve(local.folder) as server:
        port, url = server.server_port, server.url
        remote = Corpus(url, cache=ShardCache(tmp_path / "cache"))
        remote.waveform(0)

    def restart() -> None:
        time.sleep(seconds)
        with serve(local.folder, port):
            back.wait(60)

    back = threading.Event()
    again = threading.Thread(target=restart, daemon=True)
    again.start()
    assert content(remote) == content(local)
    back.set()
    again.join()


def test_what_cannot_be_fetched_is_a_bad_sample_that_names_its_url(local, server, tmp_path):
    server.break_off["shard-000001.tar"] = 1000
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    with pytest.raises(ValueError, match=rf"{server.url}/shard-000001.tar: not fetched in {module.TRIES} attempts"):
        remote.waveform(3)
    clip = ShardSource(remote, 0.1).clip(Place(0, 0, 3, 3), 0)
    assert f"{server.url}/shard-000001.tar" in clip.error
    assert not clip.waveform_S.any()
    (local.folder / "shard-000002.index.npy").unlink()
    with pytest.raises(ValueError, match=r"shard-000002.index.npy: not there: copy the whole folder"):
        remote.waveform(5)
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shard-000000.tar", "not the shard of its manifest"),
        ("shard-000000.index.npy", "[0-9] samples, the manifest says"),
    ],
)
def test_another_file_than_the_manifests_is_refused_and_not_kept(name, message, local, server, tmp_path):
    shutil.copy(local.folder / name.replace("0.", "2.", 1), local.folder / name)
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    with pytest.raises(ValueError, match=rf"{name}: {message}.*copy"):
        remote.waveform(0)
    assert not list((tmp_path / "cache").glob("*.tar"))
    assert not list((tmp_path / "cache").glob(".*part"))


def test_one_shard_that_cannot_be_read_does_not_lose_an_evaluation(local, server, tmp_path):
    server.break_off["shard-000001.tar"] = 1000
    reading = Reading(Corpus(server.url, cache=ShardCache(tmp_path / "cache")), FrameGrid(4, 0.1), 4, "first")
    owners = [owner for owners, _ in reading.batches(range(len(local))) for owner in owners]
    assert owners == [n for n in range(len(local)) if n not in (3, 4)]
    assert list(reading.missing) == ["toy[3]", "toy[4]"]
    assert "not fetched" in reading.missing["toy[3]"]


def test_mistakes_are_answered(local, server, tmp_path):
    with pytest.raises(ValueError, match=r"nothere/manifest.json: missing: give the URL"):
        Corpus(server.url + "/nothere")
    with pytest.raises(ValueError, match=r"manifest.json: not fetched in.*check the address"):
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


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wants(remote: Corpus, *indices: int) -> None:
    remote.place.cache.want([(remote.place.url, remote.entry(n)) for n in indices])


def test_what_is_wanted_comes_in_the_background_also_again(local, server, tmp_path):
    folder = tmp_path / "cache"
    remote = Corpus(server.url, cache=ShardCache(folder))
    shards = [folder / f"{local.entries[n].sha256}.tar" for n in (2, 0)]
    for _ in range(2):
        wants(remote, 5, 0)
        until(lambda: all(shard.exists() for shard in shards))
        for shard in shards:
            shard.unlink()
    wants(remote, 5)
    until(shards[0].exists)
    before = server.asked["shard-000002.tar"]
    remote.waveform(5)
    assert server.asked["shard-000002.tar"] == before == 3


def test_no_more_is_wanted_than_the_cache_holds_at_once(local, server, tmp_path):
    folder = tmp_path / "cache"
    remote = Corpus(server.url, cache=ShardCache(folder, sum(e.bytes for e in local.entries[:3]) / GIB))
    wants(remote, 0, 3, 5, 9, 10, 12)
    until(lambda: len(list(folder.glob("*.tar"))) == 3)
    time.sleep(0.2)
    assert {tar.stem for tar in folder.glob("*.tar")} == {e.sha256 for e in local.entries[:3]}


def test_a_background_failure_is_told_where_the_shard_is_read(local, server, tmp_path):
    server.break_off["shard-000002.tar"] = module.TRIES
    remote = Corpus(server.url, cache=ShardCache(tmp_path / "cache"))
    wants(remote, 5, 0)
    until((tmp_path / "cache" / f"{local.entries[0].sha256}.tar").exists)
    assert np.array_equal(remote.waveform(5), local.waveform(5))


@pytest.mark.parametrize("ahead", [0, 2, 100])
def test_one_pass_fetches_every_shard_once_however_far_it_looks_ahead(ahead, tmp_path):
    """Two blocks of shards in the cache, which is what training asks for at least."""
    local = corpus(tmp_path / "there", [4] * 24, audio="wav")
    with serve(local.folder) as server:
        gib = 2 * 4 * max(e.bytes for e in local.entries) / GIB
        source = ShardSource(Corpus(server.url, cache=ShardCache(tmp_path / "cache", gib)), 0.1)
        stream = Stream("global", [source], [1.0], 4, 0)
        steps = Steps(48, stream, None, lambda clips, places, step: [c.error for c in clips], ahead=ahead)
        for step in range(48):
            assert steps[step].captions == [None] * 4
        until(lambda: not list((tmp_path / "cache").glob(".*.part")))
    asked = [n for name, n in server.asked.items() if name.endswith(".tar")]
    assert len(asked) == 24
    assert sum(asked) <= 48 + 4  # two passes; where one meets the other a block's shards may come out of order


def read_at_random(rank: int, url: str, folder: str, gib: float) -> None:
    remote = Corpus(url, cache=ShardCache(folder, gib))
    rng = np.random.default_rng(rank)
    for n in rng.integers(len(remote), size=60):
        wants(remote, int(rng.integers(len(remote))))
        assert remote.key(n) == f"toy-{n // 4}-{n % 4}"
        assert remote.record(n).key == remote.key(n)


def test_processes_that_push_out_each_others_shards_read_right(tmp_path):
    local = corpus(tmp_path / "there", [4] * 12, audio="wav")
    gib = 3.01 * max(e.bytes for e in local.entries) / GIB
    with serve(local.folder) as server:
        mp.start_processes(read_at_random, (server.url, str(tmp_path / "cache"), gib), 3, start_method="forkserver")
    assert held(tmp_path / "cache") <= gib * GIB


def test_a_copy_that_was_damaged_here_is_fetched_anew(local, server, tmp_path):
    cache = ShardCache(tmp_path / "cache")
    Corpus(server.url, cache=cache).waveform(0)
    tar = cache.folder / f"{local.entries[0].sha256}.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    fresh = Corpus(server.url, cache=cache)
    assert all(np.array_equal(fresh.waveform(n), local.waveform(n)) for n in range(3))
    tar.write_bytes(data[:100])  # a crash of the machine may leave less
    assert np.array_equal(Corpus(server.url, cache=cache).waveform(0), local.waveform(0))
    assert server.asked["shard-000000.tar"] == 3


def test_the_coming_items_are_looked_at_once_and_in_order():
    class Far:
        def remote_shard(self, place):
            looked.append(place)
            return place_of("memory://far", cache), ShardEntry(f"{place}.tar", 1, 1, 1.0, str(place // 2))

    looked: list[int] = []
    told: list[list[str]] = []
    cache = SimpleNamespace(want=lambda shards: told.append([entry.sha256 for _, entry in shards]))
    ahead = Ahead(lambda item: [(Far(), item)], 10, 3, remote=True)
    for item in (2, 4, 3, 8):  # a worker's share of the items, and one that begins anew
        ahead.move_to(item)
    assert looked == [2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 8, 9]
    assert told == [["1", "2"], ["2", "3"], ["1", "2", "3"], ["4"]]


def test_the_default_folder_is_ones_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = ShardCache().folder
    assert folder.parent == tmp_path
    assert folder.name == f"flam-shards-{os.getuid()}"


def test_entries_of_a_shard_prepared_again_never_meet(local, server, tmp_path):
    cache = ShardCache(tmp_path / "cache")
    before = Corpus(server.url, cache=cache).waveform(0)
    corpus(local.folder, SIZES, audio="wav", name="other")
    after = Corpus(server.url, cache=cache)
    assert after.key(0) == "other-0-0"
    assert not np.array_equal(after.waveform(0), before)


def test_entry_and_index_lie_side_by_side(local, tmp_path):
    entry: ShardEntry = local.entries[0]
    cache = ShardCache(tmp_path / "cache")
    rows = cache.open(local.folder.as_uri(), entry, lambda tar: np.load(index_path(tar)))
    assert len(rows) == entry.samples

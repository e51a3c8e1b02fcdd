"""Downloads go on where they broke, are checked, and unpack nothing outside their folder."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from flam_train.data import download as module
from flam_train.data.download import SEVEN_ZIP, Archive, download, seven_zip


class Server(ThreadingHTTPServer):
    """files: name -> bytes; breaks: how many answers end after `piece` bytes; ranges: whether it knows them."""

    files: dict[str, bytes]
    breaks = 0
    piece = 100_000
    ranges = True
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        data = self.server.files.get(self.path.strip("/"))
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.server.breaks > 0:
            self.server.breaks -= 1
            self.wfile.write(data[start : start + self.server.piece])
            return
        self.wfile.write(data[start:])


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "BLOCK", 30_000)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked = {}, []
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def archive_of(members: dict[str, bytes], kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as zipped:
            for name, data in members.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def offer(server: Server, name: str, data: bytes) -> Archive:
    server.files[name] = data
    return Archive(f"http://127.0.0.1:{server.server_port}/{name}", name, hashlib.md5(data).hexdigest())


needs_zip = pytest.mark.skipif(shutil.which("zip") is None, reason="needs Info-ZIP's zip")
NOISE = np.random.default_rng(0).bytes(700_000)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_broken_connections_go_on_where_they_broke(kind, server, tmp_path):
    archive = offer(server, f"corpus.{kind}", archive_of({"corpus/audio/a.wav": NOISE}, kind))
    server.breaks = 5
    seen = []
    download([archive], tmp_path, lambda name, done, total: seen.append((done, total)))
    assert (tmp_path / "corpus" / "audio" / "a.wav").read_bytes() == NOISE
    assert server.asked == [None, *(f"bytes={n}00000-" for n in range(1, 6))]
    size = len(server.files[archive.name])
    assert seen[-1] == (size, size)
    server.asked.clear()
    download([archive], tmp_path)
    assert server.asked == []


def test_a_run_that_was_stopped_goes_on(server, tmp_path):
    archive = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    (tmp_path / "corpus.zip.part").write_bytes(server.files["corpus.zip"][:123_456])
    download([archive], tmp_path)
    assert server.asked == ["bytes=123456-"]
    assert (tmp_path / "a.wav").read_bytes() == NOISE


def test_a_server_that_knows_no_ranges_begins_anew(server, tmp_path):
    archive = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    server.ranges, server.breaks = False, 2
    download([archive], tmp_path)
    assert (tmp_path / "a.wav").read_bytes() == NOISE


def test_what_came_whole_but_was_not_checked_yet(server, tmp_path):
    archive = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    (tmp_path / "corpus.zip.part").write_bytes(server.files["corpus.zip"])
    download([archive], tmp_path)
    assert (tmp_path / "a.wav").read_bytes() == NOISE


def test_mistakes_name_the_address_and_the_fix(server, tmp_path):
    good = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    with pytest.raises(ValueError, match=r"corpus.zip: its md5 is \w+, published is 0000: .*by hand"):
        download([Archive(good.url, good.name, "0000")], tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"gone.zip: answered 404.*by hand into"):
        download([Archive(good.url.replace("corpus", "gone"), "gone.zip", "0000")], tmp_path)
    server.breaks, server.piece = 1000, 0
    with pytest.raises(ValueError, match=r"attempts brought nothing.*goes on at 0 bytes"):
        download([good], tmp_path)
    broken = offer(server, "broken.zip", b"PK not a zip")
    server.breaks = 0
    with pytest.raises(ValueError, match=r"broken.zip: cannot be unpacked"):
        download([broken], tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_nothing_is_unpacked_elsewhere(kind, server, tmp_path):
    archive = offer(server, f"evil.{kind}", archive_of({"../outside.txt": b"x"}, kind))
    folder = tmp_path / "folder"
    if kind == "zip":
        download([archive], folder)
    else:
        with pytest.raises(ValueError, match="cannot be unpacked"):
            download([archive], folder)
    assert not (tmp_path / "outside.txt").exists()


def in_parts(folder: Path) -> list[tuple[str, bytes]]:
    """A zip in parts, as FSD50K's, by Info-ZIP."""
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus" / "a.wav").write_bytes(NOISE)
    subprocess.run(["zip", "-q", "-s", "256k", "-r", "corpus.zip", "corpus"], cwd=folder, check=True)
    parts = sorted(folder.glob("corpus.z*"))
    assert [p.name for p in parts] == ["corpus.z01", "corpus.z02", "corpus.zip"]
    return [(p.name, p.read_bytes()) for p in parts]


def in_7z(folder: Path) -> list[tuple[str, bytes]]:
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus" / "a.wav").write_bytes(NOISE)
    subprocess.run([seven_zip(), "a", "corpus.7z", "corpus"], cwd=folder, check=True, capture_output=True)
    return [("corpus.7z", (folder / "corpus.7z").read_bytes())]


@pytest.mark.skipif(not any(map(shutil.which, SEVEN_ZIP)), reason="needs 7-Zip")
@pytest.mark.parametrize("make", [in_7z, pytest.param(in_parts, marks=needs_zip)])
def test_what_python_cannot_unpack(make, server, tmp_path):
    files = make(tmp_path / "made")
    archives = [replace(offer(server, *file), unpack=None) for file in files]
    archives[-1] = replace(archives[-1], unpack="7-zip")
    server.breaks = 2
    download(archives, tmp_path / "corpora")
    assert (tmp_path / "corpora" / "corpus" / "a.wav").read_bytes() == NOISE
    server.asked.clear()
    download(archives, tmp_path / "corpora")
    assert server.asked == []
    broken = replace(offer(server, "broken.7z", b"7z\xbc\xaf no archive"), unpack="7-zip")
    with pytest.raises(ValueError, match=r"broken.7z: cannot be unpacked \(.+\): remove it"):
        download([broken], tmp_path / "corpora")


def test_without_7_zip_nothing_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    first, last = (offer(server, name, b"x") for name in ("corpus.z01", "corpus.zip"))
    with pytest.raises(ValueError, match=r"unpacked by 7-Zip, and none of 7zz, 7z, 7za is installed: install it"):
        download([replace(first, unpack=None), replace(last, unpack="7-zip")], tmp_path / "corpora")
    assert server.asked == []
    assert not (tmp_path / "corpora").exists()


def test_only_files_of_the_archive_are_written(server, tmp_path):
    archive = offer(server, "corpus.zip", archive_of({"b.txt": b"x"}, "zip"))
    download([archive], tmp_path)
    names = {p.name for p in Path(tmp_path).iterdir()}
    assert names == {"corpus.zip", "b.txt", ".corpus.zip.done"}

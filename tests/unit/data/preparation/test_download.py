"""Downloads go on where they broke, are checked, and unpack nothing outside their folder."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from download_server import Server, git_id, offer, offer_dataset, offer_record, serving

from flam_train.data.preparation import published
from flam_train.data.preparation.download import LOCK, SEVEN_ZIP, download, seven_zip
from flam_train.data.preparation.published import Archive, checksum_of, github, hub, stated


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(published, "PAUSE", 0.0)
    monkeypatch.setattr(published, "BLOCK", 30_000)
    with serving() as server:
        yield server


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
    assert (size, size) in seen
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
    with pytest.raises(ValueError, match=r"corpus.zip: its checksum is md5:\w+, published is md5:00: .*by hand"):
        download([Archive(good.url, good.name, "md5:00")], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [LOCK]
    with pytest.raises(ValueError, match=r"gone.zip: answered 404.*by hand into"):
        download([Archive(good.url.replace("corpus", "gone"), "gone.zip", "md5:00")], tmp_path)
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
    assert names == {"corpus.zip", "b.txt", ".corpus.zip.done", LOCK}


def test_what_is_used_as_it_is_must_be_there(server, tmp_path):
    archive = replace(offer(server, "labels.tsv", b"a table"), unpack=None)
    download([archive], tmp_path)
    (tmp_path / "labels.tsv").unlink()
    download([archive], tmp_path)
    assert (tmp_path / "labels.tsv").read_bytes() == b"a table"
    (tmp_path / "labels.tsv").write_bytes(b"cut")
    download([archive], tmp_path)
    assert (tmp_path / "labels.tsv").read_bytes() == b"a table"
    assert len(server.asked) == 3
    zipped = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    download([zipped], tmp_path)
    (tmp_path / "corpus.zip").unlink()  # to make room: it is unpacked
    download([zipped], tmp_path)
    assert len(server.asked) == 4


def test_several_runs_at_once(server, tmp_path):
    """As the parts of a job array do: one fetches, the others find it done."""
    archive = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    server.breaks = 4
    with ThreadPoolExecutor(4) as runs:
        done = [runs.submit(download, [archive], tmp_path) for _ in range(4)]
    assert [run.result() for run in done] == [None] * 4
    assert server.asked == [None, *(f"bytes={n}00000-" for n in range(1, 5))]
    assert (tmp_path / "a.wav").read_bytes() == NOISE


def test_a_run_that_is_interrupted_goes_on(server, tmp_path):
    archive = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))

    def interrupt(name: str, done: int, total: int) -> None:
        if done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download([archive], tmp_path, interrupt)
    download([archive], tmp_path)
    assert server.asked == [None, "bytes=330000-"]
    assert (tmp_path / "a.wav").read_bytes() == NOISE


def test_answers_that_lead_elsewhere(server, tmp_path):
    """As the hub's do, to where large files lie."""
    archive = offer(server, "corpus.zip", archive_of({"a.wav": NOISE}, "zip"))
    server.moved["here"] = archive.url
    server.breaks = 2
    download([replace(archive, url=f"{server.url}/here")], tmp_path)
    assert server.asked == [None, None, *["bytes=100000-"] * 2, *["bytes=200000-"] * 2]
    assert (tmp_path / "a.wav").read_bytes() == NOISE


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", ""])
def test_names_that_lead_out_of_the_folder(name, server, tmp_path):
    archive = replace(offer(server, "good.txt", b"x"), name=name, unpack=None)
    with pytest.raises(ValueError, match=r"leads out of the folder: it is not fetched"):
        download([archive], tmp_path / "folder")
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_not_blamed_on_the_connection(server, tmp_path):
    archive = offer(server, "corpus.zip", b"x")
    (tmp_path / "corpus.zip.part").mkdir()
    with pytest.raises(ValueError, match=r"corpus.zip.part: cannot be written \(Is a directory\): make room or mend"):
        download([archive], tmp_path)
    assert len(server.asked) == 1
    blocked = offer(server, "blocked.zip", archive_of({"folder/a.wav": b"x"}, "zip"))
    (tmp_path / "folder").write_text("a file where the archive has a folder")
    with pytest.raises(ValueError, match=r"blocked.zip: cannot be unpacked beside it \(.*folder.*\): make"):
        download([blocked], tmp_path)


def test_checksums_that_zenodo_states(server, tmp_path):
    data = archive_of({"audio/a.wav": NOISE}, "zip")
    offer_record(server, 77, {"other.txt": b"o", "corpus.zip": data})
    server.busy, server.breaks = 3, 2
    archive = Archive(f"{server.url}/records/77/files/corpus.zip?download=1", "corpus.zip")
    server.files["records/77/files/corpus.zip?download=1"] = data
    download([archive], tmp_path)
    assert (tmp_path / "audio/a.wav").read_bytes() == NOISE
    server.hits.clear()
    download([archive], tmp_path)
    assert server.hits == []  # what was checked once is not asked for again
    server.files["records/77/files/other.txt"] = b"x"
    with pytest.raises(ValueError, match=r"other.txt: its checksum is md5:\w+, published is md5:\w+: damaged"):
        download([Archive(f"{server.url}/records/77/files/other.txt", "other.txt", unpack=None)], tmp_path)
    assert not (tmp_path / "other.txt").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            b'{"files": [{"key": "b.zip", "checksum": "md5:" }]}',
            "states no md5 of a.zip",
        ),
        (b'{"files": [{"key": "a.zip", "checksum": "sha1:00"}]}', "states no md5 of a.zip"),
        (b'{"files": {"a.zip": 1}}', "not the list of files that was expected: download by hand"),
        (b'{"message": "gone"}', "not the list of files that was expected"),
        (b"<html>", "not the list of files that was expected"),
        (b"\xff\xfe", "not the list of files that was expected"),
    ],
)
def test_records_that_state_nothing(server, record, message):
    server.files["api/records/7"] = record
    with pytest.raises(ValueError, match=f"{server.url}/api/records/7: {message}"):
        stated(f"{server.url}/records/7/files/a.zip")


def test_a_server_that_cannot_be_asked(server, monkeypatch):
    with pytest.raises(
        ValueError, match=r"api/records/8: cannot be asked \(.*404.*\): run it again later, or download"
    ):
        stated(f"{server.url}/records/8/files/a.zip")
    assert len(server.hits) == 1  # asking again does not help
    server.busy = 1000
    with pytest.raises(ValueError, match=r"api/records/8: cannot be asked \(.*503"):
        stated(f"{server.url}/records/8/files/a.zip")
    assert len(server.hits) == 1 + published.TRIES


def test_checksums_in_the_header_of_googles_storage(server, tmp_path):
    server.files["strong/labels.tsv"] = b"hello\n"
    archive = Archive(f"{server.url}/strong/labels.tsv", "labels.tsv", unpack=None)
    with pytest.raises(ValueError, match=r"labels.tsv: the server states no md5: download by hand"):
        download([archive], tmp_path)
    md5 = "sZRqySSS0jR8YjW00mERhA=="  # of "hello\n"
    for headers in ([("x-goog-hash", "crc32c=ms1hgw=="), ("x-goog-hash", f"md5={md5}")],
                    [("X-Goog-Hash", f"crc32c=ms1hgw==,md5={md5}")]):  # fmt: skip
        server.headers["strong/labels.tsv"] = headers
        assert stated(archive.url) == "md5:b1946ac92492d2347c6235b4d2611184"
    download([archive], tmp_path)
    assert (tmp_path / "labels.tsv").read_bytes() == b"hello\n"


def test_files_of_a_commit(server, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "GITHUB", server.url)
    server.files["someone/corpus/c0ffee/data/train.csv"] = b"hello\n"
    files = {"data/train.csv": "ce013625030ba8dba906f756967f9e9ca394464a"}  # as `git hash-object` prints it
    download(github("someone/corpus", "c0ffee", files), tmp_path)
    path = tmp_path / "data/train.csv"
    assert path.read_bytes() == b"hello\n"
    assert checksum_of(path, "git:") == f"git:{git_id(path.read_bytes())}" == f"git:{files['data/train.csv']}"
    assert (path.parent / ".train.csv.done").is_file()


def test_files_of_the_hub(server, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "HUB", server.url)
    zipped = archive_of({"deep/a b.txt": b"x"}, "zip")
    files = {f"Zip_files/A/A.{part}": NOISE for part in ("z02", "z01", "zip")}
    files |= {"json_files/A/a.json": b"{}", "json_files/AB/a.json": b"{}", "Zip_files/B/B C.zip": zipped}
    offer_dataset(server, "someone/corpus", files)
    server.files["datasets/someone/corpus/resolve/main/Zip_files/B/B%20C.zip"] = zipped
    archives = hub("someone/corpus", ["json_files/A/", "Zip_files/A/"], unpack="7-zip")
    # A zip in parts is unpacked through its last one, which must come when the others are there.
    assert [(a.name, a.unpack) for a in archives] == [
        ("json_files/A/a.json", None), ("Zip_files/A/A.z01", None), ("Zip_files/A/A.z02", None),
        ("Zip_files/A/A.zip", "7-zip"),
    ]  # fmt: skip
    assert [a.checksum.partition(":")[0] for a in archives] == ["git", "sha256", "sha256", "sha256"]
    server.breaks = 3
    download([replace(a, unpack=None) for a in archives], tmp_path)
    assert (tmp_path / "Zip_files/A/A.z02").read_bytes() == NOISE
    download(hub("someone/corpus", ["Zip_files/B/"], unpack="python"), tmp_path)
    assert (tmp_path / "Zip_files/B/deep/a b.txt").read_bytes() == b"x"  # beside its archive
    with pytest.raises(
        ValueError, match=r"someone/corpus/tree/main.*: no file there begins with 'Zip_files/C/': download"
    ):
        hub("someone/corpus", ["Zip_files/C/"])
    with pytest.raises(ValueError, match=r"someone/else/tree/main.*cannot be asked \(.*404"):
        hub("someone/else", [""])
    server.files["api/datasets/someone/else/tree/main?recursive=true"] = b'[{"type": "file"}]'
    with pytest.raises(ValueError, match=r"not the list of files that was expected"):
        hub("someone/else", [""])

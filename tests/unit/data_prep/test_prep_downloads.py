"""--download of every script: what is fetched, from where, and that the script then finds it."""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import audiocaps
import audioset_strong
import desed
import freesound
import maestro
import pytest
import vggsound
import wavcaps
from caption_labels import HEADER, IDS, laion, sound, table, tar, wavcaps_folder
from download_server import Server, git_id, offer_dataset, offer_record, serving
from strong_labels import audioset, desed_folder, failure, maestro_folder, samples, text, tone

from flam_train.cli import prepare
from flam_train.data.preparation import download, published
from flam_train.data.preparation.published import Archive

COMMON = ["--download", "--processes", "1", "--quiet"]
DOWNLOADING = [
    "audiocaps", "audioset_strong", "clotho", "desed", "esc", "freesound", "fsd50k", "maestro", "urbansed",
    "urbansound8k", "vggsound", "wavcaps",
]  # fmt: skip


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(published, "PAUSE", 0.0)
    with serving() as server:
        monkeypatch.setattr(published, "HUB", server.url)
        monkeypatch.setattr(published, "GITHUB", server.url)
        yield server


def files_of(folder: Path, *below: str) -> dict[str, bytes]:
    """The files below `below` by their paths below the folder."""
    found = [path for part in below for path in [folder / part, *(folder / part).rglob("*")] if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], root: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{root}{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def here(archive: Archive, server: Server) -> Archive:
    """The same file of the local server."""
    return replace(archive, url=archive.url.replace("https://zenodo.org", server.url))


@pytest.mark.parametrize("name", DOWNLOADING)
def test_every_published_file_has_a_checksum_or_a_server_that_states_it(name, monkeypatch):
    """Nothing is asked of the real servers; of the hub's datasets the list is made up."""
    module = importlib.import_module(name)
    asked = []
    given: dict = {}
    monkeypatch.setattr(module.prepare, "run", lambda parser, *rest: given.update(vars(parser.parse_args(["F", "O"]))))
    if hasattr(module, "hub"):
        monkeypatch.setattr(module, "hub", lambda dataset, wanted, unpack=None: asked.append((dataset, wanted)) or [])
    module.main([])
    archives = given["archives"](type("Given", (), given))
    assert archives or asked
    for archive in archives:
        assert archive.url.startswith("https://")
        zenodo = archive.url.startswith("https://zenodo.org/records/")
        kind, _, value = (archive.checksum or "stated:").partition(":")
        assert len(value) == {"md5": 32, "sha256": 64, "git": 40, "stated": 0}[kind]
        assert archive.checksum or zenodo or archive.url.startswith("https://storage.googleapis.com/")
        # An archive is unpacked and a table is not.
        assert (archive.unpack is None) == archive.name.endswith(
            (".csv", ".tsv", ".json", ".z01", ".z02", ".z03", ".z04", ".z05")
        )


def test_desed_brings_what_has_audio(tmp_path, server, monkeypatch, capsys):
    made = desed_folder(tmp_path / "made")
    offer_record(server, 6026841, {"dcase_synth.zip": zipped(files_of(made, "dcase_synth"))})
    public = tarred(files_of(made, "metadata/eval", "audio/eval"), "DESED_public_eval/")
    offer_record(server, 4560759, {"DESED_public_eval.tar.gz": public})
    offer_record(server, 4639776, {"audioset_metadata.tar.gz": tarred(files_of(made, "metadata/validation"), "")})
    offer_record(server, 6444477, {"audioset_strong.tsv": (made / "metadata/train/audioset_strong.tsv").read_bytes()})
    monkeypatch.setattr(desed, "DOWNLOADS", {split: here(a, server) for split, a in desed.DOWNLOADS.items()})
    server.breaks, server.piece = 3, 2000
    desed.main([str(tmp_path / "desed"), str(tmp_path / "out"), *COMMON])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"public", "synthetic", "synthetic-validation"}
    assert len(samples(tmp_path / "out/synthetic")) == 2
    # Of the splits whose audio nobody hands out: the labels, beside the user's own audio.
    for split in ("validation/validation", "train/strong_label_real"):
        (tmp_path / "desed/audio" / split).parent.mkdir(parents=True, exist_ok=True)
        (made / "audio" / split).rename(tmp_path / "desed/audio" / split)
    desed.main([str(tmp_path / "desed"), str(tmp_path / "own"), "--split", "real", "validation", *COMMON])
    assert {p.name: len(samples(p)) for p in (tmp_path / "own").iterdir()} == {"real": 1, "validation": 3}


def test_maestro_synthetic_when_it_is_asked_for(tmp_path, server, monkeypatch):
    made = maestro_folder(tmp_path / "made")
    tone(made / "audio/scape_1.wav", 2.0, 8_000)
    text(made / "estimated_strong_labels/mturk_scape_1.csv", "onset\toffset\tevent_label", "0.5\t1.5\tdog_bark")
    archives = {
        "audio.zip": zipped(files_of(made, "audio")),
        "meta.zip": zipped(files_of(made, "estimated_strong_labels")),
    }
    offer_record(server, 5126478, archives)
    both = {name: zipped(files_of(made, name)) for name in ("development_audio", "development_annotation")}
    offer_record(server, 7244360, {f"{name}.zip": data for name, data in both.items()})
    downloads = {
        split: [replace(here(a, server), checksum=None) for a in rest] for split, rest in maestro.DOWNLOADS.items()
    }
    monkeypatch.setattr(maestro, "DOWNLOADS", downloads)
    maestro.main([str(tmp_path / "real"), str(tmp_path / "out"), *COMMON])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["real"]
    maestro.main([str(tmp_path / "synthetic"), str(tmp_path / "out"), "--split", "synthetic", *COMMON])
    assert list(samples(tmp_path / "out/synthetic")) == ["scape_1"]


def test_audioset_strong_labels(tmp_path, server, monkeypatch):
    made = audioset(tmp_path / "made")
    for path in made.glob("*.tsv"):
        md5 = base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
        server.files[f"strong/{path.name}"] = path.read_bytes()
        server.headers[f"strong/{path.name}"] = [("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", f"md5={md5}")]
    monkeypatch.setattr(audioset_strong, "PUBLISHED", f"{server.url}/strong")
    options = ["--clips", str(made / "audio"), "--subset", "--max-missing", "0.2", *COMMON]
    audioset_strong.main([str(tmp_path / "labels"), str(tmp_path / "out"), "--split", "train", *options])
    assert len(samples(tmp_path / "out/train")) == 4
    tables = {p.name for p in (tmp_path / "labels").glob("[!.]*")}
    assert tables == {"audioset_train_strong.tsv", "mid_to_display_name.tsv"}
    audioset_strong.main([str(tmp_path / "labels"), str(tmp_path / "framed"), "--framed", *options])
    assert samples(tmp_path / "framed/eval")["evalclip901_0"].details["framed"]


def test_audiocaps_captions(tmp_path, server, monkeypatch, capsys):
    path = table(tmp_path / "train.csv", [HEADER, *((n, i, 130, "A dog") for n, i in enumerate(IDS))], "\r\n")
    server.files[f"cdjkim/audiocaps/{audiocaps.COMMIT}/dataset2.0/train.csv"] = path.read_bytes()
    for video in IDS:
        sound(tmp_path / "audio" / f"{video}.wav")
    arguments = [str(tmp_path / "audio"), str(tmp_path / "out"), "--version", "2.0", "--split", "train"]
    # The published file is another one, as its id in the commit tells.
    said = failure(audiocaps, capsys, *arguments, *COMMON)
    assert f"published is git:{audiocaps.BLOBS['dataset2.0/train.csv']}" in said
    monkeypatch.setitem(audiocaps.BLOBS, "dataset2.0/train.csv", git_id(path.read_bytes()))
    audiocaps.main([*arguments, *COMMON])
    assert len(samples(tmp_path / "out/train")) == len(IDS)


def test_vggsound_labels(tmp_path, server, monkeypatch):
    labels = b"---g-f_I2yQ,1,people marching,test\n"
    server.files[f"hche11/VGGSound/{vggsound.COMMIT}/data/vggsound.csv"] = labels
    monkeypatch.setitem(vggsound.BLOBS, "data/vggsound.csv", git_id(labels))
    sound(tmp_path / "vgg/video/---g-f_I2yQ_000001.wav")
    vggsound.main([str(tmp_path / "vgg"), str(tmp_path / "out"), *COMMON])
    assert list(samples(tmp_path / "out/test")) == ["---g-f_I2yQ_000001"]


def test_wavcaps_of_the_hub(tmp_path, server, monkeypatch):
    """7-Zip is not there in every environment: here each archive is one zip, which Python unpacks too."""
    made = wavcaps_folder(tmp_path / "made")
    sources = {f"Zip_files/{s}/{s}.zip": zipped(inside(made / "Zip_files" / s)) for s in wavcaps.SOURCES}
    offer_dataset(server, "cvssp/WavCaps", files_of(made, "json_files") | sources)
    lists = {path: b'{"AudioSet": ["Yr1nicOVtvkQ.wav"], "FreeSound": []}' for path in wavcaps.BLOBS}
    server.files |= {f"XinhaoMei/WavCaps/{wavcaps.COMMIT}/{path}": data for path, data in lists.items()}
    monkeypatch.setattr(wavcaps, "BLOBS", {path: git_id(data) for path, data in lists.items()})
    monkeypatch.setattr(download, "seven_zip", lambda: "none")
    monkeypatch.setattr(download, "_unpack_through_7_zip", download._unpack)
    folder, out = tmp_path / "wavcaps", tmp_path / "out"
    blacklist = folder / "data/json_files/blacklist/blacklist_exclude_test_ac.json"
    options = ["--source", "AudioSet_SL", "SoundBible", "--blacklist", str(blacklist)]
    wavcaps.main([str(folder), str(out), *options, *COMMON])
    assert list(samples(out / "AudioSet_SL")) == ["Yb0RFKhbpFJA"]
    assert list(samples(out / "SoundBible")) == ["70"]
    assert not (folder / "Zip_files/FreeSound").exists()


def inside(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_freesound_of_the_hub(tmp_path, server, capsys):
    made = tmp_path / "made"
    tar(made / "freesound/train_1/0.tar", [("1", laion(117790, ["dog in park"])), ("2", laion(8, ["rain"]))])
    tar(made / "freesound_no_overlap/train_1/0.tar", [("1", laion(117790, ["dog in park"]))])
    table(made / "freesound_meta.csv", [("freesound_id", "license"), ("117790", "CC0")])
    offer_dataset(server, "Meranti/CLAP_freesound", inside(made))
    freesound.main([str(tmp_path / "f"), str(tmp_path / "out"), *COMMON])
    assert [record.licence for record in samples(tmp_path / "out/train").values()] == ["CC0"]
    assert not (tmp_path / "f/freesound").exists()
    freesound.main([str(tmp_path / "f"), str(tmp_path / "all"), "--tree", "freesound", *COMMON])
    assert len(samples(tmp_path / "all/train")) == 2
    # Both lie there now: what overlaps with test sets does not come along unasked.
    said = failure(freesound, capsys, tmp_path / "f", tmp_path / "third")
    assert "freesound_no_overlap and freesound hold the same recordings: say which by --tree" in said
    freesound.main([str(tmp_path / "f"), str(tmp_path / "again"), *COMMON])
    assert len(samples(tmp_path / "again/train")) == 1
    server.hits.clear()
    assert "lies inside" in failure(freesound, capsys, tmp_path / "h", tmp_path / "h/out", "--download")
    assert server.hits == []  # told before anything is fetched
    said = failure(freesound, capsys, made / "freesound", tmp_path / "fourth", "--tree", "freesound")
    assert "freesound/freesound: is not there: fetch it by --download" in said


def test_mistakes_are_told_before_anything_is_fetched(tmp_path, server, capsys):
    common = (tmp_path / "f", tmp_path / "out", "--download")
    assert "--threshold 2.0: it must be" in failure(maestro, capsys, *common, "--threshold", "2")
    said = failure(wavcaps, capsys, *common, "--blacklist", tmp_path / "no.json")
    assert f"{tmp_path / 'no.json'}: cannot be read (No such file or directory): fetch it, or mend the path" in said
    (tmp_path / "file").write_text("")
    assert f"error: FOLDER {tmp_path / 'file'}: {tmp_path / 'file'} is a file: name a folder" in failure(
        vggsound, capsys, tmp_path / "file", *common[1:]
    )
    assert server.hits == []


def test_bars_of_what_is_fetched(tmp_path, server, capsys):
    server.files["a.txt"] = b"a" * 1000
    archive = Archive(f"{server.url}/a.txt", "a.txt", f"git:{git_id(server.files['a.txt'])}", None)
    prepare.fetch([archive], tmp_path)
    assert "a.txt" in capsys.readouterr().out

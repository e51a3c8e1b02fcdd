"""data_prep/verify.py: each fault is found and named; overlap is found and written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import verify
from http_folder import serve
from PIL import Image
from shard_samples import audio_bytes, corpus, sample, tar_of

from flam_train.data.preparation.verification import check_corpus, repeats
from flam_train.data.shards.checks import ERRORS, WARNINGS, longest_run
from flam_train.data.shards.schema import Event
from flam_train.data.shards.tars import MANIFEST, index_path
from flam_train.data.shards.writing import index_folder, write_manifest, write_shard
from flam_train.evaluation.report.corpus_figures import MOST_CLASSES, class_histogram_figure, duration_histogram_figure


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        verify.main([*map(str, args), "--processes", "1", "--quiet"])
    return int(ended.value.code or 0)


def found(folder: Path | str, **options) -> dict[str, int]:
    return {k: n for k, n in check_corpus(str(folder), **options).findings.count.items() if n}


def clips(folder: Path, samples, name="toy", per_shard=2, **options) -> Path:
    """A corpus of these samples."""
    parts = [samples[i : i + per_shard] for i in range(0, len(samples), per_shard)]
    entries = [write_shard(folder / f"shard-{k:06d}.tar", part) for k, part in enumerate(parts)]
    write_manifest(folder, name, entries, **({"vocabulary": None, "annotates": []} | options))
    return folder


def known_as(key: str, *ids: str, seed: int = 0):
    record, waveform = sample(key, seed=seed)
    return replace(record, details={"ids": list(ids)}), waveform


def manifest_of(folder: Path, **changes) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_good_corpus(tmp_path, capsys):
    corpus(tmp_path / "a", (3, 2, 0), make=lambda key: sample(key, events=[(0.01, 0.05, "a dog")]))
    assert run(tmp_path / "a") == 0
    out = capsys.readouterr().out
    assert "toy in " in out
    assert "5 clips, 0.00 hours, 10 captions, 5 labels of 1 classes" in out
    assert out.rstrip().endswith("0 errors, 0 warnings")
    for name in ERRORS | WARNINGS:
        assert f" {name}: " in out


def test_processes_change_nothing(tmp_path):
    folder = clips(tmp_path, [known_as(f"k{n}", f"youtube:{n}") for n in range(7)])
    ticks: list[tuple[int, int]] = []
    one, two = check_corpus(str(folder)), check_corpus(str(folder), False, 2, lambda *t: ticks.append(t))
    for name in ("seconds_N", "sound_N", "ids_M", "id_rows_M"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.id_rows_M.tolist() == list(range(7))
    assert (one.labels, one.captions, one.findings) == (two.labels, two.captions, two.findings)
    assert ticks[-1] == (7, 7)


@pytest.mark.parametrize("damage", ["missing", "truncated", "index", "stray", "json", "nothing", "total", "vocabulary"])
def test_damaged_folders(damage, tmp_path, capsys):
    """All faults of a folder at once, not only the first."""
    folder = tmp_path / "a"
    corpus(folder, (2, 2, 2))
    first, second = folder / "shard-000000.tar", folder / "shard-000001.tar"
    if damage == "missing":
        first.unlink()
        second.unlink()
        named = ["shard-000000.tar: in", "shard-000001.tar: in"]
    elif damage == "truncated":
        first.write_bytes(first.read_bytes()[:-1000])
        named = ["shard-000000.tar: ", "bytes, the manifest says"]
    elif damage == "index":
        np.save(index_path(first), np.load(index_path(first))[:1])
        index_path(second).write_bytes(b"no index")
        named = ["1 samples, the manifest says 2", "no readable index"]
    elif damage == "stray":
        shutil.copy(first, folder / "shard-000009.tar")
        named = ["shard-000009.tar: not in the manifest"]
    elif damage == "json":
        (folder / MANIFEST).write_text("{")
        named = ["manifest.json: not JSON"]
    elif damage == "nothing":
        (folder / MANIFEST).unlink()
        named = ["its preparation was interrupted"]
    elif damage == "total":
        manifest_of(folder, seconds=99.0)
        named = ["99.0 s, its shards add up to"]
    else:
        manifest_of(folder, vocabulary="no-such")
        named = ["no vocabulary named 'no-such'"]
    assert run(folder) == 1
    out = capsys.readouterr().out
    for text in named:
        assert f"{text}" in out
    assert "error: " in out


def test_damaged_samples_are_named_and_the_rest_is_read(tmp_path, capsys):
    folder = tmp_path / "a"
    corpus(folder, (3, 2))
    rows = np.load(index_path(folder / "shard-000000.tar"))
    data = bytearray((folder / "shard-000000.tar").read_bytes())
    data[rows[1]["audio"] + rows[1]["audio_size"] // 2] ^= 255
    data[rows[2]["meta"] + 3] ^= 255
    (folder / "shard-000000.tar").write_bytes(data)
    # The index still has the first one's CRCs, so it is not that of the tar any more.
    assert found(folder) == {"sha256": 1, "index": 1, "audio": 1, "descriptions": 1}
    assert run(folder) == 1
    out = capsys.readouterr().out
    assert "toy-0-1 (shard-000000.tar)" in out
    assert "sample 2 (shard-000000.tar)" in out
    assert found(folder, quick=True) == {"descriptions": 1}


def test_what_descriptions_say(tmp_path):
    """Shards that others wrote by hand: events outside, a length that is not the audio's, a class nobody knows."""
    record, waveform = sample("good", events=[(0.0, 0.05, "dog")])
    good = clips(tmp_path / "good", [(record, waveform)], vocabulary="esc50")
    raw = json.loads(record.to_json())
    audio = (good / "shard-000000.tar").read_bytes()
    row = np.load(index_path(good / "shard-000000.tar"))[0]
    audio = audio[row["audio"] : row["audio"] + row["audio_size"]]
    bad = {
        "outside": {"events": [{"onset": 0.0, "offset": 0.5, "label": "dog"}]},
        "long": {"duration": 0.2},
        "unknown": {"events": [{"onset": 0.0, "offset": 0.05, "label": "dgo"}]},
        "class": {"events": [], "details": {"class": "dgo"}},
        "good": {},
        "unclassed": {"events": [], "details": {"class": "dog"}},
    }
    members = {}
    for key, changes in bad.items():
        members[f"{key}.flac"], members[f"{key}.json"] = audio, json.dumps(raw | {"key": key} | changes).encode()
    folder = tmp_path / "bad"
    folder.mkdir()
    tar_of(folder / "shard-000000.tar", members)
    index_folder(folder, "bad", vocabulary="esc50")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["foreign"] = False
    (folder / MANIFEST).write_text(json.dumps(manifest))
    report = check_corpus(str(folder))
    assert {k: n for k, n in report.findings.count.items() if n} == {
        "descriptions": 1, "audio": 1, "labels": 2, "same audio": 3,
    }  # fmt: skip
    assert [f.key for f in report.findings.first["labels"]] == ["unknown", "class"]
    assert "lies outside the clip" in report.findings.first["descriptions"][0].message
    assert "its record says 0.200 s" in report.findings.first["audio"][0].message
    assert report.labels == {"dog": 3, "dgo": 2}
    manifest["shards"][0]["seconds"] = manifest["seconds"] = 3.0
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / "shard-000000.tar").rename(folder / "old.tar")
    members = {name: data for name, data in members.items() if name.startswith("good")}
    tar_of(folder / "shard-000000.tar", members)
    (folder / "old.tar").unlink()
    index_folder(folder, "bad", vocabulary="esc50")
    manifest_of(folder, foreign=False, seconds=3.0)
    assert found(folder) == {"seconds": 1}


def test_any_damage_is_an_error_and_nothing_else(tmp_path):
    """Flipped bits and cut ends, in tars, indices and manifest: told, never a traceback."""
    good = corpus(tmp_path / "good", (2, 1), make=lambda key: sample(key, events=[(0.0, 0.05, "dog")])).folder
    rng = np.random.default_rng(0)
    for n in range(80):
        folder = shutil.copytree(good, tmp_path / str(n))
        path = sorted(folder.iterdir())[n % 5]
        data = bytearray(path.read_bytes())
        if n % 3 == 0:
            data = data[: rng.integers(len(data))]
        else:
            # An index' header is long and blank: its bytes that matter must come often enough.
            data[rng.integers(min(len(data), 300) if n % 2 else len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        assert check_corpus(str(folder)).findings.errors, (n, path.name)
        shutil.rmtree(folder)


def test_foreign_shards_are_checked_too(tmp_path):
    data = np.random.default_rng(0).normal(size=4800) * 3000
    audio = audio_bytes(data.astype(np.int16))
    tar_of(tmp_path / "a.tar", {"x y.wav": audio, "x y.txt": b"a dog barks\n", "z.wav": audio, "z.txt": b"rain\n"})
    tar_of(tmp_path / "b.tar", {"z.wav": audio, "z.txt": b"rain\n"})
    index_folder(tmp_path, "others", check=False)
    assert found(tmp_path) == {"same audio": 2}


def test_warnings_about_sound(tmp_path):
    record, noise = sample("noise", seconds=1.0)
    silent, quiet, clipped, short, half = (np.zeros_like(noise), noise // 500, noise.copy(), noise.copy(), noise.copy())
    clipped[1000:1050] = 32767
    short[::2000] = -32768  # 24 single samples of 48000: neither long nor many
    half[24_000:] = 0
    samples = [
        (replace(record, key="noise"), noise),
        (replace(record, key="silent"), silent),
        (replace(record, key="silent2"), silent),
        (replace(record, key="quiet"), np.clip(quiet, -20, 20)),
        (replace(record, key="clipped"), clipped),
        (replace(record, key="short"), short),
        (replace(record, key="half", events=(Event(0.0, 0.6, "a dog"), Event(0.7, 0.9, "a dog"))), half),
        (replace(record, key="again"), noise),
    ]
    folder = clips(tmp_path / "a", samples)
    report = check_corpus(str(folder))
    first = report.findings.first
    assert [f.key for f in first["silent"]] == ["silent", "silent2"]  # two silences are not one recording twice
    assert [f.key for f in first["nearly silent"]] == ["quiet"]
    assert [f.key for f in first["clipped"]] == ["clipped"]
    assert "up to 50 samples without a break" in first["clipped"][0].message
    assert [f.key for f in first["silent events"]] == ["half"]
    assert "from 0.7 to 0.9 s" in first["silent events"][0].message
    assert [f.key for f in first["same audio"]] == ["again"]
    assert "the same audio as" in first["same audio"][0].message
    assert "'noise'" in first["same audio"][0].message
    assert report.findings.errors == 0
    assert run(folder) == 0
    assert found(folder, quick=True) == {}


def test_repeated_keys_are_an_error(tmp_path):
    folder = tmp_path / "a"
    record, waveform = sample("one")
    entries = [write_shard(folder / f"shard-{k:06d}.tar", [(replace(record, key=f"k{k}"), waveform)]) for k in (0, 1)]
    write_manifest(folder, "toy", entries, vocabulary=None, annotates=[])
    for kind in (".tar", ".index.npy"):
        shutil.copy(folder / f"shard-000000{kind}", folder / f"shard-000001{kind}")
    manifest_of(
        folder, shards=[{**json.loads((folder / MANIFEST).read_text())["shards"][0], "name": e.name} for e in entries]
    )
    assert found(folder) == {"keys": 1, "same audio": 1}


def test_runs_and_repeats():
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(30) < 0.6
        plain = max(map(len, "".join("x" if m else " " for m in mask).split()), default=0)
        assert longest_run(mask) == plain
        values = rng.integers(0, 8, 12)
        assert repeats(values).tolist() == [i for i in range(12) if values[i] in values[:i]]
    assert longest_run(np.zeros(0, bool)) == 0


@pytest.fixture
def overlapping(tmp_path) -> tuple[Path, Path, Path]:
    """Train and two test sets: `t1` by id (two windows), `t3` by audio alone, `t5` by both."""
    train = [
        known_as("t0", "youtube:aaaaaaaaaaa"),
        known_as("t1-0000", "youtube:bbbbbbbbbbb", "freesound:7"),
        known_as("t1-0001", "youtube:bbbbbbbbbbb", "freesound:7"),
        (sample("t3")[0], sample("e1")[1]),
        known_as("t4", "freesound:1170"),
        (known_as("t5", "freesound:9")[0], sample("e2")[1]),
    ]
    first = [known_as("e0", "freesound:7"), sample("e1")]
    second = [known_as("e2", "freesound:9"), known_as("e3", "freesound:117")]
    return (
        clips(tmp_path / "train", train, "train"),
        clips(tmp_path / "tests" / "one", first, "one"),
        clips(tmp_path / "tests" / "two", second, "two"),
    )


def test_overlap_is_found_and_written(overlapping, tmp_path, capsys):
    train, one, _ = overlapping
    out = tmp_path / "new" / "overlap.txt"
    assert run(train, "--against", tmp_path / "tests", "--exclude", out) == 0
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert rows == [
        ["train", "t1-0000", "freesound:7 in one"],
        ["train", "t1-0001", "freesound:7 in one"],
        ["train", "t3", "the same audio as e1 of one"],
        ["train", "t5", "freesound:9 in two"],
    ]
    printed = capsys.readouterr().out
    table = [line.split() for line in printed.splitlines() if line.startswith("│ train ")]
    assert [[cell for cell in row if cell != "│"] for row in table] == [
        ["train", "one", "2", "1", "3", "50.0%"],
        ["train", "two", "1", "1", "1", "16.7%"],
    ]
    # The tests below a folder of everything are not checked against themselves.
    everything = tmp_path / "again.txt"
    assert run(tmp_path, "--against", tmp_path / "tests", "--exclude", everything) == 0
    assert everything.read_text() == out.read_text()
    assert run(train, "--against", one, "--exclude", out, "--quick") == 0
    assert [line.split("\t")[1] for line in out.read_text().splitlines()] == ["t1-0000", "t1-0001"]
    assert run(train, one) == 0
    assert "by audio" in capsys.readouterr().out


def test_an_incomplete_list_is_not_written(overlapping, tmp_path, capsys):
    train, one, _ = overlapping
    shard = one / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    assert run(train, "--against", one, "--exclude", tmp_path / "x.txt") == 1
    assert "not written" in capsys.readouterr().out
    assert not (tmp_path / "x.txt").exists()


def test_shards_behind_a_url(overlapping, tmp_path, monkeypatch, capsys):
    train, one, _ = overlapping
    monkeypatch.setenv("TMPDIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    with serve(tmp_path) as server:
        assert run(f"{server.url}/train/", "--against", one, "--exclude", tmp_path / "x.txt") == 0
        assert len((tmp_path / "x.txt").read_text().splitlines()) == 3
        assert run(f"{server.url}/nowhere") == 1
        assert "give the URL of a folder" in capsys.readouterr().out
        shutil.copy(train / "shard-000001.tar", one / "shard-000000.tar")
        asked = server.asked.copy()
        assert found(f"{server.url}/tests/one") == {"shards": 1}
        assert (server.asked - asked)["shard-000000.tar"] == 1  # not once a sample
        index_path(train / "shard-000002.tar").unlink()
        (tmp_path / "cache").rename(tmp_path / "old")
        (tmp_path / "cache").mkdir()
        assert found(f"{server.url}/train") == {"shards": 1, "keys": 1}


def test_usage_errors(overlapping, tmp_path, capsys):
    train, one, _ = overlapping
    for arguments, message in (
        ([tmp_path / "nowhere"], "no such folder"),
        ([train, "--exclude", tmp_path / "x"], "give these too"),
        ([train, "--against", train], "checked against itself"),
        ([one.parent, "--against", one, one.parent / "two"], "nothing is left to check"),
    ):
        assert run(*arguments) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        verify.main([str(train), "--processes", "0"])


def test_plots(tmp_path):
    a = clips(tmp_path / "a", [sample("x", events=[(0.0, 0.05, "a dog")]), sample("y", 0.3)], "same/name")
    b = clips(tmp_path / "b", [sample("z")], "same/name")
    assert run(a, b, "--plots", tmp_path / "plots") == 0
    names = ["same_name-2-durations.png", "same_name-classes.png", "same_name-durations.png"]
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == names
    assert Image.open(tmp_path / "plots" / names[1]).size[0] == 1200


def test_histograms_show_what_is_there():
    counts = {f"class {n}": n + 1 for n in range(MOST_CLASSES + 5)} | {
        "a name that is much too long to be read here": 99
    }
    figure = class_histogram_figure(counts, "toy")
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    assert bars == sorted(counts.values(), reverse=True)[:MOST_CLASSES]
    assert "66 classes, the 60 most frequent" in figure.texts[0].get_text()
    assert class_histogram_figure({"a": 1000, "b": 1}, "toy").axes[0].get_xscale() == "log"
    figure = duration_histogram_figure([10.0] * 9 + [2.5], "toy")
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 10
    assert "10 clips" in figure.texts[0].get_text()
    assert sum(bar.get_height() for bar in duration_histogram_figure([10.0] * 3, "toy").axes[0].patches) == 3
    with pytest.raises(ValueError, match="no classes"):
        class_histogram_figure({}, "toy")
    with pytest.raises(ValueError, match="no clips"):
        duration_histogram_figure([], "toy")


def test_labels_that_the_text_model_cannot_tell_apart(tmp_path, capsys):
    labels = ["x" * 80 + "a", "x" * 80 + "b", "a dog"]
    samples = [sample(f"k{n}", events=[(0.01, 0.05, label)]) for n, label in enumerate(labels)]
    folder = clips(tmp_path / "a", samples)
    assert run(folder, "--text", "bytes", "--quick") == 0
    out = capsys.readouterr().out
    assert "warning: toy: labels that become the same tokens, so that no score tells them apart: 'xxx" in out
    assert out.rstrip().endswith("0 errors, 1 warnings")
    assert run(folder, "--text", "nothing", "--quick") == 2
    assert "no text named 'nothing'" in capsys.readouterr().err
    good = clips(tmp_path / "b", samples[1:])
    assert run(good, "--text", "bytes", "--quick") == 0
    assert capsys.readouterr().out.rstrip().endswith("0 errors, 0 warnings")

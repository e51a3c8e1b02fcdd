"""The scripts of data_prep/ as a user runs them: bytes independent of processes, ESC's two layouts, faults told."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import in_process
import numpy as np
import pytest
import soundfile
import torch
from checkout import ROOT
from in_process import Done

from flam_train.data.mixing.source import Bank, MixRecipe, MixtureSource, pieces, render
from flam_train.data.preparation.corpus_writer import PLAN
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream.order import Place
from flam_train.vocabulary import Vocabulary

ESC10 = ROOT.parent / "shared" / "data" / "esc10"


def run(script: str, *args: object) -> Done:
    return in_process.script(f"data_prep/{script}", *args)


def prepared(script: str, *args: object) -> None:
    done = run(script, *args)
    assert done.returncode == 0, done.stderr


def prepared_as_users_do(script: str, *args: object) -> None:
    """In a process of its own."""
    command = [sys.executable, str(ROOT / "data_prep" / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def tars(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.tar"))}


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic")
    prepared_as_users_do("synthetic.py", out, "--instances", 2, "--backgrounds", 3, "--processes", 2)
    return out


@pytest.fixture(scope="module")
def mixtures(bank, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mixtures") / "mix"
    options = ["--recipe", "demo", "--count", 10, "--seed", 3, "--per-shard", 3]
    prepared_as_users_do("simulate.py", out, "--bank", bank / "train", *options, "--processes", 2)
    return out


def test_synthetic_bank(bank, tmp_path):
    train, test = Bank(bank / "train", verify=True), Bank(bank / "test")
    vocabulary = Vocabulary.load("synthetic")
    assert list(train.by_label) == sorted(vocabulary.classes)
    assert len(train.by_label) >= 12
    assert all(len(items) == 2 for items in train.by_label.values())
    assert train.samples[train.backgrounds].min() >= 10 * 48_000
    assert train.samples[train.events].min() >= 0.4 * 48_000
    assert train.samples[train.events].max() <= 6.5 * 48_000
    # Every instance differs, of train and test alike.
    sounds = {w.waveform(i).tobytes() for w in (train, test) for i in range(len(w))}
    assert len(sounds) == len(train) + len(test)
    prepared("synthetic.py", tmp_path, "--instances", 2, "--backgrounds", 3, "--processes", 1)
    assert tars(tmp_path / "train") == tars(bank / "train")


def test_mixtures_do_not_depend_on_the_processes(bank, mixtures, tmp_path):
    options = ["--recipe", "demo", "--count", 10, "--seed", 3, "--per-shard", 3]
    prepared("simulate.py", tmp_path / "mix", "--bank", bank / "train", *options, "--processes", 1)
    assert len(tars(mixtures)) == 4
    assert tars(tmp_path / "mix") == tars(mixtures)


def test_an_interrupted_simulation_goes_on(bank, mixtures):
    before = tars(mixtures)
    manifest = (mixtures / "manifest.json").read_text()
    kept = (mixtures / "shard-000000.tar").stat().st_mtime_ns
    for name in ("shard-000001.tar", "shard-000002.index.npy", "manifest.json"):
        (mixtures / name).unlink()
    options = ["--recipe", "demo", "--count", 10, "--per-shard", 3, "--bank", bank / "train"]
    prepared("simulate.py", mixtures, *options, "--seed", 3)
    assert tars(mixtures) == before
    assert (mixtures / "manifest.json").read_text() == manifest
    assert (mixtures / "shard-000000.tar").stat().st_mtime_ns == kept
    other = run("simulate.py", mixtures, *options, "--seed", 4)
    assert other.returncode == 2
    assert PLAN in other.stderr
    assert "write to another folder" in other.stderr


def test_online_equals_what_simulate_wrote(bank, mixtures):
    corpus, recipe = Corpus(mixtures, verify=True), MixRecipe.load("demo")
    assert MixRecipe.from_dict(corpus.manifest["details"]["recipe"]) == recipe
    numbers = Bank(bank / "train")
    assert corpus.manifest["details"]["banks"] == numbers.provenance()
    source, memory = MixtureSource("online", numbers, recipe, size=100, seed=3), numbers.load()
    for index in range(len(corpus)):
        clip = source.clip(Place(0, 0, index, index), seed=0)
        stored = corpus.record(index)
        assert (clip.events, clip.captions) == (stored.events, stored.captions)
        p = pieces([(0, source.spec(index))], numbers, recipe.fade_samples)
        audio = render(p, memory, torch.from_numpy(clip.waveform_S)[None])[0].numpy()
        assert np.array_equal(audio, corpus.waveform(index))


def test_held_out_captions(bank, mixtures, tmp_path):
    options = ["--recipe", "demo", "--count", 4, "--seed", 3, "--phrasings", "held_out", "--audio", "wav"]
    prepared("simulate.py", tmp_path / "mix", "--bank", bank / "train", *options)
    trained, held_out = Corpus(mixtures), Corpus(tmp_path / "mix")
    for index in range(4):
        assert np.array_equal(trained.waveform(index), held_out.waveform(index))
        assert trained.record(index).events == held_out.record(index).events
        assert set(trained.record(index).captions).isdisjoint(held_out.record(index).captions)


def esc50(folder: Path, rows: list[tuple]) -> Path:
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    t = np.arange(44_100) / 44_100
    for name, *_ in rows:
        x = np.zeros(5 * 44_100)
        x[22_050 : 22_050 + 44_100] = 0.5 * np.sin(2 * np.pi * 600 * t)
        soundfile.write(folder / "audio" / name, x, 44_100, subtype="PCM_16")
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        writer.writerows(rows)
    return folder


ROWS = [
    ("1-100032-A-0.wav", 1, 0, "dog", "True", "100032", "A"),
    ("2-100-A-14.wav", 2, 14, "chirping_birds", "False", "100", "A"),
    ("5-9032-A-0.wav", 5, 0, "dog", "True", "9032", "A"),
]


def test_esc50_as_published(tmp_path):
    folder = esc50(tmp_path / "ESC-50-master", ROWS)
    prepared("esc.py", folder, tmp_path / "bank")
    train, test = Corpus(tmp_path / "bank" / "train"), Corpus(tmp_path / "bank" / "test")
    records = {train.key(i): train.record(i) for i in range(len(train))}
    assert sorted(records) == ["1-100032-A-0", "2-100-A-14"]
    assert (train.name, test.name) == ("esc50-train", "esc50-test")
    dog = records["1-100032-A-0"]
    assert dog.split == "fold1"
    assert dog.licence == "CC-BY-3.0"
    assert dog.details["ids"] == ["freesound:100032"]
    assert records["2-100-A-14"].licence == "CC-BY-NC-3.0"
    assert test.record(0).split == "fold5"
    # The tone of 1 s that begins after 0.5 s of digital silence.
    assert dog.duration == pytest.approx(1.0, abs=0.021)
    assert dog.details["cut_from"][0] == pytest.approx(0.5, abs=0.011)
    assert (dog.events[0].onset, dog.events[0].offset, dog.events[0].label) == (0.0, dog.duration, "dog")
    assert train.vocabulary.concept("dog").id == "dog barking"
    assert train.annotates == ["bird chirping", "dog barking"]
    prepared("esc.py", folder, tmp_path / "ten", "--esc10-only")
    assert len(Corpus(tmp_path / "ten" / "train")) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("1-1-A-0.wav", 1, 0, "dgo", "True", "1", "A"), "row 3: category 'dgo' is unknown"),
        (("1-1-A-0.wav", 9, 0, "dog", "True", "1", "A"), "row 3: fold '9' is not 1 to 5"),
        (("1-1-A-0.wav", 1, 0, "dog"), "row 3: 4 fields, the header has 7"),
        (("1-1-A-0.wav", 1, 0, "dog", "True", "x", "A"), "row 3: the Freesound id 'x' is not a number"),
    ],
)
def test_esc_rows_are_checked(tmp_path, row, message):
    folder = esc50(tmp_path / "esc", [ROWS[0], row, ROWS[2]])
    failed = run("esc.py", folder, tmp_path / "bank")
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "esc50.csv" in failed.stderr


def test_esc_audio_that_is_missing_or_broken_is_listed(tmp_path):
    folder = esc50(tmp_path / "esc", ROWS)
    broken = folder / "audio" / ROWS[1][0]
    broken.write_bytes(b"nothing")
    failed = run("esc.py", folder, tmp_path / "bank")
    assert failed.returncode == 2
    assert "missing.tsv: 1 of 2 recordings are missing or unreadable" in failed.stderr
    assert "2-100-A-14" in failed.stderr
    assert "unreadable audio" in failed.stderr
    broken.unlink()
    failed = run("esc.py", folder, tmp_path / "other")
    assert failed.returncode == 2
    assert "missing.tsv: 1 of 2 recordings are missing" in failed.stderr
    prepared("esc.py", folder, tmp_path / "other", "--max-missing", 0.5)
    assert len(Corpus(tmp_path / "other" / "train")) == 1
    assert run("esc.py", tmp_path, tmp_path / "nothing").returncode == 2


def test_the_two_namings_of_esc10_share_their_concepts():
    ten, fifty = Vocabulary.load("esc10"), Vocabulary.load("esc50")
    assert (len(ten.classes), len(fifty.classes)) == (10, 50)
    shared = {c.id: c for c in fifty.classes.values()}
    assert len(shared) == 50
    assert all(shared[c.id] == c for c in ten.classes.values())


@pytest.mark.parametrize("name", ["synthetic", "esc10", "esc50"])
def test_vocabularies_have_enough_words_and_hold_some_out(name):
    classes = Vocabulary.load(name).classes.values()
    trained = [p.casefold() for c in classes for p in c.phrasings]
    held_out = [p.casefold() for c in classes for p in c.held_out]
    assert all(len(c.phrasings) >= 4 and len(c.held_out) >= 2 for c in classes)
    assert len(set(trained)) == len(trained)
    assert len(set(held_out)) == len(held_out)
    assert set(trained).isdisjoint(held_out)


@pytest.mark.slow
@pytest.mark.skipif(not ESC10.is_dir(), reason="the ESC-10 recordings are not here")
def test_esc10_to_mixtures(tmp_path):
    prepared("esc.py", ESC10, tmp_path / "bank")
    prepared("synthetic.py", tmp_path / "floor", "--only-backgrounds", "--backgrounds", 3)
    with open(ESC10 / "esc10.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    phrase = {row["category"]: row["phrase"] for row in rows}
    vocabulary = Vocabulary.load("esc10")
    assert {label: vocabulary.concept(label).phrasings[0] for label in phrase} == phrase
    train, test = Corpus(tmp_path / "bank" / "train"), Corpus(tmp_path / "bank" / "test")
    assert len(train) + len(test) == len(rows)
    assert {test.record(i).split for i in range(len(test))} == {"fold5"}
    assert all(train.record(i).licence for i in range(len(train)))
    banks = ["--bank", tmp_path / "bank" / "train", "--bank", tmp_path / "floor" / "train"]
    prepared("simulate.py", tmp_path / "mix", *banks, "--recipe", "esc10", "--count", 20)
    mixed = Corpus(tmp_path / "mix", verify=True)
    assert mixed.manifest["vocabulary"] == "esc10"
    assert len(mixed.annotates) == 10
    assert all(mixed.record(i).events for i in range(20))
    assert json.loads((tmp_path / "mix" / PLAN).read_text())["samples"] == 20

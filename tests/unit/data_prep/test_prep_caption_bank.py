"""data_prep/caption_bank.py: captioned shards into a bank, and mixtures with the captions as phrases."""

from __future__ import annotations

from pathlib import Path

import caption_bank
import numpy as np
import pytest
import simulate
from tiny_runs import TINY

from flam_train.batch import SAMPLE_RATE
from flam_train.cli.train import compose_conf
from flam_train.data.mixing.bank import MADE_OF, Bank
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.mixing.source import draw, record, render_one
from flam_train.data.preparation.listing import read_missing
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.training.run import build, train

CLIPS = {
    "bark": (2.0, ["Barking.", "A dog barks twice."]),  # the first is too short
    "rain": (3.0, ["rain on a roof"]),
    "hush": (2.0, ["nothing is heard at all"]),  # and nothing is: digital silence
    "talk": (2.0, ["one two three four five six seven eight nine ten eleven twelve thirteen fourteen"]),
    "word": (2.0, ["thunder"]),
    "bare": (2.0, []),
    "park": (12.0, ["Forest ambience with wind.", "birds"]),
    "song": (12.0, ["a long song"]),
    "test": (2.0, ["a clip of a test set"]),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("captioned") / "clips"
    rng = np.random.default_rng(0)
    samples = []
    for key, (seconds, captions) in CLIPS.items():
        waveform = (3000 * rng.normal(size=round(seconds * SAMPLE_RATE))).clip(-30000, 30000).astype(np.int16)
        waveform[: SAMPLE_RATE // 2] = 0
        if key == "hush":
            waveform[:] = 0
        details = {"ids": [f"freesound:{key}"], "author": "Ann"} if key != "rain" else {"author": "Bob"}
        clip = Record(key, seconds, tuple(captions), (), f"source of {key}", "CC0", "train", details)
        samples.append((clip, waveform))
    entries = [write_shard(folder / f"shard-{k:06d}.tar", samples[4 * k : 4 * k + 4]) for k in range(3)]
    write_manifest(folder, "clips", entries, vocabulary=None, annotates=[])
    (folder.parent / "overlap.txt").write_text("clips\ttest\tfreesound:test\nother\train\tx\n")
    return folder


@pytest.fixture(scope="module")
def bank(shards, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bank") / "caption_bank"
    exclude = ["--exclude", str(shards.parent / "overlap.txt"), "--per-shard", "3", "--quiet", "--processes", "1"]
    caption_bank.main([str(shards), str(out), *exclude])
    return out


def test_what_becomes_an_event_a_background_or_nothing(bank):
    corpus = Corpus(bank, verify=True)
    found = {corpus.key(i): corpus.record(i) for i in range(len(corpus))}
    assert sorted(found) == ["clips-bark", "clips-park", "clips-rain"]
    bark, park = found["clips-bark"], found["clips-park"]
    assert [e.label for e in bark.events] == ["A dog barks twice"]
    assert (bark.events[0].onset, bark.events[0].offset) == (0.0, bark.duration)
    assert bark.details["cut_from"] == pytest.approx([0.5, 2.0], abs=0.02)
    assert (bark.details["ids"], bark.details[MADE_OF]) == (["freesound:bark"], ["clips", "bark"])
    assert (bark.source, bark.licence, bark.split) == ("source of bark", "CC0", "train")
    assert (park.duration, park.events, park.details["role"]) == (12.0, (), "background")
    assert "ids" not in found["clips-rain"].details
    details = corpus.manifest["details"]
    assert (details["missing"], details["clips"], details["rule"]["words"]) == (1, 9, [2, 13])
    assert [(key, why) for key, _, why in read_missing(bank)] == [("hush", "silent throughout")]
    assert details["corpora"][0]["name"] == "clips"
    assert (details["licences"], details["authors"]) == ({"CC0": 3}, {"Ann": 2, "Bob": 1})


def test_mixtures_have_the_captions_as_phrases(bank):
    sounds, recipe = Bank(bank), MixRecipe.load("paper")
    labels = set()
    for n in range(6):
        spec = draw(recipe, sounds, 0, n, "trained")
        mixture, audio = record(spec, recipe, sounds, "train"), render_one(spec, sounds, recipe)
        labels |= {e.label for e in mixture.events}
        ids = {"A dog barks twice": "freesound:bark", "rain on a roof": None}
        assert set(mixture.details["ids"]) == {ids[e.label] for e in mixture.events} - {None} | {"freesound:park"}
        assert mixture.licence == "CC0"
        assert mixture.captions
        assert np.abs(audio).max() > 0
    assert labels == {"A dog barks twice", "rain on a roof"}
    assert sounds.annotates == []


def test_again_and_in_several_processes(shards, bank, tmp_path, capsys):
    exclude = ["--exclude", str(shards.parent / "overlap.txt"), "--per-shard", "3", "--quiet"]
    caption_bank.main([str(shards), str(tmp_path / "caption_bank"), *exclude, "--processes", "2"])
    assert "3 clips in" in capsys.readouterr().out
    for path in bank.glob("*.tar"):
        assert (tmp_path / "caption_bank" / path.name).read_bytes() == path.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "caption_bank").iterdir()}
    caption_bank.main([str(shards), str(tmp_path / "caption_bank"), *exclude, "--processes", "2"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "caption_bank").iterdir()} == before
    capsys.readouterr()
    with pytest.raises(SystemExit):
        caption_bank.main([str(shards), str(tmp_path / "caption_bank"), "--quiet", "--per-shard", "3"])
    assert "holds shards made in another way" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--words", "30", "40", "--ambience", "^zzz"],
            "shorter than 10.0 s with a caption of 30 to 40 words",
        ),
        (["--ambience", "("], "--ambience '(' is no regular expression: missing )"),
        (["--exclude", "nowhere.txt"], "nowhere.txt: cannot be read"),
    ],
)
def test_mistakes(arguments, message, shards, tmp_path, capsys):
    with pytest.raises(SystemExit):
        caption_bank.main([str(shards), str(tmp_path / "out"), "--quiet", *arguments])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_corpora_of_one_name(shards, tmp_path, capsys):
    with pytest.raises(SystemExit):
        caption_bank.main([str(shards), str(shards), str(tmp_path / "out"), "--quiet"])
    assert "one name (clips, clips)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("caption", "is_one"),
    [
        ("Forest ambience with wind", True),
        ("A field-recording of a market", True),
        ("ambient noise of an office", True),
        ("A man laughs while a dog barks in the background", False),
        ("an ambient synth pad", False),
    ],
)
def test_what_is_ambience(caption, is_one):
    assert caption_bank.Rule().is_background(Record("a", 10.0, (caption,))) == is_one


def test_sounds_of_one_key_are_told(tmp_path, capsys):
    for corpus, key in (("a", "b-c"), ("a-b", "c")):
        waveform = (3000 * np.random.default_rng(0).normal(size=48_000)).astype(np.int16)
        entry = write_shard(tmp_path / corpus / "shard-000000.tar", [(Record(key, 1.0, ("a dog barks",)), waveform)])
        write_manifest(tmp_path / corpus, corpus, [entry], vocabulary=None, annotates=[])
    with pytest.raises(SystemExit):
        caption_bank.main([str(tmp_path / "a"), str(tmp_path / "a-b"), str(tmp_path / "out"), "--quiet"])
    assert "would both be called 'a-b-c': leave one out" in capsys.readouterr().err


def test_from_captions_to_a_training_step(bank, tmp_path):
    """The README's line, then a step on the mixtures; a clip that is left out by its first name is in none."""
    (tmp_path / "overlap.txt").write_text("clips\train\tin a test set\n")
    out = tmp_path / "simulated" / "train"
    options = ["--recipe", "paper", "--count", "8", "--processes", "1", "--corpus", "simulated"]
    simulate.main([str(out), "--bank", str(bank), "--exclude", str(tmp_path / "overlap.txt"), *options])
    mixtures = Corpus(out)
    assert mixtures.name == "simulated"
    assert mixtures.credits()["licences"] == {"CC0": 2}  # of the sounds, for the provenance of who learns from them
    assert {e.label for n in range(8) for e in mixtures.record(n).events} == {"A dog barks twice"}
    assert Bank(bank, excluded={"clips": {"rain"}}).left_out != [[]]
    with pytest.raises(ValueError, match="all of them are to be left out"):
        Bank(bank, excluded={"clips": {"rain", "bark", "park"}})
    off = [
        "global_batch=0",
        "data/global=[]",
        "data/frame=[simulated]",
        f"shards={tmp_path}",
        "frame_batch=4",
        "steps=1",
    ]
    train(compose_conf([*(x for x in TINY if not x.startswith("steps")), *off, f"run_dir={tmp_path / 'run'}"]))
    assert (tmp_path / "run" / "export" / "config.json").is_file()


def test_data_exclude_reaches_an_online_bank_by_the_names_of_the_clips(bank, tmp_path):
    (tmp_path / "overlap.txt").write_text("clips\tbark\tin a test set\n")
    run = ["global_batch=0", "data/global=[]", "data/frame=[online]", f"data.frame.online.bank=[{bank}]"]
    data = build(compose_conf([*TINY, *run, "frame_batch=4", f"data.exclude=[{tmp_path / 'overlap.txt'}]"])).data
    assert any("1 of 3 clips are left out" in line for line in data.sources.left_out.report())
    assert set(data.sources.left_out.fingerprints()) == {f"bank {bank}"}
    assert data.events.sources[0].bank.labels == ["rain on a roof"]

"""Clotho, from its label files as published to shards."""

from __future__ import annotations

import clotho
import pytest
from caption_labels import (
    CC0,
    FIVE,
    clotho_folder,
    prepared,
    records,
    refused,
    sound,
    table,
)

from flam_train.data.shards.corpus import Corpus


def test_clotho(tmp_path):
    names = [
        "Santa Motor.wav",
        " Ambience Birds.wav",
        "Ambience Birds.wav",
        "rain, heavy (2.5 min).wav",
        "Kitchen w_x.wav",
    ]
    link = "https://freesound.org/people/someone/sounds/{}"
    meta = [
        ("Santa Motor.wav", "motor;toy", "117790", link.format(117790), "[0, 700000]", "José", CC0),
        (
            " Ambience Birds.wav",
            "",
            "Not found",
            link.format(12),
            "",
            "x",
            "http://creativecommons.org/licenses/by/3.0/",
        ),
        ("Ambience Birds.wav", "", "Not found", "Not found", "", "", ""),
        ("Kitchen w:x.wav", "", "55", link.format(55), "", "x", CC0),
    ]
    folder = clotho_folder(tmp_path / "clotho", names, meta)
    for n, name in enumerate(names):
        sound(folder / "evaluation" / (name if n < 4 else "Kitchen w:x.wav"), 0.2 + 0.1 * n, 44_100)
    prepared(clotho, folder, tmp_path / "out", "--split", "evaluation")
    corpus = Corpus(tmp_path / "out/evaluation")
    assert (corpus.name, corpus.annotates) == ("clotho-evaluation", [])
    assert corpus.manifest["details"]["without_freesound_id"] == 2
    found = {r.details["file_name"]: r for r in records(tmp_path / "out/evaluation").values()}
    assert sorted(found) == sorted(names)
    assert [round(found[name].duration, 2) for name in names] == [0.2, 0.3, 0.4, 0.5, 0.6]
    santa = found["Santa Motor.wav"]
    assert santa.key == "Santa_Motor"
    assert santa.captions == tuple(f"Caption {n} of Santa Motor.wav" for n in range(5))
    assert santa.details["ids"] == ["freesound:117790"]
    assert santa.details["author"] == "José"
    assert santa.licence.startswith(CC0)
    assert "non-commercial" in santa.licence
    assert found[" Ambience Birds.wav"].key == "_Ambience_Birds"
    assert found[" Ambience Birds.wav"].details["ids"] == ["freesound:12"]
    assert "ids" not in found["Ambience Birds.wav"].details
    assert found["rain, heavy (2.5 min).wav"].licence.startswith("audio: not stated")
    assert found["Kitchen w_x.wav"].details["ids"] == ["freesound:55"]


def test_a_name_that_is_in_two_splits_of_clotho(tmp_path):
    for n, split in enumerate(("development", "validation")):
        clotho_folder(tmp_path / "clotho", ["City Ambience w_ Car Passing_1-2.wav"], [], split)
        sound(
            tmp_path / "clotho" / "clotho_audio_files" / split / "City Ambience w_ Car Passing_1-2.wav", 0.2 + 0.1 * n
        )
    prepared(clotho, tmp_path / "clotho", tmp_path / "out", "--split", "development", "validation")
    for n, split in enumerate(("development", "validation")):
        (record,) = records(tmp_path / "out" / split).values()
        assert record.duration == pytest.approx(0.2 + 0.1 * n)


def test_clotho_names_that_share_a_key(tmp_path):
    folder = clotho_folder(tmp_path / "clotho", ["a b.wav", "a_b.wav"], [], "validation")
    assert len({r.key for r in clotho.read_clotho(folder, "validation")}) == 2


def test_clotho_refuses(tmp_path, capsys):
    folder = clotho_folder(tmp_path / "clotho", ["a.wav", "a.wav"], [])
    assert "row 3: 'a.wav' has a row before" in refused(capsys, clotho, folder, tmp_path / "o", "--split", "evaluation")
    table(folder / "clotho_captions_evaluation.csv", [("file_name", *FIVE), ("a.wav", "a", "b", " ", "d", "e")])
    assert "row 2: caption_3 is empty" in refused(capsys, clotho, folder, tmp_path / "o", "--split", "evaluation")
    table(folder / "clotho_captions_evaluation.csv", [("file_name", *FIVE), ("../a.wav", *"abcde")])
    assert "row 2: '../a.wav' is not the name" in refused(
        capsys, clotho, folder, tmp_path / "o", "--split", "evaluation"
    )
    (folder / "clotho_metadata_evaluation.csv").unlink()
    table(folder / "clotho_captions_evaluation.csv", [("file_name", *FIVE), ("a.wav", *"abcde")])
    message = refused(capsys, clotho, folder, tmp_path / "o", "--split", "evaluation")
    assert "clotho_metadata_evaluation.csv is not there" in message

"""data_prep/maestro.py: MAESTRO Real and Synthetic as it is published, and shards made of it."""

from __future__ import annotations

import maestro
import pytest
from strong_labels import (
    COMMON,
    events,
    failure,
    maestro_folder,
    samples,
    text,
    tone,
)

from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event


def test_maestro_real_to_shards(tmp_path):
    maestro.main([str(maestro_folder(tmp_path / "maestro")), str(tmp_path / "out"), *COMMON])
    found = samples(tmp_path / "out" / "real")
    assert sorted(found) == ["cafe_restaurant_00-0000", "cafe_restaurant_00-0001"]
    first, second = found["cafe_restaurant_00-0000"], found["cafe_restaurant_00-0001"]
    # Strictly greater than 0.5: the third second is none; seconds that touch are one event, cut at the window's edge.
    assert events(first) == [
        (0.0, 2.0, "people talking"),
        (3.0, 4.0, "door opens/closes"),
        (3.0, 4.0, "people talking"),
        (9.0, 10.0, "footsteps"),
    ]
    assert events(second) == [(0.0, 1.0, "footsteps")]
    assert second.details["cut_from"] == [10.0, 12.5]
    # Soft values of the window, in seconds from its start, at most 1.
    assert len(first.details["soft"]) == 7
    assert [0.0, 1.0, "people talking", 1.0] in first.details["soft"]
    assert second.details["soft"] == [[0.0, 1.0, "footsteps", 0.8]]
    corpus = Corpus(tmp_path / "out" / "real")
    assert corpus.manifest["details"]["threshold"] == 0.5
    assert len(corpus.annotates) == 17
    assert len(corpus.manifest["details"]["evaluated"]) == 11
    assert set(maestro.REAL + maestro.SYNTHETIC) == set(corpus.vocabulary.classes)


def test_maestro_threshold(tmp_path, capsys):
    folder = maestro_folder(tmp_path / "maestro")
    maestro.main([str(folder), str(tmp_path / "out"), "--threshold", "0.2", *COMMON])
    first = samples(tmp_path / "out" / "real")["cafe_restaurant_00-0000"]
    assert (0.0, 4.0, "people talking") in events(first)
    assert (0.0, 1.0, "cutlery and dishes") in events(first)
    assert "less than 1" in failure(maestro, capsys, folder, tmp_path / "out", "--threshold", "1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.0\t2.0\tcar\t-0.1", "the value -0.1 is not 0 to 1"),
        ("1.0\t2.0\tcar\t55", "the value 55.0 is not 0 to 1"),
        ("1.0\t2.0\tcar_horn\t0.5", "'car_horn' is none of the labels of MAESTRO Real"),
        ("0.0\t1.0\tcar\t0.4", "'car' at 0.0 s has a value in row 1"),
        ("1.0\t2.0\tcar", "3 cells instead of 4"),
        ("onset\toffset\tevent_label\tvalue", "value 'value' is not a number"),
    ],
)
def test_maestro_rows_are_checked(tmp_path, capsys, row, message):
    path = text(tmp_path / "development_annotation/soft_labels_x/x_00.txt", "0.0\t1.0\tcar\t0.5", row)
    said = failure(maestro, capsys, tmp_path, tmp_path / "out")
    assert f"{path}: row 2: " in said
    assert message in said


def test_maestro_synthetic_to_shards(tmp_path, capsys):
    labels = tmp_path / "estimated_strong_labels/a/mturk_scape_1.csv"
    text(labels, "onset\toffset\tevent_label", "0.5\t1.5\tdog_bark", "0\t1\tchildren_voices")
    tone(tmp_path / "audio/b/scape_1.wav", 2.0, 8_000)
    maestro.main([str(tmp_path), str(tmp_path / "out"), *COMMON])
    assert events(samples(tmp_path / "out" / "synthetic")["scape_1"]) == [
        (0.5, 1.5, "dog_bark"),
        (0.0, 1.0, "children_voices"),
    ]
    assert len(Corpus(tmp_path / "out" / "synthetic").annotates) == 6
    text(labels, "filename\toffset\tevent_label")
    assert "row 1: the header must begin with onset" in failure(maestro, capsys, tmp_path, tmp_path / "other")
    assert "neither development_annotation nor" in failure(maestro, capsys, tmp_path / "b", tmp_path / "other")


def test_one_event_a_stretch():
    soft = [(1.0, 2.0, "car", 0.9), (0.0, 1.0, "car", 0.6), (0.0, 1.0, "footsteps", 0.5), (3.0, 4.0, "car", 0.8)]
    assert maestro.harden(soft, 0.5) == (Event(0.0, 2.0, "car"), Event(3.0, 4.0, "car"))

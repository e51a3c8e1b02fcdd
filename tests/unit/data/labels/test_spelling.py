"""Labels that are one phrase in several spellings, and events that are there more than once."""

from __future__ import annotations

from pathlib import Path

from flam_train.data.labels import spelling
from flam_train.data.labels.attached import Labelled
from flam_train.data.labels.rows import Row


def recording(*rows: Row) -> Labelled:
    return Labelled(Path("a.wav"), "a.wav", [("t.csv", row, "row") for row in rows])


def test_the_most_frequent_spelling_wins():
    counts = {"Dog barking": 2, "dog barking": 5, "dog_barking": 4, "DOG_BARKING": 1, "cat": 3}
    joined = {"Dog barking": "dog barking", "dog_barking": "dog barking", "DOG_BARKING": "dog barking"}
    assert spelling.spellings(counts) == joined
    assert spelling.spellings({"dog_barking": 2, "dog barking": 2}) == {"dog_barking": "dog barking"}
    assert spelling.spellings({"Wren": 2, "wren": 2}) == {"Wren": "wren"}
    assert spelling.spellings({"Wren": 3, "wren": 2}) == {"wren": "Wren"}


def test_codes_and_what_differs_otherwise_stay_apart():
    for labels in (
        ("Kek", "kek"),
        ("KEK!", "kek!"),
        ("tu-u", "Tu-u"),
        ("A1", "a1"),
        ("call 7b", "Call 7b"),
        ("chain saw", "chainsaw"),
        ("dog", "dogs"),
    ):
        assert spelling.spellings(dict.fromkeys(labels, 1)) == {}
    assert spelling.near(["chain saw", "chainsaw", "dog", "chain-saw"]) == [("chain saw", "chain-saw", "chainsaw")]
    assert spelling.near(["dog", "cat"]) == []


def test_join_changes_events_and_unknown_stretches():
    r = recording(Row(None, 0, 1, "wren", 1), Row(None, 1, 2, "wren", 2), Row(None, 2, 3, "Wren", 3))
    r.unknown.append(("t.csv", Row(None, 5, 6, "Wren", 4), "row"))
    assert spelling.join([r]) == {"Wren": "wren"}
    assert [row.label for _, row, _ in r.rows + r.unknown] == ["wren"] * 4


def test_equal_events_count_once():
    rows = [Row(None, 0.5, 1, "wren", 1), Row(None, 0.5001, 1.0003, "wren", 2), Row(None, 0.502, 1, "wren", 3)]
    rows += [Row(None, 0.5, 1, "owl", 4), Row(None, 0.5, 1, "owl", 5, 1), Row(None, 0.5, 1, "owl", 6, 2)]
    r = recording(*rows)
    assert spelling.drop_repeated([r, recording(*rows[:1])]) == 3
    assert [row.row for _, row, _ in r.rows] == [1, 3, 4]

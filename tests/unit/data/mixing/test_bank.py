"""Banks: the level curve against the standard and against a plain twin, and what a bank refuses."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from flam_train.batch import SAMPLE_RATE
from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.levels import HOP, LEVEL_HOP, a_weighted, a_weighting_db, describe, level_curve, level_of
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard


def sine(frequency: float, seconds: float, amplitude: float = 0.5) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.rint(amplitude * 32768 * np.sin(2 * np.pi * frequency * t)).astype(np.int16)


def item(key: str, waveform: np.ndarray, label: str | None) -> tuple[Record, np.ndarray]:
    duration = len(waveform) / SAMPLE_RATE
    events = (Event(0.0, duration, label),) if label else ()
    details = describe(waveform, "event" if label else "background")
    return Record(key, duration, events=events, details=details), waveform


def write_bank(folder: Path, items: list[tuple[Record, np.ndarray]], vocabulary: str | None, annotates=()) -> Path:
    entry = write_shard(folder / "shard-000000.tar", items)
    write_manifest(folder, folder.name, [entry], vocabulary=vocabulary, annotates=list(annotates))
    return folder


@pytest.mark.parametrize(
    ("hertz", "db", "tolerance"),
    # IEC 61672-1, table 3 (rounded there to 0.1 dB at the exact base-ten frequencies).
    [(31.623, -39.4, 0.06), (100, -19.1, 0.06), (1000, 0.0, 0.01), (2000, 1.2, 0.06), (10_000, -2.5, 0.06)],
)
def test_a_weighting_is_the_standards(hertz, db, tolerance):
    assert float(a_weighting_db(hertz)) == pytest.approx(db, abs=tolerance)


def test_a_weighted_tones_have_the_weighted_level():
    for hertz in (100, 1000, 10_000):
        weighted = a_weighted(sine(hertz, 1.0) / 32768)
        inner = weighted[4800:-4800]
        measured = 10 * math.log10(np.mean(inner**2))
        assert measured == pytest.approx(float(a_weighting_db(hertz)) + 20 * math.log10(0.5) - 3.01, abs=0.05)


def test_level_curve_equals_its_plain_twin():
    rng = np.random.default_rng(0)
    waveform = np.concatenate(
        [sine(700, 0.31), np.zeros(5000, np.int16), rng.integers(-900, 900, 7001, dtype=np.int16)]
    )
    weighted = a_weighted(waveform / 32768)
    twin = []
    for start in range(0, len(waveform), HOP):
        power = float(np.mean(weighted[start : start + HOP] ** 2))
        twin.append(max(-120, round(10 * math.log10(power))) if power > 0 else -120)
    assert level_curve(waveform).tolist() == twin
    assert level_curve(np.zeros(HOP, np.int16)).tolist() == [-120]


def test_level_is_that_of_the_sounding_hops():
    assert level_of(np.array([-20, -20, -120, -90, -20])) == pytest.approx(-20.0)
    assert level_of(np.array([-20, -30])) == pytest.approx(10 * math.log10((0.01 + 0.001) / 2))


def test_bank_addresses_levels_and_pickle(tmp_path):
    rng = np.random.default_rng(1)
    sounds = [rng.integers(-3000, 3000, n, dtype=np.int16) for n in (30_001, 9_600, 50_000)]
    first = write_bank(tmp_path / "a", [item("x", sounds[0], "dog"), item("y", sounds[1], "cat")], None)
    second = write_bank(tmp_path / "b", [item("z", sounds[2], None)], None)
    bank = pickle.loads(pickle.dumps(Bank([first, second])))
    seen = []
    memory = bank.load(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert memory.dtype == torch.int16
    for n, sound in enumerate(sounds):
        assert np.array_equal(memory[bank.address[n] : bank.address[n] + bank.samples[n]].numpy(), sound)
        assert np.array_equal(bank.level(n), level_curve(sound))
    assert bank.events.tolist() == [0, 1]
    assert bank.backgrounds.tolist() == [2]
    assert {k: v.tolist() for k, v in bank.by_label.items()} == {"cat": [1], "dog": [0]}
    assert [p["items"] for p in bank.provenance()] == [2, 1]


def test_extent_limits_the_hops(tmp_path):
    waveform = np.random.default_rng(2).integers(-3000, 3000, SAMPLE_RATE, dtype=np.int16)
    record = Record("x", 1.0, events=(Event(0.2, 0.71, "dog"),), details=describe(waveform, "event"))
    bank = Bank(write_bank(tmp_path / "a", [(record, waveform)], None))
    assert (bank.first_hop[0], bank.last_hop[0]) == (10, math.ceil(0.71 / LEVEL_HOP))


def test_what_is_no_bank_is_refused(tmp_path):
    waveform = sine(500, 0.5)
    bare = Record("x", 0.5, captions=("a tone",))
    with pytest.raises(ValueError, match=r"x: not an item of a bank: .*synthetic\.py"):
        Bank(write_bank(tmp_path / "bare", [(bare, waveform)], None))
    short = Record("x", 0.5, events=(Event(0, 0.5, "dog"),), details=describe(waveform[:-4800], "event"))
    with pytest.raises(ValueError, match="make the bank again"):
        Bank(write_bank(tmp_path / "short", [(short, waveform)], None))
    silent = Record("x", 0.5, details=describe(waveform, "event"))
    with pytest.raises(ValueError, match="role 'event' with 0 events"):
        Bank(write_bank(tmp_path / "eventless", [(silent, waveform)], None))


def test_vocabularies_are_joined_or_refused(tmp_path):
    for name, phrase in (("one", "dog barking"), ("two", "cat meowing"), ("three", "hound")):
        label = {"one": "dog", "two": "cat", "three": "dog"}[name]
        folder = tmp_path / name
        folder.mkdir()
        (folder / "vocabulary.yaml").write_text(f"corpus: {name}\nclasses: {{{label}: {{phrasings: [{phrase}]}}}}\n")
        write_bank(folder, [item(f"{name}-x", sine(500, 0.5), label)], "vocabulary.yaml", [label])
    floor = write_bank(tmp_path / "floor", [item("bg", sine(500, 0.5), None)], None)
    joined = Bank([tmp_path / "one", tmp_path / "two", floor])
    assert list(joined.vocabulary.classes) == ["dog", "cat"]
    assert joined.annotates == ["cat", "dog"]
    with pytest.raises(ValueError, match="class 'dog' is another concept or is phrased otherwise"):
        Bank([tmp_path / "one", tmp_path / "three"])
    opened = write_bank(tmp_path / "open", [item("o", sine(500, 0.5), "an owl hoots")], None)
    with pytest.raises(ValueError, match="with and without a vocabulary"):
        Bank([tmp_path / "one", opened])

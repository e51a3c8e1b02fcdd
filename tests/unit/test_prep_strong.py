"""The strongly labelled corpora together: their vocabularies, and label files that are damaged."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from strong_labels import (
    NAMES,
    audioset,
    desed_folder,
    maestro_folder,
    urbansed_folder,
)

from flam_train.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "data_prep"))

import audioset_strong  # noqa: E402
import desed  # noqa: E402
import maestro  # noqa: E402
import urbansed  # noqa: E402


@pytest.mark.parametrize("name", ["desed", "urbansed", "maestro"])
def test_vocabularies_have_phrasings_and_hold_some_out(name):
    by_concept = {c.id: c for c in Vocabulary.load(name).classes.values()}
    concepts = by_concept.values()
    assert all(by_concept[c.id] == c for c in Vocabulary.load(name).classes.values())
    said = [p.casefold() for c in concepts for p in c.phrasings + c.held_out]
    assert len(set(said)) == len(said)
    assert all(len(c.phrasings) >= 3 and len(c.held_out) >= 2 for c in concepts)


def test_no_phrasing_means_two_things():
    """With the concepts of all corpora in one batch, it would be positive and negative at once."""
    meanings: dict[str, set[str]] = {}
    for name in ("audioset_strong", "desed", "urbansed", "maestro", "esc10", "urbansound8k"):
        for concept in Vocabulary.load(name).classes.values():
            for said in concept.phrasings:
                meanings.setdefault(said.casefold(), set()).add(concept.id)
    assert {said: ids for said, ids in meanings.items() if len(ids) > 1} == {}


def test_malformed_files_are_told_by_file_and_row(tmp_path):
    """Bytes changed, dropped and doubled: a valid result, or a ValueError that names the file; nothing else."""
    vocabularies = {n: Vocabulary.load(n) for n in ("audioset_strong", "desed", "urbansed", "maestro")}
    names = dict(row.split("\t") for row in NAMES)
    audioset(tmp_path / "as"), desed_folder(tmp_path / "desed")
    urbansed_folder(tmp_path / "urban"), maestro_folder(tmp_path / "maestro")
    metadata, audio = tmp_path / "desed/metadata", tmp_path / "none"
    scape = tmp_path / "urban/annotations/train/soundscape_train_bimodal0"
    soft = tmp_path / "maestro/development_annotation/soft_labels_cafe_restaurant/cafe_restaurant_00.txt"
    parsers = {
        tmp_path / "as/audioset_train_strong.tsv": lambda p: audioset_strong.read_labels(
            p, names, vocabularies["audioset_strong"]
        ),
        tmp_path / "as/audioset_eval_strong_framed_posneg.tsv": lambda p: audioset_strong.read_framed(
            p, names, vocabularies["audioset_strong"]
        ),
        tmp_path / "as/mid_to_display_name.tsv": lambda p: audioset_strong.read_names(
            p, vocabularies["audioset_strong"]
        ),
        metadata / "validation/validation.tsv": lambda p: desed.read_strong(p, audio, "x", vocabularies["desed"]),
        metadata / "train/weak.tsv": lambda p: desed.read_weak(p, audio, "x", vocabularies["desed"]),
        scape.with_suffix(".txt"): lambda p: urbansed.read_txt(p, vocabularies["urbansed"]),
        scape.with_suffix(".jams"): lambda p: urbansed.read_jams(p, vocabularies["urbansed"]),
        soft: lambda p: maestro.read_soft(p, vocabularies["maestro"]),
    }
    rng = random.Random(0)
    odd = [
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"-",
        b"9" * 400,
        b"1e999",
        b"nan",
        b'"',
        b"{",
        b"[",
        b"null",
        b"\\ud800",
    ]
    refused = 0
    for path, parse in parsers.items():
        whole = path.read_bytes()
        parse(path)
        for _ in range(100):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(data) + 1)
                data[at : at + rng.choice([0, 0, 1, 1, 8])] = rng.choice([*odd, b"", bytes(data[at : at + 20])])
            path.write_bytes(data)
            try:
                parse(path)
            except ValueError as error:
                refused += 1
                assert str(error).startswith(f"{path}: "), error  # noqa: PT017
                assert any(f": {unit} " in str(error) for unit in ("row", "observation")), error  # noqa: PT017
    assert refused > 300

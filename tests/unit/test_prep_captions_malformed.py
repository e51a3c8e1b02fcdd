"""Malformed label files of captioned corpora: valid, or told by file and row."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from caption_labels import (
    CC0,
    HEADER,
    IDS,
    clotho_folder,
    dump,
    laion,
    table,
)

from flam_train.data.schema import Record

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "data_prep"))

import audiocaps  # noqa: E402
import audioset_acd  # noqa: E402
import clotho  # noqa: E402
import freesound  # noqa: E402
import wavcaps  # noqa: E402


def mutants(text: bytes, count: int):
    """Label files with bytes changed, removed, doubled."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        data = bytearray(text)
        for _ in range(int(rng.integers(1, 6))):
            at, kind = int(rng.integers(len(data))), int(rng.integers(4))
            if kind == 0:
                data[at] = int(rng.integers(256))
            elif kind == 1:
                data[at] = int(rng.choice(list(b'",\r\n\\{}[]:0')))
            elif kind == 2:
                del data[at : at + int(rng.integers(1, 9))]
            else:
                data[at:at] = data[at : at + int(rng.integers(1, 30))]
            data = data or bytearray(b"x")
        yield bytes(data)


def read_one(tmp_path: Path, which: str):
    """(the label file to spoil, a function that reads it)"""
    if which == "audiocaps":
        path = table(tmp_path / "train.csv", [HEADER, (1, IDS[0], 30, "a, b"), (2, IDS[1], 0, "c")], "\r\n")
        return path, lambda: audiocaps.read_audiocaps(tmp_path, "train")
    if which in ("clotho", "clotho metadata"):
        clotho_folder(tmp_path, ["a, b.wav", " c.wav"], [("a, b.wav", "k", "1", "l", "", "é", CC0)])
        path = tmp_path / ("clotho_captions_evaluation.csv" if which == "clotho" else "clotho_metadata_evaluation.csv")
        return path, lambda: clotho.read_clotho(tmp_path, "evaluation")
    if which == "wavcaps":
        data = [{"id": "Yb0RFKhbpFJA.wav", "caption": "a"}, {"id": 7, "caption": "b", "href": "x"}]
        return dump(tmp_path / "as_final.json", {"data": data}), lambda: wavcaps.read_wavcaps(tmp_path, "AudioSet_SL")
    if which == "freesound":
        return dump(tmp_path / "a.json", laion(1, ["x"])), lambda: freesound.read_freesound(tmp_path, "train")
    path = table(
        tmp_path / "train.csv", [("youtube_id", "caption"), ("YPsERnugT1hs", "a, b"), ("oPRC3zComfA_000117", "c")]
    )
    return path, lambda: audioset_acd.read_audioset_acd(tmp_path, "train", ("audioset", "vggsound"))


@pytest.mark.parametrize("which", ["audiocaps", "clotho", "clotho metadata", "wavcaps", "freesound", "audioset_acd"])
def test_malformed_labels_are_valid_or_told_by_file_and_row(tmp_path, which):
    path, read = read_one(tmp_path, which)
    good = path.read_bytes()
    read()
    told = []
    for data in mutants(good, 400):
        path.write_bytes(data)
        try:
            found = read()
        except ValueError as error:
            told.append(str(error))
            continue
        for r in found[0] if isinstance(found, tuple) else found:
            record = Record(r.key, 1.0, r.captions, r.events, r.source, r.licence, r.split, r.details)
            record.check(r.where).to_json().encode()
    assert len(told) > 50
    assert [why for why in told if str(path) not in why or not re.search(r"(row|entry) \d", why)] == []

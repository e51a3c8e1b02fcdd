"""flam-detect run on made-up recordings: noise of a level that changes each second."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flam_train.cli import detect
from flam_train.detection.scoring import Listening

PHRASES = ["a dog barks", "rain"]
LOOSE = ("--threshold", "0.2", "--low", "0.8", "--smooth", "0", "--median", "0", "--close", "0", "--shortest", "0")
"""So that weights that learnt nothing find something."""


def noise(path: str, seconds: float, rate: int = 8000, channels: int = 1, seed: int = 0, **options) -> str:
    rng = np.random.default_rng(seed)
    loud_S1 = np.repeat(rng.uniform(0.01, 0.4, 1 + int(seconds)), rate)[: round(seconds * rate), None]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, loud_S1 * rng.normal(size=(len(loud_S1), channels)), rate, **options)
    return path


def run(*arguments: object, code: int = 0) -> None:
    """flam-detect run, in this process."""
    with pytest.raises(SystemExit) as left:
        detect.main(["run", *map(str, arguments)])
    assert left.value.code == code


def rows(path: str) -> list[dict[str, str]]:
    text = Path(path).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t" if path.endswith("tsv") else ","))


def files(folder: str = "out") -> dict[str, bytes]:
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def encoded(monkeypatch) -> list[Path]:
    """The recordings that go through the encoder from now on."""
    names: list[Path] = []

    class Counted(Listening):
        def __iter__(self):
            names.append(self.stream.source)
            return super().__iter__()

    monkeypatch.setattr("flam_train.detection.analysis.Listening", Counted)
    return names

"""A corpus, a bank, a finished run and an export that the tests of this folder share and never write to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import conf, write_bank, write_corpus

from flam_train.checkpoints.export import save_export
from flam_train.models.flam import FLAM
from flam_train.training.run import train


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("corpora")
    return write_corpus(folder / "train", 12, 0), write_corpus(folder / "test", 5, 1)


@pytest.fixture(scope="session")
def bank(tmp_path_factory) -> Path:
    return write_bank(tmp_path_factory.mktemp("bank") / "train")


@pytest.fixture(scope="session")
def finished(corpora, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(conf(corpora, folder))
    return folder


@pytest.fixture(scope="session")
def export(tmp_path_factory, small_config) -> Path:
    """Of weights that learnt nothing."""
    torch.manual_seed(1)
    return save_export(FLAM(small_config), tmp_path_factory.mktemp("made") / "export", {})


@pytest.fixture
def in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

"""Files of others: old numbers are read, code is not."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flam_train.checkpoints.reading import read_state

WEIGHTS = {"audio.norm.weight": torch.arange(3.0)}


def rewritten(file: Path, **names: str) -> None:
    """Other names in the pickle of a file that torch wrote, as other versions have them."""
    with zipfile.ZipFile(file) as given:
        entries = {entry: given.read(entry) for entry in given.namelist()}
    with zipfile.ZipFile(file, "w") as out:
        for entry, data in entries.items():
            for old, new in names.items() if entry.endswith("data.pkl") else ():
                assert old.encode() in data
                data = data.replace(old.encode(), new.encode())
            out.writestr(entry, data)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_of_numpy_beside_the_weights_are_read(tmp_path, module):
    """As in LAION's files, which keep their best score, from numpy 1 and 2."""
    file = tmp_path / "a.pt"
    numbers = {"best": np.float64(0.5), "loss": np.float32(0.25), "epoch": np.int64(3), "done": np.bool_(True)}
    torch.save({"state_dict": {f"module.{k}": v for k, v in WEIGHTS.items()}, **numbers}, file)
    rewritten(file, **{"numpy._core.multiarray": module})
    found = read_state(file)
    assert found.keys() == WEIGHTS.keys()
    assert torch.equal(found["audio.norm.weight"], WEIGHTS["audio.norm.weight"])


def test_a_file_of_before_zip_is_read(tmp_path):
    torch.save({"state_dict": WEIGHTS, "best": np.float64(1)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert read_state(tmp_path / "a.pt").keys() == WEIGHTS.keys()


class ModelCheckpoint:
    """In the place of Lightning's."""


ModelCheckpoint.__qualname__ = "ModelCheckpoint"


def test_a_callback_that_is_only_named_is_no_obstacle(tmp_path):
    file = tmp_path / "a.ckpt"
    torch.save({"state_dict": WEIGHTS, "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.4)}}}, file)
    with pytest.raises(ValueError, match="not a checkpoint of plain tensors"):
        read_state(file)
    rewritten(file, **{f"{__name__}\nModelCheckpoint": "pytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint"})
    assert read_state(file).keys() == WEIGHTS.keys()


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("beside", [Runs(), np.array([1, None], dtype=object), np.dtype("O")])
def test_nothing_else_is_unpickled(tmp_path, monkeypatch, beside):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "beside": beside}, "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: not a checkpoint of plain tensors \(nothing is read that could run"):
        read_state("a.pt")
    plain = io.BytesIO()
    pickle.dump({"state_dict": {}, "beside": Runs()}, plain)
    Path("b.pt").write_bytes(plain.getvalue())
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_state("b.pt")
    assert not Path("ran").exists()


def test_what_is_no_state_dict_is_told(tmp_path):
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="not a state dict"):
        read_state(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no such file"):
        read_state(tmp_path / "b.pt")

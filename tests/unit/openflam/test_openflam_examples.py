"""The two examples that users of OpenFLAM know by heart: only the import and the model's place differ."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile
import torch
from others_weights import small_flam, tokenizer
from PIL import Image

from flam_train.checkpoints.openflam import to_openflam

FEATURES = """
import os

import librosa
import flam_train as openflam
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

flam = openflam.OpenFLAM(model_name="v1-base", default_ckpt_path=PLACE)
flam.to(DEVICE)
flam.sanity_check()

audio, sr = librosa.load(FILE, sr=48000)
audio = audio[int(23.0 * sr) : int(33.0 * sr)]
audio_samples = torch.tensor(audio).unsqueeze(0).to(DEVICE)

text_samples = [
    "man speaking", "man talking through a walkie-talkie", "music", "breathing sound", "ratcheting",
]

global_features = flam.get_global_audio_features(audio_samples)
local_features = flam.get_local_audio_features(audio_samples)
text_features = flam.get_text_features(text_samples)
global_similarities = (text_features @ global_features.T).squeeze(1)

local_similarity = flam.get_local_similarity(audio_samples, text_samples, method="unbiased", cross_product=True)
"""

HEATMAP = """
import librosa
import numpy as np
import scipy
import torch

import flam_train as openflam
from flam_train.plotting import plot_sed_heatmap

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

flam = openflam.OpenFLAM(model_name="v1-base", default_ckpt_path=PLACE)
flam.to(DEVICE)

audio, sr = librosa.load(FILE, sr=48000)
audio = audio[int(22.0 * sr) : int(33.0 * sr)]
audio_samples = torch.tensor(audio).unsqueeze(0).to(DEVICE)

text_samples = ["breathing sound", "man speaking", "music", "ratcheting"]
negative_class = ["music", "ratcheting"]

with torch.no_grad():
    act_map = (
        flam.get_local_similarity(audio_samples, text_samples, method="unbiased", cross_product=True)
        .cpu()
        .numpy()
    )

filtered = [scipy.ndimage.median_filter(act_map[i], (1, 3)) for i in range(act_map.shape[0])]
similarity = {text: filtered[0][n] for n, text in enumerate(text_samples)}
audio_plot = librosa.resample(audio, orig_sr=48000, target_sr=32000)
plot_sed_heatmap(
    audio_plot,
    32000,
    post_similarity=similarity,
    duration=11.0,
    negative_class=negative_class,
    figsize=(14, 8),
    save_path=PICTURE,
)
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder as the hub has it, with small random weights, and a tokenizer."""
    folder = tmp_path_factory.mktemp("released")
    torch.save(to_openflam(small_flam()), folder / "open_flam_oct17.pth")
    tokenizer().save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    wave = np.random.default_rng(0).normal(size=(34 * 22_050, 2)) * 0.1
    soundfile.write(path := tmp_path_factory.mktemp("recording") / "test_data.wav", wave, 22_050)
    return path


def run(example: str, **names) -> dict:
    exec(compile(example, "example", "exec"), names)
    return names


def test_features_and_similarity(released, recording, capsys):
    found = run(FEATURES, PLACE=str(released), FILE=recording)
    assert "sanity check passed" in capsys.readouterr().out
    for name, shape in (("global_features", (1, 16)), ("local_features", (1, 32, 16)), ("text_features", (5, 16))):
        assert found[name].shape == shape
        assert torch.allclose(found[name].norm(dim=-1), torch.ones(shape[:-1]), atol=1e-5)
    assert found["global_similarities"].shape == (5,)
    assert found["local_similarity"].shape == (1, 5, 32)
    assert found["local_similarity"].dtype == torch.float32


def test_heatmap(released, recording, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        found = run(HEATMAP, PLACE=released / "open_flam_oct17.pth", FILE=recording, PICTURE=tmp_path / "map.png")
    assert found["act_map"].shape == (1, 4, 35)  # 11 s
    assert Image.open(tmp_path / "map.png").size == (2100, 1200)
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]


def test_the_import_alone_loads_nothing():
    code = (
        "import sys, flam_train; print('torch' in sys.modules); flam_train.OpenFLAM; print('lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

"""A model as ONNX graphs beside the model: of any size, of every kind of head and tower, and whole or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from needs import ONNX
from tiny_runs import tiny_roberta

from flam_train.checkpoints import onnx
from flam_train.checkpoints.export import load_export, save_export
from flam_train.models.flam import FLAM, frame_score
from flam_train.models.text import TextConfig

PHRASES = ["rain", "a dog barks, and then again", "a siren " * 60]


def exported(test):
    """Traces a model, which takes its ten seconds."""
    return ONNX(pytest.mark.ci(pytest.mark.slow(test)))


def lively(model):
    """Fresh heads give every phrase the same scale and bias."""
    for head in (model.scale_head, model.bias_head):
        for parameter in head.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def session(folder, name):
    import onnxruntime

    return onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def roberta(tmp_path_factory, small_config):
    """An export with the tokenizer of a hub's kind, and the same as ONNX."""
    folder = tmp_path_factory.mktemp("roberta")
    text = TextConfig("roberta", str(tiny_roberta(folder / "text")), max_tokens=40)
    torch.manual_seed(0)
    export = save_export(lively(FLAM(replace(small_config, text=text))), folder / "export", {"run": "tiny"})
    model = load_export(export)
    return model, onnx.save_onnx(model, folder / "onnx"), folder / "onnx"


def beside(model, folder):
    """The largest difference of each output, on other sounds and words than it was traced with."""
    made, samples = np.random.default_rng(1), model.config.frontend.samples
    audio, text = session(folder, "audio.onnx"), session(folder, "text.onnx")
    found = []
    for clips in (1, 2, 5):
        waveform_BS = np.clip(made.normal(scale=0.2, size=(clips, samples)), -1, 1).astype(np.float32)
        waveform_BS[0, samples // 3 :] = 0  # padding
        with torch.inference_mode():
            wanted = model.embed_audio(torch.from_numpy(waveform_BS))
        found += zip(
            audio.run(["clip", "frame"], {"waveform": waveform_BS}), (wanted.clip_BD, wanted.frame_BTD), strict=True
        )
    for phrases in (PHRASES[:1], PHRASES[:2], PHRASES):
        tokens, attention = model.tokenizer(phrases)
        with torch.inference_mode():
            said = model.embed_tokens(tokens, attention)
        given = {"input_ids": tokens.numpy(), "attention_mask": attention.numpy()}
        found += zip(text.run(["text", "scale", "bias"], given), (said.text_CD, said.scale_C, said.bias_C), strict=True)
    assert all(one.shape == tuple(other.shape) and one.dtype == np.float32 for one, other in found)
    return max(float(np.abs(one - other.detach().numpy()).max()) for one, other in found)


@exported
def test_graphs_beside_the_model(roberta):
    model, differences, folder = roberta
    assert beside(model, folder) < onnx.TOLERANCE
    assert set(differences) == {"clip", "frame", "text", "scale", "bias"}
    assert max(differences.values()) < onnx.TOLERANCE


@exported
def test_what_is_told_beside_them(roberta):
    model, differences, folder = roberta
    assert sorted(p.name for p in folder.iterdir()) == ["audio.onnx", "flam.json", "text.onnx", "tokenizer"]
    about = json.loads((folder / "flam.json").read_text())
    assert about["differences"] == differences
    assert about["model"] == {"run": "tiny", "sha256": model.provenance["sha256"]}
    assert (about["sample_rate"], about["samples"], about["method"]) == (48_000, 480_000, "unbiased")
    assert (about["frames"], about["frame_seconds"], about["embedding"]) == (32, 0.3125, 16)
    import onnx as package

    for name in ("audio.onnx", "text.onnx"):
        package.checker.check_model(folder / name, full_check=True)


@exported
def test_the_tokenizer_needs_no_torch(roberta):
    """The tokenizer's file alone cuts and pads as the model's does."""
    from tokenizers import Tokenizer

    model, _, folder = roberta
    alone = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    for phrases in (PHRASES, PHRASES[:2], PHRASES[:1]):
        tokens, attention = model.tokenizer(phrases)
        found = alone.encode_batch(phrases)
        assert [one.ids for one in found] == tokens.tolist()
        assert [one.attention_mask for one in found] == attention.tolist()
    assert tokens.shape[1] < model.config.text.max_tokens == len(alone.encode(PHRASES[2]).ids)


@exported
def test_the_score_as_the_docs_write_it(roberta):
    """p / (p + q) with p = sigmoid(scale cos + bias) and q = sigmoid(bias), in NumPy, is the model's."""
    model, _, folder = roberta
    waveform_BS = np.random.default_rng(0).normal(scale=0.1, size=(1, 480_000)).astype(np.float32)
    tokens, attention = model.tokenizer(PHRASES)
    given = {"input_ids": tokens.numpy(), "attention_mask": attention.numpy()}
    frame_BTD = session(folder, "audio.onnx").run(["frame"], {"waveform": waveform_BS})[0]
    text_CD, scale_C, bias_C = session(folder, "text.onnx").run(["text", "scale", "bias"], given)
    cosine_BCT = np.einsum("btd,cd->bct", frame_BTD, text_CD)
    p, q = (1 / (1 + np.exp(-x)) for x in (scale_C[:, None] * cosine_BCT + bias_C[:, None], bias_C[:, None]))
    scale_C, bias_C = torch.from_numpy(scale_C), torch.from_numpy(bias_C)
    wanted = frame_score(torch.from_numpy(cosine_BCT), scale_C, bias_C, "unbiased")
    assert np.abs(p / (p + q) - wanted.numpy()).max() < 1e-5


@exported
def test_pure_tones_are_heard_better_than_by_the_model(roberta):
    """Where rounding is all there is beside the tone, the graph is the nearer to the model in float64."""
    model, _, folder = roberta
    tone_BS = torch.sin(2 * math.pi * 9000.0 * torch.arange(480_000, dtype=torch.float64) / 48_000)[None]
    with torch.inference_mode():
        wanted = onnx.exact(model).embed_audio(tone_BS.float()).frame_BTD
    frame_BTD = session(folder, "audio.onnx").run(["frame"], {"waveform": tone_BS.float().numpy()})[0]
    assert np.abs(frame_BTD - wanted.numpy()).max() < 1e-5


@pytest.mark.slow
@ONNX
@pytest.mark.parametrize(
    ("audio", "rest"),
    [
        ({"last_block": "local"}, {"aggregate": "codebook", "phrase_scale": "none", "phrase_bias": "none"}),
        ({}, {"phrase_scale": "one", "phrase_bias": "one"}),
        ({"patch": 2, "depths": (1, 2, 1), "heads": (1, 2, 2)}, {}),
    ],
    ids=["mga", "ablation", "12hz"],
)
def test_every_kind(audio, rest, small_config, tmp_path):
    config = replace(small_config, audio=replace(small_config.audio, **audio), **rest)
    model = lively(FLAM(config))
    onnx.save_onnx(model, tmp_path / "onnx")
    assert beside(model, tmp_path / "onnx") < onnx.TOLERANCE
    assert json.loads((tmp_path / "onnx" / "flam.json").read_text())["frames"] == config.grid.frames


@exported
def test_nothing_is_written_that_is_wrong(roberta, tmp_path, monkeypatch):
    model, _, _ = roberta
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=r"mine: is there, and is no ONNX model .*: name another folder"):
        onnx.save_onnx(model, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    monkeypatch.setattr(onnx, "_trace", lambda graph, path: path.touch())
    monkeypatch.setattr(onnx, "differences", lambda graphs, folder: {"clip": 1e-6, "frame": 2e-3, "bias": math.nan})
    with pytest.raises(ValueError, match=r"onnx: not written, as onnxruntime is off by frame 2\.0e-03, bias nan"):
        onnx.save_onnx(model, tmp_path / "onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_without_the_packages(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "PACKAGES", ("onnx_not_here", "json"))
    with pytest.raises(ValueError, match=r"ONNX needs onnx_not_here: pip install 'flam-train\[export\]'"):
        onnx.save_onnx(FLAM(small_config).eval(), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()

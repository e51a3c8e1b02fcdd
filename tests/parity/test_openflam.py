"""The model and the losses against numbers that OpenFLAM's own code computed (tests/parity/openflam/README.md)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from by_formula import waveforms, weight

from flam_train import OpenFLAM
from flam_train.checkpoints.openflam import from_openflam, to_openflam
from flam_train.losses import contrastive_loss, framewise_loss, prior_loss

FOLDER = Path(__file__).parent / "openflam"


def gold(name: str) -> dict[str, torch.Tensor]:
    with np.load(FOLDER / name) as file:
        return {k: torch.from_numpy(file[k]) for k in file.files}


@pytest.fixture(scope="module")
def spec() -> dict:
    return json.loads((FOLDER / "openflam_tiny_state_dict.json").read_text())


@pytest.fixture(scope="module")
def state(spec) -> dict[str, torch.Tensor]:
    state = {k: weight(k, v["shape"]) for k, v in spec.items() if v["formula"]}
    state["fc_per_text_logit_bias.2.bias"] -= 8
    state["fc_per_text_logit_scale.2.bias"] += math.log(10)
    state["fc_per_text_logit_scale.2.weight"] *= 0.2
    return state


@pytest.fixture(scope="module")
def model(state):
    return from_openflam(dict(state), audio="tiny")


def test_features_and_maps(model):
    want = gold("openflam_tiny_outputs.npz")
    with torch.inference_mode():
        audio = model.embed_audio(waveforms())
        text = model.embed_tokens(want["input_ids"], want["attention_mask"])
        maps = {m: model.localize(audio.frame_BTD, text, m) for m in ("unbiased", "approximate", "biased")}
    for got, name in (
        (audio.clip_BD, "global_audio_features"),
        (audio.frame_BTD, "local_audio_features"),
        (text.text_CD, "text_features"),
        (text.scale_C, "per_text_logit_scale"),
        (text.bias_C, "per_text_logit_bias"),
    ):
        assert (got - want[name]).norm() / want[name].norm() < 1e-4, name
    for method in ("unbiased", "approximate"):
        assert (maps[method] - want[f"local_similarity_{method}"]).abs().max() < 1e-5, method
    # The three scores are one formula: s = p / (p + sigmoid(beta)).
    prior = text.bias_C.double().sigmoid()[:, None]
    direct = maps["biased"].double() / (maps["biased"].double() + prior)
    assert (maps["unbiased"] - direct).abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore:audio reaches")  # a few golden samples lie beyond 1
def test_openflams_calls(state, tmp_path):
    want = gold("openflam_tiny_outputs.npz")
    torch.save(state, tmp_path / "open_flam_oct17.pth")
    model = OpenFLAM(default_ckpt_path=tmp_path)
    model.flam.tokenizer = lambda texts: (want["input_ids"], want["attention_mask"])
    texts, audio = ["one", "two", "three"], waveforms()
    got = {
        "global_audio_features": model.get_global_audio_features(audio),
        "local_audio_features": model.get_local_audio_features(audio),
        "text_features": model.get_text_features(texts),
        "text_pooler_output": model.get_text_branch_output(texts),
        "per_text_logit_scale": model.get_per_text_logit_scale(want["text_pooler_output"]),
        "per_text_logit_bias": model.get_per_text_logit_bias(want["text_pooler_output"]),
    }
    maps = {m: model.get_local_similarity(audio, texts, m, cross_product=True) for m in ("unbiased", "approximate")}
    rows = model.get_local_similarity(audio[:3], texts)
    for name, found in got.items():
        assert found.shape == want[name].shape, name
        assert (found - want[name]).norm() / want[name].norm() < 1e-4, name
    for method, found in maps.items():
        assert (found - want[f"local_similarity_{method}"]).abs().max() < 1e-5, method
    assert (rows - want["local_similarity_unbiased"][range(3), range(3)]).abs().max() < 1e-5


def test_state_dict_goes_back_whole(model, state, spec):
    back = to_openflam(model)
    assert {k: list(v.shape) for k, v in back.items()} == {k: v["shape"] for k, v in spec.items()}
    assert {k: str(v.dtype) for k, v in back.items()} == {k: f"torch.{v['dtype']}" for k, v in spec.items()}
    for key, value in state.items():
        assert torch.equal(back[key], value), key
    again = from_openflam(back, audio="tiny")  # its constants are recognised too
    for (name, a), b in zip(again.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_constants_make_the_same_spectrogram(model):
    """The STFT kernels and mel matrix that are written for OpenFLAM compute what our front end computes."""
    back = to_openflam(model)
    x = torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x[:, None], (512, 512), mode="reflect")
    stft = "audio_branch.spectrogram_extractor.stft.conv_{}.weight"
    real, imag = (torch.nn.functional.conv1d(padded, back[stft.format(n)], stride=480) for n in ("real", "imag"))
    power = (real.square() + imag.square())[0].T @ back["audio_branch.logmel_extractor.melW"]
    assert torch.allclose(10 * power.clamp(min=1e-10).log10(), model.frontend.logmel(x)[0], atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("audio_branch.norm.weight"), "missing: audio_branch.norm.weight"),
        (lambda s: s.update({"other.weight": torch.zeros(1)}), "unknown: other.weight"),
        (lambda s: s.update({"audio_branch.norm.weight": torch.zeros(3)}), "shape .* audio_branch.norm.weight"),
        (lambda s: s.update({"aed_logit_scale": torch.tensor(1.0)}), "aed_logit_scale"),
    ],
)
def test_what_does_not_match_is_refused_by_name(state, change, message):
    changed = dict(state)
    change(changed)
    with pytest.raises(ValueError, match=message):
        from_openflam(changed, audio="tiny")


def test_position_ids_are_ignored(state):
    from_openflam({**state, "text_branch.embeddings.position_ids": torch.arange(514)[None]}, audio="tiny")


def test_losses():
    want = gold("openflam_losses.npz")
    frame, text, scale, bias = (
        want[k].clone().requires_grad_() for k in ("frame_audio", "frame_text", "frame_scale", "frame_bias")
    )
    pairs = (want["frame_label"].bool(), want["audio_mask"].bool(), want["text_mask"].bool())
    loss = framewise_loss(frame, text, scale, bias, *pairs)
    grads = torch.autograd.grad(loss, (frame, text, scale, bias), allow_unused=True)
    assert abs(loss - want["frame_loss"]).item() < 1e-6
    for grad, name in zip(grads, ("audio", "text", "scale"), strict=False):
        assert (grad - want[f"frame_grad_{name}"]).abs().max() < 1e-6, name
    assert grads[3] is None  # the bias learns from the prior loss alone
    prior = prior_loss(bias, *pairs)
    assert abs(prior - want["prior_loss"]).item() < 1e-6
    assert (torch.autograd.grad(prior, bias)[0] - want["prior_grad_bias"]).abs().max() < 1e-6
    clip = contrastive_loss(want["global_audio"], want["global_text"], want["global_logit_scale"])
    assert abs(clip - want["global_loss"]).item() < 1e-6

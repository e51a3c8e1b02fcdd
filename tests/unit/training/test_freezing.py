"""Which layers learn, from when on, and how fast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_runs import tiny_roberta

from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.text import TextConfig
from flam_train.training.layers import depths, is_meant, meant
from flam_train.training.module import FLAMModule
from flam_train.training.objective import LossConfig
from flam_train.training.optim import OptimConfig, build_optimizer, freeze, held


@pytest.fixture(scope="module")
def model() -> FLAM:
    torch.manual_seed(0)
    return FLAM(FLAMConfig.from_dict({"audio": "small", "text": {"tower": "bytes"}}))


def names(model: FLAM) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def learning(model: FLAM) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("audio", ("audio.norm.weight", "frontend.bn0.weight"), ("audio_projection.0.weight", "text.norm.bias")),
        ("audio.layers.1", ("audio.layers.1.blocks.0.mlp.fc1.bias",), ("audio.layers.10.x", "audio.layers.0.x")),
        ("text.encoder.layers.*.norm1", ("text.encoder.layers.3.norm1.bias",), ("text.encoder.layers.3.norm2.bias",)),
        ("scale_head", ("scale_head.0.bias",), ("scale_heads.0.bias",)),
        ("heads", ("logit_scale", "bias_head.2.bias"), ("text.norm.bias",)),
    ],
)
def test_patterns(pattern, yes, no):
    assert all(is_meant(pattern, name) for name in yes)
    assert not any(is_meant(pattern, name) for name in no)


def test_a_pattern_that_means_nothing(model):
    with pytest.raises(ValueError, match=r"optim\.freeze: 'audio\.layer\.0' is no part and no layer: did you mean"):
        meant("optim.freeze", ["audio.layer.0"], names(model))
    with pytest.raises(ValueError, match=r"did you mean text\?"):
        meant("optim.freeze", ["txt"], names(model))


def test_freeze(model):
    freeze(model, OptimConfig(freeze=("audio.layers.0", "text.token")))
    still = set(names(model)) - learning(model)
    assert still == {n for n in names(model) if n.startswith(("audio.layers.0.", "text.token."))}
    freeze(model, OptimConfig())
    assert learning(model) == set(names(model))
    freeze(model, OptimConfig(), unused=("scale_head",))
    assert {n.split(".")[0] for n in set(names(model)) - learning(model)} == {"scale_head"}


def test_what_was_never_trained_is_not_frozen(model):
    untrained = {"audio.norm.weight", "audio.norm.bias", "scale_head.0.weight"}
    message = r"optim\.freeze: 'audio\.norm\.weight' \(and 1 more\) of audio was never trained and must not be frozen"
    with pytest.raises(ValueError, match=message):
        freeze(model, OptimConfig(freeze=("audio",)), (), untrained)
    freeze(model, OptimConfig(freeze=("heads",)), ("scale_head",), {"scale_head.0.weight"})  # no loss reaches it
    freeze(model, OptimConfig(unfreeze={"audio": 3}), (), untrained, steps=4)  # it will learn
    with pytest.raises(ValueError, match=r"optim\.unfreeze, in 3 steps: 'audio\.norm\.weight'"):
        freeze(model, OptimConfig(unfreeze={"audio": 3}), (), untrained, steps=3)
    with pytest.raises(ValueError, match=r"optim\.lr_scale: 'scale_head\.0\.weight'.* of heads was never trained"):
        freeze(model, OptimConfig(lr_scale={"heads": 0}), (), untrained, steps=3)
    freeze(model, OptimConfig(lr_scale={"text": 0}), (), untrained, steps=3)
    freeze(model, OptimConfig())


def test_frozen_and_unfrozen_is_a_contradiction(model):
    with pytest.raises(ValueError, match=r"optim\.unfreeze: audio\..* is frozen for good by optim\.freeze"):
        freeze(model, OptimConfig(freeze=("audio.layers",), unfreeze={"audio": 3}))


def test_depths(model):
    depth_of = depths(names(model))
    assert depth_of["audio.norm.weight"] == depth_of["logit_scale"] == depth_of["text.norm.bias"] == 0
    assert depth_of["audio.layers.2.blocks.0.mlp.fc1.bias"] == 1
    assert depth_of["audio.layers.1.blocks.0.mlp.fc1.bias"] == depth_of["audio.layers.1.downsample.norm.bias"] == 2
    assert depth_of["audio.layers.0.blocks.0.attn.qkv.weight"] == 3
    assert depth_of["audio.patch_embed.proj.weight"] == depth_of["frontend.bn0.bias"] == 4
    assert depth_of["text.encoder.layers.1.linear1.bias"] == 1
    assert depth_of["text.encoder.layers.0.linear1.bias"] == 2
    assert depth_of["text.token.weight"] == depth_of["text.position.weight"] == 3


def test_depths_of_stages_of_several_blocks_and_of_roberta(tmp_path):
    text = TextConfig("roberta", str(tiny_roberta(tmp_path)))
    big = FLAM(FLAMConfig(text=text))
    depth_of = depths(names(big))
    assert depth_of["audio.layers.3.blocks.1.norm1.weight"] == 1
    assert depth_of["audio.layers.3.blocks.0.norm1.weight"] == 2
    assert depth_of["audio.layers.2.blocks.5.norm1.weight"] == depth_of["audio.layers.2.downsample.norm.weight"] == 3
    assert depth_of["audio.layers.0.blocks.0.norm1.weight"] == 12
    assert depth_of["audio.patch_embed.proj.weight"] == 13
    assert depth_of["text.model.encoder.layer.0.attention.self.query.weight"] == 1
    assert depth_of["text.model.embeddings.word_embeddings.weight"] == 2
    assert depth_of["text.model.pooler.dense.weight"] == 0


def test_rates_by_layer(model):
    freeze(model, OptimConfig())
    config = OptimConfig(lr=1.0, layer_decay=0.5, lr_scale={"text": 0.1}, weight_decay=0.2)
    optimizer, depth_of = build_optimizer(model, config), depths(names(model))
    name_of = {id(p): n for n, p in model.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            name = name_of[id(p)]
            seen[name] = group["lr"]
            assert group["weight_decay"] == (0.2 if p.ndim > 1 and "bias_table" not in name else 0.0)
    assert seen.keys() == set(names(model))
    for name, lr in seen.items():
        scale = 0.1 if name.startswith("text.") else 1.0
        assert lr == pytest.approx(scale * 0.5 ** depth_of[name])
    plain = build_optimizer(model, replace(config, layer_decay=1.0))
    assert {group["lr"] for group in plain.param_groups} == {1.0, 0.1}
    assert len(plain.param_groups) == 6  # as checkpoints of before have them


def test_what_is_held_is_in_eval_mode(model):
    config = OptimConfig(freeze=("text.encoder.layers.0",), unfreeze={"audio": 2})
    freeze(model, config)
    module = FLAMModule(model, LossConfig(), config, 4, 0).train()
    assert not model.audio.training
    assert not model.frontend.training
    assert not model.text.encoder.layers[0].training
    assert model.text.encoder.layers[1].training
    assert model.text.training
    module._learn_from(1)
    assert not model.audio.training
    module._learn_from(2)
    assert model.audio.training
    assert all(m.training for m in model.audio.modules())
    assert not model.text.encoder.layers[0].training
    assert held(model, config, 1) == {n for n in names(model) if n.startswith(("audio.", "frontend."))}
    assert held(model, config, 2) == set()
    module.eval()
    assert not model.audio.training
    freeze(model, OptimConfig())

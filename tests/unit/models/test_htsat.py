"""The encoder's parts beside plain twins, forward and backward."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
import yaml

from flam_train.models.flam import FLAMConfig, audio_preset
from flam_train.models.htsat import (
    HTSAT,
    PRESETS,
    PatchEmbed,
    WindowAttention,
    attended,
    fold,
    shift_mask,
    unfold,
)  # fmt: skip
from flam_train.paths import conf_dir

FRAMES = {"tiny": 32, "base": 32, "large": 32, "base-12hz": 128, "small": 32}
PARAMETERS_M = {"tiny": 27.53, "base": 67.82, "large": 270.85, "base-12hz": 37.90, "small": 1.21}
"""Millions, of the encoder alone, as counted when written; `tiny` is also held to OpenFLAM's names and shapes."""


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = audio_preset(name)
    assert config.frames == FRAMES[name]
    with torch.device("meta"):
        encoder = HTSAT(config)
        assert encoder(torch.empty(2, 1001, 64)).shape == (2, FRAMES[name], config.out_width)
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert millions == pytest.approx(PARAMETERS_M[name], abs=0.01)


def test_small_is_that_of_the_configuration():
    """There it is spelt out, so that experiments can change parts of it."""
    raw = yaml.safe_load((conf_dir() / "model" / "small.yaml").read_text())
    assert FLAMConfig.from_dict(raw).audio == PRESETS["small"]


def test_fold_and_unfold():
    """Time runs along the columns of each chunk, and the chunks lie under one another."""
    time = torch.linspace(0, 1023, 1024)[None, :, None].expand(1, 1024, 64)  # no stretching: 1024 frames in
    image = fold(time)
    assert image.shape == (1, 1, 256, 256)
    for chunk in range(4):
        rows = image[0, 0, 64 * chunk : 64 * chunk + 64]
        assert torch.allclose(rows, torch.arange(256.0)[None] + 256 * chunk, atol=1e-3)
    last = image[0, 0].reshape(8, 32, 8, 32).mean((1, 3))[None, :, :, None]  # as if patches were averaged
    frames = unfold(last)[0, :, 0]
    assert torch.allclose(frames, torch.arange(32) * 32 + 15.5, atol=1e-3)


@pytest.mark.parametrize("patch", [2, 4])
def test_patches_beside_the_convolution(patch):
    torch.manual_seed(0)
    embed = PatchEmbed(patch, 6).double()
    image = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    found = []
    for call in (embed, lambda x: embed.norm(embed.proj(x).permute(0, 2, 3, 1))):
        x = image.clone().requires_grad_()
        embed.zero_grad()
        out = call(x)
        (out * torch.arange(out.numel(), dtype=torch.float64).view_as(out).sin()).sum().backward()
        found.append([out.detach(), x.grad, embed.proj.weight.grad.clone(), embed.proj.bias.grad.clone()])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def test_window_attention_beside_its_plain_twin():
    heads, width, window, side = 2, 8, 4, 8
    attention = WindowAttention(width, heads, window, shift_mask(side, window, 2)).double()
    x = torch.randn(3, 4, window**2, width, dtype=torch.float64, requires_grad=True)
    got = attention(x)
    want = torch.zeros_like(got)
    table, index = attention.relative_position_bias_table, attention.relative_position_index
    for b in range(3):
        for w in range(4):
            q, k, v = attention.qkv(x[b, w]).view(-1, 3, heads, width // heads).permute(1, 2, 0, 3)
            rows = []
            for h in range(heads):
                logit = q[h] @ k[h].T / math.sqrt(width // heads) + table[:, h][index] + attention.attn_mask[w]
                rows.append(logit.softmax(-1) @ v[h])
            want[b, w] = attention.proj(torch.cat(rows, -1))
    assert torch.allclose(got, want)
    leaves = (x, *attention.parameters())
    g = torch.randn_like(got)
    for a, b in zip(torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g), strict=True):
        assert torch.allclose(a, b)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_attention_of_a_cpu_beside_torchs(dtype, bound):
    """Values and gradients, relative to float64."""
    r = torch.Generator().manual_seed(2)
    given = [torch.randn(3, 4, 16, 8, generator=r) * scale for scale in (3, 2, 1)]
    bias, wanted = torch.randn(4, 16, 16, generator=r), torch.randn(3, 4, 16, 8, generator=r)

    def found(call, kind):
        q, k, v = (x.to(dtype).to(kind).requires_grad_() for x in given)
        b = bias.to(kind if kind == torch.float64 else torch.float32).requires_grad_()
        out = call(q, k, v, b[None])
        out.backward(wanted.to(out.dtype))
        return [x.double() for x in (out.detach(), q.grad, k.grad, v.grad, b.grad)]

    exact = found(lambda q, k, v, b: F.scaled_dot_product_attention(q, k, v, attn_mask=b), torch.float64)
    for got, want in zip(found(attended, dtype), exact, strict=True):
        assert (got - want).norm() < bound * want.norm()


def test_shift_mask_by_hand():
    """After a shift by 2, a window at the edge joins pieces of the map that were not neighbours."""
    mask = shift_mask(8, 4, 2)
    assert mask.shape == (4, 16, 16)
    assert not mask[0].any()  # the window in the corner is whole
    column = torch.arange(16) % 4
    assert torch.equal(mask[1] < 0, (column[:, None] < 2) != (column[None] < 2))

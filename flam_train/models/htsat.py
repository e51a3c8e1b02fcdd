"""HTS-AT (arXiv 2202.00874): a Swin transformer over a log-mel spectrogram folded into a square image.

The 1001 mel frames are stretched to 1024, cut into 4 consecutive chunks that are stacked along frequency, and the
last map is unfolded back to frames in time.

Shape suffixes: B clips, N mel frames, F mel bins, R and C rows and columns of the map of patches (R frequency, C time),
D width, H heads, W windows, K positions in a window, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flam_train.batch import full_precision
from flam_train.models.frontend import stretch
from flam_train.models.mga import LocalBlock
from flam_train.models.seeded import uniform
from flam_train.settings import setting, settle

CHUNKS = 4
"""Pieces of the time axis that are stacked along frequency: 4 x 64 bins by 256 frames make the image square."""

DROP_STREAM = 2
"""The stream of a clip's seed that its dropped paths are drawn from."""


@dataclass(frozen=True)
class HTSATConfig:
    """Of the encoder; entries of `depths` and `heads` are stages."""

    width: int = setting(96, "of the first stage, doubled at each next", least=1, most=2**12)
    depths: tuple[int, ...] = setting((2, 2, 6, 2), "blocks", least=1, most=1000)
    heads: tuple[int, ...] = setting((4, 8, 16, 32), "attention heads", least=1, most=2**14)
    patch: int = setting(4, "side of a patch, in bins and stretched frames", least=1, most=1024)
    window: int = setting(8, "side of an attention window, in patches", least=1, most=128)
    mlp_ratio: float = setting(4.0, "hidden width of a block's perceptron over its width", above=0, most=1000)
    drop_path: float = setting(0.1, "of the last block, rising linearly from 0", least=0, below=1)
    mel_bins: int = setting(64, "as the front end's", least=1, most=1024)
    last_block: str = setting(
        "attention", "`attention`, or `local` (MGA-CLAP, `mga.LocalBlock`)", choices=("attention", "local")
    )

    def __post_init__(self) -> None:
        settle(self, "model.audio")
        stages = len(self.depths)
        if not stages or stages != len(self.heads):
            raise ValueError(f"model.audio.heads: {[*self.heads]} must be of one length with depths, {[*self.depths]}")
        for stage, heads in enumerate(self.heads):
            if (self.width << stage) % heads:
                raise ValueError(
                    f"model.audio.heads: stage {stage}: width {self.width << stage} does not divide by {heads} heads"
                )
        if int(self.width * self.mlp_ratio) < 1:
            raise ValueError(f"model.audio.mlp_ratio: {self.mlp_ratio:g} of width {self.width} leaves nothing")
        if self.side % (self.patch << (stages - 1)):
            raise ValueError(
                f"model.audio.patch: an image of {self.side} cannot be halved {stages - 1} times at patch {self.patch}"
            )
        if self.last_side % CHUNKS:
            raise ValueError(
                f"model.audio.depths: after {stages} stages {self.last_side} of {self.side} rows are left at patch "
                f"{self.patch}, which do not divide by {CHUNKS}: give fewer stages, or a smaller patch"
            )
        sides = [self.side // (self.patch << stage) for stage in range(stages)]
        if not _window_fits(self.window, sides):
            fit = [str(window) for window in range(1, sides[0] + 1) if _window_fits(window, sides)]
            raise ValueError(
                f"model.audio.window: {self.window} does not divide the stages' sides of "
                f"{', '.join(map(str, sides))} patches: {', '.join(fit)} do"
            )

    @property
    def side(self) -> int:
        """Rows and columns of the folded image."""
        return CHUNKS * self.mel_bins

    @property
    def stretched(self) -> int:
        """Mel frames that fill the image."""
        return CHUNKS * self.side

    @property
    def last_side(self) -> int:
        return self.side // (self.patch << (len(self.depths) - 1))

    @property
    def frames(self) -> int:
        return CHUNKS * self.last_side

    @property
    def out_width(self) -> int:
        return self.width << (len(self.depths) - 1)


def _window_fits(window: int, sides: list[int]) -> bool:
    """Of a map no larger than a window, all is one window."""
    return all(side % min(window, side) == 0 for side in sides)


PRESETS: dict[str, HTSATConfig] = {
    "tiny": HTSATConfig(),
    "base": HTSATConfig(width=128, depths=(2, 2, 12, 2)),
    "large": HTSATConfig(width=256, depths=(2, 2, 12, 2)),
    "base-12hz": HTSATConfig(width=192, depths=(2, 12, 2), heads=(8, 16, 32), patch=2),
    "small": HTSATConfig(width=64, depths=(1, 1, 1), heads=(2, 4, 8), patch=8),
}
"""FLAM's encoders, and `small` for CPUs (conf/model/small.yaml). `base-12hz` has 128 frames per 10 s, the others 32."""


def fold(mel_BNF: Tensor) -> Tensor:
    """mel_BNF -> image [B, 1, 4F, 4F]: chunk c's bins in rows c F to (c + 1) F, of 16 F frames: what has another number
    of them is stretched (`Frontend.frames` does it at less cost)."""
    B, _, bins = mel_BNF.shape
    side = CHUNKS * bins
    long_BNF = mel_BNF if mel_BNF.shape[1] == CHUNKS * side else stretch(mel_BNF, CHUNKS * side)
    return long_BNF.reshape(B, CHUNKS, side, bins).transpose(2, 3).reshape(B, 1, side, side)


def unfold(map_BRCD: Tensor) -> Tensor:
    """The last map -> frames [B, 4C, D]: mean over each chunk's rows, the chunks one after another in time."""
    B, R, C, D = map_BRCD.shape
    return map_BRCD.reshape(B, CHUNKS, R // CHUNKS, C, D).mean(2).reshape(B, CHUNKS * C, D)


def relative_position_index(window: int) -> Tensor:
    """int64 [K, K]: which row of the bias table belongs to a pair of positions of a window."""
    at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    apart = at[:, :, None] - at[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """float32 [W, K, K]: 0 where two positions of a shifted window lie in one region of the image, else -100."""
    region = torch.zeros(side, side)
    bounds = (0, side - window, side - shift, side)
    for i in range(3):
        for j in range(3):
            region[bounds[i] : bounds[i + 1], bounds[j] : bounds[j + 1]] = 3 * i + j
    region_WK = to_windows(region[None, :, :, None], window).view(-1, window * window)
    return torch.where(region_WK[:, :, None] == region_WK[:, None, :], 0.0, -100.0)


def to_windows(map_BRCD: Tensor, window: int) -> Tensor:
    """[B, R, C, D] -> [B, W, K, D], row by row."""
    B, R, C, D = map_BRCD.shape
    x = map_BRCD.view(B, R // window, window, C // window, window, D).transpose(2, 3)
    return x.reshape(B, -1, window * window, D)


def from_windows(x_BWKD: Tensor, side: int, window: int) -> Tensor:
    B, _, _, D = x_BWKD.shape
    x = x_BWKD.view(B, side // window, side // window, window, window, D).transpose(2, 3)
    return x.reshape(B, side, side, D)


def attended(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k' / sqrt(width) + bias) v; bias, which learns, is broadcast to q k'.

    A CPU has no kernel for a bias that learns, and torch's way around computes all in float32, and looks for rows that
    are masked as a whole. No window has such a row, and products in bfloat16 will do: what they are added to is not.
    """
    if not q.is_cpu:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    weight = full_precision(q @ k.mT) * q.shape[-1] ** -0.5 + bias
    return weight.softmax(dim=-1).to(v.dtype) @ v


class WindowAttention(nn.Module):
    """Attention inside each window, with a learned bias for each relative position."""

    relative_position_index: Tensor
    attn_mask: Tensor | None

    def __init__(self, width: int, heads: int, window: int, mask_WKK: Tensor | None):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.register_buffer("attn_mask", mask_WKK, persistent=False)

    def forward(self, x_BWKD: Tensor) -> Tensor:
        B, W, K, D = x_BWKD.shape
        H = self.heads
        bias_HKK = (
            self.relative_position_bias_table[self.relative_position_index.view(-1)].view(K, K, H).permute(2, 0, 1)
        )
        # Windows and heads share one dimension, so that the bias needs no copy for each clip.
        q, k, v = self.qkv(x_BWKD).view(B, W, K, 3, H, D // H).permute(3, 0, 1, 4, 2, 5).reshape(3, B, W * H, K, D // H)
        if self.attn_mask is None:
            bias = bias_HKK.expand(W, H, K, K).reshape(W * H, K, K)
        else:
            bias = (bias_HKK[None] + self.attn_mask[:, None]).reshape(W * H, K, K)
        x = attended(q, k, v, bias[None])
        return self.proj(x.view(B, W, H, K, D // H).transpose(2, 3).reshape(B, W, K, D))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One Swin block: (shifted) window attention and an MLP, each on a residual path that training may drop."""

    def __init__(self, width: int, heads: int, side: int, window: int, shifted: bool, mlp_ratio: float):
        super().__init__()
        self.side, self.window = side, min(window, side)
        self.shift = window // 2 if shifted and side > window else 0
        mask = shift_mask(side, self.window, self.shift) if self.shift else None
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, self.window, mask)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x_BRCD: Tensor, kept_B2: Tensor | None) -> Tensor:
        """kept_B2: what each clip's two residual branches are multiplied by (0, or 1 over the kept share)."""
        y = self.norm1(x_BRCD)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = from_windows(self.attn(to_windows(y, self.window)), self.side, self.window)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x_BRCD + (y if kept_B2 is None else y * kept_B2[:, 0, None, None, None].to(y.dtype))
        y = self.mlp(self.norm2(x))
        return x + (y if kept_B2 is None else y * kept_B2[:, 1, None, None, None].to(y.dtype))


class Downsample(nn.Module):
    """Joins each 2 x 2 neighbours: half the side, twice the width."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x_BRCD: Tensor) -> Tensor:
        even, odd = x_BRCD[:, 0::2], x_BRCD[:, 1::2]
        x = torch.cat([even[:, :, 0::2], odd[:, :, 0::2], even[:, :, 1::2], odd[:, :, 1::2]], dim=-1)
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    def __init__(self, config: HTSATConfig, stage: int):
        super().__init__()
        width, side = config.width << stage, config.side // (config.patch << stage)
        self.blocks = nn.ModuleList(
            Block(width, config.heads[stage], side, config.window, bool(n % 2), config.mlp_ratio)
            for n in range(config.depths[stage])
        )
        last = stage == len(config.depths) - 1
        if last and config.last_block == "local":
            self.blocks[-1] = LocalBlock(width)
        self.downsample = None if last else Downsample(width)


class PatchEmbed(nn.Module):
    """Image [B, 1, side, side] -> map of patches [B, R, C, D]."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(1, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """By a product of patches, which do not overlap: backward of the convolution takes three times as long."""
        weight, (B, _, side, _), P = self.proj.weight, image.shape, self.proj.kernel_size[0]
        R = side // P
        patch_BRCX = image.view(B, R, P, R, P).transpose(2, 3).reshape(B, R, R, P * P)
        return self.norm(F.linear(patch_BRCX, weight.flatten(1), self.proj.bias))


class HTSAT(nn.Module):
    """Normalised log-mel_BNF -> frame_BTD, T = `config.frames`, D = `config.out_width`."""

    def __init__(self, config: HTSATConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.patch, config.width)
        self.layers = nn.ModuleList(Stage(config, n) for n in range(len(config.depths)))
        self.norm = nn.LayerNorm(config.out_width)
        self.apply(_init)

    def kept_paths(self, seed_B: Tensor | None) -> Tensor | None:
        """What each clip's residual branches are multiplied by: float32 [B, blocks, 2], 0 or 1 over the kept share.

        Drawn from the clip's seed (int64), in training only; None where nothing is dropped. Kept out of `forward`,
        which is compiled: wrapping integer arithmetic is beyond the compiler.
        """
        if not self.training or seed_B is None or self.config.drop_path == 0:
            return None
        depth = sum(self.config.depths)
        rate_L1 = torch.linspace(0, self.config.drop_path, depth, device=seed_B.device)[:, None]
        return (uniform(seed_B, DROP_STREAM, 2 * depth).view(-1, depth, 2) >= rate_L1) / (1 - rate_L1)

    def forward(self, mel_BNF: Tensor, kept_BL2: Tensor | None = None) -> Tensor:
        """kept_BL2: from `kept_paths`; without it no path is dropped."""
        x = self.patch_embed(fold(mel_BNF))
        number = 0
        for stage in self.layers:
            for block in stage.blocks:  # type: ignore[union-attr]
                x = block(x, None if kept_BL2 is None else kept_BL2[:, number])
                number += 1
            if stage.downsample is not None:
                x = stage.downsample(x)  # type: ignore[operator]
        return unfold(self.norm(x))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

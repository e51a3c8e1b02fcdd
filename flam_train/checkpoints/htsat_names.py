"""HTS-AT's own names, which LAION-CLAP and OpenFLAM share, and what its checkpoints hold beside weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flam_train.checkpoints.conversion import Names
from flam_train.models.frontend import FrontendConfig, LogMel
from flam_train.models.htsat import HTSATConfig, relative_position_index, shift_mask

CLASSIFIER = "a classifier of the classes of its pretraining"

SED_MODEL = "sed_model."
"""What Lightning's checkpoints of HTS-AT begin with."""


def htsat_names(prefix: str) -> dict[str, str]:
    """Ours -> theirs, where the audio encoder is called `prefix` (with its dot)."""
    return {"frontend.bn0.": f"{prefix}bn0.", "audio.": prefix}


AUDIOSET = Names(
    title="HTS-AT (AudioSet)",
    prefixes=htsat_names(SED_MODEL),
    left={rf"{SED_MODEL}(tscam_conv|head)\.": CLASSIFIER},
    refused={rf"{SED_MODEL}conv_block": "a PANN, not an HTS-AT"},
)


def front_end(config: FrontendConfig, prefix: str) -> dict[str, Tensor]:
    """The kernels of the STFT and the mel matrix, float32, as torchlibrosa keeps them."""
    n = torch.arange(config.n_fft, dtype=torch.float64)
    angle = 2 * math.pi / config.n_fft * n[: config.n_fft // 2 + 1, None] * n[None, :]
    window = torch.hann_window(config.n_fft, periodic=True, dtype=torch.float64)
    return {
        f"{prefix}spectrogram_extractor.stft.conv_real.weight": (angle.cos() * window).float()[:, None],
        f"{prefix}spectrogram_extractor.stft.conv_imag.weight": (-angle.sin() * window).float()[:, None],
        f"{prefix}logmel_extractor.melW": mel_matrix(config),
    }


def mel_matrix(config: FrontendConfig) -> Tensor:
    """float32 [n_fft / 2 + 1, mel bins]."""
    return LogMel(config).mel.mel_scale.fb.detach().clone()


def windows(config: HTSATConfig, prefix: str) -> dict[str, Tensor]:
    """What each block keeps of its windows: relative positions (int64) and, where it is shifted, its mask (float32)."""
    out = {}
    for stage, depth in enumerate(config.depths):
        side = config.side // (config.patch << stage)
        window = min(config.window, side)
        for block in range(depth):
            name = f"{prefix}layers.{stage}.blocks.{block}."
            out[f"{name}attn.relative_position_index"] = relative_position_index(window)
            if block % 2 and side > config.window:
                out[f"{name}attn_mask"] = shift_mask(side, window, config.window // 2)
    return out


def text_positions(positions: int, prefix: str) -> dict[str, Tensor]:
    """What some versions of transformers kept of RoBERTa's embeddings: int64 [1, positions]."""
    return {
        f"{prefix}embeddings.position_ids": torch.arange(positions)[None],
        f"{prefix}embeddings.token_type_ids": torch.zeros(1, positions, dtype=torch.int64),
    }

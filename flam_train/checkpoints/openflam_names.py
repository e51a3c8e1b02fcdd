"""OpenFLAM's published names and shapes, as plain data."""

from __future__ import annotations

from typing import Any

ROBERTA_BASE: dict[str, Any] = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
"""The text encoder of every released FLAM."""

AUDIO = ("tiny", "base", "large", "base-12hz")
"""The audio encoders of OpenFLAM, by the names of our presets."""

HEADS = {"scale_head.": "fc_per_text_logit_scale.", "bias_head.": "fc_per_text_logit_bias."}
"""Ours -> OpenFLAM's: what it has beside LAION-CLAP."""

FROZEN = "aed_logit_scale"
"""A frozen scale of 1 (its logarithm 0) that the released loss multiplies by."""

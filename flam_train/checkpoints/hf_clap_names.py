"""Hugging Face's `ClapModel`: names and configurations, as plain data."""

from __future__ import annotations

from typing import Any

from flam_train.checkpoints.conversion import Names
from flam_train.checkpoints.laion_names import FUSION

ENCODER, TEXT_MODEL = "audio_model.audio_encoder.", "text_model."

HF_CLAP = Names(
    title="Hugging Face's ClapModel",
    prefixes={
        "frontend.bn0.": f"{ENCODER}batch_norm.",
        "audio.": ENCODER,
        "audio_projection.0.": "audio_projection.linear1.",
        "audio_projection.2.": "audio_projection.linear2.",
        "text.model.": TEXT_MODEL,
        "text_projection.0.": "text_projection.linear1.",
        "text_projection.2.": "text_projection.linear2.",
        "logit_scale": "logit_scale_a",
    },
    inside={
        ".attn.proj.": ".attention.output.dense.",
        ".attn.": ".attention.self.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
        ".norm1.": ".layernorm_before.",
        ".norm2.": ".layernorm_after.",
    },
    joined={".attn.qkv.": (".attention.self.query.", ".attention.self.key.", ".attention.self.value.")},
    left={r"logit_scale_t$": "its second temperature: one serves both directions"},
    refused={rf"{ENCODER}patch_embed\.(fusion_model|mel_conv2d)\.": FUSION},
)

BESIDE = ("scale_head.", "bias_head.")
"""Ours that a ClapModel has no place for."""

AUDIO_SETTINGS: dict[str, tuple[Any, ...]] = {
    "enable_fusion": (False,),
    "hidden_act": ("gelu",),
    "projection_hidden_act": ("relu",),
    "layer_norm_eps": (1e-5,),
    "qkv_bias": (True,),
    "enable_patch_layer_norm": (True,),
    "flatten_patch_embeds": (True,),
    "patch_embed_input_channels": (1,),
}
"""Of `audio_config`: values that our encoder has."""

TEXT_SETTINGS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
    "layer_norm_eps", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip
"""Of `text_config`: what RoBERTa's configuration calls the same."""

EXTRACTOR = {
    "sampling_rate": "sample_rate", "fft_window_size": "n_fft", "hop_length": "hop", "feature_size": "mel_bins",
    "frequency_min": "low_hz", "frequency_max": "high_hz", "max_length_s": "seconds",
}  # fmt: skip
"""Of the feature extractor -> of our front end."""

TRUNCATION = "rand_trunc"
"""The extractor's setting with which its mel filters are Slaney's, as ours; with `fusion` they are HTK's."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer_config.json", "sentencepiece.bpe.model")
EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")

BESIDE_WEIGHTS = (
    "config.json",
    "*processor_config.json",
    "*token*.json",
    "vocab.*",
    "merges.txt*",
    "sentencepiece.bpe*",
)
"""What is fetched from a hub with the weights: patterns need not match (`hub.local`)."""

WEIGHTS = (("model.safetensors*", "model-*.safetensors"), ("pytorch_model.bin*",))
"""Patterns of the weights: the first that match are fetched."""

"""Weights as others write them: a ClapModel, LAION-CLAP, HTS-AT, a multilingual text model; small, and by formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from by_formula import weight
from torch import Tensor

from flam_train.checkpoints.conversion import Names
from flam_train.models.flam import FLAM, FLAMConfig

LETTERS = "abcdefghijklmnopqrstuvwxyzäöüßéабвгдежзиклмнопрстухцчшыья犬吠雨"
"""What the tiny tokenizers know, beside what marks the beginning of a word."""

TINY_AUDIO = {
    "patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 2, 1, 1], "num_attention_heads": [1, 2, 2, 2],
}  # fmt: skip
TINY_TEXT = {
    "vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 90,
}  # fmt: skip
ROBERTA = {
    **TINY_TEXT, "model_type": "roberta", "hidden_size": 64, "num_attention_heads": 1, "type_vocab_size": 1,
    "pad_token_id": 1,
}  # fmt: skip
"""Heads are 64 wide, as in all sizes of RoBERTa."""
EXTRACTOR = {"frequency_min": 50, "frequency_max": 14_000, "truncation": "rand_trunc"}
"""Of LAION's folders; the class has other defaults."""


def by_formula(model: torch.nn.Module) -> torch.nn.Module:
    """Weights and running statistics by their names; what is computed stays."""
    counted = ("num_batches_tracked", "relative_position_index", "position_ids", "token_type_ids")
    state = {k: v if k.endswith(counted) else weight(k, v.shape) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    return model.eval()


def clap_model(audio: dict[str, Any], text: dict[str, Any], projection: int = 16) -> Any:
    from transformers import ClapConfig, ClapModel

    return by_formula(ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=projection)))


def small_flam() -> FLAM:
    """Of the size of model=test, with a RoBERTa."""
    audio = {"width": 8, "depths": [1, 2, 1, 1], "heads": [1, 2, 2, 2]}
    text = {"tower": "roberta", "architecture": ROBERTA}
    return FLAM(FLAMConfig.from_dict({"audio": audio, "embedding": 16, "text": text}), False).eval()


def small_state(names: Names, flam: FLAM | None = None) -> dict[str, Tensor]:
    """The state dict of `small_flam`, or of another, as others call it: what they have names for."""
    state = (flam or small_flam()).state_dict()
    return {names.theirs(k)[0]: v for k, v in state.items() if names.theirs(k)}


def clap_folder(folder: Path, model: Any, **extractor: Any) -> Path:
    """With the feature extractor's file and a tokenizer."""
    from transformers import ClapFeatureExtractor

    model.save_pretrained(folder)
    ClapFeatureExtractor(**{**EXTRACTOR, **extractor}).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def multilingual_folder(folder: Path, **pooling: bool) -> Path:
    """As sentence-transformers writes its multilingual MiniLM: a BERT with a tokenizer of many scripts. pooling: of its
    settings."""
    from transformers import BertConfig, BertModel

    by_formula(BertModel(BertConfig(**TINY_TEXT, pad_token_id=1))).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    modes = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes | pooling))
    return folder


def tokenizer() -> Any:
    """SentencePiece's kind, with RoBERTa's marks: a token a letter of LETTERS, whatever the script."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(mark, 0.0) for mark in marks] + [(c, -2.0) for c in ("▁", *LETTERS)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )

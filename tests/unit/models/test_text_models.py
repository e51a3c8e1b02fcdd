"""Text towers of anybody's: multilingual ones, from folders that transformers and sentence-transformers wrote."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml
from others_weights import TINY_TEXT, by_formula, multilingual_folder, tokenizer

from flam_train.checkpoints.export import load_export, save_export
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.text import TextConfig, build_text, build_tokenizer
from flam_train.paths import conf_dir

PHRASES = ["a dog barks", "собака", "犬吠", "größe été"]
SMALL = {"audio": {"width": 8, "depths": [1, 2, 1, 1], "heads": [1, 2, 2, 2]}, "embedding": 16}


def multilingual(folder) -> dict:
    """conf/text/multilingual.yaml, with a folder for the hub's name."""
    return yaml.safe_load((conf_dir() / "text" / "multilingual.yaml").read_text()) | {"name": str(folder)}


def test_a_multilingual_tower_reads_every_script(tmp_path):
    config = TextConfig(**multilingual(multilingual_folder(tmp_path / "text")))
    tower, words = build_text(config).eval(), build_tokenizer(config)
    tokens_CL, attention_CL = words(PHRASES)
    unknown = words.backend.unk_token_id
    assert (tokens_CL != unknown).all()
    assert tower.fresh == ()
    with torch.inference_mode():
        pooled_CH = tower(tokens_CL, attention_CL)
        for n, phrase in enumerate(PHRASES):
            alone_L, _ = words([phrase])
            states_LH = tower.model(alone_L).last_hidden_state[0]
            mean_H = sum(states_LH) / len(states_LH)  # sentence-transformers' mean, without padding
            assert (pooled_CH[n] - mean_H).abs().max() < 1e-5
    apart = torch.cdist(pooled_CH, pooled_CH) + torch.eye(len(PHRASES))
    assert apart.min() > 1e-2


def test_it_travels_in_the_export(tmp_path):
    folder = multilingual_folder(tmp_path / "text")
    model = FLAM(FLAMConfig.from_dict({**SMALL, "text": multilingual(folder)})).eval()
    export = save_export(model, tmp_path / "export", {})
    shutil.rmtree(folder)
    again = load_export(export)
    with torch.inference_mode():
        assert torch.equal(again.embed_text(PHRASES).text_CD, model.embed_text(PHRASES).text_CD)


def test_a_sentence_that_is_not_the_mean_is_refused(tmp_path):
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    folder = multilingual_folder(tmp_path / "text", **modes)
    with pytest.raises(ValueError, match=r"its sentences are pooling_mode_cls_token .*here the mean of their tokens"):
        build_text(TextConfig(**multilingual(folder)))


def test_xlm_roberta_is_roberta_like(tmp_path):
    from transformers import XLMRobertaConfig, XLMRobertaModel

    theirs = by_formula(XLMRobertaModel(XLMRobertaConfig(**TINY_TEXT, pad_token_id=1)))
    theirs.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    config = TextConfig("roberta", str(tmp_path))
    tower, (tokens_CL, attention_CL) = build_text(config).eval(), build_tokenizer(config)(PHRASES)
    with torch.inference_mode():
        want_CH = theirs(tokens_CL, attention_CL).pooler_output
        assert torch.equal(tower(tokens_CL, attention_CL), want_CH)
    rebuilt = build_text(TextConfig("roberta", architecture=tower.architecture), pretrained=False).eval()
    rebuilt.load_state_dict(tower.state_dict())
    with torch.inference_mode():
        assert torch.equal(rebuilt(tokens_CL, attention_CL), want_CH)


def test_a_model_without_a_pooler_gives_the_mean_alone(tmp_path):
    from transformers import DistilBertConfig, DistilBertModel

    shape = DistilBertConfig(vocab_size=200, dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=90)
    by_formula(DistilBertModel(shape)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    tower = build_text(TextConfig("minilm", str(tmp_path)))
    assert tower.width == 32
    assert build_text(TextConfig("minilm", architecture=tower.architecture), pretrained=False).width == 32
    with pytest.raises(ValueError, match="a distilbert has no pooler: text=minilm takes the mean of its tokens"):
        build_text(TextConfig("roberta", str(tmp_path)))

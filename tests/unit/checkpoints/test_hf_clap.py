"""Hugging Face's ClapModel: in, out, and the same numbers."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from by_formula import tokens, waveforms
from others_weights import EXTRACTOR, TINY_AUDIO, TINY_TEXT, clap_folder, clap_model

from flam_train.checkpoints.export import load_export, save_export
from flam_train.checkpoints.foreign import recognise
from flam_train.checkpoints.hf_clap import frontend_of, save_hf_clap, to_hf_clap
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.frontend import FrontendConfig
from flam_train.models.htsat import PRESETS, HTSATConfig


@pytest.fixture(scope="module")
def theirs():
    return clap_model(TINY_AUDIO, TINY_TEXT)


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    return clap_folder(tmp_path_factory.mktemp("hf") / "clap", theirs)


def heard(model, wave_BS, folder):
    """clip_BD as transformers computes it, from the samples on."""
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor.from_pretrained(folder)
    features = extractor(list(wave_BS.numpy()), sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    with torch.inference_mode():
        return model.get_audio_features(features).pooler_output, features


def read(model, vocabulary):
    tokens_CL, attention_CL = tokens(vocabulary)
    with torch.inference_mode():
        return model.get_text_features(tokens_CL, attention_CL).pooler_output


def assert_same_power(ours_BNF, theirs_BNF):
    """In dB. transformers computes in float64: beside a loud tone, float32 rounds what is a millionth of it."""
    ours, theirs = (10 ** (x.double() / 10) for x in (ours_BNF, theirs_BNF))
    assert ((ours - theirs).abs() <= 1e-5 * theirs.amax(-1, keepdim=True)).all()
    assert (ours_BNF - theirs_BNF).abs().mean() < 1e-3


def check_same(theirs, ours: FLAM, folder, wave_BS):
    clip_BD, features = heard(theirs, wave_BS, folder)
    vocabulary = theirs.config.text_config.vocab_size
    with torch.inference_mode():
        logmel = ours.frontend.logmel(wave_BS)
        mine = ours.embed_audio(wave_BS)
        text_CD = ours.embed_tokens(*tokens(vocabulary)).text_CD
    assert_same_power(logmel, features[:, 0])
    assert (mine.clip_BD - clip_BD).abs().max() < 1e-4
    assert (text_CD - read(theirs, vocabulary)).abs().max() < 1e-4


def test_the_same_embeddings_as_transformers(theirs, folder):
    found = recognise(folder)
    assert found.table.fresh == ()
    assert "the front end is FLAM's" in found.table.notes
    check_same(theirs, found.model(), folder, waveforms()[:2])


@pytest.mark.slow
def test_the_same_embeddings_as_transformers_at_the_size_of_base(tmp_path):
    audio = {
        "patch_embeds_hidden_size": 128, "hidden_size": 1024, "depths": [2, 2, 12, 2],
        "num_attention_heads": [4, 8, 16, 32],
    }  # fmt: skip
    model = clap_model(audio, {}, 512)
    folder = clap_folder(tmp_path / "base", model)
    found = recognise(folder)
    assert found.config.audio == HTSATConfig(**{**PRESETS["base"].__dict__, "drop_path": 0.0})
    check_same(model, found.model(), folder, waveforms()[[0, 3]])


def test_a_front_end_of_other_numbers_is_taken_over(theirs, tmp_path):
    folder = clap_folder(tmp_path / "wide", theirs, frequency_min=0, fft_window_size=2048)
    found = recognise(folder)
    assert found.config.frontend == FrontendConfig(low_hz=0.0, n_fft=2048)
    assert "the front end has n_fft 2048 for 1024, low_hz 0 for 50" in found.table.notes
    check_same(theirs, found.model(), folder, waveforms()[:1])


def test_a_front_end_that_ours_cannot_be_is_told():
    assert frontend_of(None)[0] == FrontendConfig()
    assert frontend_of({"truncation": "rand_trunc"})[0].low_hz == 0  # the class's default, where the file says nothing
    with pytest.raises(ValueError, match="truncation='fusion', which needs a fusion model"):
        frontend_of({**EXTRACTOR, "truncation": "fusion"})
    with pytest.raises(ValueError, match="is for 44100 Hz"):
        frontend_of({**EXTRACTOR, "sampling_rate": 44_100})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enable_fusion": True}, "enable_fusion is True: a fusion checkpoint"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu': our encoder has 'gelu'"),
        ({"spec_size": 512}, "spec_size is 512"),
    ],
)
def test_a_model_that_ours_cannot_be_is_told(folder, tmp_path, change, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["audio_config"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as error:
        recognise(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_weights_in_parts_and_in_the_older_file(theirs, folder, tmp_path):
    want = recognise(folder).state
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    (tmp_path / "old").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    (tmp_path / "old" / "config.json").write_bytes((folder / "config.json").read_bytes())
    for name in ("parts", "old"):
        found = recognise(tmp_path / name)
        assert found.state.keys() == want.keys()
        assert all(torch.equal(found.state[k], v) for k, v in want.items())
        assert found.tokenizer == "roberta-base"  # no tokenizer lies there
    next((tmp_path / "parts").glob("model-00001*")).unlink()
    with pytest.raises(ValueError, match=r"model-00001.*missing or damaged"):
        recognise(tmp_path / "parts")
    (tmp_path / "old" / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="no weights there"):
        recognise(tmp_path / "old")


def test_half_precision_becomes_float32(theirs, tmp_path):
    clap_folder(tmp_path, theirs)
    deepcopy(theirs).half().save_pretrained(tmp_path)
    assert {v.dtype for v in recognise(tmp_path).state.values()} == {torch.float32, torch.int64}


def test_an_export_of_it_speaks(folder, tmp_path):
    found = recognise(folder)
    export = load_export(save_export(found.model(found.tokenizer), tmp_path / "export", {}))
    text = export.embed_text(["дождь", "rain", "雨"])
    assert text.text_CD.shape == (3, 16)
    assert (text.text_CD[0] - text.text_CD[2]).abs().max() > 1e-3


def test_there_and_back(theirs, folder, tmp_path):
    from transformers import AutoTokenizer, ClapModel

    found = recognise(folder)
    config = FLAMConfig.from_dict(found.config.to_dict() | {"phrase_scale": "phrase", "phrase_bias": "phrase"})
    flam = FLAM(config, False, found.model(found.tokenizer).tokenizer).eval()
    flam.load_state_dict(found.state, strict=False)
    table = save_hf_clap(flam, tmp_path / "clap")
    assert {name.split(".")[0] for name, _ in table.left} == {"scale_head", "bias_head"}
    back, info = ClapModel.from_pretrained(tmp_path / "clap", output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]
    want = theirs.state_dict()
    want["logit_scale_t"] = want["logit_scale_a"]
    assert all(torch.equal(v, want[k]) for k, v in back.state_dict().items())
    check_same(back.eval(), flam, tmp_path / "clap", waveforms()[:1])
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "clap")(["rain"])["input_ids"] == flam.tokenizer(["rain"])[0].tolist()
    )
    again = recognise(tmp_path / "clap")
    assert again.config == found.config
    assert all(torch.equal(again.state[k], v) for k, v in found.state.items())
    with pytest.raises(ValueError, match="there already"):
        save_hf_clap(flam, tmp_path / "clap")


def test_a_model_that_a_clap_cannot_be_is_told():
    with pytest.raises(ValueError, match="text 'bytes'"):
        to_hf_clap(FLAM(FLAMConfig.from_dict({"audio": {"width": 8}, "text": {"tower": "bytes"}, "embedding": 8})))


def test_silence_and_clipping_reach_both_front_ends_alike(theirs, folder):
    ours = recognise(folder).model()
    wave_BS = torch.stack([torch.zeros(480_000), torch.sign(torch.sin(torch.arange(480_000) / 20.0))])
    features = heard(theirs, wave_BS, folder)[1]
    assert np.isclose(features[0].min(), -100.0)  # dB, the floor
    assert_same_power(ours.frontend.logmel(wave_BS), features[:, 0])

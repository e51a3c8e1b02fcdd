"""What a run is built as: as `init`, or as the experiment and the command line choose; what it may start from."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from others_weights import small_state
from tiny_runs import tiny_roberta

from flam_train.checkpoints.export import TOKENIZER, save_export
from flam_train.checkpoints.foreign import recognise
from flam_train.checkpoints.htsat_names import AUDIOSET
from flam_train.checkpoints.initial import config_of, start
from flam_train.checkpoints.run_checkpoint import AVERAGE, DIGEST, RUN, digest
from flam_train.cli.train import compose_conf
from flam_train.models.flam import FLAM, FLAMConfig, audio_preset
from flam_train.models.frontend import FrontendConfig
from flam_train.models.htsat import HTSATConfig
from flam_train.models.text import TextConfig
from flam_train.training.configuration import changes, resolved, sections_of

AUDIO = HTSATConfig(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2), drop_path=0.05)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """An export with a RoBERTa, whose own folder is not there any more; the model, and that folder."""
    folder = tmp_path_factory.mktemp("given")
    text = TextConfig("roberta", str(tiny_roberta(folder / "roberta")), 40)
    config = FLAMConfig(
        frontend=FrontendConfig(mask_stripes=1), audio=AUDIO, text=text, embedding=16, phrase_bias="one"
    )
    torch.manual_seed(0)
    model = FLAM(config).eval()
    save_export(model, folder / "export", {})
    torch.save({"state_dict": small_state(AUDIOSET)}, folder / "htsat.ckpt")
    shutil.rmtree(folder / "roberta")
    return folder / "export", model, folder / "roberta"


def sections(*overrides: str) -> tuple:
    conf = compose_conf(list(overrides))
    return conf["model"], conf["text"], conf["init"]


def test_init_alone_brings_model_and_text(given):
    """From an export alone: of the text model's folder nothing is left."""
    export, theirs, _ = given
    model, table = start(*sections(f"init={export}"))
    assert model.config == theirs.config
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in model.state_dict().items())
    assert torch.allclose(*(m.embed_text(["a dog"]).text_CD for m in (model.eval(), theirs)), atol=1e-6)
    assert table.notes[:2] == (
        "text as init: roberta",
        "model as init: HTS-AT of width 8 and depths [1, 2, 1, 1], embedding 16",
    )
    assert config_of(*sections("experiment=finetune", f"init={export}", "data.frame.custom.path=x")) == theirs.config


def test_without_init_both_have_their_defaults():
    assert config_of(*sections()) == FLAMConfig(audio=audio_preset("tiny"), text=TextConfig("minilm"))
    found = config_of(*sections("model.audio=small", "model.embedding=256", "text.name=x", "text.max_tokens=9"))
    assert (found.audio, found.embedding) == (audio_preset("small"), 256)
    assert found.text == TextConfig("minilm", "x", 9)


def test_what_is_set_beside_goes_first(given):
    export, theirs, _ = given
    found = config_of(*sections(f"init={export}", "model.phrase_bias=phrase", "+model.frontend.mask_bins=4"))
    assert found == replace(theirs.config, phrase_bias="phrase", frontend=FrontendConfig(mask_stripes=1, mask_bins=4))
    found = config_of(*sections(f"init={export}", "model.audio={drop_path:0.2}", "text.max_tokens=30"))
    assert found.audio == replace(AUDIO, drop_path=0.2)
    assert found.text == replace(theirs.config.text, max_tokens=30)
    with pytest.raises(ValueError, match=r"text\.max_tokens: 600, but the tower has 510 positions"):
        start(*sections(f"init={export}", "text.max_tokens=600"))


def test_what_is_chosen_stands(given):
    """By an experiment, or on the command line."""
    export, _, _ = given
    found = config_of(*sections("experiment=demo", f"init={export}"))
    assert found.audio == replace(audio_preset("small"), drop_path=0.0)
    assert (found.embedding, found.phrase_bias, found.text) == (256, "phrase", TextConfig("minilm"))
    found = config_of(*sections("model=base", f"init={export}"))
    assert found.audio == audio_preset("base")
    assert found.text.tower == "roberta"  # that was not chosen
    told = (
        r"init: \S+export has another architecture than this run, HTS-AT of width 8 and depths \[1, 2, 1, 1\], "
        r"embedding 16: .*model\.audio\.width is 8 there, 64 in the settings; .*model\.embedding is 16 there, 256 in "
        "the settings: model=as_init, the default, takes its own$"
    )
    with pytest.raises(ValueError, match=told):
        start(*sections("model=small", "text=bytes", f"init={export}"))


def test_a_text_tower_that_is_chosen_as_it_is_there_is_not_read_again(given):
    export, theirs, folder = given
    model, table = start(*sections("model=test", "text=roberta", f"text.name={folder}", f"init={export}"))
    assert not folder.exists()
    assert model.config.text == replace(theirs.config.text, max_tokens=77)
    assert not [name for name in table.fresh if not name.startswith("bias_head.")]
    with pytest.raises(ValueError, match="no text model at"):
        start(*sections("model=test", "text=roberta", f"text.name={folder}x", f"init={export}"))


def test_where_there_is_no_text_tower_it_is_the_default_and_told(given, tmp_path):
    text = tiny_roberta(tmp_path / "text")
    init = f"init={given[0].parent / 'htsat.ckpt'}"
    encoder = replace(AUDIO, drop_path=HTSATConfig.drop_path)
    assert config_of(*sections(init)) == FLAMConfig(audio=encoder, text=TextConfig("minilm"))
    _, table = start(*sections(init, f"text.name={text}"))
    assert table.notes[0] == "text is minilm: init has none"
    _, table = start(*sections(init, "text=bytes", "model=test"))
    assert table.notes[0] == "text is bytes: init has none"


def test_the_configuration_that_is_kept_says_what_it_was(given):
    """And is the same one however that is spelt."""
    export, theirs, folder = given
    shards = [f"data.{kind}.synthetic.path=x" for kind in ("global", "frame")]
    asked = compose_conf([f"init={export}", *shards])
    kept = resolved(asked, sections_of(theirs.config))
    assert kept["text"] == {"tower": "roberta", "name": str(folder), "max_tokens": 40}
    assert (kept["model"]["audio"]["width"], kept["model"]["phrase_bias"]) == (8, "one")
    assert asked["model"]["as_init"]
    assert resolved(kept, {"model": {}, "text": {}}) == kept
    assert not changes(kept, resolved(asked, kept))
    spelt = ["text=roberta", f"text.name={folder}", "text.max_tokens=40", "model=test", "model.phrase_bias=one"]
    spelt += ["+model.frontend.mask_stripes=1", "+model.audio.drop_path=0.05"]
    assert not changes(kept, resolved(compose_conf([f"init={export}", *shards, *spelt]), kept))
    older = kept | {"model": {"as_init": True}, "text": {"tower": "as_init", "name": ""}}
    assert not changes(older, resolved(asked, older))
    beside = resolved(compose_conf([f"init={export}", *shards, "model.phrase_bias=phrase"]), kept)
    assert changes(kept, beside) == {"model.phrase_bias": ("one", "phrase")}


def checkpoint(model: FLAM, **more) -> dict:
    """As a run writes it, with what a model does not need."""
    state = {f"model.{k}": v.clone() for k, v in model.state_dict().items()}
    found = {
        "state_dict": state | {"metric.count": torch.zeros(1)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "global_step": 7,
        RUN: {"architecture": model.config.to_dict()},
        **more,
    }
    return found | {DIGEST: digest(found)}


def test_a_runs_checkpoint(given, tmp_path):
    _, theirs, _ = given
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint(theirs), file)
    theirs.tokenizer.save(tmp_path / TOKENIZER)
    model, table = start(*sections(f"init={file}"))
    assert model.config == theirs.config
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in model.state_dict().items())
    assert torch.allclose(*(m.embed_text(["a dog"]).text_CD for m in (model.eval(), theirs)), atol=1e-6)
    assert table.source == "a run's checkpoint, its weights after 7 steps"


def test_of_a_runs_checkpoint_the_running_mean(given, tmp_path):
    _, theirs, _ = given
    mean = {f"model.{name}": p.detach() + 1 for name, p in theirs.double().named_parameters()}
    torch.save(checkpoint(theirs, **{AVERAGE: mean}), tmp_path / "best.ckpt")
    theirs.float()
    found = recognise(tmp_path / "best.ckpt")
    assert found.table.source == "a run's checkpoint, the running mean of its weights after 7 steps"
    assert {v.dtype for v in found.state.values()} == {torch.float32, torch.int64}
    for name, value in theirs.named_parameters():
        assert torch.equal(found.state[name], value + 1)
    for name, value in theirs.named_buffers():
        assert name not in found.state or torch.equal(found.state[name], value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"global_step": 8}, "altered since it was written: take another checkpoint of the run, or its export"),
        ({RUN: {}, DIGEST: None}, r"older version, .*: give the run's export, or make one: flam-convert checkpoint /"),
    ],
)
def test_a_runs_checkpoint_that_cannot_be_used(given, tmp_path, change, told):
    found = checkpoint(given[1]) | change
    torch.save({k: v for k, v in found.items() if v is not None}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=rf"init: \S+a\.ckpt: .*{told}"):
        start(*sections(f"init={tmp_path / 'a.ckpt'}"))

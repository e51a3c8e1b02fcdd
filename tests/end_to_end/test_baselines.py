"""FLAM-Global and MGA-CLAP as a user trains and evaluates them, at the smallest size."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import TINY, metrics, on_shards, tiny_roberta

from flam_train.cli.train import compose_conf, main
from flam_train.data.shards.corpus import Corpus
from flam_train.evaluation.frame_embeddings import embed_frames
from flam_train.evaluation.report.figures import sed_figures
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, result_of
from flam_train.inference import detect, load_model, score_recording
from flam_train.models.mga import LocalBlock
from flam_train.training.micro_batches import joined
from flam_train.training.run import build, train

AUDIO = "model.audio={width: 8, depths: [1, 2, 1, 1], heads: [1, 2, 2, 2]}"
BASELINES = {
    "flam_global": ["model=flam_global", AUDIO, "model.embedding=16"],
    "mga_clap": ["model=mga_clap", "loss=mga_clap", AUDIO, "model.embedding=16", "model.codewords=64"],
}


def overrides_for(name: str, corpora) -> list[str]:
    chosen = [o for o in TINY if o != "model=test"]
    return [*chosen, *BASELINES[name], *on_shards(*corpora), "global_batch=4", "frame_batch=0"]


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_trains_and_locates_phrases(name, corpora, tmp_path):
    export = train(compose_conf([*overrides_for(name, corpora), f"run_dir={tmp_path}", "steps=3"]))
    found = metrics(tmp_path)
    assert {key for _, key in found if key.startswith("loss/")} == {"loss/global", "loss/total"}
    assert 0 <= float(found[1, "val/synthetic/auroc_macro"]) <= 1

    model, corpus = load_model(export), Corpus(corpora[1])
    assert (model.codebook is not None) == (name == "mga_clap")
    assert isinstance(model.audio.layers[-1].blocks[-1], LocalBlock) == (name == "mga_clap")
    waveform_S, phrases = torch.from_numpy(corpus.waveform(0)), ["a siren", "a bell rings"]
    score_CT = score_recording(model, waveform_S, phrases)
    with torch.inference_mode():
        frame_BTD, text = model.embed_audio(waveform_S[None]).frame_BTD, model.embed_text(phrases)
    cosine_CT = text.text_CD @ frame_BTD[0].T
    assert torch.allclose(score_CT, (1 + cosine_CT) / 2, atol=1e-5)
    middle = float(score_CT.median())
    assert all(d.score > middle for d in detect(model, waveform_S, phrases, middle))

    scores = Scores(embed_frames(model, corpus))
    result = result_of(scores, SedMetrics(metrics=("auroc", "frame_f1", "calibration")))
    assert result.parameters["method"] == "cosine"
    assert not any("biased" in name or "calibration" in name for name in result.metrics)  # no probabilities
    assert set(sed_figures(scores, SedMetrics(metrics=("auroc",)), "a")) == {"f1", "classes"}
    assert 0 <= result.metrics["auroc/macro"] <= 1


@pytest.mark.parametrize("name", BASELINES)
def test_what_learns_has_a_gradient(name, corpora, tmp_path):
    """With a text tower that has a pooler: DDP would wait for ever on a parameter without one."""
    roberta = ["text=roberta", f"text.name={tiny_roberta(tmp_path / 'roberta')}"]
    overrides = [o for o in overrides_for(name, corpora) if o != "text=bytes"]
    run = build(compose_conf([*overrides, *roberta]))
    batch = [run.data.steps_of(0, 1)[0]]
    step = joined(batch)
    losses = run.module.losses(step, *run.module.train().embed(batch, step))
    losses["global"].backward()
    parameters = dict(run.module.model.named_parameters())
    assert not [n for n, p in parameters.items() if p.requires_grad and p.grad is None]
    assert {n for n, p in parameters.items() if not p.requires_grad} == (
        {"text.model.pooler.dense.weight", "text.model.pooler.dense.bias"} if name == "mga_clap" else set()
    )


def test_the_frame_losses_are_refused(corpora, tmp_path, capsys):
    base = [*TINY, *on_shards(*corpora), "global_batch=4", "frame_batch=4", f"run_dir={tmp_path}"]
    assert main([*base, "model.phrase_scale=none", "model.phrase_bias=none"]) == 2
    assert "scored by cosine: set frame_batch=0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "more"), [("flam_global", []), ("mga_clap", ["model=mga_clap", "loss.hard_negative=0.15"])]
)
def test_the_esc10_variants_are_one_choice_beside_esc10_cpu(name, more):
    """As the files say it: the same run from experiment=esc10_cpu and a list of overrides."""
    size = ["model.audio=small", "model.embedding=256", "data/frame=[]", "global_batch=18", "frame_batch=0"]
    spelt_out = compose_conf(["experiment=esc10_cpu", *(more or ["model=flam_global"]), *size])
    chosen, flam = compose_conf([f"experiment=esc10_cpu_{name}"]), compose_conf(["experiment=esc10_cpu"])
    assert chosen | {"name": "esc10_cpu", "run_dir": "runs/esc10_cpu"} == spelt_out
    budget = ("steps", "seed", "text", "optim", "trainer")
    assert {k: chosen[k] for k in budget} == {k: flam[k] for k in budget}
    assert chosen["global_batch"] == flam["global_batch"] + flam["frame_batch"]

"""Training on tags: frames are found from labels that say of clips alone what is heard; it resumes, on any ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tagged_tones import PITCH, tones
from test_training import assert_same_run, stopped_after
from tiny_runs import TINY, flam_train_on_ranks, metrics, write_corpus

from flam_train.cli.train import compose_conf, main
from flam_train.data import Corpus
from flam_train.data.shards.schema import Record, Tag
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.inference import load_model
from flam_train.training.run import build, train

SMALL = ["model=small", "model.audio.width=16", "model.audio.heads=[1,2,4]", "model.embedding=32"]
PLAIN = ["+model.audio.drop_path=0", "+model.frontend.mask_stripes=0", "optim.schedule=constant"]
OFF = ["data/global=[]", "data/frame=[]", "global_batch=0", "frame_batch=0"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tones")
    made = {"tags": (24, 0, True), "events": (6, 2, False), "test": (12, 1, False)}
    return {name: tones(folder / name, *how) for name, how in made.items()}


def on_tags(shards: dict[str, Path], folder: Path, *more: str) -> list[str]:
    tags = ["data/weak=[custom]", f"data.weak.custom.path={shards['tags']}", "weak_batch=4"]
    return [*TINY, *OFF, *tags, f"run_dir={folder}", *more]


def found_among(export: Path, corpus: Corpus) -> dict[str, float]:
    """{sound: how often its frames score above those in which only the other one is heard}: .5 is chance, however
    loud they are beside silence."""
    model = load_model(export)
    scores, labels = [], []
    with torch.no_grad():
        text = model.embed_text(list(PITCH))
        for n in range(len(corpus)):
            heard = model.embed_audio(torch.from_numpy(corpus.waveform(n))[None])
            scores.append(model.localize(heard.frame_BTD, text)[0])
            events = corpus.record(n).events
            of_sound = [[e for e in events if e.label == sound] for sound in PITCH]
            rows = [model.grid.labels([e.onset for e in es], [e.offset for e in es]).any(0) for es in of_sound]
            labels.append(torch.from_numpy(np.stack(rows)))
    score_KT, label_KT = torch.cat(scores, 1), torch.cat(labels, 1)
    out = {}
    for k, sound in enumerate(PITCH):
        score_T, label_T = score_KT[k, label_KT.any(0)], label_KT[k, label_KT.any(0)]
        out[sound] = float((score_T[label_T][:, None] > score_T[~label_T][None]).double().mean())
    return out


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(("pooling", "least"), [("linear_softmax", 0.9), ("max", 0.6)])
def test_tags_alone_teach_where_a_sound_is(pooling, least, shards, tmp_path):
    """By the largest frame less than by all: over three seeds .68 to 1.0 and .97 to .99."""
    more = ["steps=60", "weak_batch=6", "optim.lr=1e-3", "optim.warmup_steps=5", f"loss.weak_pooling={pooling}"]
    more += [f"data.weak.custom.validation={shards['test']}", "trainer.validate_every=60"]
    train(compose_conf(on_tags(shards, tmp_path, *SMALL, *PLAIN, *more)))
    found = metrics(tmp_path)
    loss_N = [float(found[step, "loss/weak"]) for step in range(60)]
    assert np.mean(loss_N[50:]) < 0.4 * np.mean(loss_N[:10])
    assert float(found[59, "val/custom/auroc_macro"]) > least
    assert np.mean(list(found_among(tmp_path / "export", Corpus(shards["test"])).values())) > least


def all_three(shards: dict[str, Path], folder: Path) -> list[str]:
    corpora = {"global": "tags", "frame": "events", "weak": "tags"}
    chosen = [f"data/{kind}=[custom]" for kind in corpora]
    chosen += [f"data.{kind}.custom.path={shards[name]}" for kind, name in corpora.items()]
    sizes = ["global_batch=4", "frame_batch=4", "weak_batch=4", "data.workers=1", "loss.duplicate_clips=multi"]
    return [*TINY, *chosen, *sizes, f"run_dir={folder}"]


def test_all_three_batches_resume_exactly(shards, tmp_path, monkeypatch):
    train(compose_conf(all_three(shards, tmp_path / "whole")))
    again = compose_conf(all_three(shards, tmp_path / "again"))
    with stopped_after(2, monkeypatch):
        train(again)
    train(again)
    assert_same_run(tmp_path / "again", tmp_path / "whole")
    names = {name for _, name in metrics(tmp_path / "whole") if name.startswith("loss/")}
    assert names == {f"loss/{name}" for name in ("global", "sed", "prior", "weak", "total")}
    data = load_model(tmp_path / "whole" / "export").provenance["data"]
    assert set(data) == {"global", "frame", "weak"}


def test_two_processes_on_tags_alone(shards, tmp_path):
    """What only other losses train does not learn: DDP waits for ever on a parameter without gradient."""
    overrides = ["optim.lr=1e-4", "model.phrase_bias=one"]
    train(compose_conf(on_tags(shards, tmp_path / "one", *overrides)))
    flam_train_on_ranks(2, *on_tags(shards, tmp_path / "two", *overrides))
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert {name for _, name in one if name.startswith("loss/")} == {"loss/weak", "loss/total"}
    for step in range(4):
        assert float(two[step, "loss/weak"]) == pytest.approx(float(one[step, "loss/weak"]), rel=1e-3)


def test_the_bias_stays_where_it_was(shards, tmp_path):
    run = build(compose_conf(on_tags(shards, tmp_path)))
    learns = {name.split(".")[0] for name, p in run.module.model.named_parameters() if p.requires_grad}
    assert "scale_head" in learns
    assert not {"bias_head", "logit_scale"} & learns


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["weak_batch=0"], "data/weak selects custom, but weak_batch=0"),
        (["data/weak=[]"], "data/weak selects no corpus, but weak_batch=4"),
        (["weak_batch=3", "accumulate=2"], "weak_batch=3 does not divide by 1 ranks x 2 micro-batches"),
        (["loss.weak_pooling=mean"], "loss.weak_pooling: 'mean' is not known"),
        (["model.phrase_scale=none", "model.phrase_bias=none"], "weak_batch=4: a model without phrase_scale"),
    ],
)
def test_what_is_refused(overrides, message, shards, tmp_path, capsys):
    arguments = on_tags(shards, tmp_path / "run", *overrides)
    if "data/weak=[]" in overrides:
        arguments = [a for a in arguments if "weak.custom" not in a]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_run_and_the_dry_run_name_labels_that_are_one_to_the_tokenizer(shards, tmp_path, capsys):
    folder, noise = tmp_path / "alike", np.arange(48_000, dtype=np.int16)
    samples = [(Record(f"k{n}", 1.0, tags=(Tag(said),)), noise) for n, said in enumerate(("a cold", "a cough", "rain"))]
    write_manifest(folder, "alike", [write_shard(folder / "a.tar", samples)], vocabulary=None, annotates=[])
    arguments = on_tags(shards | {"tags": folder}, tmp_path / "run", "steps=1", "trainer.validate_every=1")
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "weak   4 clips a step from custom (3 clips of" in out
    assert "batch        tags of rank 0, step 0: waveform_BS [4, 480000]" in out
    assert "warning" not in out
    told = (
        "warning: labels that become the same tokens, so that no score tells them apart: 'a cold' and 'a cough': write"
    )
    assert main([*arguments, "text.max_tokens=3", "--dry-run"]) == 0
    assert told in capsys.readouterr().out
    assert main([*arguments, "text.max_tokens=3"]) == 0
    assert told in capsys.readouterr().err


def test_a_number_that_would_never_be_one_is_not_monitored(tmp_path):
    """Shards with a vocabulary and tags alone have no event to find."""
    tagged = write_corpus(tmp_path / "tagged", 4, 0, tagged=True)
    monitor = "trainer.monitor=val/custom/auroc_macro"
    tags = ["data/weak=[custom]", f"data.weak.custom.path={tagged}", "weak_batch=4", monitor]
    with pytest.raises(ValueError, match="is not computed, the validation shards have no events"):
        build(
            compose_conf([*TINY, *OFF, *tags, f"data.weak.custom.validation={tagged}", f"run_dir={tmp_path / 'run'}"])
        )
    with pytest.raises(ValueError, match="nothing is validated: set data"):
        build(compose_conf([*TINY, *OFF, *tags, f"run_dir={tmp_path / 'run'}"]))


def test_a_text_tower_that_nothing_trained_is_not_frozen(shards, tmp_path):
    with pytest.raises(ValueError, match=r"optim\.freeze: 'text\..*of text was never trained"):
        build(compose_conf(on_tags(shards, tmp_path, "optim.freeze=[text]")))
    assert main(on_tags(shards, tmp_path, "optim.freeze=[nonsense]", "--check")) == 2

"""Validation in whole runs: its faults end the command, a corpus may be smaller than the ranks, evaluation agrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from tagged_tones import tones
from tiny_runs import TINY, conf, damage, flam_train, flam_train_on_ranks, metrics, on_shards, write_corpus

from flam_train.cli.train import compose_conf, main
from flam_train.data import Corpus
from flam_train.evaluation import Scores, SedMetrics, embed_frames
from flam_train.evaluation.sed import result_of
from flam_train.inference import load_model
from flam_train.metrics.detection import PSDS
from flam_train.training.run import train

NAMES = {"auroc/macro": "auroc_macro", "auroc/micro": "auroc_micro", "event_f1/macro": "event_f1"}
NAMES[f"PSDS1[{PSDS['PSDS1']}]"] = "psds1"


def logged(run: Path, step: int, name: str) -> dict[str, float]:
    start = f"val/{name}/"
    found = {key.removeprefix(start): float(v) for (at, key), v in metrics(run).items() if at == step}
    return {key: v for key, v in found.items() if f"{start}{key}" in {k for _, k in metrics(run)} and "/" not in key}


def assert_as_evaluated(run: Path, shards: Path, name: str) -> None:
    """The last validation, and what eval/sed.py computes of the export."""
    chosen = SedMetrics(metrics=("auroc", "event_f1", "psds"))
    made = embed_frames(load_model(run / "export"), Corpus(shards))
    want = result_of(Scores(made, unannotated="mask"), chosen).metrics
    want = {NAMES[key]: value for key, value in want.items() if key in NAMES}
    found = {key: value for key, value in logged(run, 3, name).items() if key in NAMES.values()}
    assert found == pytest.approx(want, abs=1e-6)


def test_the_export_has_the_numbers_of_the_last_validation(finished, corpora, tmp_path):
    assert_as_evaluated(finished, corpora[1], "synthetic")
    assert set(logged(finished, 3, "synthetic")) >= {*NAMES.values(), "text_to_audio_R@1"}


def test_own_labels_are_validated(tmp_path, capsys):
    """As data_prep/custom.py writes them: open phrases, not complete; in some clips there are tags beside them."""
    mine = tones(tmp_path / "train", 6, 0, tagged=False)
    test = tones(tmp_path / "test", 4, 1, tagged=False)
    corpus = ["data/frame=[custom]", f"data.frame.custom.path={mine}", f"data.frame.custom.validation={test}"]
    monitor = ["trainer.monitor=val/custom/event_f1", "data/global=[]", "global_batch=0", "frame_batch=4"]
    train(compose_conf([*TINY, *corpus, *monitor, f"run_dir={tmp_path}/run"]))
    assert_as_evaluated(tmp_path / "run", test, "custom")
    said = capsys.readouterr().err
    assert "custom: labels are not complete: each of 2 is scored in the clips that list it" in said
    assert "validation at step 2: custom/audio_to_text_R@1" in said
    assert "custom/event_f1" in said


@pytest.mark.slow
@pytest.mark.ci
def test_a_fault_in_a_validation_ends_the_command(tmp_path):
    """Loader workers wait for it meanwhile: the program waited for them, for ever."""
    mine, test = write_corpus(tmp_path / "train", 12, 0), write_corpus(tmp_path / "test", 5, 1)
    damage(test, 1.0)
    sizes = ["global_batch=4", "frame_batch=4", "data.workers=2", "trainer.checkpoint_every=1"]
    done = flam_train(*TINY, *on_shards(mine, test), f"run_dir={tmp_path}/run", *sizes, check=False)
    assert done.returncode == 2, done.stderr[-3000:]
    assert f"flam-train: {test}/shard-000000.tar: sample 0 ('clip-000'): its audio bytes are damaged" in done.stderr
    assert (tmp_path / "run/last.ckpt").is_file()


def test_a_number_that_is_not_logged_is_no_monitor(tmp_path, capsys):
    """Recalls are logged of clips with captions."""
    mine = tones(tmp_path / "train", 6, 0, tagged=False)
    corpus = ["data/frame=[custom]", f"data.frame.custom.path={mine}", "data/global=[]", "global_batch=0"]
    test = without_captions(tmp_path / "test", mine)
    line = [*TINY, *corpus, f"data.frame.custom.validation={test}", "frame_batch=4", f"run_dir={tmp_path}/run"]
    line += ["trainer.monitor=val/custom/text_to_audio_R@1"]
    for how in ([], ["--dry-run"], ["--check"]):
        assert main([*how, *line]) == 2
        told = capsys.readouterr()
        assert "val/custom/text_to_audio_R@1: is not computed, no clip of the validation" in told.out + told.err
    assert not (tmp_path / "run/last.ckpt").exists()


def without_captions(folder: Path, source: Path) -> Path:
    from dataclasses import replace

    from flam_train.data.shards.writing import write_manifest, write_shard

    corpus = Corpus(source)
    samples = [(replace(corpus.record(n), captions=()), corpus.waveform(n)) for n in range(len(corpus))]
    write_manifest(folder, "test", [write_shard(folder / "a.tar", samples)], vocabulary=None, annotates=[])
    return folder


def test_a_corpus_of_fewer_clips_than_ranks_is_validated(corpora, tmp_path):
    one_clip = tones(tmp_path / "one", 1, 1, tagged=False)
    shape = ["trainer.monitor=val/synthetic/auroc_macro", "data.validation_batch=2"]
    options = conf((corpora[0], one_clip), tmp_path / "alone", *shape)
    train(options)
    arguments = [*TINY, *on_shards(corpora[0], one_clip), "global_batch=4", "frame_batch=4", *shape]
    flam_train_on_ranks(2, *arguments, f"run_dir={tmp_path}/two")
    assert set(logged(tmp_path / "two", 3, "synthetic")) == set(logged(tmp_path / "alone", 3, "synthetic"))
    assert_as_evaluated(tmp_path / "two", one_clip, "synthetic")


def test_the_check_sees_validation(corpora, tmp_path, capsys, monkeypatch):
    from flam_train.training.launch import node

    other = write_corpus(tmp_path / "other", 4, 2)
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"vocabulary": "synthetic"', '"vocabulary": "esc10"'))
    text = manifest.read_text()
    start, end = text.index('"annotates": ['), text.index("]", text.index('"annotates": [')) + 1
    manifest.write_text(text[:start] + '"annotates": []' + text[end:])
    start = ["--check", *TINY, "global_batch=4", "frame_batch=4", f"run_dir={tmp_path}/run"]
    assert main([*start, *on_shards(corpora[0], other)]) == 2
    said = capsys.readouterr().out
    assert "problem" in said
    assert f"{other}/shard-000000.tar: sample 0" in said
    assert "is not among those to be scored" in said
    assert main([*start, *on_shards(*corpora), "trainer.monitor=val/synthetic/psds2"]) == 2
    assert "trainer.monitor: 'val/synthetic/psds2' is not known" in capsys.readouterr().out
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:    9 kB\n")
    monkeypatch.setattr(node, "MEMORY", tmp_path / "meminfo")
    assert main([*start, *on_shards(*corpora)]) == 2
    assert "of the first process' memory, 0.00879 MiB are free: validate on fewer clips" in capsys.readouterr().out

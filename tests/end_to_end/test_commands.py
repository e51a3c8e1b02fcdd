"""The evaluation scripts on a model that this test trains for one step: what they write, print and return."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import script
from tiny_runs import TINY, on_shards, write_corpus

from flam_train.cli.train import compose_conf
from flam_train.evaluation.choices import METRICS
from flam_train.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("commands")
    corpus = write_corpus(folder / "test", 6, 3)
    overrides = [*TINY, *on_shards(corpus), "steps=1", "global_batch=2", "frame_batch=2", f"run_dir={folder / 'run'}"]
    return train(compose_conf(overrides)), corpus


def test_evaluation_to_table(trained, tmp_path):
    export, corpus = trained
    results = tmp_path / "results"
    for kind in ("trained", "held_out"):
        done = script("eval/sed.py", export, corpus, "--phrasings", kind, "--out", results, "--plot", "1")
        assert done.returncode == 0, done.stderr
    done = script("eval/retrieval.py", export, corpus, "--out", results)
    assert done.returncode == 0, done.stderr
    found = {p.stem: json.loads(p.read_text()) for p in results.glob("*.json")}
    assert len(found) == 3
    for result in found.values():
        assert result["clips_expected"] == result["clips_evaluated"] == 6
    assert len(list((results / "heatmaps").glob("*.png"))) == 2
    (kept,) = (results / "scores").glob("sed-*.safetensors")
    again = tmp_path / "again"
    done = script("eval/sed.py", kept, "--phrasings", "trained", "--metrics", *METRICS, "--figures", "--out", again)
    assert done.returncode == 0, done.stderr
    assert [len(list(again.glob(name))) for name in ("*.json", "*-classes.csv", "*-cross-triggers.csv")] == [1, 1, 1]
    assert len(list((again / "figures").glob("*-cross-triggers.png"))) == 1
    done = script("eval/table.py", results, "--out", tmp_path / "table")
    assert done.returncode == 0, done.stderr
    for ending in ("md", "csv", "tex"):
        assert (tmp_path / f"table.{ending}").read_text().strip()
    missed = script("eval/table.py", results, "--require", "sed/trained", "auroc/macro", "1.01")
    assert missed.returncode == 1
    reached = script("eval/table.py", results, "--require", "sed/trained", "auroc/macro", "0.0")
    assert reached.returncode == 0


def test_user_mistakes_are_answered_in_a_line(trained, tmp_path):
    export, corpus = trained
    for arguments, message in (
        ((tmp_path, corpus), "not an export"),
        ((export, tmp_path), "manifest.json"),
        (
            (export, corpus.parent),
            f"{corpus.parent} has no manifest.json; it has test/: name one of them, like {corpus}",
        ),
    ):
        done = script("eval/sed.py", *arguments, "--phrasings", "trained", "--out", tmp_path / "results")
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr

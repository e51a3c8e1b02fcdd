"""A model card says what is known, and of the rest that it is not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from huggingface_hub import ModelCard
from in_process import program

from flam_train.checkpoints.export import load_export, read_provenance, save_export
from flam_train.cli.convert import main
from flam_train.evaluation.card import model_card, of_model
from flam_train.evaluation.choices import protocols
from flam_train.evaluation.protocol import Protocol
from flam_train.evaluation.result import Result
from flam_train.models.flam import FLAM

SHA256 = "ab" * 32
PSDS1 = "PSDS1[dtc=0.7,gtc=0.7,cttc=none,alpha_ct=0,alpha_st=1,max_efpr=100]"
PROTOCOLS = [Protocol.load(name) for name in protocols()]

BARKS = {"name": "barks-train", "sha256": "1" * 64, "samples": 1200, "seconds": 12_000.0}
PROVENANCE = {
    "run": "dogs",
    "steps": 400,
    "seed": 3,
    "sha256": SHA256,
    "flam_train": "0.1.0",
    "config": {"init": "hf://lab/flam"},
    "data": {
        "global": {"custom": [BARKS | {"licences": {"CC0-1.0": 700, "CC-BY-4.0": 500}, "authors": {"A": 9}}]},
        "frame": {
            "custom": [BARKS | {"licences": {"CC0-1.0": 700, "CC-BY-4.0": 500}, "authors": {"A": 9}}],
            "online": [{"name": "bank|two", "sha256": "2" * 64}],
        },
    },
}


def result(protocol="sed/trained", dataset="desed", metrics=None, **changes):
    fields = {
        "split": "",
        "vocabulary": None,
        "parameters": {"method": "unbiased"},
        "metrics": metrics or {"auroc/macro": 0.9, PSDS1: 0.125, "frame_f1/macro": math.nan},
        "spread": {},
        "clips_expected": 692,
        "clips_evaluated": 690,
        "missing": {"a": "damaged", "b": "damaged"},
        "model": {"sha256": SHA256, "run": "dogs"},
        "data": {"sha256": "0" * 64},
        "date": "2026-01-02T00:00:00+00:00",
    }
    return Result(protocol, dataset, **fields | changes)


DESED = result(parameters={"method": "unbiased", "protocol": "desed", "set": "DESED, public evaluation"})
MINE = result("retrieval", "mine", {"text_to_audio/R@1": 0.25}, split="test", clips_expected=40, clips_evaluated=40)


@pytest.fixture
def card(small_config):
    def made(results=(DESED, MINE), provenance=PROVENANCE, **options):
        options = {"name": "dogs", "now": datetime(2026, 1, 3, 4, 5, tzinfo=UTC)} | options
        return model_card(provenance, small_config, results, PROTOCOLS, **options)

    return made


def rows(text, heading):
    """The cells of the first table below a heading, without its head."""
    lines = text.split(f"\n## {heading}\n")[1].split("\n## ")[0].splitlines()
    found = [line.replace("\\|", "/")[2:-2].split(" | ") for line in lines if line.startswith("| ")]
    return found[2:]


def test_what_was_measured_and_what_was_not(card):
    found = {row[0]: row[1:] for row in rows(card(), "Evaluation")}
    assert found["DESED, public evaluation"] == [
        "detection, trained phrasings, unbiased", "690 of 692", "AUROC macro 0.900, PSDS1 0.125",
    ]  # fmt: skip
    assert found["mine test"] == ["retrieval", "40 of 40", "text to audio R@1 % 25.0"]
    others = [p for p in PROTOCOLS if p.name != "desed"]
    assert {name for name, row in found.items() if row[2] == "not measured"} == {p.title for p in others}
    assert found["ESC-50"] == ["zero-shot classification", "0 of 2,000", "not measured"]
    assert found["ASFX-SED"] == ["detection", "0", "not measured"]  # how many clips it has is not known
    assert "- Not measured at all: zero-shot classification." in card()
    assert "- Not measured at all: detection, retrieval, zero-shot classification." in card(())
    assert "## All numbers" in card()
    assert "## All numbers" not in card(())


def test_the_hub_reads_its_head(card):
    data = ModelCard(card(licence="cc-by-4.0")).data
    assert (data.license, data.library_name, data.model_name) == ("cc-by-4.0", "flam_train", "dogs")
    found = {
        (r.dataset_name, r.dataset_type, r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results
    }
    assert found == {  # whole numbers, with their parameters; what is not defined is left out
        ("DESED, public evaluation", "desed", None, "auroc/macro"): 0.9,
        ("DESED, public evaluation", "desed", None, PSDS1): 0.125,
        ("mine test", "mine", "test", "text_to_audio/R@1"): 0.25,
    }
    bare = ModelCard(card(())).data
    assert bare.license == "unknown"
    assert bare.eval_results is None


def test_what_it_learned_from(card):
    text = card()
    assert rows(text, "Training data") == [
        ["barks-train", "captions and events", "1,200", "3.33", "CC0-1.0 (700), CC-BY-4.0 (500)", "1" * 12],
        ["bank/two", "events", "not stated", "not stated", "not stated", "2" * 12],
    ]
    assert "Training began from `hf://lab/flam`" in text
    assert "Whose recordings they are" in text
    many = BARKS | {"licences": {f"L{n}": 10 - n for n in range(10)}, "more_licences": 5}
    text = card(provenance=PROVENANCE | {"config": None, "data": {"weak": {"x": [many]}}})
    assert rows(text, "Training data")[0][1] == "weak"
    assert rows(text, "Training data")[0][4].endswith("L7 (3), and 7 more")
    assert "Training began" not in text
    theirs = {"name": "open", "source": "OpenFLAM's open.pth", "source_sha256": "5" * 64, "sha256": SHA256}
    text = card((), theirs)
    assert "Not known here: the weights are OpenFLAM's open.pth." in text
    assert f"- source sha256: {'5' * 64}" in text


def test_where_it_comes_from(card):
    text = card()
    for line in (f"`{SHA256}`", "- run: dogs", "- steps: 400", "- seed: 3", "written by flam_train 0.1.0", "torch "):
        assert line in text.split("## Provenance")[1]
    assert "page written 2026-01-03 04:05 UTC" in text
    assert "licence of the weights: not stated" in text
    assert "licence of the weights: mit" in card(licence="mit")


def test_only_results_of_these_weights_and_the_newest():
    older = replace(DESED, date="2025-01-01T00:00:00+00:00", metrics={"auroc/macro": 0.1})
    biased = replace(older, parameters=older.parameters | {"method": "biased"})
    other = replace(DESED, model={"sha256": "cd" * 32})
    assert of_model([DESED, older, other, MINE, biased], PROVENANCE) == [MINE, biased, DESED]


def test_cosines_have_no_middle(small_config):
    plain = replace(small_config, phrase_scale="none", phrase_bias="none")
    assert "A score of .5" not in model_card(PROVENANCE, plain, (), PROTOCOLS, name="x")
    assert "It has cosines alone" in model_card(PROVENANCE, plain, (), PROTOCOLS, name="x")


def test_the_command(small_config, tmp_path):
    def convert(*arguments):
        return program(main, "flam-convert", "card", *arguments)

    export = save_export(FLAM(small_config), tmp_path / "export", PROVENANCE)
    assert convert(export).returncode == 0
    assert ModelCard.load(export / "README.md").data.license == "unknown"
    load_export(export)  # still one
    sha256 = read_provenance(export)["sha256"]
    replace(DESED, model={"sha256": sha256}).write(tmp_path / "results")
    MINE.write(tmp_path / "results")
    done = convert(export, tmp_path / "results")
    assert done.returncode == 2
    assert "README.md: is there: --overwrite replaces it" in done.stderr
    done = convert(export, tmp_path / "results", "--overwrite", "--licence", "mit", "--name", "Dogs")
    assert done.stdout == f"card  {export / 'README.md'} (1 results, 1 others left out)\n"
    text = (export / "README.md").read_text()
    assert "\n# Dogs\n" in text
    assert "690 of 692" in text
    done = convert(export, *(tmp_path / "results").glob("retrieval*"), "--overwrite")
    assert done.returncode == 2
    assert "no result is of" in done.stderr
    assert (export / "README.md").read_text() == text
    done = convert("hf://lab/flam")
    assert (done.returncode, done.stderr) == (2, "error: hf://lab/flam: say with --out where to write its card\n")
    (export / "provenance.json").write_text(json.dumps({"export": 9}))
    assert convert(export, "--out", tmp_path / "card.md").returncode == 2
    assert not (tmp_path / "card.md").exists()

"""Runs over their seeds: which belong together, their means and spreads, which are left out."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
import statistics
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from in_process import script
from PIL import Image

from flam_train.evaluation.report import seed_tables
from flam_train.evaluation.result import Result
from flam_train.evaluation.seeds import (
    BEST,
    LAST,
    OF_NO_MODEL,
    grouped,
    plain,
    read_runs,
    settings_of,
    spread,
    validations,
    written,
)
from flam_train.training.configuration import FREE
from flam_train.training.trainer import TrainerConfig

AUROC = "val/synthetic/auroc_macro"
CURVE = {2: 0.5, 5: 0.75, 8: 0.7}
"""step -> AUROC."""


def conf(**other) -> dict:
    out = {
        "name": "flam", "seed": 0, "steps": 9, "optim": {"lr": 1e-3, "betas": [0.9, 0.99]}, "init": None,
        "trainer": {"monitor": AUROC, "devices": "auto"},
    }  # fmt: skip
    for key, value in other.items():
        section, _, rest = key.partition("__")
        out = out | ({section: out[section] | {rest: value}} if rest else {section: value})
    return out


def run(folder: Path, curve: dict[int, float] = CURVE, done: bool = True, **other) -> Path:
    """As flam-train leaves it."""
    folder.mkdir(parents=True)
    settings = conf(run_dir=str(folder), **other)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    with (folder / "metrics.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("step", "name", "value"))
        for step, value in curve.items():
            rows.writerows([(step, "loss/total", 1.0), (step, AUROC, value), (step, "val/synthetic/R@1", 1 - value)])
    if done:
        (folder / "export").mkdir()
        (folder / "export/provenance.json").write_text(json.dumps({"steps": 9, "config": settings}))
    return folder


def result(folder: Path, protocol: str = "sed/trained", **metrics: float) -> None:
    counts = {"clips_expected": 2, "clips_evaluated": 2, "missing": {}}
    Result(protocol, "synthetic", "test", None, {}, metrics, {}, **counts, model={}, data={}).write(folder / "results")


def test_runs_that_differ_in_the_seed_alone_are_a_group(tmp_path):
    for rate in (1e-4, 1e-3):
        for seed in (1, 0, 2):
            # Where and under which name a run is trained makes no other model.
            run(tmp_path / f"{rate}-{seed}", seed=seed, optim__lr=rate, name=f"r{seed}", trainer__devices=seed)
    run(tmp_path / "elsewhere", optim__lr=1e-4, init="x", seed=7)
    runs, left_out = read_runs([tmp_path])
    assert (len(runs), left_out) == (7, {})
    found = {group.label: [one.seed for one in group.runs] for group in grouped(runs)}
    assert found == {
        "optim.lr=0.0001, init=null": [0, 1, 2],
        "optim.lr=0.001, init=null": [0, 1, 2],
        "optim.lr=0.0001, init=x": [7],
    }
    alone = grouped([one for one in runs if one.settings["init"] == "x"])
    assert [group.label for group in alone] == ["all runs"]


def test_a_setting_that_some_runs_do_not_have(tmp_path):
    run(tmp_path / "a", seed=0, optim__decay=None)
    run(tmp_path / "b", seed=0)
    runs, _ = read_runs([tmp_path / "a", tmp_path / "b"])
    assert [group.label for group in grouped(runs)] == ["optim.decay=null", "optim.decay=not set"]


def test_what_is_typed_of_a_setting():
    assert [written(x) for x in (None, True, 1, 0, 0.5, "a", [1, None, "x"])] == [
        "null", "true", "1", "0", "0.5", "a", "[1,null,x]",
    ]  # fmt: skip


def test_settings_that_make_no_other_model_may_change_as_a_run_goes_on():
    """All but the seed, which is what a group is over, and names."""
    free = [key for key in OF_NO_MODEL if key not in ("seed", "name", "extended")]
    assert [key for key in free if not key.startswith(FREE) and key not in FREE and key + "." not in FREE] == []
    assert settings_of(conf(seed=3, shards="x", data={"workers": 3, "cache_gib": 2, "phrases_per_clip": 5})).keys() == {
        "steps", "optim.lr", "optim.betas", "init", "trainer.monitor", "data.phrases_per_clip",
    }  # fmt: skip


def test_a_new_setting_of_the_trainer_says_whether_it_makes_another_model():
    found = {f"trainer.{f.name}" for f in fields(TrainerConfig)}
    assert {key for key in found if not key.startswith(OF_NO_MODEL)} == {
        "trainer.precision", "trainer.compile", "trainer.validate_every", "trainer.monitor", "trainer.patience",
    }  # fmt: skip


def test_mean_and_spread_beside_the_standard_library():
    draw = random.Random(0)
    for n in range(1, 30):
        values = [draw.uniform(-1, 1) for _ in range(n)]
        found = spread(values)
        assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-12)
        assert (found.low, found.high, found.n) == (min(values), max(values), n)
        if n == 1:
            assert math.isnan(found.deviation)
        else:
            assert found.deviation == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert spread([]) is None


def test_the_last_step_and_the_best(tmp_path):
    folder = run(tmp_path / "a", {2: 0.5, 5: 0.75, 7: 0.75, 8: 0.7, 11: math.nan})
    assert validations(folder, AUROC) == {
        LAST: dict.fromkeys(("synthetic/auroc_macro", "synthetic/R@1"), pytest.approx(math.nan, nan_ok=True)),
        BEST: {"synthetic/auroc_macro": 0.75, "synthetic/R@1": 0.25},
    }  # fmt: skip
    assert set(validations(run(tmp_path / "b"), None)) == {LAST}
    assert set(validations(run(tmp_path / "c", {2: math.nan}), AUROC)) == {LAST}


def test_runs_that_are_left_out_are_named(tmp_path):
    good = run(tmp_path / "sweep/seed=0")
    half = run(tmp_path / "sweep/seed=1", seed=1, done=False)
    blind = run(tmp_path / "sweep/seed=2", {}, seed=2)
    (blind / "metrics.csv").write_text("step,name,value\n0,loss/total,1.0\n")
    extended = run(tmp_path / "sweep/seed=3", seed=3)
    (extended / "config.yaml").write_text(yaml.safe_dump(conf(seed=3, steps=20, extended=[{"step": 9}])))
    moved = run(tmp_path / "sweep/seed=4", seed=4)
    (moved / "config.yaml").write_text(yaml.safe_dump(conf(seed=4, run_dir="elsewhere")))
    (tmp_path / "sweep/seed=5").mkdir()
    (tmp_path / "sweep/notes").mkdir()
    runs, left_out = read_runs([tmp_path / "sweep", good, tmp_path / "sweep/../sweep"])
    assert [one.folder for one in runs] == [good, moved]
    assert left_out == {
        half: "is not finished",
        blind: "has neither a validation nor results/",
        extended: "goes on with other settings and is not finished",
        tmp_path / "sweep/seed=5": "has not begun",
    }
    for path, message in (("sweep/notes", "no run in this folder"), ("none", "no such folder")):
        with pytest.raises(ValueError, match=message):
            read_runs([tmp_path / path])
    (good / "config.yaml").write_text("just text")
    with pytest.raises(ValueError, match="not the settings of a run"):
        read_runs([good])


def test_one_run_counts_once(tmp_path):
    a = run(tmp_path / "a", seed=3)
    shutil.copytree(a, tmp_path / "b")
    runs, _ = read_runs([tmp_path])
    with pytest.raises(ValueError, match=r"a and .*b have the same seed and settings"):
        grouped(runs)


def test_tables_files_and_figure(tmp_path):
    """Also of a number that a run lacks, or that nothing defines."""
    sweep = tmp_path / "lr"
    for seed, value in enumerate((0.6, 0.7, 0.9)):
        result(run(sweep / f"seed={seed}", {8: value}, seed=seed), **{
            "auroc/macro": value if seed else math.nan, "PSDS1[alpha_st=1]": 0.5, "odd": 1.0,
        })  # fmt: skip
    result(run(sweep / "seed=0,other", seed=0, steps=8), "retrieval", **{"text_to_audio/R@1": 0.25})
    run(sweep / "seed=1,other", seed=1, steps=8, done=False)
    done = script("eval/compare.py", sweep, "--out", tmp_path / "new/lr.json")
    assert done.returncode == 0, done.stderr
    assert f"left out: {sweep / 'seed=1,other'}: is not finished" in done.stderr
    text = (tmp_path / "new/lr.md").read_text()
    assert text.strip() in done.stdout
    deviation = statistics.stdev([0.6, 0.7, 0.9])
    assert f"| steps=9 | 3 | 0.2667 ± {deviation:.4f} | 0.7333 ± {deviation:.4f} |" in text
    assert "| steps=8 | 1 | 0.3000 | 0.7000 |" in text
    assert f"| steps=9 | 3 | 0.800 ± {statistics.stdev([0.7, 0.9]):.3f} | 0.500 ± 0.000 |" in text
    assert "steps=9: AUROC macro of 2 of 3 seeds" in text
    assert "| steps=8 | 1 | 25.0 |" in text
    raw = json.loads((tmp_path / "new/lr.json").read_text())
    (one,) = [group for group in raw["groups"] if group["settings"] == {"steps": 9}]
    kept = one["numbers"]["sed-trained-synthetic-test"]
    assert kept["odd"] == {"values": [1, 1, 1], "mean": 1, "deviation": 0, "low": 1, "high": 1, "n": 3}
    assert kept["auroc/macro"]["values"] == [None, 0.7, 0.9]
    assert raw["left out"] == {str(sweep / "seed=1,other"): "is not finished"}
    with (tmp_path / "new/lr.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        row for row in rows if (row["where"], row["metric"], row["settings"]) == (LAST, "synthetic/R@1", "steps=9")
    ]
    assert float(row["mean"]) == pytest.approx(0.8 / 3)
    with Image.open(tmp_path / "new/lr.png") as picture:
        assert picture.width > 1000


def test_tables_of_runs_without_any_validation(tmp_path):
    folder = run(tmp_path / "a", {})
    (folder / "metrics.csv").write_text("step,name,value\n0,loss/total,1.0\n")
    result(folder, "zero_shot", accuracy=0.5)
    groups = grouped(read_runs([folder])[0])
    assert [table.title for table in seed_tables(groups)] == ["Evaluation: zero_shot-synthetic-test"]
    assert plain(groups, {})["groups"][0]["numbers"].keys() == {"zero_shot-synthetic-test"}


def test_mistakes_are_answered_in_a_line(tmp_path):
    done, half = run(tmp_path / "done"), run(tmp_path / "half", done=False)
    kept = tmp_path / "a.safetensors"
    for arguments, message in (
        ((half,), "of none of these runs is there a number"),
        ((tmp_path / "none",), "no such folder"),
        ((done, kept), "a.safetensors: no such folder: give run folders"),
        ((kept,), "1 files of kept scores: give two, A and B"),
        ((done, "--group", "site"), "--group is for two files of kept scores, not for runs"),
        ((done, "--out", tmp_path / "x.csv"), "x.csv: NAME.json, beside which"),
    ):
        wrong = script("eval/compare.py", *arguments)
        assert wrong.returncode == 2
        assert message in wrong.stderr
        assert "Traceback" not in wrong.stderr

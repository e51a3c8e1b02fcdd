"""Who may import whom: downwards only, in the package and inside its packages. And nothing happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGE = ROOT / "flam_train"

FLOORS = {
    "": [
        "frames batch paths disk devices vocabulary distributed settings renamed",
        "losses metrics models data plotting",
        "checkpoints",
        "detection",
        "inference openflam",
        "evaluation",
        "training",
        "cli",
    ],
    "data": ["sound", "shards", "stream", "mixing", "augment", "preparation", "labels"],
    "detection": [
        "threads smoothing phrases clock_tags clock recordings drafts progress",
        "embedding",
        "scoring",
        "events kept score_files labelled",
        "calibration thresholds live tables",
        "calibrating detections results clips",
        "wanted summary",
        "analysis",
        "job",
    ],
    "evaluation": [
        "choices result parts progress windows words truth embeddings frame_embeddings groups drawn",  # what hears
        "scores sed retrieval zero_shot checked resampled compared seeds",  # what measures
        "report",
        "protocol",
        "card",
    ],
    "training": [
        "objective by_corpus health module averaging micro_batches corpora content sources datamodule layers optim "
        "loggers progress validation pictures profiling",
        "fault_tolerance",
        "trainer configuration saved extension exports description log_settings run",
        "launch",
    ],
}
"""What is in a package, floor by floor from the ground up. A module imports from lower floors, and from its own; but
the rooms of flam_train that stand on one floor, above the ground, do not import one another."""

HEAVY = {"lightning", "hydra", "omegaconf"}


def floor_of(package: str, name: str) -> int:
    found = [number for number, floor in enumerate(FLOORS[package]) if name in floor.split()]
    assert found, f"{name} stands on no floor of flam_train.{package}: say in FLOORS on which"
    return found[0]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at any depth of its code."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            out |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return out


FILES = sorted(PACKAGE.rglob("*.py"))
FACES = sorted(PACKAGE.rglob("*.pyi"))
MODULES = {path.relative_to(PACKAGE).with_suffix("").parts for path in FILES}
MODULES |= {parts[:-1] for parts in MODULES if parts[-1] == "__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_run_down(path):
    mine = path.relative_to(PACKAGE).with_suffix("").parts
    for name in imports(path):
        first, *rest = name.split(".")
        parts = tuple(rest)
        if first == "flam_train" and parts in MODULES and mine[-1] != "__init__":
            depth = next(n for n, (a, b) in enumerate(zip(mine, (*parts, ""), strict=False)) if a != b)
            package = ".".join(mine[:depth])  # the innermost that both are in
            if package in FLOORS and len(parts) > depth:
                here, there = floor_of(package, mine[depth]), floor_of(package, parts[depth])
                side_by_side = here == there and (package != "" or here == 0)
                assert there < here or side_by_side, f"{path} imports {name}: up from floor {here} to floor {there}"
        assert first not in HEAVY or mine[0] in ("training", "cli"), f"{path} imports {name}"
        assert first != "argparse" or mine[0] == "cli", f"{path} parses arguments"


@pytest.mark.parametrize("path", FACES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_package_passes_on_its_own_names_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path} passes on names of {node.module}, which is elsewhere"
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                assert (path.parent / f"{name}.py").is_file() or (path.parent / name).is_dir()


def test_every_module_stands_on_a_floor():
    for package, floors in FLOORS.items():
        folder = PACKAGE.joinpath(*package.split(".")) if package else PACKAGE
        there = {p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
        assert sorted(" ".join(floors).split()) == sorted(there - {"__init__"}), package


@pytest.mark.parametrize("folder", ["data_prep", "eval"])
def test_verbs_import_neither_training_nor_each_other(folder):
    scripts = {p.stem for p in (ROOT / folder).glob("*.py")}
    for path in (ROOT / folder).glob("*.py"):
        for name in imports(path):
            assert not name.startswith("flam_train.training"), f"{path} imports {name}"
            shared = {"data_prep": "flam_train.cli.prepare", "eval": "flam_train.cli.evaluate"}[folder]
            assert not name.startswith("flam_train.cli.") or name.startswith(shared), f"{path} imports {name}"
            assert name.split(".")[0] not in (scripts - {path.stem}) | {"data_prep"}, f"{path} imports {name}"


def test_inference_needs_neither_lightning_nor_hydra_nor_wandb():
    code = (
        "import sys, flam_train.inference, flam_train.evaluation.sed; "
        "print(sorted({'lightning', 'hydra', 'omegaconf', 'wandb', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

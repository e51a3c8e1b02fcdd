"""Who may import whom: downwards only, siblings not at all. And nothing happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGE = ROOT / "flam_train"

LEVEL = {
    "frames": 0, "batch": 0, "paths": 0, "vocabulary": 0, "distributed": 0, "settings": 0,
    "losses": 1, "metrics": 1, "models": 1, "data": 1, "plotting": 1,
    "checkpoints": 2, "inference": 3, "evaluation": 4, "training": 5, "cli": 6,
}  # fmt: skip
HEAVY = {"lightning", "hydra", "omegaconf"}


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


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_run_down(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "flam_train" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != room:
            level = LEVEL[parts[1]]
            allowed = level < LEVEL[room] or (level == LEVEL[room] == 0)
            assert allowed, f"{path} imports {name}: level {LEVEL[room]} may not import level {level}"
        if parts[0] in HEAVY:
            assert room in ("training", "cli"), f"{path} imports {parts[0]}"
        assert parts[0] != "argparse" or room == "cli", f"{path} parses arguments"


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

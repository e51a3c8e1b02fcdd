"""make wheel-check: the wheel is whole. Builds it, installs it away from the checkout, imports every module, runs
`flam-train --help` and composes every configuration, with nothing of the checkout on the path. Then without what only
training needs: OpenFLAM's two examples, and `flam-detect` from a recording to a table.

The dependencies come from the environment this runs in; the package itself must not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INSIDE = """
import importlib, pkgutil, sys
from pathlib import Path
import flam_train
from flam_train.cli.train import GROUPS, compose_conf
from flam_train.paths import conf_dir
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.vocabulary import Vocabulary

home = Path(flam_train.__file__).resolve().parent
assert home.is_relative_to(sys.argv[1]), f"imported from {home}"
names = [m.name for m in pkgutil.walk_packages(flam_train.__path__, "flam_train.")]
for name in names:
    importlib.import_module(name)
assert conf_dir() == home / "conf", conf_dir()
count = 0
for group in GROUPS:
    for file in sorted((conf_dir() / group).glob("*.yaml")):
        name, text = file.stem, file.read_text()
        choice = f"{group}=[{name}]" if group.startswith("data/") else f"{group}={name}"
        extra = [f"{group.replace('/', '.')}.{name}.{key}=x" for key in ("path", "bank") if f"{key}: ???" in text]
        for kind in ("global", "frame"):
            if f"override /data/{kind}: [custom]" in text:
                extra.append(f"data.{kind}.custom.path=x")
        compose_conf([choice, *extra, *(["init=x"] if "init: ???" in text else [])])
        count += 1
for file in (conf_dir() / "mixing").glob("*.yaml"):
    MixRecipe.load(file.stem)
for file in (conf_dir() / "vocabulary").glob("*.yaml"):
    Vocabulary.load(file.stem)
print(f"{len(names)} modules imported, {count} configurations composed")
"""


WITHOUT = """
import os, sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.partition(".")[0] in os.environ.get("WITHOUT", "").split()
        return None if missing else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
"""For the interpreter's start: names in the environment's WITHOUT are as if they were not installed."""

ONLY_FOR_TRAINING = "lightning pytorch_lightning lightning_fabric hydra omegaconf tensorboard tensorboardX wandb"

LISTENS = """
import numpy, soundfile, sys
from flam_train.checkpoints.export import save_export
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.htsat import HTSATConfig
from flam_train.models.text import TextConfig

audio = HTSATConfig(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2))
save_export(FLAM(FLAMConfig(audio=audio, text=TextConfig("bytes"), embedding=16)), "export", {})
soundfile.write("a.wav", numpy.random.default_rng(0).normal(size=12 * 8000) * 0.1, 8000)
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} is there")
"""


def run(*command: object, **options) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:4]))} ... failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT)
        wheel = next((folder / "dist").glob("*.whl"))
        with zipfile.ZipFile(wheel) as z:
            strays = [n for n in z.namelist() if not n.startswith(("flam_train/", "flam_train-"))]
        assert not strays, strays
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        python = folder / "venv" / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
        # The dependencies of the environment this runs in; .pth files in it, and so its editable install, are not read.
        (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        env = {"PATH": os.environ["PATH"], "HOME": name, "HF_HUB_OFFLINE": "1"}
        print(run(python, "-W", "ignore", "-c", INSIDE, site, cwd=folder, env=env), end="")
        assert "experiment=" in run(folder / "venv" / "bin" / "flam-train", "--help", cwd=folder, env=env)
        assert "zero-shot" in run(folder / "venv" / "bin" / "flam-eval", "--help", cwd=folder, env=env)
        assert "--recompute" in run(folder / "venv" / "bin" / "flam-eval", "protocols", "--help", cwd=folder, env=env)
        assert "openflam" in run(folder / "venv" / "bin" / "flam-convert", "--help", cwd=folder, env=env)
        (site / "sitecustomize.py").write_text(WITHOUT)
        env |= {"WITHOUT": ONLY_FOR_TRAINING, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # hydra is such a plugin
        run(python, "-c", LISTENS, *ONLY_FOR_TRAINING.split(), cwd=folder, env=env)
        detect = [
            folder / "venv" / "bin" / "flam-detect",
            "run",
            "export",
            "a.wav",
            "--phrases",
            "rain",
            "--out",
            "out",
        ]
        assert "1 done" in run(*detect, "--threshold", "0", cwd=folder, env=env)
        assert "rain" in (folder / "out" / "events.tsv").read_text()
        examples = ROOT / "tests" / "unit" / "openflam" / "test_openflam_examples.py"
        plain = ["-o", "addopts=", "-p", "no:cacheprovider", "--basetemp", folder / "pytest"]
        assert "3 passed" in run(python, "-P", "-m", "pytest", *plain, examples, cwd=folder, env=env)
        print(
            f"{wheel.name}: flam-train, flam-eval, flam-convert and, without lightning, hydra and loggers, flam-detect"
        )
        print("and OpenFLAM's examples run; nothing of the checkout was on the path")


if __name__ == "__main__":
    main()

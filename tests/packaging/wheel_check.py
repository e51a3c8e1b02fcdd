"""make wheel-check: the wheel is whole. Builds it, installs it away from the checkout, imports every module, runs
`flam-train --help` and composes every configuration, with nothing of the checkout on the path.

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
        print(f"{wheel.name}: flam-train, flam-eval and flam-convert run, nothing of the checkout was on the path")


if __name__ == "__main__":
    main()

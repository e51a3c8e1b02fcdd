"""Names of modules, wherever they stand: in strings, in what packages pass on, in scripts of before."""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import re
import subprocess
import sys
from types import ModuleType

import pytest
import yaml
from checkout import ROOT
from preloaded import PRELOADED

import flam_train
from flam_train.renamed import RENAMED

NAME = re.compile(r"(?<![\w./-])flam_train(?:\.\w+)+(?!\.?\w|/)")
SHORT = re.compile(r"`((?:data|training|evaluation|models|losses|metrics|checkpoints)\.[a-z][\w.]+\w)`")
"""`data.shards.exclusion`, as docstrings speak of modules."""
LOADER = yaml.safe_load((ROOT / "conf/data/loader.yaml").read_text())
NO_NAMES = (*(f"data.{key}" for key in (*LOADER, "global", "frame", "weak")), "metrics.csv")
"""Keys of the configuration, and a file: in backticks, too."""
WRITTEN = (
    "*.md", "*.toml", "Makefile", "*/*.md", "slurm/*", "data_prep/*.py", "eval/*.py", "conf/**/*.yaml",
    "flam_train/**/*.py",
)  # fmt: skip
TEXTS = [
    path
    for pattern in WRITTEN
    for path in sorted(ROOT.glob(pattern))
    if path.is_file() and path.name not in ("LOG.md", "renamed.py")
]
PACKAGES = [name for _, name, is_package in pkgutil.walk_packages(flam_train.__path__, "flam_train.") if is_package]


def named(name: str) -> object:
    """What `a.b.c` is: a module, or something in one. ImportError or AttributeError where it is nothing."""
    module, *rest = name.split(".")
    found: object = importlib.import_module(module)
    for n, part in enumerate(rest):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = importlib.import_module(".".join([module, *rest[: n + 1]]))
        else:
            found = getattr(found, part)
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_in_texts_and_strings(path):
    text = path.read_text()
    for name in NAME.findall(text):
        if not name.endswith((".yaml", ".py")):
            named(name)
    for name in SHORT.findall(text) if path.suffix == ".py" else ():
        if not name.startswith(NO_NAMES):
            named(f"flam_train.{name}")


def test_a_stale_name_is_found():
    assert NAME.findall('["flam_train.data.nothing"] in flam_train/data/x.py or `flam_train.frames`.') == [
        "flam_train.data.nothing", "flam_train.frames",
    ]  # fmt: skip
    with pytest.raises(ImportError):
        named("flam_train.data.nothing")


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_say_what_they_are_and_pass_on_names(name):
    package = importlib.import_module(name)
    words = (package.__doc__ or "").split("\n\n")
    assert len(words) == 2, f"{name}: a line, and a paragraph with what comes in, what goes out, what to read first"
    for passed_on in getattr(package, "__all__", ()):
        found, module = getattr(package, passed_on), importlib.util.find_spec(f"{name}.{passed_on}")
        hidden = module is not None and not isinstance(found, ModuleType)
        assert not hidden, f"{passed_on} is a module of {name}: importing it would hide the name passed on"
    read_first = re.findall(r"`([\w/]+\.py)`", words[1])
    assert read_first
    (folder,) = package.__path__
    for file in read_first:
        assert (ROOT / folder / file).is_file(), f"{name} speaks of {file}"


def test_nothing_is_imported_before_it_is_asked_for():
    code = (
        "import sys, flam_train.data, flam_train.training, flam_train.evaluation.report; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


BEFORE = """
import flam_train.data.audio
import flam_train.data.schema
from flam_train.data.audio import read_recording
from flam_train.data.schema import Event, Record
from flam_train.data.shards import index_folder, write_manifest, write_shard
from flam_train.data.levels import describe
from flam_train.data.mixing import Bank, MixRecipe, MixtureSource, pieces, record, render_one, silence
from flam_train.data.preparation import KINDS, MISSING, Listing, Options, part_folder, prepare, read_missing, too_many
from flam_train.data.preparation import write_missing
from flam_train.evaluation.published import paper_tables
from flam_train.inference import detect, load_model, read_recording
from flam_train.training.checkpoint import AtomicCheckpointIO
"""
"""Import lines that README and scripts had before the packages had rooms."""


def test_import_lines_of_before():
    exec(BEFORE, found := {})
    assert found["Record"] is importlib.import_module("flam_train.data.shards.schema").Record
    assert found["write_shard"] is importlib.import_module("flam_train.data.shards.writing").write_shard
    assert found["AtomicCheckpointIO"].__module__ == "flam_train.training.fault_tolerance.checkpoint"


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
def test_modules_have_their_names_of_before(before, now):
    module = importlib.import_module(f"flam_train.{now}")
    assert importlib.import_module(f"flam_train.{before}") is module
    assert module.__spec__.name == module.__name__ == f"flam_train.{now}"


PROBE = """
import json, multiprocessing, sys
START
pool = multiprocessing.get_context("forkserver").Pool(1)
print(json.dumps(sorted(pool.apply(eval, ("set(__import__('sys').modules)",)))))
pool.close()  # to terminate it would wait for ever: workers of a run do not hear SIGTERM
pool.join()
"""
"""What a fresh worker has, before it was given any work of ours."""

UNTIL = """
import flam_train.{0} as module

class Enough(Exception):
    pass

def enough(*_):
    raise Enough

module.{1} = enough
try:
    {2}
except Enough:
    pass
"""
"""As far as a module goes until it calls one of its names: before anything is built, or workers are given any work."""

WRITING = UNTIL.format(
    "data.preparation.corpus_writer",
    "ProcessPoolExecutor",
    "next(module._write_all(None, None, None, [0, 1], 2, print))",
)

STARTED_BY = {
    "training": (
        UNTIL.format("training.run", "begin", "module.fit({'data': {'workers': 1}}, None, None, False, None, [])"),
        {"torch", "soundfile", "flam_train.data.stream.collate", "flam_train.data.mixing.source"},
    ),
    "preparation": (WRITING, {"webdataset", "torch", "soundfile", "flam_train.data.preparation.corpus_writer"}),
    "verification": (
        UNTIL.format(
            "data.preparation.verification",
            "ProcessPoolExecutor",
            "next(module._read_all(type('', (), {'entries': [0, 1]}), True, 2))",
        ),
        {"soundfile", "flam_train.data.preparation.verification"},
    ),
}


@pytest.mark.parametrize("by", STARTED_BY)
def test_workers_find_what_they_need_and_nothing_of_the_trainer(by):
    start, needed = STARTED_BY[by]
    code = PROBE.replace("START", start)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = set(json.loads(done.stdout))
    assert needed <= there
    assert not {"lightning", "hydra", "wandb"} & there
    assert ("torch" in there) == ("torch" in needed)


def test_names_that_are_imported_ahead_import():
    """A forkserver passes over those that do not. All the package's are modules' own `__name__`; these are strings."""
    for name in PRELOADED:
        importlib.import_module(name)
    for path in (ROOT / "flam_train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "set_forkserver_preload":
                strings = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                assert not strings, f"{path}: {strings[0].value!r} is a name that may become stale: use a module's"

"""A reader's working directory: what a line or a block reads and nothing before it has made is given, tiny."""

from __future__ import annotations

import ast
import csv
import re
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from caption_labels import clotho_folder
from caption_labels import sound as captioned
from checkout import ROOT
from in_process import script
from recording_files import tone
from shard_samples import corpus as written
from shard_samples import sample
from strong_labels import audioset, desed_folder, maestro_folder, urbansed_folder
from tiny_runs import write_bank, write_corpus
from zero_shot_labels import us8k, vgg

from flam_train.checkpoints.export import save_export
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.htsat import HTSATConfig
from flam_train.models.text import TextConfig

COPIED = ("Makefile", "README.md", "constraints.txt", "pyproject.toml", "conf", "data_prep", "eval", "slurm")
"""Of the checkout: lines name these, and may write beside them."""

SMALL = {"width": 8, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 2)}
"""The audio encoder of model=test."""


RECORDINGS = 12
"""So many that some of them are for testing."""


def export(path: Path) -> None:
    torch.manual_seed(0)
    config = FLAMConfig(audio=HTSATConfig(**SMALL), text=TextConfig("bytes"), embedding=16)
    save_export(FLAM(config).eval(), path, {"run": "tiny", "steps": 0, "seed": 0})


def recordings(path: Path) -> None:
    """With a label file of each: Audacity's label tracks."""
    for n in range(RECORDINGS):
        tone(path / f"{n}.wav", 3.0, hz=300.0 + 100 * n)
        (path / f"{n}.txt").write_text("0.500000\t1.500000\ta low tone\n")


def labels(path: Path) -> None:
    """For the recordings of this folder."""
    rows = [
        ("filename", "onset", "offset", "label"),
        *((f"{n}.wav", 0.5, 1.5, "a low tone") for n in range(RECORDINGS)),
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def esc50(path: Path) -> None:
    """A dog, a rooster and rain in each of two folds, all of ESC-10."""
    rows = [("filename", "fold", "target", "category", "esc10", "src_file", "take")]
    for fold in (1, 5):
        for target, category in ((0, "dog"), (1, "rooster"), (10, "rain")):
            rows.append((f"{fold}-{target}-A-{target}.wav", fold, target, category, "True", target, "A"))
    for n, (name, *_) in enumerate(rows[1:]):
        tone(path / "audio" / name, 5.0, 44_100, hz=300.0 + 100 * n)
    (path / "meta").mkdir()
    with (path / "meta/esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def clotho(path: Path) -> None:
    for split in ("development", "validation", "evaluation"):
        clotho_folder(path, [f"{split}-{n}.wav" for n in range(4)], [], split)
        for n in range(4):
            captioned(path / split / f"{split}-{n}.wav", 12.0, frequency=300.0 + 100 * n)


def excluded(path: Path) -> None:
    path.write_text("another corpus\ta key\tsounds alike\n")


def caption_bank(path: Path) -> None:
    write_bank(path, phrases=True)


def corpus(path: Path) -> None:
    """Each has sounds and a name of its own."""
    write_corpus(path, 6, seed_of(path), name=name_of(path))


def captions(path: Path) -> None:
    """Short sounds and long ambiences."""

    def clip(key: str):
        if key.endswith("0"):
            return sample(key, 11.0, ["the ambience of a street"], seed=seed_of(path))
        return sample(key, 2.0, ["a dog barks twice", "barking of a dog"], seed=seed_of(path))

    written(path, name=name_of(path), make=clip)


def sets(path: Path) -> None:
    """One of each kind that the protocols know, prepared as they say, below a folder `sets`."""
    path = next(p for p in (path, *path.parents) if p.name == "sets")
    for name, make, *options in (
        ("desed", desed_folder, "--split", "public"),
        ("clotho", clotho),
        ("esc", esc50, "--zero-shot"),
    ):
        out = path / ("esc50" if name == "esc" else name)
        make(path / "published" / name)
        done = script(f"data_prep/{name}.py", path / "published" / name, out, "--quiet", "--processes", 1, *options)
        assert done.returncode == 0, done.stderr


def name_of(path: Path) -> str:
    return path.name if path.name.isupper() else f"{path.parent.name}-{path.name}"


def seed_of(path: Path) -> int:
    return zlib.crc32(name_of(path).encode())


GIVEN: tuple[tuple[str, Callable[[Path], object]], ...] = (
    (r"(.*/)?export|EXPORT", export),
    (r".*\.(wav|flac|ogg|mp3)", lambda path: tone(path, 12.0)),
    (r"sets(/.*)?", sets),
    (r"SHARDS", corpus),
    (r"(.*/)?labels\.csv", labels),
    (r"(.*/)?overlap\.txt", excluded),
    (r"(.*/)?recordings", recordings),
    (r"(corpora/)?audioset", audioset),
    (r"(corpora/)?desed|DESED", desed_folder),
    (r"(corpora/)?urban-?sed|URBAN-SED.*", urbansed_folder),
    (r"(corpora/)?maestro|MAESTRO", maestro_folder),
    (r"(corpora/)?clotho|CLOTHO", clotho),
    (r"(corpora/)?vggsound|VGGSOUND", vgg),
    (r"(corpora/)?urbansound8k|UrbanSound8K", us8k),
    (r"ESC-50.*|(corpora/)?esc-?(50|10)", esc50),
    (r"(.*/)?caption_bank", caption_bank),
    (r"(.*/)?(bank|backgrounds|[\w-]+-bank)(/\w+)?", write_bank),
    (r"(.*/)?shards/(audiocaps|audioset_acd|clotho|freesound|wavcaps)(/[\w-]+)?", captions),
    (r"(.*/)?shards/[\w-]+(/[\w-]+)?", corpus),
)
"""(the whole name, below the working directory; what makes it), the first that fits."""


class World:
    """folder: empty; whoever runs something in it stands there.

    launched: what torchrun has started here. Starting it costs more than all that it starts, so each program is started
    by it once; after that, what it would start runs as one process.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.given: set[Path] = set()
        self.launched: set[str] = set()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def give(self, names: Iterable[str]) -> None:
        """Makes those that the table knows and that are not there."""
        for name in names:
            path = self.folder / name
            if path.exists() or Path(name).is_absolute() or "://" in name:
                continue
            for pattern, make in GIVEN:
                if re.fullmatch(pattern, name.rstrip("/")):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    make(path)
                    self.given.add(path)
                    break

    def take_back(self, name: str) -> None:
        """What was given there: it is to be made now."""
        for path in [path for path in self.given if path.is_relative_to(self.folder / name)]:
            shutil.rmtree(path)
            self.given.remove(path)


def read_by(code: str) -> list[str]:
    """The strings of a block of Python, but for those that it hands to what writes."""
    tree, written = ast.parse(code), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called.startswith(("write", "save", "to_", "mkdir")):
                written |= {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [text for text in strings if text not in written and len(text) < 200]

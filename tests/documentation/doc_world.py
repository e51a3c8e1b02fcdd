"""A reader's working directory. What a line or a block reads is given, tiny, where the tables say that a reader has it;
everything else some line must have made."""

from __future__ import annotations

import ast
import csv
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from caption_labels import clotho_folder
from caption_labels import sound as captioned
from checkout import ROOT
from in_process import script
from others_weights import TINY_AUDIO, TINY_TEXT, clap_folder, clap_model, small_state
from recording_files import tone
from shard_samples import corpus as written
from shard_samples import sample
from strong_labels import audioset, desed_folder
from tiny_runs import tiny_roberta, write_bank, write_corpus

from flam_train.checkpoints.export import save_export
from flam_train.checkpoints.htsat_names import AUDIOSET
from flam_train.checkpoints.laion_names import LAION
from flam_train.checkpoints.onnx import save_onnx
from flam_train.detection.clips import choose, write_clips
from flam_train.detection.events import Detection
from flam_train.detection.recordings import Recording
from flam_train.detection.score_files import write_scores
from flam_train.detection.scoring import Scores, Time
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


def onnx(path: Path) -> None:
    """With the tokenizer of a hub's kind."""
    text = TextConfig("roberta", str(tiny_roberta(path.parent / "tiny-roberta")))
    config = FLAMConfig(audio=HTSATConfig(**SMALL), text=text, embedding=16)
    save_onnx(FLAM(config).eval(), path)


def scores(path: Path) -> None:
    """Of one phrase in a second."""
    time = Time(0, 3, 0.3125, 0.0, 1.0)
    with path.open("wb") as file:
        write_scores([Scores(("a siren",), np.zeros((1, 3), np.float32), time)], [None], file)


def others(path: Path) -> None:
    """Weights as LAION-CLAP, HTS-AT and transformers write them, of the size of model=test."""
    if path.suffix == "":
        clap_folder(path, clap_model(TINY_AUDIO, TINY_TEXT))
    else:
        torch.save({"state_dict": small_state(AUDIOSET if path.suffix == ".ckpt" else LAION)}, path)


def recordings(path: Path) -> None:
    """With a label file of each: Audacity's label tracks."""
    for n in range(RECORDINGS):
        tone(path / f"{n}.wav", 3.0, hz=300.0 + 100 * n)
        (path / f"{n}.txt").write_text("0.500000\t1.500000\ta low tone\n")


def tags(path: Path) -> None:
    """Of the recordings, without times."""
    path.write_text("filename,tags\n" + "".join(f"{n}.wav,a low tone\n" for n in range(RECORDINGS)))


def judged(path: Path) -> None:
    """Clips of four recordings, of which a person has judged all but one."""
    found = []
    for n in range(4):
        sound = tone(path.parent / f"{n}.wav", 12.0, hz=300.0 + 100 * n)
        event = Detection(4.0, 5.0, "a low tone", 0.5, 0.9 - n / 10)
        found.append((Recording(sound, sound.name, sound.name), [event]))
    write_clips(path.parent, choose(found, 4))
    table = path / "clips.csv"
    for answer in ("yes", "yes", "no"):
        table.write_text(table.read_text().replace("00,,", f"00,{answer},", 1))


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


def desed_public(path: Path) -> None:
    """Two recordings, so that there is something to draw from."""
    desed_folder(path)
    name = "6PQRFBAqdwc_0_10.wav"
    with (path / "metadata/eval/public.tsv").open("a") as file:
        file.write(f"{name}\t0.100\t0.200\tDog\n")
    tone(path / "audio/eval/public" / name, 0.4)


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
        ("desed", desed_public, "--split", "public"),
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


CAPTIONS = (
    "audiocaps/train", "audiocaps/val", "audioset_acd/train", "clotho/development", "clotho/validation",
    "freesound/train", "wavcaps/AudioSet_SL", "wavcaps/BBC_Sound_Effects", "wavcaps/FreeSound", "wavcaps/SoundBible",
)  # fmt: skip
EVENTS = (
    "audioset_strong/eval", "audioset_strong/train", "desed/real", "desed/synthetic", "desed/validation",
    "maestro/real", "simulated/train", "urbansed/train", "urbansed/validate",
)  # fmt: skip
"""The shards of experiment=openflam."""

Make = Callable[[Path], object]

BROUGHT: dict[str, Make] = {
    "EXPORT": export,
    "SHARDS": corpus,
    "runs/flam/export": export,
    "runs/flam/onnx": onnx,
    "630k-audioset-best.pt": others,
    "HTSAT_AudioSet_Saved_1.ckpt": others,
    "clap-htsat-unfused": others,
    "street.wav": lambda path: tone(path, 12.0),
    "recordings": recordings,
    "weak.csv": tags,
    "found/clips": judged,
    "audioset": audioset,
    "CLOTHO": clotho,
    "ESC-50-master": esc50,
    "sets": sets,
    "shards/audiocaps/test": captions,
    "shards/clotho/evaluation": captions,
    **{f"{folder}/{name}": captions for folder in ("shards", "data/shards") for name in CAPTIONS},
    **{f"{folder}/{name}": corpus for folder in ("shards", "data/shards") for name in EVENTS},
}
"""What a reader has who begins at any page: its name, below the working directory -> what makes it."""

WITH_DEMO = ("own_labels", "python", "training", "weights")
"""Pages that go on from the demo."""

MADE: tuple[tuple[str, str, Make, tuple[str, ...]], ...] = (
    (
        "README.md",
        "work/demo/run/export",
        export,
        ("README.md", "docs/own_labels.md", "docs/python.md", "docs/weights.md", "docs/detection.md"),
    ),
    *(
        ("README.md", name, corpus, ("README.md", *(f"docs/{page}.md" for page in WITH_DEMO)))
        for name in ("work/demo/shards/synthetic/train", "work/demo/shards/synthetic/test")
    ),
    ("docs/corpora.md", "shards/backgrounds/train", write_bank, ("docs/training.md",)),
    ("docs/corpora.md", "shards/esc10-bank/train", write_bank, ("docs/training.md",)),
    ("docs/corpora.md", "shards/esc10-test", corpus, ("docs/training.md",)),
    ("docs/own_labels.md", "runs/mine/export", export, ("docs/own_labels.md",)),
    ("docs/detection.md", "part/street.wav.scores.npz", scores, ("docs/detection.md",)),
)
"""(page whose lines make it, as its own test checks; name; what makes it here; pages that go on from it). Where both
pages are one, it is for the blocks of Python, which run without the page's lines."""


def had_by(page: str, lines: bool = True) -> dict[str, Make]:
    """What the reader of a page has. lines: of its command lines, which make themselves what the page makes."""
    return BROUGHT | {
        name: make for maker, name, make, readers in MADE if page in readers and not (lines and maker == page)
    }


class World:
    """folder: empty; whoever runs something in it stands there. had: what may be given.

    launched: what torchrun has started here. Starting it costs more than all that it starts, so each program is started
    by it once; after that, what it would start runs as one process.
    """

    def __init__(self, folder: Path, had: dict[str, Make] = BROUGHT):
        self.folder, self.had = folder, had
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
        """Makes those that the reader has, or what he has in them, and that are not there."""
        for had in named_in(names, self.had):
            path = self.folder / had
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                self.had[had](path)
                self.given.add(path)

    def take_back(self, name: str) -> None:
        """What was given there: it is to be made now."""
        for path in [path for path in self.given if path.is_relative_to(self.folder / name)]:
            shutil.rmtree(path)
            self.given.remove(path)


def named_in(names: Iterable[str], had: Iterable[str]) -> list[str]:
    """What a reader has that one of the names is, lies in, or holds."""
    wanted = [Path(name) for name in names if name and "://" not in name and not Path(name).is_absolute()]
    wanted = [path for path in wanted if path.parts]
    return [h for h in had if any(path.is_relative_to(h) or Path(h).is_relative_to(path) for path in wanted)]


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

"""Writes the golden set: what a commit of flam_train leaves on a disk, which later commits must go on reading.

    python tests/golden/make.py            # writes tests/golden/ab12cd3.tar.xz

It is named after the last commit that changed flam_train, conf or eval: 2a1cfab is what stood before the packages had
rooms, made by this file as it was at f430f68 (its imports follow the rooms since).

Never to be run to make a test pass: a set stays as it was written, and `test_golden.py` reads every one of them. A new
one is added where a format gains something that older sets do not hold. Weights, optimiser state and
kept embeddings are numbers of our own instead of what training found: they pack into a few kB, and no result hangs on
rounding. Everything else is as the commands wrote it.
"""

from __future__ import annotations

import csv
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml

from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.export import save_export
from flam_train.cli.train import compose_conf
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.evaluation.embeddings import Embeddings
from flam_train.evaluation.frame_embeddings import FrameEmbeddings
from flam_train.inference import load_model
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.training.fault_tolerance.checkpoint import LAST, AtomicCheckpointIO
from flam_train.training.run import train
from flam_train.vocabulary import Vocabulary

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

CONF = [
    "model=test", "text=bytes", "optim.freeze=[]", "steps=4", "data.workers=0", "optim.warmup_steps=1", "seed=3",
    "trainer.validate_every=2", "trainer.checkpoint_every=2", "trainer.keep_hours=0", "trainer.log_every=1",
    "trainer.accelerator=cpu", "run_dir=run", "global_batch=2", "frame_batch=2",
    "data.global.synthetic.path=shards/train", "data.global.synthetic.validation=shards/test",
    "data.frame.synthetic.path=shards/train", "data.frame.synthetic.validation=shards/test",
]  # fmt: skip


def square(n: int) -> tuple[Record, np.ndarray]:
    """A clip of 3 s with a square wave in it: loud, exact and small."""
    label, onset = ("siren", "bell")[n % 2], 0.5 * (n % 4)
    t = np.arange(3 * SAMPLE_RATE)
    wave = np.where(t // (20 + 60 * (n % 2)) % 2, 6000, -6000)
    wave[(t < onset * SAMPLE_RATE) | (t >= (onset + 1) * SAMPLE_RATE)] = 0
    events = (Event(onset, onset + 1, label),)
    return Record(f"clip-{n}", 3.0, (f"a {label}", f"{label} number {n}"), events), wave.astype(np.int16)


def write_corpus(folder: Path, count: int) -> None:
    samples = [square(n) for n in range(count)]
    halves = [samples[: count // 2], samples[count // 2 :]]
    entries = [write_shard(folder / f"shard-{k:06d}.tar", half) for k, half in enumerate(halves)]
    annotates = [Vocabulary.load("synthetic").concept(name).id for name in ("siren", "bell")]
    write_manifest(folder, folder.name, entries, vocabulary="synthetic", annotates=annotates)


def pattern(like: torch.Tensor) -> torch.Tensor:
    """Between -.07 and .07, with a period of 13."""
    return ((torch.arange(like.numel()) * 5 % 13 - 6) / 88).reshape(like.shape).to(like.dtype)


def write_run(folder: Path) -> None:
    """A run that was killed after two of its four steps."""
    train(compose_conf(CONF))
    io, run = AtomicCheckpointIO(), folder / "run"
    found = io.load_checkpoint(run / "step-00000002.ckpt")
    weights = found["state_dict"]
    for name, value in weights.items():
        if value.is_floating_point() and value.numel() > 16:
            weights[name] = pattern(value).abs() + 0.5 if "bn0" in name else pattern(value)  # bn0 has variances
    for state in found["optimizer_states"][0]["state"].values():
        state["exp_avg"].zero_()
        state["exp_avg_sq"].fill_(1e-6)
    shutil.rmtree(run / "export")
    for path in run.iterdir():
        if path.is_dir() or path.suffix == ".ckpt" or path.name == "curves.png" or path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    io.save_checkpoint(found, run / LAST)


def write_export(folder: Path) -> None:
    """The export of the model as it is in the checkpoint."""
    conf = yaml.safe_load((folder / "run/config.yaml").read_text())
    model = FLAM(FLAMConfig.from_dict({**conf["model"], "text": conf["text"]}))
    weights = AtomicCheckpointIO().load_checkpoint(folder / "run" / LAST)["state_dict"]
    model.load_state_dict({k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")})
    save_export(model, folder / "export", {"run": "golden", "steps": 2, "seed": 3})


def square_waves() -> torch.Tensor:
    """waveform_BS int16 of one clip."""
    t = torch.arange(10 * SAMPLE_RATE)
    return (torch.where(t // 50 % 2 == 0, 6000, -6000) * (t > 200_000)).to(torch.int16)[None]


def numbers(folder: Path) -> dict:
    """What this commit finds in the set; `test_golden.py` finds it again. The run has gone on to its end."""
    model = load_model(folder / "export")
    audio, text = model.embed_audio(square_waves()), model.embed_text(["a siren", "rain on a roof"])
    rows = list(csv.DictReader((folder / "run/metrics.csv").open(newline="")))
    return {
        "clip": audio.clip_BD[0].tolist(),
        "frame of 20": audio.frame_BTD[0, 20].tolist(),
        "text": text.text_CD.tolist(),
        "scale": text.scale_C.tolist(),
        "bias": text.bias_C.tolist(),
        "curves": {f"{r['step']} {r['name']}": float(r["value"]) for r in rows if r["name"].startswith("loss/")},
        "results": {p.name: json.loads(p.read_text())["metrics"] for p in sorted(folder.glob("results/*.json"))},
    }


def evaluate(folder: Path) -> None:
    """Keeps scores, with embeddings in the place of the pattern's, which are nearly the same everywhere: the numbers
    must not hang on rounding."""
    sed = ["sed", "export", "shards/test", "--phrasings", "trained", "held_out"]
    run_script(folder, *sed)
    run_script(folder, "retrieval", "export", "shards/test")
    kept = FrameEmbeddings.load("results/scores/sed-test.safetensors")
    replace(kept, frame_FD=vectors(kept.frame_FD.shape, 0)).save("results/scores/sed-test.safetensors")
    clips = Embeddings.load("results/scores/retrieval-test.safetensors")
    replace(clips, audio_ND=vectors(clips.audio_ND.shape, 1)).save("results/scores/retrieval-test.safetensors")
    run_script(folder, "sed", "results/scores/sed-test.safetensors")
    run_script(folder, "retrieval", "results/scores/retrieval-test.safetensors")


def run_script(folder: Path, script: str, *arguments: str) -> None:
    command = [sys.executable, ROOT / f"eval/{script}.py", *arguments, "--out", "results"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def vectors(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """float32, unit length."""
    rows = np.random.default_rng(seed).normal(size=shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def main() -> None:
    torch.set_num_threads(1)
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", "flam_train", "conf", "eval"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / commit
        folder.mkdir()
        os.chdir(folder)
        write_corpus(folder / "shards/train", 4)
        write_corpus(folder / "shards/test", 2)
        write_run(folder)
        write_export(folder)
        evaluate(folder)
        shutil.copytree("run", "kept")
        train(compose_conf(CONF))
        (folder / "numbers.json").write_text(json.dumps(numbers(folder), indent=1) + "\n")
        shutil.rmtree("run")
        os.rename("kept", "run")
        for path in folder.glob("results/*.json"):
            path.unlink()
        with lzma.open(HERE / f"{commit}.tar.xz", "wb", preset=9) as file, tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(folder, commit, filter=anonymous)


def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main()

"""A tiny corpus, a tiny bank and the command line, for the tests of training."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from checkout import ROOT

from flam_train.batch import SAMPLE_RATE
from flam_train.cli.train import compose_conf, main
from flam_train.data.mixing.levels import describe
from flam_train.data.shards.schema import Event, Record, Tag
from flam_train.data.shards.writing import write_manifest, write_shard

CLASSES = {"siren": 900.0, "bird_chirp": 3000.0, "engine": 120.0, "bell": 1800.0}
"""Of the synthetic vocabulary, as tones."""


def tone(hz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * hz * t * rng.uniform(0.95, 1.05)) + 0.05 * rng.normal(size=len(t))
    return (6000 * wave).astype(np.int16)


def clip(n: int, rng: np.random.Generator, classes: list[str]) -> tuple[Record, np.ndarray]:
    label = classes[n % len(classes)]
    onset, seconds = rng.uniform(0, 6), rng.uniform(1, 3)
    waveform = (20 * rng.normal(size=10 * SAMPLE_RATE)).astype(np.int16)
    sound = tone(CLASSES[label], seconds, rng)
    first = round(onset * SAMPLE_RATE)
    waveform[first : first + len(sound)] += sound
    event = Event(onset, onset + seconds, label)
    return Record(f"clip-{n:03d}", 10.0, (f"a {label}", f"the sound of a {label} {n}"), (event,)), waveform


def write_corpus(
    folder: Path,
    count: int = 12,
    seed: int = 0,
    classes: list[str] | None = None,
    name: str = "",
    *,
    tagged: bool = False,
) -> Path:
    """tagged: clips say what is heard in them, but not when."""
    from flam_train.vocabulary import Vocabulary

    rng = np.random.default_rng(seed)
    classes = classes or list(CLASSES)
    half = count // 2
    samples = [clip(n, rng, classes) for n in range(count)]
    if tagged:
        samples = [(replace(r, events=(), tags=tuple(Tag(e.label) for e in r.events)), w) for r, w in samples]
    entries = [
        write_shard(folder / f"shard-{k:06d}.tar", part) for k, part in enumerate((samples[:half], samples[half:]))
    ]
    vocabulary = Vocabulary.load("synthetic")
    write_manifest(
        folder,
        name or folder.name,
        entries,
        vocabulary="synthetic",
        annotates=[vocabulary.concept(c).id for c in classes],
    )
    return folder


def write_bank(folder: Path, seed: int = 0, *, phrases: bool = False) -> Path:
    """Two instances of each class and one background. phrases: labels are open phrases, not classes."""
    from flam_train.vocabulary import Vocabulary

    rng = np.random.default_rng(seed)
    samples = []
    for label, hz in CLASSES.items():
        for k in range(2):
            waveform = tone(hz, rng.uniform(1, 2), rng)
            seconds = len(waveform) / SAMPLE_RATE
            samples.append(
                (
                    Record(
                        f"{label}-{k}",
                        seconds,
                        events=(Event(0.0, seconds, label),),
                        details=describe(waveform, "event"),
                    ),
                    waveform,
                )
            )
    noise = (300 * rng.normal(size=11 * SAMPLE_RATE)).astype(np.int16)
    samples.append((Record("noise", 11.0, details=describe(noise, "background")), noise))
    vocabulary = Vocabulary.load("synthetic")
    write_manifest(
        folder,
        folder.name,
        [write_shard(folder / "shard-000000.tar", samples)],
        vocabulary=None if phrases else "synthetic",
        annotates=[] if phrases else [vocabulary.concept(c).id for c in CLASSES],
    )
    return folder


def tiny_roberta(folder: Path) -> Path:
    """The files of a RoBERTa-like model of one small layer, as a hub gives them."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    tiny = RobertaConfig(
        vocab_size=261, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    RobertaModel(tiny, add_pooling_layer=True).save_pretrained(folder)
    symbols = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *ByteLevel.alphabet()]
    (folder / "vocab.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    return folder


def damage(folder: Path, fraction: float) -> None:
    """Flips a byte of the audio of the first samples of each shard."""
    for index_file in folder.glob("*.index.npy"):
        index = np.load(index_file)
        tar = index_file.with_name(index_file.name.replace(".index.npy", ".tar"))
        data = bytearray(tar.read_bytes())
        for row in index[: round(fraction * len(index))]:
            data[int(row["audio"]) + int(row["audio_size"]) // 2] ^= 0xFF
        tar.write_bytes(data)


def harm(tar: Path, fault: str) -> None:
    """fault: missing, truncated or altered."""
    data = tar.read_bytes()
    if fault == "missing":
        tar.unlink()
    else:
        tar.write_bytes(data[:9000] if fault == "truncated" else data[:9000] + bytes(len(data) - 9000))


TINY = [
    "model=test", "text=bytes", "optim.freeze=[]", "steps=4", "data.workers=0", "optim.warmup_steps=1",
    "trainer.validate_every=2", "trainer.checkpoint_every=2", "trainer.log_every=1", "trainer.monitor=null",
    "trainer.accelerator=cpu", "trainer.pictures=0",
]  # fmt: skip


def on_shards(train: Path, test: Path | None = None) -> list[str]:
    """The overrides that train `data/global` and `data/frame` `synthetic` on these folders."""
    out = []
    for kind in ("global", "frame"):
        out.append(f"data.{kind}.synthetic.path={train}")
        out.append(f"data.{kind}.synthetic.validation={test or 'null'}")
    return out


def conf(corpora: tuple[Path, Path | None], folder: Path, *overrides: str) -> dict:
    """Four clips of each kind a step."""
    return compose_conf(
        [*TINY, *on_shards(*corpora), f"run_dir={folder}", "global_batch=4", "frame_batch=4", *overrides]
    )


def flam_train(*arguments: object, torchrun: int = 0, check: bool = True, env: dict | None = None):
    """Runs the command as a user does, in a process of its own."""
    start = [sys.executable, "-m"]
    if torchrun:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}", "-m"]
    command = [*start, "flam_train.cli.train", *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=400,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | (env or {}),
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def _rank(rank: int, world: int, port: int, arguments: list[str]) -> None:
    torch.set_num_threads(1)
    launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ |= {name: str(n) for name, n in launch.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "tests"}
    assert main(arguments) == 0


def flam_train_on_ranks(world: int, *arguments: object) -> None:
    """As torchrun starts it, but forked from the tests' server, which has imported everything."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    mp.start_processes(_rank, (world, port, [*map(str, arguments)]), world, start_method="forkserver")


def metrics(folder: Path) -> dict[tuple[int, str], str]:
    """{(step, name): value as written} of a run; a point that stands twice fails."""
    out = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = int(row["step"]), row["name"]
            assert key not in out, f"{key} stands twice in metrics.csv"
            out[key] = row["value"]
    return out

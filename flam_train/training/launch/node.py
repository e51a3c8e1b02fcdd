"""What one process finds on its machine: GPU, shards, disks, /dev/shm, the text model, versions.

Everything is looked for; what is wrong becomes a line that names the fix, and the search goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from flam_train import __version__
from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.initial import build, config_of
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.shards.cache import GIB, ShardCache
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream import shared
from flam_train.data.stream.workers import batches_in_use, own_cores, workers_of_rank
from flam_train.disk import check_writable, existing
from flam_train.models.flam import FLAMConfig
from flam_train.settings import named
from flam_train.training.configuration import STREAMS, Config
from flam_train.training.corpora import CorpusConfig, DataConfig
from flam_train.training.exports import EXPORTS
from flam_train.training.fault_tolerance.checkpoint import LAST
from flam_train.training.optim import freeze
from flam_train.training.saved import Saved
from flam_train.training.validation import Asked, check_monitor

DRIVER = Path("/proc/driver/nvidia/version")
SHM = Path("/dev/shm")
MEMORY = Path("/proc/meminfo")

BESIDE_AUDIO = 1.1
"""Labels, tokens and the launcher's own segments take a few hundredths of what the audio takes in /dev/shm."""

IN_USE_BY_OTHERS = 0.1
"""Share of a GPU's memory; a context of ours takes less."""


@dataclass
class Findings:
    """Plain data, so that it travels as JSON.

    shown: name -> what the node's line says. alike: name -> what all nodes must have in common; similar: what they had
    better have. problems, warnings: lines that name the fix.
    """

    shown: dict[str, str] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)
    similar: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A mistake that is told by an error becomes a problem."""
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            problem = " ".join(str(error).split())
            if problem not in self.problems:  # weights that cannot be read are missed more than once
                self.problems.append(problem)


def find_gpu(found: Findings, local_rank: int, accelerator: str) -> None:
    """The GPU that training gives to this process: its name, memory and driver. accelerator: as in `TrainerConfig`."""
    driver, there = driver_version(), torch.cuda.is_available()
    found.alike["what trains"] = "a GPU" if there and accelerator != "cpu" else "the CPU"
    if accelerator == "cpu" or not there:
        found.shown["gpu"] = "no GPU"
        if driver and accelerator != "cpu" and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
            found.problems.append(
                f"there is an NVIDIA driver ({driver}), but torch {torch.__version__} sees no GPU: ask SLURM for GPUs, "
                "update the driver or install the torch that it suits; trainer.accelerator=cpu trains without"
            )
        return
    if local_rank >= torch.cuda.device_count():
        found.problems.append(
            f"process {local_rank} of this node has no GPU: {torch.cuda.device_count()} can be seen by each process: "
            "one a process, all seen by all (--gpus-per-node as many as --ntasks-per-node, no --gpus-per-task)"
        )
        return
    with found.looking():
        free, total = torch.cuda.mem_get_info(local_rank)
        name = torch.cuda.get_device_name(local_rank)
        found.shown["gpu"] = f"{name}, {total / GIB:.1f} GiB, driver {driver or 'unknown'}"
        if total - free > IN_USE_BY_OTHERS * total:
            found.warnings.append(
                f"GPU {local_rank} ({name}): {(total - free) / GIB:.1f} of {total / GIB:.1f} GiB are in use by another "
                "process: nvidia-smi on that node says which"
            )


def driver_version() -> str | None:
    """Of NVIDIA's kernel module; None where there is none."""
    if not DRIVER.is_file():
        return None
    version = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", DRIVER.read_text())
    return version.group() if version else "unknown"


def find_on_node(found: Findings, config: Config, processes: int, world: int) -> None:
    """What the processes of a node share, looked for by one of them. processes: on this node."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "flam_train": __version__}
    found.alike |= versions
    find_batches(found, config, world)
    workers = workers_of_rank(config.data.workers)
    with found.looking():
        find_shm(found, processes * loader_bytes(config, world, workers))
    with found.looking():
        cache = ShardCache(config.data.cache_folder, config.data.cache_gib)
        remote = find_shards(found, config, cache)
        if remote:
            find_cache(found, cache, remote)
    find_validation(found, config, cache)
    with found.looking():
        find_run_folder(found, config)
    for name in config.data.exclude or ():
        if not Path(name).exists():
            found.problems.append(f"{name}: not there: copy it where every node sees it")
    found.shown["cores"] = f"{many(own_cores(), 'core')} and {many(workers, 'loader worker')} a process"
    found.shown["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())


def find_batches(found: Findings, config: Config, world: int) -> None:
    accumulate = config.data.accumulate
    parts = world * accumulate
    for kind, (batch, _) in config.data.streams.items():
        key = f"{kind}_batch"
        if batch % parts:
            found.problems.append(
                f"{key}={batch} does not divide by {many(world, 'process')} x accumulate={accumulate}: it "
                f"is the total over all of them; set {key} to a multiple of {parts}"
            )


def find_shards(found: Findings, config: Config, cache: ShardCache) -> int:
    """Opens every folder of shards that training will read, and reads the first and the last sample of it. Of those
    behind a URL only the manifest; how many bytes these have."""
    remote, opened = 0, 0
    folders = places(config.data) | dict.fromkeys(config.augment.background, "augment.background")
    for place, where in folders.items():
        with found.looking(), named(where):
            corpus = Corpus(place, cache=cache)
            text = json.dumps(corpus.manifest, sort_keys=True)
            found.alike[f"the manifest (sha256) of {place}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
            remote += sum(e.bytes for e in corpus.entries) if corpus.remote else 0
            for index in () if corpus.remote or not len(corpus) else (0, len(corpus) - 1):
                corpus.waveform(index)
            opened += 1
    found.shown["shards"] = f"{opened} of {len(folders)} shard folders read"
    return remote


def find_validation(found: Findings, config: Config, cache: ShardCache) -> None:
    """What is asked of the validation corpora, and the memory that it takes of the first process. Of shards behind a
    URL no description is read."""
    with found.looking():
        model, validations = model_config(config), {}
        for name, (where, place) in config.data.with_splits().validations.items():
            with found.looking(), named(where):
                corpus = Corpus(place, cache=cache)
                if corpus.vocabulary.classes or not corpus.remote:
                    validations[name] = Asked.of(corpus, model.grid)
        need = sum(asked.kept_bytes(model.embedding) for asked in validations.values())
        need += max((asked.computed_bytes(model.embedding) for asked in validations.values()), default=0)
        free = memory_free()
        if need:
            found.shown["validation"] = f"validation takes {size(need)} of the first process' memory"
        if free is not None and need > free:
            found.problems.append(
                f"validation takes {size(need)} of the first process' memory, {size(free)} are free: validate on fewer "
                "clips (data.KIND.NAME.validation), or free some"
            )
        if config.trainer.monitor is not None and len(validations) == len(config.data.with_splits().validations):
            check_monitor(config.trainer.monitor, validations)


def memory_free() -> int | None:
    """Bytes; None where the system does not say."""
    if not MEMORY.is_file():
        return None
    found = re.search(r"^MemAvailable: +(\d+) kB", MEMORY.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else None


def places(data: DataConfig) -> dict[str, str]:
    """{folder or URL of shards that a run with this configuration opens: the setting that names it first}."""
    out: dict[str, str] = {}
    data = data.with_splits()
    for kind, (batch, corpora) in data.streams.items():
        for name, entry in corpora.items() if batch else ():
            folders = entry.bank or ((entry.path,) if entry.path else ())
            out |= {f: f"data.{kind}.{name}.{'bank' if entry.bank else 'path'}" for f in folders if f not in out}
    return out | {place: where for where, place in data.validations.values() if place not in out}


def entries(data: DataConfig, kinds: tuple[str, ...] = tuple(STREAMS)) -> list[CorpusConfig]:
    """The settings of the corpora that are switched on."""
    streams = data.streams
    return [e.with_splits(kind != "weak") for kind in kinds if streams[kind][0] for e in streams[kind][1].values()]


def find_cache(found: Findings, cache: ShardCache, remote: int) -> None:
    """Whether what the cache will hold fits on its disk. remote: bytes of all shards behind URLs."""
    free = shutil.disk_usage(existing(cache.folder)).free
    held = sum(tar.stat().st_size for tar in cache.folder.glob("*.tar"))
    found.shown["cache"] = f"shard cache {size(free)} free"
    if free + held < min(cache.limit, remote):
        found.problems.append(
            f"{cache.folder}: its disk takes {size(free + held)} of shards, data.cache_gib={cache.limit / GIB:g} "
            "allows more: lower it, or set data.cache_folder to a larger disk of the node"
        )


def find_run_folder(found: Findings, config: Config) -> None:
    """Whether checkpoints can be written there, and whether the nodes see the same folder.

    Their size is that of the model, which is built for it: so the text model's files are looked for, too.
    """
    folder = Path(config.run_dir)
    there = existing(folder)
    free = shutil.disk_usage(there).free
    found.shown["run folder"] = f"run folder {size(free)} free"
    with found.looking():
        check_writable(folder, "run_dir")
    last = folder / LAST
    found.alike[f"the size of {last}"] = str(last.stat().st_size) if last.is_file() else "none"
    found.similar[f"the inode of {there}"] = str(there.stat().st_ino)
    saved = begun(config)
    model = saved.model() if saved else build(config.model, config.text, config.init)
    assert model is not None
    with found.looking():
        freeze(model, config.optim)  # its patterns
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    # A checkpoint has the weights, AdamW's two moments and perhaps a running mean, and is written beside the one that
    # it replaces.
    checkpoints, copies = 3 if config.trainer.monitor else 2, 4 if config.optim.ema else 3
    need = weights * (copies * checkpoints + len(EXPORTS[config.export]))
    if free < need:
        found.problems.append(
            f"{there}: {size(free)} free, checkpoints and export take {size(need)}: make room, or set run_dir elsewhere"
        )


def begun(config: Config) -> Saved | None:
    """A run that goes on and needs nothing else for its model."""
    saved = None if config.overwrite else Saved.read(Path(config.run_dir))
    return saved if saved and saved.config else None


def model_config(config: Config) -> FLAMConfig:
    """Of the model that the run has, or will have."""
    saved = begun(config)
    return (saved.config if saved else None) or config_of(config.model, config.text, config.init)


def find_shm(found: Findings, need: float) -> None:
    """A loader worker that finds no room there dies of a bus error."""
    if not SHM.is_dir():
        return
    free = shutil.disk_usage(SHM).free
    found.shown["shm"] = f"/dev/shm {size(free)} free, {size(need)} needed"
    if free < need:
        found.problems.append(
            f"/dev/shm: {size(free)} free, the loaders of this node need {size(need)}: lower data.workers or "
            "data.prefetch, raise accumulate, or make it larger (mount -o remount,size=..., docker run --shm-size)"
        )


def loader_bytes(config: Config, world: int, workers: int) -> float:
    """What the loader workers of a process come to hold in /dev/shm: each a ring of batches (`data.stream.shared`)."""
    if not workers:
        return 0.0
    accumulate, prefetch = config.data.accumulate, config.data.prefetch
    clip = model_config(config).grid.seconds * SAMPLE_RATE * 2
    clips = sum(
        -(-batch // (world * accumulate))
        * (_waveforms_a_clip(entries(config.data, (kind,))) + config.augment.sounds(kind))
        for kind, (batch, _) in config.data.streams.items()
    )
    return workers * shared.blocks(prefetch, batches_in_use(accumulate, workers)) * clips * clip * BESIDE_AUDIO


def _waveforms_a_clip(corpora: list[CorpusConfig]) -> int:
    """How much audio travels for a clip of a stream, in clips: none of a bank in memory; of another at most its
    background and as many sounds as may be heard at once."""
    mixed = [MixRecipe.load(e.recipe) for e in corpora if e.bank and e.memory_gib]
    whole = any(not e.bank for e in corpora)
    return int(whole) + max((1 + recipe.at_once for recipe in mixed), default=0)


def many(count: int, what: str) -> str:
    ending = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count} {what}{ending}"


def size(count: float) -> str:
    for unit in ("MiB", "GiB"):
        count /= 1024 if unit == "GiB" else 1 << 20
        if count < 1000:
            break
    return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"

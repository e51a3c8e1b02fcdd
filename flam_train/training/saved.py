"""What a run's checkpoints say of the run itself: its settings, architecture and data, and what was changed on the way.

A checkpoint's `run` holds it, so that going on needs neither what the run started from nor the paths of then. One that
was written before there was a `run` goes on by the folder's config.yaml.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from flam_train.checkpoints.export import TOKENIZER
from flam_train.checkpoints.run_checkpoint import RUN
from flam_train.models.flam import FLAM, FLAMConfig
from flam_train.models.text import Tokenizer, load_tokenizer
from flam_train.training.configuration import CONFIG
from flam_train.training.fault_tolerance.checkpoint import LAST, AtomicCheckpointIO

EXTENDED = "extended"
"""The key of config.yaml that is no setting: `RunFacts.extended`."""


@dataclass(frozen=True)
class RunFacts:
    """Plain data.

    conf          the settings, as `cli.train.compose_conf` gives them
    architecture  `FLAMConfig.to_dict` of the model
    provenance    of the data, as `DataModule.provenance`
    init          `content.init_sha256` of what the run started from
    extended      what `resume=extend` has changed: [{"step", "changed": {key: [was, is]}}]
    commit        of `init`, where that is on a hub
    """

    conf: dict[str, Any]
    architecture: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    extended: list[dict[str, Any]] = field(default_factory=list)
    commit: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """`conf`, with what was changed on the way, as config.yaml holds them."""
        return self.conf | ({EXTENDED: self.extended} if self.extended else {})


@dataclass(frozen=True)
class Saved:
    """A checkpoint, without its tensors.

    step   steps that were done
    facts  what it says of the run
    data   the state of the `DataModule`
    stale  validations without a better `trainer.monitor`, up to this step
    """

    folder: Path
    step: int
    facts: RunFacts
    data: dict[str, Any]
    stale: int = 0

    @property
    def compared(self) -> bool:
        """Whether it says what the data was: one of an older version does not."""
        return "content" in self.data

    @property
    def since(self) -> dict[str, tuple[int, int]]:
        """Of each stream, as in `Stream`."""
        return {name: (step, position) for name, (step, position) in self.data.get("since", {}).items()}

    @classmethod
    def read(cls, folder: Path, name: str = LAST) -> Saved | None:
        """Of a run folder; None without such a checkpoint. Raises ValueError as `AtomicCheckpointIO`."""
        path = folder / name
        return cls.of(AtomicCheckpointIO().load_checkpoint(path, mmap=True), folder) if path.is_file() else None

    @classmethod
    def of(cls, checkpoint: dict[str, Any], folder: Path) -> Saved:
        """Raises ValueError for one of an older version without its config.yaml."""
        if RUN in checkpoint:
            names = {f.name for f in fields(RunFacts)}
            facts = RunFacts(**{k: v for k, v in checkpoint[RUN].items() if k in names})
        else:
            path = folder / CONFIG
            if not path.is_file():
                raise ValueError(
                    f"{path}: not there, and the checkpoint is of an older version, which does not hold the settings: "
                    "bring it back, or start anew with overwrite=true"
                )
            conf = yaml.safe_load(path.read_text())
            facts = RunFacts({key: value for key, value in conf.items() if key != EXTENDED})
        stale = checkpoint["callbacks"]["Checkpoints"].get("stale", 0)
        return cls(folder, checkpoint["global_step"], facts, checkpoint.get("DataModule", {}), stale)

    @property
    def config(self) -> FLAMConfig | None:
        """What its model is built from; None where the run folder does not hold that and a tokenizer."""
        if not self.facts.architecture or not (self.folder / TOKENIZER).is_dir():
            return None
        return FLAMConfig.from_dict(self.facts.architecture)

    def model(self) -> FLAM | None:
        """Of `config`, with its tokenizer and without weights."""
        config = self.config
        if config is None:
            return None
        tokenizer = load_tokenizer(str(self.folder / TOKENIZER), config.text.max_tokens)
        return FLAM(config, pretrained_text=False, tokenizer=tokenizer)


class KeepFacts(Callback):
    """Keeps what a run is in every checkpoint, in config.yaml, and beside it its tokenizer."""

    def __init__(self, folder: Path, facts: RunFacts, tokenizer: Tokenizer, anew: bool) -> None:
        self.folder, self.facts, self.tokenizer, self.anew = folder, facts, tokenizer, anew

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # All ranks have met, and so have read what is written over here.
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{CONFIG}"
        draft.write_text(yaml.safe_dump(self.facts.settings, sort_keys=False))
        os.replace(draft, self.folder / CONFIG)
        if self.anew or not (self.folder / TOKENIZER).is_dir():
            self._keep_tokenizer()

    def _keep_tokenizer(self) -> None:
        draft = Path(tempfile.mkdtemp(prefix=f".{TOKENIZER}-", dir=self.folder))
        try:
            os.chmod(draft, 0o755)
            self.tokenizer.save(draft / TOKENIZER)
            shutil.rmtree(self.folder / TOKENIZER, ignore_errors=True)
            os.replace(draft / TOKENIZER, self.folder / TOKENIZER)
        finally:
            shutil.rmtree(draft)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[RUN] = asdict(self.facts)

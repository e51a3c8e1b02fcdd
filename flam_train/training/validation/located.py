"""Where the classes of a corpus are heard: the frames of all ranks' clips, scored and measured as in `evaluation`.

Shape suffixes: B clips, T frames of one, F frames of all, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flam_train.batch import AudioEmbeddings, TextEmbeddings
from flam_train.data.stream.dataset import ClipsBatch
from flam_train.distributed import gather_plain, gather_rows, rank, world_size
from flam_train.evaluation.embeddings import embed_texts
from flam_train.evaluation.frame_embeddings import FrameEmbeddings
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, sed_metrics
from flam_train.evaluation.truth import unknown_in
from flam_train.evaluation.words import asked_of
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import PSDS, Detection
from flam_train.training.validation.asked import Asked

ROWS = 1024
"""Frames of each rank that travel at a time."""

NAMES = {
    "auroc/macro": "auroc_macro",
    "auroc/micro": "auroc_micro",
    "event_f1/macro": "event_f1",
    f"PSDS1[{PSDS['PSDS1']}]": "psds1",
}
"""Of evaluation, and in the log."""


@dataclass(frozen=True)
class Clip:
    """Plain data of a clip. frames: how many lie inside it; unknown: `truth.unknown_in`."""

    key: str
    duration: float
    frames: int
    events: list[Detection]
    unknown: list[str]


class Located:
    """The embedding of every frame is kept until the end, and scored there: 4 T D bytes a clip (64 KiB of 32 x 512),
    however many classes there are. Each rank keeps its own; the first comes to hold all of them, and computes.

    width: D. name: of the corpus, for messages.
    """

    def __init__(self, asked: Asked, grid: FrameGrid, width: int, name: str) -> None:
        assert asked.words is not None
        self.asked, self.words, self.grid, self.width, self.name = asked, asked.words, grid, width, name
        timed = [metric for metric in ("event_f1", "psds") if metric.replace("psds", "psds1") in asked.logged]
        self.chosen = SedMetrics(metrics=("auroc", *timed), psds={"PSDS1": PSDS["PSDS1"]})
        self.reset()

    def reset(self) -> None:
        self.clips: list[Clip] = []
        self.frames: list[Tensor] = []
        self.text: TextEmbeddings | None = None
        self.method = ""

    def update(self, model: Any, audio: AudioEmbeddings, batch: ClipsBatch) -> None:
        if rank() == 0 and self.text is None:  # once a validation: the text tower may learn in between
            self.text, self.method = embed_texts(model, self._texts), model.default_method
        frame_BTD = audio.frame_BTD.detach().float().cpu()
        for frame_TD, record in zip(frame_BTD, batch.records, strict=True):
            count = max(1, int(self.grid.valid(record.duration).sum()))
            events = [(e.onset, e.offset, e.label) for e in record.events]
            self.clips.append(Clip(record.key, record.duration, count, events, unknown_in(record)))
            self.frames.append(frame_TD[:count])

    @property
    def _texts(self) -> list[str]:
        return list(dict.fromkeys(phrase for phrases in self.words.phrases for phrase in phrases))

    def compute(self, device: torch.device) -> dict[str, float]:
        """Of `Asked.logged`, the same on all ranks, each clip counted once; NaN where nothing defines a number.

        device: through which ranks talk. Raises ValueError, on all ranks, for embeddings that are not numbers.
        """
        clips_R = gather_plain(self.clips)
        frames = self._gathered([[clip.frames for clip in clips] for clips in clips_R], device)
        found: dict[str, float] | str = {}
        if rank() == 0:
            try:
                found = self._measured([clip for clips in clips_R for clip in clips], frames)
            except ValueError as error:
                found = f"validation corpus {self.name}: {error}"
        found = gather_plain(found)[0]
        if isinstance(found, str):
            raise ValueError(found)
        return found

    @torch.no_grad()
    def _gathered(self, frames_R: list[list[int]], device: torch.device) -> list[Tensor]:
        """frame_TD of the clips of all ranks, one rank after the other; on ranks other than the first none.

        frames_R: of each rank's clips."""
        if world_size() == 1:
            return self.frames
        mine_FD = torch.cat(self.frames) if self.frames else torch.zeros(0, self.width)
        counts = [sum(frames) for frames in frames_R]
        parts: list[list[Tensor]] = [[] for _ in counts]
        for first in range(0, max(counts), ROWS):
            rows = [max(0, min(count - first, ROWS)) for count in counts]
            some_FD = gather_rows(mine_FD[first : first + ROWS].to(device), rows)
            if rank() == 0:
                for part, one_FD in zip(parts, some_FD.cpu().split(rows), strict=True):
                    part.append(one_FD)
        if rank() != 0:
            return []
        return [one for frames, part in zip(frames_R, parts, strict=True) for one in torch.cat(part).split(frames)]

    def _measured(self, clips: list[Clip], frames: list[Tensor]) -> dict[str, float]:
        """Of clips in any order; one that came twice counts once."""
        number_of = {clip.key: n for n, clip in reversed(list(enumerate(clips)))}
        order = [number_of[key] for key in sorted(number_of)]
        clips_N = [clips[n] for n in order]
        assert self.text is not None
        kept = FrameEmbeddings(
            frame_FD=np.concatenate([frames[n].numpy() for n in order]),
            frame_start_N1=np.cumsum([0, *(clip.frames for clip in clips_N)]),
            text_MD=self.text.text_CD.numpy(),
            scale_M=self.text.scale_C.numpy(),
            bias_M=self.text.bias_C.numpy(),
            texts=self._texts,
            words={"trained": self.words},
            keys=[clip.key for clip in clips_N],
            splits=[""] * len(clips_N),
            durations=[clip.duration for clip in clips_N],
            events=[clip.events for clip in clips_N],
            frame_seconds=self.grid.frame_seconds,
            method=self.method,
            asked=asked_of(None, None, None),
            about={"dataset": self.name},
            unknown=[clip.unknown for clip in clips_N],
            only_listed=list(self.asked.only_listed),
        )
        values, _, _ = sed_metrics(Scores(kept, unannotated="mask"), self.chosen)
        return {NAMES[name]: value for name, value in values.items() if name in NAMES}

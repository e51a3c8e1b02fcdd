"""Streamed validation of one corpus: how well each class is located, and how well captions find their clips.

Shape suffixes: B clips, K classes, T frames, C captions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from flam_train.batch import AudioEmbeddings, TextEmbeddings
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream.dataset import ClipsBatch
from flam_train.frames import FrameGrid
from flam_train.metrics.streaming import FrameAUROC, Retrieval
from flam_train.models.flam import FLAM
from flam_train.settings import one_of
from flam_train.vocabulary import phrase_id

MOST_LABELS = 200
"""Of an open corpus. Each is scored in every frame, and the scores of all clips are kept until the end."""


def _few_labels(corpus: Corpus) -> set[str]:
    """Those that occur, or none of more than MOST_LABELS."""
    found: set[str] = set()
    for n in range(len(corpus)):
        found |= {event.label for event in corpus.record(n).events}
        if len(found) > MOST_LABELS:
            return set()
    return found


class CorpusValidation(nn.Module):
    """Frame AUROC of each class' first phrasing, and text-to-audio retrieval where the clips have captions.

    The classes of an open corpus (no vocabulary) are the labels that occur in it; of one with more than MOST_LABELS
    only the captions are used.
    """

    def __init__(self, corpus: Corpus, grid: FrameGrid, width: int):
        super().__init__()
        self.grid, self.name = grid, str(corpus.folder)
        said = {label: concept.phrasings[0] for label, concept in corpus.vocabulary.classes.items()}
        if not said:
            said = {label: label for label in sorted(_few_labels(corpus))}
        self.classes = {label: k for k, label in enumerate(said)}
        self.phrases = list(said.values())
        self.auroc = FrameAUROC(len(self.phrases), grid.frames) if self.phrases else None
        self.retrieval = Retrieval(width)
        self.text: TextEmbeddings | None = None

    def update(self, model: FLAM, audio: AudioEmbeddings, batch: ClipsBatch) -> None:
        device = audio.clip_BD.device
        clip_B = torch.tensor([phrase_id(key) for key in batch.keys], device=device)
        if self.auroc is not None:
            if self.text is None:  # once a validation: the text tower may learn in between
                self.text = model.embed_text(self.phrases)
            label_BKT, valid_BT = self.labels(batch)
            score_BKT = model.localize(audio.frame_BTD, self.text)
            self.auroc.update(score_BKT, label_BKT.to(device), valid_BT.to(device), clip_B)
        captions = [(row, text) for row, record in enumerate(batch.records) for text in record.captions]
        if captions:
            text = model.embed_text([text for _, text in captions])
            row_C = torch.tensor([row for row, _ in captions], device=device)
            self.retrieval.update(audio.clip_BD, clip_B, text.text_CD, row_C)

    def labels(self, batch: ClipsBatch) -> tuple[Tensor, Tensor]:
        """label_BKT bool, and valid_BT bool: False for frames behind the clip's end."""
        label_BKT = np.zeros((len(batch.records), len(self.classes), self.grid.frames), dtype=bool)
        for row, record in enumerate(batch.records):
            frames_ET = self.grid.labels([e.onset for e in record.events], [e.offset for e in record.events])
            for event, frames_T in zip(record.events, frames_ET, strict=True):
                if event.label not in self.classes:
                    raise ValueError(
                        f"validation corpus {self.name}: {record.key}: class {event.label!r} is not in its vocabulary: "
                        "mend the label or the vocabulary, and prepare it again"
                    )
                label_BKT[row, self.classes[event.label]] |= frames_T
        valid_BT = np.stack([self.grid.valid(duration) for duration in batch.durations])
        return torch.from_numpy(label_BKT), torch.from_numpy(valid_BT)

    def compute(self) -> dict[str, float]:
        """`auroc_macro`, `auroc_micro`, `text_to_audio_R@1`, `audio_to_text_R@1` over all ranks, as far as defined."""
        out: dict[str, float] = {}
        if self.auroc is not None:
            result = self.auroc.compute()
            out |= {"auroc_macro": result["macro"], "auroc_micro": result["micro"]}
        retrieval = self.retrieval.compute()
        for side in ("text_to_audio", "audio_to_text"):
            if f"{side}/R@1" in retrieval:
                out[f"{side}_R@1"] = retrieval[f"{side}/R@1"]
        return out

    def reset(self) -> None:
        self.text = None
        self.retrieval.reset()
        if self.auroc is not None:
            self.auroc.reset()


def check_monitor(monitor: str, metrics: Mapping[str, CorpusValidation]) -> None:
    """ValueError for a `trainer.monitor` that none of the validations, by name, logs."""
    known = []
    for name, metric in metrics.items():
        located = [f"val/{name}/{number}" for number in ("auroc_macro", "auroc_micro")]
        if not metric.classes and monitor in located:
            raise ValueError(
                f"trainer.monitor={monitor}: the validation shards of {name} have no labels, or more than "
                f"{MOST_LABELS} and no vocabulary, then their AUROC is not computed: monitor another corpus, or "
                "prepare them with a vocabulary"
            )
        known += located if metric.classes else []
        known += [f"val/{name}/{number}" for number in ("text_to_audio_R@1", "audio_to_text_R@1")]
    one_of("trainer.monitor", monitor, known)

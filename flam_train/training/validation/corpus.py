"""Streamed validation of one corpus: how well each class is located, and how well captions find their clips.

Shape suffixes: B clips, C captions.
"""

from __future__ import annotations

import torch
from torch import nn

from flam_train.batch import AudioEmbeddings
from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream.dataset import ClipsBatch
from flam_train.frames import FrameGrid
from flam_train.metrics.streaming import Retrieval
from flam_train.models.flam import FLAM
from flam_train.training.validation.asked import FOUND, Asked
from flam_train.training.validation.located import Located
from flam_train.vocabulary import phrase_id


class CorpusValidation(nn.Module):
    """Localisation of what the corpus annotates (`Asked`), and retrieval where the clips have captions.

    width: of embeddings. Raises ValueError as `Asked.of`.
    """

    def __init__(self, corpus: Corpus, grid: FrameGrid, width: int):
        super().__init__()
        self.name, self.asked = str(corpus.folder), Asked.of(corpus, grid)
        self.labels = set(corpus.vocabulary.classes)
        self.located = Located(self.asked, grid, width, self.name) if self.asked.words else None
        self.retrieval = Retrieval(width)

    def update(self, model: FLAM, audio: AudioEmbeddings, batch: ClipsBatch) -> None:
        """Some clips of this rank; all ranks have seen different ones, or none."""
        self._check_labels(batch)
        if self.located is not None:
            self.located.update(model, audio, batch)
        captions = [(row, text) for row, record in enumerate(batch.records) for text in record.captions]
        if captions:
            device = audio.clip_BD.device
            clip_B = torch.tensor([phrase_id(key) for key in batch.keys], device=device)
            text = model.embed_text([text for _, text in captions])
            row_C = torch.tensor([row for row, _ in captions], device=device)
            self.retrieval.update(audio.clip_BD, clip_B, text.text_CD, row_C)

    def _check_labels(self, batch: ClipsBatch) -> None:
        """Those of shards that lie elsewhere were not looked at before the run."""
        for record in batch.records if self.labels else ():
            for event in record.events:
                if event.label not in self.labels:
                    raise ValueError(
                        f"validation corpus {self.name}: {record.key}: class {event.label!r} is not in its vocabulary: "
                        "mend the label or the vocabulary, and prepare it again"
                    )

    def compute(self) -> dict[str, float]:
        """`Asked.logged` and `text_to_audio_R@1`, `audio_to_text_R@1` over all ranks, as far as defined. Called by all
        of them."""
        out = self.located.compute(self.retrieval.device) if self.located is not None else {}
        retrieval = self.retrieval.compute()
        return out | {name: retrieval[key] for name in FOUND if (key := name.replace("_R@1", "/R@1")) in retrieval}

    def reset(self) -> None:
        self.retrieval.reset()
        if self.located is not None:
            self.located.reset()

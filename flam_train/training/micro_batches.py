"""What a loader brings in `accumulate` micro-batches becomes one step.

Workers prepare micro-batches, so that each of them need not hold several whole batches. A step joins its own: losses
and bn0's statistics are those of the whole batch, and only the towers go through it share by share
(`models.recompute`). The waveforms stay where they are, for the front end takes them one after another.

Shape suffixes: B clips of the step, S samples, C phrases of the step, T frames, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flam_train.batch import FrameBatch, GlobalBatch, StepBatch
from flam_train.data.stream.workers import end_workers


class MicroBatches:
    """A loader whose items are the `count` consecutive items that `loader` brings for one step, as a list."""

    def __init__(self, loader: Iterable[StepBatch], count: int, steps: int) -> None:
        self.loader, self.count, self.steps = loader, count, steps
        self._items: Iterator[StepBatch] | None = None

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[StepBatch]]:
        self.close()
        self._items = items = iter(self.loader)
        while parts := list(islice(items, self.count)):
            yield parts

    def close(self) -> None:
        """Ends the workers of an iteration that was left before its end."""
        items, self._items = self._items, None
        end_workers(items)


def joined(batch: Sequence[StepBatch]) -> StepBatch:
    """The micro-batches of a step as one batch, all but their waveforms; one alone is returned as it is."""
    captions = [part.captions for part in batch if part.captions is not None]
    events = [part.events for part in batch if part.events is not None]
    tags = [part.tags for part in batch if part.tags is not None]
    return StepBatch(
        batch[0].step,
        join_captions(captions) if captions else None,
        join_events(events) if events else None,
        join_events(tags) if tags else None,
    )


def stacked(tokens: Sequence[Tensor]) -> Tensor:
    """Rows of tokens under one another, padded with zeros to the longest: int64 [rows of all, L]."""
    longest = max(x.shape[1] for x in tokens)
    return torch.cat([F.pad(x, (0, longest - x.shape[1])) for x in tokens])


def join_captions(parts: Sequence[GlobalBatch]) -> GlobalBatch:
    """The micro-batches' rows, one after another, without their waveforms."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        tokens_CL=stacked([p.tokens_CL for p in parts]),
        attention_CL=stacked([p.attention_CL for p in parts]),
        caption_ids_C=torch.cat([p.caption_ids_C for p in parts]),
        clip_ids_B=torch.cat([p.clip_ids_B for p in parts]),
        clip_valid_B=torch.cat([p.clip_valid_B for p in parts]),
        **_rows(parts),
    )


def join_events(parts: Sequence[FrameBatch]) -> FrameBatch:
    """The micro-batches' clips, one after another, over each distinct phrase of theirs once.

    As the collation of all their clips gives it: a phrase is valid if one of the micro-batches drew it, and its
    labels are those of all clips. The waveforms are left with the micro-batches.
    """
    if len(parts) == 1:
        return parts[0]
    ids_C, column_G = torch.cat([p.phrase_ids_C for p in parts]).unique(return_inverse=True)
    columns = column_G.split([len(p.phrase_ids_C) for p in parts])
    C, device = len(ids_C), ids_C.device
    tokens_GL, attention_GL = stacked([p.tokens_CL for p in parts]), stacked([p.attention_CL for p in parts])
    tokens_CL, attention_CL = tokens_GL.new_zeros(C, tokens_GL.shape[1]), attention_GL.new_zeros(C, tokens_GL.shape[1])
    # In one step a phrase's words are the same wherever it stands: whichever listing is written last will do.
    tokens_CL[column_G], attention_CL[column_G] = tokens_GL, attention_GL
    valid_C = torch.zeros(C, dtype=torch.bool, device=device)
    annotated_C = torch.zeros(C, dtype=torch.int64, device=device)
    labels, unknown = [], []
    for part, column in zip(parts, columns, strict=True):
        valid_C[column] |= part.phrase_valid_C
        annotated_C[column] |= part.annotated_in_C
        label_BCT = part.label_BCT.new_zeros(len(part.label_BCT), C, part.label_BCT.shape[2])
        label_BCT[:, column] = part.label_BCT
        labels.append(label_BCT)
        unknown_BC = part.audio_valid_B.new_zeros(len(part.label_BCT), C)
        if part.unknown_BC is not None:
            unknown_BC[:, column] = part.unknown_BC
        unknown.append(unknown_BC)
    return replace(
        parts[0],
        tokens_CL=tokens_CL,
        attention_CL=attention_CL,
        phrase_ids_C=ids_C,
        phrase_valid_C=valid_C,
        annotated_in_C=annotated_C,
        label_BCT=torch.cat(labels),
        audio_valid_B=torch.cat([p.audio_valid_B for p in parts]),
        unknown_BC=torch.cat(unknown) if any(p.unknown_BC is not None for p in parts) else None,
        row_of=dict(sorted(row for p in parts for row in p.row_of.items())),
        **_rows(parts),
    )


def _rows(parts: Sequence[GlobalBatch] | Sequence[FrameBatch]) -> dict[str, Any]:
    """What both kinds of batches have of each clip."""
    return {
        "waveform_BS": parts[0].waveform_BS[:0],
        "mixture": None,
        "augment": None,
        "corpus_B": torch.cat([p.corpus_B for p in parts]),
        "seed_B": torch.cat([p.seed_B for p in parts]),
        "keys": [key for p in parts for key in p.keys],
        "errors": [error for p in parts for error in p.errors],
    }
